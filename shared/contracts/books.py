"""The ledger's commands and events."""

from typing import Any, ClassVar

from shared.contracts.wire import Amount, Message, Number, Part, Timestamp
from shared.core.money import ZERO


class FundStrategy(Message):
    """Move ``amount`` of ``asset`` from the spot wallet to the strategy; refused when the wallet holds less.

    ``value_usdt`` is what the money is worth in the quote currency now: it counts as contributed.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.fund"

    transfer_id: str
    strategy_id: str
    venue: str
    asset: str
    amount: Amount
    value_usdt: Amount


class ReleaseStrategy(Message):
    """Return everything a sealed strategy holds to the spot wallet, once ``fills_required`` fills are posted.

    ``sold_into``: what an exit sold everything for; what is then still held of other assets could not be sold and goes
    to the dust account (the quote currency never does). "": nothing was sold, all of it goes to the wallet.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.release"

    transfer_id: str
    strategy_id: str
    venue: str
    fills_required: int
    sold_into: str = ""


class WithdrawFromStrategy(Message):
    """Return to the spot wallet up to ``amount`` of ``asset``, or ``percent`` of the strategy's value in ``asset``.

    Exactly one of the two is given; when less is held, what is held is paid. It waits until ``fills_required`` fills
    are posted.

    ``prices``: bid in the quote currency of everything the strategy may hold (of the quote currency itself 1).
    Principal and profit leave in proportion: with W the worth of what is paid and V that of the strategy before, what
    counts as contributed becomes C x (1 - W / V).
    """

    TYPE: ClassVar[str] = "trimtab.strategy.withdraw_transfer"

    transfer_id: str
    strategy_id: str
    venue: str
    asset: str
    amount: Amount | None = None
    percent: Number | None = None
    prices: dict[str, Amount]
    quote: str
    fills_required: int


class TransferSettled(Message):
    """The end of a FundStrategy, WithdrawFromStrategy or ReleaseStrategy: ``posted`` or refused with a reason.

    ``position_version``: of the position that includes it (0 when refused). ``value_usdt``: its worth in the quote
    currency as far as the command told. ``dust``: the assets of ``amounts`` that went to the dust account.
    """

    TYPE: ClassVar[str] = "trimtab.transfer.settled"

    transfer_id: str
    strategy_id: str
    venue: str
    purpose: str
    posted: bool
    reason: str = ""
    amounts: dict[str, Amount] = {}
    position_version: int = 0
    value_usdt: Number | None = None
    dust: tuple[str, ...] = ()


class SweepDust(Message):
    """Give dust to the wallet: ``amount`` of ``asset``, at most what the dust account holds.

    Answered by DustSwept; the same message id is the same sweep.
    """

    TYPE: ClassVar[str] = "trimtab.dust.sweep"

    venue: str
    asset: str
    amount: Amount


class DustSwept(Message):
    """The reply to SweepDust: ``amount`` of ``asset`` went from the dust account to the wallet."""

    TYPE: ClassVar[str] = "trimtab.dust.swept"

    venue: str
    asset: str
    amount: Amount
    transaction_id: str


class PostingMade(Part):
    """One movement of one asset between two accounts; ``amount`` > 0."""

    source: str
    destination: str
    asset: str
    amount: Amount


class TransactionPosted(Message):
    """One journal entry in full; ``sequence`` is its place in the journal, leaf ``sequence`` - 1 of the Merkle log.

    ``leaf_hash`` is SHA-256(0x00 || this message without ``leaf_hash`` as canonical JSON, RFC 8785): see
    ``services.ledger.leaves``. ``request`` is the message that led to it (``message_id``, ``request_type``), ``digest``
    of its content. Version 1 had nothing from ``leaf_version`` on: 0 there means that only the journal has the leaf.
    """

    TYPE: ClassVar[str] = "trimtab.transaction.posted"
    SCHEMA_VERSION: ClassVar[int] = 2

    sequence: int
    transaction_id: str
    kind: str
    venue: str
    strategy_id: str
    postings: tuple[PostingMade, ...]
    market_time: Timestamp
    posted_at: Timestamp
    leaf_version: int = 0
    received_at: Timestamp | None = None
    message_id: str = ""
    correlation_id: str = ""
    digest: str = ""
    request_type: str = ""
    request: dict[str, Any] = {}
    leaf_hash: str = ""


class PositionChanged(Message):
    """A strategy's money after a transaction: full snapshot; see ``shared.core.position.Position``.

    ``contributed_in``: worth of all that was ever put in; ``withdrawn``: worth of all that was ever taken out and
    returned, both in the quote currency at the time.
    """

    TYPE: ClassVar[str] = "trimtab.position.changed"

    strategy_id: str
    venue: str
    version: int
    fills_posted: int
    holdings: dict[str, Amount]
    contributed: Amount
    fees_paid: dict[str, Amount]
    contributed_in: Amount = ZERO
    withdrawn: Amount = ZERO


class WalletChanged(Message):
    """The spot wallet of a venue after a transaction: full snapshot of its balances, last value wins."""

    TYPE: ClassVar[str] = "trimtab.wallet.changed"

    venue: str
    version: int
    balances: dict[str, Amount]

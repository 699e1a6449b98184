"""The pages of the books that a group of requests touches, as plain values.

They are read under the journal's lock, changed in memory by ``bookkeeping``, and written back in the same database
transaction; nothing here survives it.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from services.ledger.leaves import Cause, Leaf, Times, leaf_of
from services.ledger.requests import Request
from services.ledger.reservations import Reservations
from shared.core.double_entry import Transaction
from shared.core.merkle import Frontier
from shared.core.money import ZERO


class TransferState(StrEnum):
    """Where a transfer command stands: withdrawals and releases wait for their fills, the rest is settled at once."""

    WAITING = "waiting"
    POSTED = "posted"
    REFUSED = "refused"


@dataclass(slots=True)
class TransferRecord:
    """A transfer command and its end; ``sequence`` is its journal entry, None when it has none.

    ``position_version``: of the position that includes it, 0 when refused. ``worth``: in the quote currency, None when
    that is not known. ``dust``: the assets of ``amounts`` that went to the dust account.
    """

    request: Request
    state: TransferState
    reason: str = ""
    amounts: dict[str, Decimal] = field(default_factory=dict)
    sequence: int | None = None
    settled_at: datetime | None = None
    position_version: int = 0
    worth: Decimal | None = None
    dust: tuple[str, ...] = ()


@dataclass(slots=True)
class StrategyRecord:
    """What the ledger keeps of a strategy besides its balances; amounts in the quote currency.

    ``is_open``: it was funded and has not been released since, so that what is filled is its own.
    """

    venue: str
    version: int = 0
    fills_posted: int = 0
    contributed: Decimal = ZERO
    contributed_in: Decimal = ZERO
    withdrawn: Decimal = ZERO
    fees: dict[str, Decimal] = field(default_factory=dict)
    is_open: bool = True


@dataclass(slots=True)
class VenueRecord:
    """What the ledger keeps of a venue besides its balances."""

    market_time: datetime
    wallet_version: int = 0


@dataclass(frozen=True)
class Entry:
    """A new journal entry. ``request`` is what led to it, ``received_at`` when Trimtab first knew of that."""

    sequence: int
    transaction: Transaction
    request: Request
    market_time: datetime
    received_at: datetime
    posted_at: datetime

    @cached_property
    def leaf(self) -> Leaf:
        """What stands for it in the Merkle log."""
        request = self.request
        cause = Cause(
            message_id=request.meta.message_id,
            correlation_id=request.meta.correlation_id,
            digest=request.digest,
            request_type=request.body.TYPE,
            request=request.body.model_dump(mode="json"),
        )
        return leaf_of(
            self.sequence, self.transaction, Times(self.market_time, self.received_at, self.posted_at), cause
        )


@dataclass(frozen=True, slots=True)
class SuspenseMove:
    """What an entry moved to suspense (below zero: out of it), and what suspense held of that asset then."""

    entry: Entry
    asset: str
    amount: Decimal
    balance: Decimal


@dataclass(slots=True)
class Pages:
    """The part of the books a group needs: complete for the accounts, strategies, venues and ids of its requests.

    ``balances`` by account, then asset, without zeros. ``digests`` by transaction id: what is already posted. ``tree``:
    the Merkle log of the entries up to ``sequence``.
    """

    sequence: int
    posted_at: datetime
    digests: dict[str, bytes] = field(default_factory=dict)
    transfer_digests: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, dict[str, TransferRecord]] = field(default_factory=dict)
    balances: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    strategies: dict[str, StrategyRecord] = field(default_factory=dict)
    venues: dict[str, VenueRecord] = field(default_factory=dict)
    tree: Frontier = field(default_factory=Frontier)
    reservations: Reservations = field(default_factory=lambda: Reservations({}, ()))

    def balance(self, account: str, asset: str) -> Decimal:
        """What an account holds of an asset; 0 when nothing was ever posted."""
        return self.balances.get(account, {}).get(asset, ZERO)

    def holdings(self, account: str) -> dict[str, Decimal]:
        """Everything an account holds, by asset in alphabetical order, without zeros."""
        return {asset: amount for asset, amount in sorted(self.balances.get(account, {}).items()) if amount}


@dataclass(slots=True)
class Changes:
    """What a group has changed: to be written back and announced.

    ``strategies``: with a new position, by the newest request; ``ended``: those without an entry of their own.
    """

    entries: list[Entry] = field(default_factory=list)
    transfers: dict[str, TransferRecord] = field(default_factory=dict)
    settled: list[TransferRecord] = field(default_factory=list)
    balances: set[tuple[str, str]] = field(default_factory=set)
    strategies: dict[str, Request] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    suspense: list[SuspenseMove] = field(default_factory=list)
    wallets: dict[str, Request] = field(default_factory=dict)
    venues: set[str] = field(default_factory=set)

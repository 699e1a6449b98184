"""Where books and venue differ: what was seen, what is in suspense, and its acceptance."""

from typing import ClassVar

from shared.contracts.wire import Amount, Message, Timestamp


class BalanceDiffered(Message):
    """The venue's account and the books differ in one asset, seen twice with nothing on its way.

    ``amount`` = ``at_venue`` - ``in_books`` (not 0). ``detail``: what may explain it, in words ("" when nothing is
    known): trades at the venue that are not ours. The ledger moves it to suspense, once per ``difference_id``.
    """

    TYPE: ClassVar[str] = "trimtab.balance.differed"

    difference_id: str
    venue: str
    asset: str
    amount: Amount
    at_venue: Amount
    in_books: Amount
    market_time: Timestamp
    detail: str = ""


class ForeignOrderFound(Message):
    """An open order at the venue that is not ours: nothing is in suspense for it until it trades."""

    TYPE: ClassVar[str] = "trimtab.foreign_order.found"

    venue: str
    symbol: str
    venue_order_id: str
    client_order_id: str


class SuspenseChanged(Message):
    """A journal entry moved ``amount`` (below zero: out) of an asset to suspense, which then held ``balance``.

    ``kind``: of the entry, "fill", "suspense" (a difference) or "accept". ``text`` says it in words.
    """

    TYPE: ClassVar[str] = "trimtab.suspense.changed"

    venue: str
    sequence: int
    transaction_id: str
    kind: str
    strategy_id: str
    asset: str
    amount: Amount
    balance: Amount
    text: str


class BooksTotalled(Message):
    """All that the books hold at a venue after the journal's entry ``sequence``: last value wins.

    ``held``: wallet + strategies + dust + suspense by asset, which is what the venue's account must show; ``suspense``:
    the part of it that nobody has explained (signed); ``dust``: the part that exits could not sell. None has zeros.
    """

    TYPE: ClassVar[str] = "trimtab.books.totalled"

    venue: str
    sequence: int
    held: dict[str, Amount]
    suspense: dict[str, Amount]
    dust: dict[str, Amount] = {}


class AcceptSuspense(Message):
    """Give what is in suspense to the wallet; ``amount`` must be exactly that, so that nothing unseen is accepted.

    Below zero the wallet bears it, and must hold it. Answered by SuspenseAccepted; the same message id is the same
    acceptance.
    """

    TYPE: ClassVar[str] = "trimtab.suspense.accept"

    venue: str
    asset: str
    amount: Amount


class SuspenseAccepted(Message):
    """The reply to AcceptSuspense: ``amount`` of ``asset`` went from suspense to the wallet."""

    TYPE: ClassVar[str] = "trimtab.suspense.accepted"

    venue: str
    asset: str
    amount: Amount
    transaction_id: str

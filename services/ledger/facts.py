"""What an entry of the journal means to a strategy, and the order in which its entries count. Pure.

The order follows from the messages alone, not from when they arrived: fills in the order the executor booked them, what
is taken out after the fills it waited for, what is put in before the first fill that was known later. The first money
comes before everything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from services.ledger.requests import Kind
from shared.contracts.books import FundStrategy, ReleaseStrategy, WithdrawFromStrategy
from shared.contracts.orders import OrderFilled
from shared.core.double_entry import Posting, changes_of, strategy_account
from shared.core.lots import share_of
from shared.core.money import ONE, ZERO

QUOTE_UNLESS_TOLD = "USDT"
"""The quote currency of a strategy that has not traded yet: `FundStrategy.value_usdt` is told in it."""

Place = tuple[int, int, datetime, str]
"""(number of the fill, or of the last one before a transfer; 0 for fills and 1 for transfers; known at; id)."""

_UNPLACED = -1


@dataclass(frozen=True, slots=True)
class TradeMade:
    """What a fill says besides its movements; ``fee_worth`` in ``measure``, 0 where it is not known.

    ``measure``: the quote currency of the strategy. That of a direct pair is another, and worth ``quote_price`` in it.
    """

    base: str
    quote: str
    plan_id: str
    fee: Decimal
    fee_asset: str
    fee_worth: Decimal
    measure: str
    quote_price: Decimal


@dataclass(frozen=True, slots=True)
class Transferred:
    """Money that comes in (worth ``worth``) or goes out (worth what ``prices`` say); bids by asset."""

    is_in: bool
    worth: Decimal | None
    prices: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Fact:
    """One entry of the journal, as its strategy sees it. ``changes``: of its holdings, by asset, without zeros."""

    sequence: int
    transaction_id: str
    strategy_id: str
    venue: str
    at: datetime
    known_at: datetime
    after_fill: int
    changes: Mapping[str, Decimal]
    what: TradeMade | Transferred

    @property
    def place(self) -> Place:
        """Where it stands among the facts of its strategy."""
        is_transfer = int(isinstance(self.what, Transferred))
        return (self.after_fill, is_transfer, self.known_at, self.transaction_id)

    @property
    def is_money_in(self) -> bool:
        """Whether money is put in; such a fact has no place of its own (see ``placed``)."""
        return isinstance(self.what, Transferred) and self.what.is_in


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry as it is read back; ``request`` is the message's JSON, ``received_at`` when Trimtab first knew of it."""

    sequence: int
    transaction_id: str
    kind: str
    venue: str
    strategy_id: str
    market_time: datetime
    received_at: datetime
    request: str
    postings: tuple[Posting, ...]

    @property
    def needs_prices(self) -> bool:
        """Whether its worth depends on prices that it does not bring with it."""
        return self.kind in {Kind.FUND, Kind.RELEASE}


def fact_of(entry: JournalEntry, prices: Mapping[str, Decimal]) -> Fact | None:
    """What the entry means to its strategy; None when it moves nothing of a strategy's. ``prices``: newest bids."""
    account = strategy_account(entry.strategy_id)
    moved = changes_of(entry.postings)
    changes = {asset: change for (of, asset), change in sorted(moved.items()) if of == account and change}
    if not entry.strategy_id or not changes:
        return None
    after_fill, what = _meaning(entry, prices)
    return Fact(
        sequence=entry.sequence,
        transaction_id=entry.transaction_id,
        strategy_id=entry.strategy_id,
        venue=entry.venue,
        at=entry.market_time,
        known_at=entry.received_at,
        after_fill=after_fill,
        changes=changes,
        what=what,
    )


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    """All the facts of one strategy in the order in which they count."""
    known = sorted(facts, key=lambda fact: fact.place)
    fills = [fact for fact in known if isinstance(fact.what, TradeMade)]
    money = sorted((fact for fact in known if fact.is_money_in), key=lambda fact: (fact.known_at, fact.transaction_id))
    placed = [replace(fact, after_fill=_fills_before(fact, fills) if index else 0) for index, fact in enumerate(money)]
    return sorted([*(fact for fact in known if not fact.is_money_in), *placed], key=lambda fact: fact.place)


def _fills_before(fact: Fact, fills: Sequence[Fact]) -> int:
    number = 0
    for fill in fills:
        if fill.known_at >= fact.known_at:
            break
        number = fill.after_fill
    return number


def _meaning(entry: JournalEntry, prices: Mapping[str, Decimal]) -> tuple[int, TradeMade | Transferred]:
    match entry.kind:
        case Kind.FILL:
            fill = OrderFilled.model_validate_json(entry.request)
            worth = _fee_worth(fill, prices)
            traded = (fill.base, fill.quote, fill.plan_id, fill.fee, fill.fee_asset, worth)
            return fill.fill_number, TradeMade(*traded, fill.measure, fill.quote_price)
        case Kind.FUND:
            put_in = FundStrategy.model_validate_json(entry.request)
            worth = put_in.amount if put_in.asset == QUOTE_UNLESS_TOLD else put_in.value_usdt
            return _UNPLACED, Transferred(is_in=True, worth=worth, prices=prices)
        case Kind.WITHDRAW:
            paid = WithdrawFromStrategy.model_validate_json(entry.request)
            return paid.fills_required, Transferred(is_in=False, worth=None, prices=paid.prices)
        case _:
            released = ReleaseStrategy.model_validate_json(entry.request)
            return released.fills_required, Transferred(is_in=False, worth=None, prices=prices)


def needs_fee_price(entry: JournalEntry) -> bool:
    """Whether the fee of a fill was taken in an asset that it did not trade."""
    if entry.kind != Kind.FILL:
        return False
    fill = OrderFilled.model_validate_json(entry.request)
    return fill.fee > 0 and fill.fee_asset not in {fill.base, fill.quote, fill.measure}


def _fee_worth(fill: OrderFilled, prices: Mapping[str, Decimal]) -> Decimal:
    if fill.fee_asset == fill.measure:
        return fill.fee
    if fill.fee_asset == fill.quote:
        return share_of(fill.fee, fill.quote_price, ONE)
    if fill.fee_asset == fill.base:
        in_quote = share_of(fill.quote_quantity, fill.fee, fill.quantity)
        return share_of(in_quote, fill.quote_price, ONE) if fill.valued_in else in_quote
    return share_of(fill.fee, prices.get(fill.fee_asset, ZERO), ONE)

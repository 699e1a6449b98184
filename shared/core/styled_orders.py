"""What the styles make of a phase of orders, and how long an order may rest. Pure: state and market in, orders out.

The default sizing (``shared.core.planning``) says whether anything is left to trade; a style only changes how it goes
out. So every style ends when the default would, and what a style cannot trade the default does.

* market: sized at the touch. What is sent for a purchase is its value there, quantity * ask, cut to 8 decimals: however
  thin the book, no more than that is spent.
* maker: sized at the touch of its own side (a sale at the ask, a purchase at the bid), fees as for a taker.
* twap: an order worth more than c = min(slice, share * book) is cut to max(c / touch, quantity / slices left), where
  book is what the other side shows up to the order's limit; a rest under the pair's minimum goes with the last slice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared.core.legs import PlanningInput
from shared.core.market import Instrument, Quote
from shared.core.matching import Book, Side, crosses
from shared.core.money import HUNDRED, ONE, ZERO, ceil_to_step, exact, floor_to_step
from shared.core.order_styles import MAX_SLICES, Styling
from shared.core.planning import OrderDraft

MAX_RESTS = 20
"""How often a side of a plan may rest: one that is outbid again and again takes at last."""
_VALUE_UNIT = Decimal("1e-8")


@exact
def value_to_spend(quantity: Decimal, price: Decimal) -> Decimal:
    """The money of a purchase at market, in the quote currency; no finer than venues take it."""
    return floor_to_step(quantity * price, _VALUE_UNIT)


def at_the_touch(planning: PlanningInput) -> PlanningInput:
    """The sizing of orders that take: limits at the touch itself."""
    return replace(planning, slippage_bps=ZERO)


def at_own_side(planning: PlanningInput, side: Side) -> PlanningInput:
    """The sizing of orders that rest: a sale at the ask, a purchase at the bid."""
    quotes = {}
    for asset, quote in planning.quotes.items():
        price = quote.ask if side is Side.SELL else quote.bid
        quotes[asset] = Quote(price, price, quote.at)
    return replace(planning, quotes=quotes, slippage_bps=ZERO)


@dataclass(frozen=True, slots=True)
class Resting:
    """A resting order, or one of the past: when it was sent at the latest, and its limit."""

    side: Side
    limit_price: Decimal
    sent_at: datetime
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Vicinity:
    """What decides how long an order rests. ``quote`` None: no price is known; ``ending`` why nothing may rest, or "".

    ``epoch``: of the writer now; an order of another one was left behind by a process that died.
    """

    now: datetime
    expires_at: datetime
    quote: Quote | None
    epoch: int
    ending: str = ""


def may_rest(styling: Styling, side: Side, rested: Iterable[Resting], now: datetime) -> bool:
    """Whether one more order of this side of the plan may rest: by time since its first one, and by their number."""
    mine = [order.sent_at for order in rested if order.side is side]
    return not mine or (len(set(mine)) < MAX_RESTS and now < min(mine) + styling.patience)


def why_ended(order: Resting, styling: Styling, first_at: datetime, vicinity: Vicinity) -> str:
    """Why a resting order is to be cancelled now, "" while it may stay. ``first_at``: of the first of its side.

    It stays while it stands at the touch; outbid, it stays at least a ``MAX_RESTS``-th of the patience, so that they
    are enough for all of it.
    """
    now, quote = vicinity.now, vicinity.quote
    if vicinity.ending:
        return vicinity.ending
    if order.epoch != vicinity.epoch:
        return "left behind"
    if now >= vicinity.expires_at:
        return "expired"
    if now >= first_at + styling.patience:
        return "patience is over"
    if quote is None:
        return "no price"
    is_outbid = quote.bid > order.limit_price if order.side is Side.BUY else quote.ask < order.limit_price
    return "outbid" if is_outbid and now >= order.sent_at + styling.patience / MAX_RESTS else ""


@dataclass(frozen=True, slots=True)
class Slicing:
    """How far a TWAP has come: slices so far, the last one's time, and the visible books by asset (None: not known)."""

    done: int
    last_at: datetime | None
    books: Mapping[str, Book | None]

    def due_at(self, every: timedelta) -> datetime | None:
        """When the next slice may go out; None for the first."""
        return None if self.last_at is None else self.last_at + every


@exact
def visible_value(book: Book, side: Side, limit: Decimal) -> Decimal:
    """What the other side of the book shows up to a limit, in the quote currency."""
    levels = book.against(side)
    return sum((level.price * level.quantity for level in levels if crosses(side, limit, level.price)), ZERO)


@exact
def sliced(draft: OrderDraft, instrument: Instrument, styling: Styling, slicing: Slicing) -> OrderDraft:
    """The draft, or the part of it that may go out now. A book that is not known is taken for an empty one."""
    caps = []
    if styling.slice_notional is not None:
        caps.append(styling.slice_notional)
    if styling.depth_share_pct is not None:
        book = slicing.books.get(draft.asset)
        seen = visible_value(book, draft.side, draft.limit_price) if book is not None else ZERO
        caps.append(seen * styling.depth_share_pct / HUNDRED)
    cap = min(caps, default=draft.value)
    if draft.value <= cap:
        return draft
    touch, lot = draft.value / draft.quantity, instrument.lot_step
    worth_an_order = instrument.min_notional / min(draft.limit_price, touch)
    least = ceil_to_step(max(instrument.min_quantity, worth_an_order, lot), lot)
    part = max(cap / touch, draft.quantity / max(ONE, Decimal(MAX_SLICES - slicing.done)), least)
    quantity = floor_to_step(part, lot)
    if draft.quantity - quantity < least:
        return draft
    return replace(draft, quantity=quantity, value=quantity * touch)

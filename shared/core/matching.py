"""Matching of an order against a modelled order book: what a venue does with an order, as pure functions.

The book is a function of one price. With m = the price rounded to the tick, s = spread in basis points, d = level
spacing in basis points and N = quote value per level, level k = 0, 1, ... of both sides stands at

    h_0 = max(tick, up(m * (s / 2) / 10^4))      h_k = max(h_(k-1) + tick, up(m * (s / 2 + k * d) / 10^4))
    bid_k = m - h_k      ask_k = m + h_k      quantity_k = max(lot, down(N / price_k))

where up() and down() round to the tick and to the lot step. Both sides are therefore symmetrical around m, never
crossed, and the mid price is m exactly. The book refills after every order.

Rules of a venue follow Binance's spot documents ("Filters", "Commission"); commission is taken from what is received.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import NamedTuple

from shared.core.errors import Refused
from shared.core.market import Instrument
from shared.core.money import ZERO, ceil_to_step, exact, floor_to_step, plain

BPS = Decimal(10_000)
COMMISSION_DECIMALS = 8


class Side(StrEnum):
    """Side of an order, as the venue spells it."""

    BUY = "BUY"
    SELL = "SELL"


class Level(NamedTuple):
    """One price level of a book: price in quote currency, quantity in base asset."""

    price: Decimal
    quantity: Decimal


class Fill(NamedTuple):
    """A quantity of base asset traded at one price."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Book:
    """Levels best first: bids falling, asks rising."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    def against(self, side: Side) -> tuple[Level, ...]:
        """The levels an order of ``side`` trades with: asks for a buy, bids for a sell."""
        return self.asks if side is Side.BUY else self.bids


@dataclass(frozen=True, slots=True)
class BookShape:
    """Shape of the modelled book: full spread and level spacing in basis points, quote value per level, levels."""

    spread_bps: Decimal
    level_spacing_bps: Decimal
    level_notional: Decimal
    levels: int


@dataclass(frozen=True, slots=True)
class PriceBand:
    """Binance PERCENT_PRICE_BY_SIDE: a limit price must lie within [down, up] times the reference price."""

    bid_up: Decimal = Decimal("1.2")
    bid_down: Decimal = Decimal("0.2")
    ask_up: Decimal = Decimal(5)
    ask_down: Decimal = Decimal("0.8")


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What an order asks for: base quantity or (market orders only) quote quantity; ``price`` None = market."""

    side: Side
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FilterFailure:
    """A filter (Binance's name) that an order breaks: the field, its value and what is allowed."""

    filter: str
    field: str
    value: str
    allowed: str


@dataclass(frozen=True, slots=True)
class Commission:
    """Fee of one fill, in the asset it is taken from."""

    asset: str
    amount: Decimal


@exact
def price_on_tick(price: Decimal, tick_size: Decimal) -> Decimal:
    """The multiple of the tick nearest to ``price`` (halves to even)."""
    return (price / tick_size).to_integral_value(rounding=ROUND_HALF_EVEN) * tick_size


@exact
def book_around(price: Decimal, instrument: Instrument, shape: BookShape, levels: int | None = None) -> Book:
    """The book of the module's formula around ``price``, ``levels`` deep (default: all of ``shape.levels``).

    Raises Refused when the price is under two ticks: there would be no room for a bid.
    """
    tick, lot = instrument.tick_size, instrument.lot_step
    mid = price_on_tick(price, tick)
    if mid < 2 * tick:
        raise Refused.one("price", price, f"at least {plain(2 * tick)}", "leaves no room for a bid at this tick size")
    bids: list[Level] = []
    asks: list[Level] = []
    distance = ZERO
    for k in range(shape.levels if levels is None else min(levels, shape.levels)):
        wanted = mid * (shape.spread_bps / 2 + k * shape.level_spacing_bps) / BPS
        distance = max(distance + tick, ceil_to_step(wanted, tick))
        ask = mid + distance
        asks.append(Level(ask, max(lot, floor_to_step(shape.level_notional / ask, lot))))
        bid = mid - distance
        if bid > 0:
            bids.append(Level(bid, max(lot, floor_to_step(shape.level_notional / bid, lot))))
    return Book(tuple(bids), tuple(asks))


def crosses(side: Side, limit: Decimal, price: Decimal) -> bool:
    """Whether an order limited to ``limit`` may trade at ``price``."""
    return price <= limit if side is Side.BUY else price >= limit


@exact
def fills_for_quantity(
    side: Side, levels: Sequence[Level], quantity: Decimal, limit: Decimal | None = None
) -> tuple[Fill, ...]:
    """Walk the levels, best first, until ``quantity`` (base) is met, the limit is reached or depth ends.

    The sum of the fills is at most ``quantity``; what is missing was not available within the limit.
    """
    fills: list[Fill] = []
    remaining = quantity
    for level in levels:
        if remaining <= 0 or (limit is not None and not crosses(side, limit, level.price)):
            break
        taken = min(remaining, level.quantity)
        fills.append(Fill(level.price, taken))
        remaining -= taken
    return tuple(fills)


@exact
def fills_for_quote(levels: Sequence[Level], quote_quantity: Decimal, lot_step: Decimal) -> tuple[Fill, ...]:
    """Walk the levels spending at most ``quote_quantity`` (a buy) or receiving at most that much (a sell).

    Every fill is a whole number of lot steps, so up to one step's worth of quote stays unspent.
    """
    fills: list[Fill] = []
    remaining = quote_quantity
    for level in levels:
        taken = min(level.quantity, floor_to_step(remaining / level.price, lot_step))
        if taken <= 0:
            break
        fills.append(Fill(level.price, taken))
        remaining -= taken * level.price
        if taken < level.quantity:
            break
    return tuple(fills)


@exact
def fills_at_rest(side: Side, levels: Sequence[Level], quantity: Decimal, limit: Decimal) -> tuple[Fill, ...]:
    """Fill of an order resting at ``limit`` when the market comes to it: at its own price, as the maker.

    The quantity is bounded by the depth of the opposite side at or beyond the limit.
    """
    available = sum((level.quantity for level in levels if crosses(side, limit, level.price)), ZERO)
    taken = min(quantity, available)
    return (Fill(limit, taken),) if taken > 0 else ()


@exact
def notional(fills: Sequence[Fill]) -> Decimal:
    """Sum of price times quantity, in quote currency, exact."""
    return sum((fill.price * fill.quantity for fill in fills), ZERO)


@exact
def commission_on(fill: Fill, side: Side, instrument: Instrument, fee_bps: Decimal) -> Commission:
    """Fee of a fill, taken from what is received: base for a buy, quote for a sell.

    amount = received * fee_bps / 10^4, cut (not rounded) to 8 decimals, as Binance accounts commissions.
    """
    if side is Side.BUY:
        asset, received = instrument.base, fill.quantity
    else:
        asset, received = instrument.quote, fill.price * fill.quantity
    unit = Decimal(1).scaleb(-COMMISSION_DECIMALS)
    return Commission(asset, (received * fee_bps / BPS).quantize(unit, rounding=ROUND_DOWN))


@exact
def discounted_commission(
    fill: Fill, fee_bps: Decimal, asset: str, price: Decimal, discount_pct: Decimal
) -> Commission:
    """Fee of a fill taken from a third asset at ``price`` (quote per asset), less the discount; cut to 8 decimals.

    amount = notional * fee_bps / 10^4 * (1 - discount / 100) / price (Binance, "BNB discount").
    """
    value = fill.price * fill.quantity * fee_bps / BPS * (1 - discount_pct / 100)
    return Commission(asset, (value / price).quantize(Decimal(1).scaleb(-COMMISSION_DECIMALS), rounding=ROUND_DOWN))


@exact
def balance_changes(fill: Fill, side: Side, instrument: Instrument, commission: Commission) -> Mapping[str, Decimal]:
    """What a fill does to the balances of its owner, by asset.

    buy: base +q, quote -p*q; sell: base -q, quote +p*q; then the commission is taken from its own asset.
    """
    sign = 1 if side is Side.BUY else -1
    changes = {instrument.base: sign * fill.quantity, instrument.quote: -sign * fill.price * fill.quantity}
    changes[commission.asset] = changes.get(commission.asset, ZERO) - commission.amount
    return changes


@exact
def filter_failures(
    terms: OrderTerms, instrument: Instrument, band: PriceBand, reference_price: Decimal
) -> tuple[FilterFailure, ...]:
    """Every filter that the order breaks, in the order a venue checks them; empty when the order is valid.

    ``reference_price`` values market orders and anchors the price band. Filters: PRICE_FILTER,
    PERCENT_PRICE_BY_SIDE, LOT_SIZE, NOTIONAL (Binance spot, "Filters").
    """
    found: list[FilterFailure] = []
    if terms.price is not None:
        found += _price_failures(terms.side, terms.price, instrument.tick_size, band, reference_price)
    if terms.quantity is not None:
        found += _quantity_failures(terms.quantity, instrument)
        value = (terms.price if terms.price is not None else reference_price) * terms.quantity
    else:
        value = terms.quote_quantity if terms.quote_quantity is not None else ZERO
    if value < instrument.min_notional:
        allowed = f"at least {plain(instrument.min_notional)} {instrument.quote}"
        found.append(FilterFailure("NOTIONAL", "notional", plain(value), allowed))
    return tuple(found)


def _price_failures(
    side: Side, price: Decimal, tick: Decimal, band: PriceBand, reference: Decimal
) -> list[FilterFailure]:
    found = []
    if price <= 0 or price % tick:
        allowed = f"a multiple of {plain(tick)} above 0"
        found.append(FilterFailure("PRICE_FILTER", "price", plain(price), allowed))
    down, up = (band.bid_down, band.bid_up) if side is Side.BUY else (band.ask_down, band.ask_up)
    if not reference * down <= price <= reference * up:
        allowed = f"{plain(reference * down)} to {plain(reference * up)}"
        found.append(FilterFailure("PERCENT_PRICE_BY_SIDE", "price", plain(price), allowed))
    return found


def _quantity_failures(quantity: Decimal, instrument: Instrument) -> list[FilterFailure]:
    step, low, high = instrument.lot_step, instrument.min_quantity, instrument.max_quantity
    if low <= quantity <= high and not quantity % step:
        return []
    allowed = f"{plain(low)} to {plain(high)} in steps of {plain(step)}"
    return [FilterFailure("LOT_SIZE", "quantity", plain(quantity), allowed)]

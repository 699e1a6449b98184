"""The legs of a plan: what is off its target, on which side, at which prices and within which filters. Pure.

Used by ``shared.core.planning``, whose terms apply.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shared.core.errors import Refused
from shared.core.market import Instrument, Instruments, Quotes
from shared.core.matching import BPS, Side
from shared.core.money import HUNDRED, ZERO, ceil_to_step, floor_to_step


@dataclass(frozen=True, slots=True)
class PlanningInput:
    """What sizing needs. ``targets_pct`` in percent (an asset not in it: 0), ``holdings`` by asset incl. ``quote``.

    ``prices`` fixes the sizing price of an asset in place of its bid: a plan is measured at one set of prices while its
    limits follow the market, so it comes to rest however the market moves. ``sold`` / ``bought`` name assets already
    traded by the same plan: they are traded back only by more than ``unavoidable_rest``.
    ``slippage_bps`` bounds the limit price away from the bid or ask. ``ways``: the one side on which an asset may be
    traded, when not both (see ``shared.core.one_way``).
    """

    targets_pct: Mapping[str, Decimal]
    holdings: Mapping[str, Decimal]
    quotes: Quotes
    instruments: Instruments
    quote: str
    slippage_bps: Decimal
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    sold: frozenset[str] = frozenset()
    bought: frozenset[str] = frozenset()
    ways: Mapping[str, Side] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """One asset off its target by ``value`` (> 0, at the sizing price), to be traded on one side."""

    asset: str
    instrument: Instrument
    price: Decimal
    value: Decimal
    touch: Decimal  # bid for a sell, ask for a buy
    limit: Decimal
    quantity: Decimal
    minimum: Decimal  # smallest tradable quantity at this limit


def target_share(planning: PlanningInput, asset: str) -> Decimal:
    """Target of an asset as a fraction."""
    return planning.targets_pct.get(asset, ZERO) / HUNDRED


def sizing_prices(planning: PlanningInput) -> dict[str, Decimal]:
    """Sizing price of every asset that is held or targeted, but the quote currency."""
    found: dict[str, Decimal] = {}
    for asset in sorted({*planning.targets_pct, *planning.holdings} - {planning.quote}):
        if asset in planning.prices:
            found[asset] = planning.prices[asset]
        elif asset in planning.quotes:
            found[asset] = planning.quotes[asset].bid
        elif planning.holdings.get(asset, ZERO) > 0:
            raise Refused.one("quotes", asset, "a price for every asset that is held", "has no price")
    return found


def tradable(planning: PlanningInput, asset: str) -> Instrument | None:
    """The instrument of an asset that can be traded now: listed, not halted, quoted."""
    instrument = planning.instruments.get(asset)
    return instrument if instrument is not None and instrument.tradable and asset in planning.quotes else None


def cost_of_closing(planning: PlanningInput, asset: str, gap: Decimal) -> Decimal:
    """Fee and spread of closing ``gap`` (value to buy if > 0, to sell if < 0)."""
    instrument = tradable(planning, asset)
    if instrument is None or not gap:
        return ZERO
    if gap < 0:
        return -gap * instrument.taker_fee
    quoted = planning.quotes[asset]
    return gap * (quoted.ask / (quoted.bid * (1 - instrument.taker_fee)) - 1)


def _limit(planning: PlanningInput, asset: str, instrument: Instrument, side: Side) -> Decimal:
    """Bid or ask moved by the slippage bound, rounded to the tick without passing the bound or the touch."""
    quoted, slip = planning.quotes[asset], planning.slippage_bps / BPS
    if side is Side.BUY:
        return max(floor_to_step(quoted.ask * (1 + slip), instrument.tick_size), quoted.ask)
    return min(ceil_to_step(quoted.bid * (1 - slip), instrument.tick_size), quoted.bid)


def smallest_order(planning: PlanningInput, instrument: Instrument, price: Decimal) -> Decimal:
    """Value at the sizing ``price`` of the smallest order that the filters allow at the market's price and the limit's
    slippage, with one lot of rounding: where the market has fallen since, the minimum is more of the asset.
    """
    quoted = planning.quotes.get(instrument.base)
    limit = (price if quoted is None else quoted.bid) * (1 - planning.slippage_bps / BPS)
    least = max(instrument.min_notional / limit, instrument.min_quantity) if limit > 0 else instrument.min_quantity
    return (least + instrument.lot_step) * price


def unavoidable_rest(planning: PlanningInput, prices: Mapping[str, Decimal]) -> Decimal:
    """How far (in value) complete fills may leave an asset from its target: the largest of the smallest orders, and the
    lots that quantities are rounded by.
    """
    listed = [(planning.instruments[asset], price) for asset, price in prices.items() if asset in planning.instruments]
    largest = max((smallest_order(planning, instrument, price) for instrument, price in listed), default=ZERO)
    return largest + sum((instrument.lot_step * price for instrument, price in listed), ZERO)


def gaps_on(
    planning: PlanningInput, prices: Mapping[str, Decimal], after: Decimal, side: Side
) -> tuple[list[Gap], list[str]]:
    """Assets to trade on ``side``, with quantities before rounding for buys and after it for sells."""
    gaps: list[Gap] = []
    dropped: list[str] = []
    traded_otherwise = planning.bought if side is Side.SELL else planning.sold
    rest = unavoidable_rest(planning, prices) if traded_otherwise else ZERO
    for asset, price in prices.items():
        held, share = planning.holdings.get(asset, ZERO), target_share(planning, asset)
        quantity = share * after / price - held
        quantity = quantity if side is Side.BUY else -quantity
        if quantity <= 0 or planning.ways.get(asset, side) is not side:
            continue
        instrument = tradable(planning, asset)
        if instrument is None:
            dropped.append(f"not_tradable:{asset}")
            continue
        limit = _limit(planning, asset, instrument, side)
        value, quoted = quantity * price, planning.quotes[asset]
        touch = quoted.ask if side is Side.BUY else quoted.bid
        smallest = max(instrument.min_quantity, instrument.min_notional / min(limit, touch), instrument.lot_step)
        minimum = ceil_to_step(smallest, instrument.lot_step)
        if side is Side.SELL:
            most = min(held, instrument.max_quantity)
            quantity = floor_to_step(min(most, quantity), instrument.lot_step)
        else:
            quantity /= 1 - instrument.taker_fee
        if asset in traded_otherwise and value <= rest:
            continue
        gaps.append(Gap(asset, instrument, price, value, touch, limit, quantity, minimum))
    return gaps, dropped

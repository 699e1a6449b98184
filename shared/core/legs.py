"""The legs of a plan: what is off its target, on which side, at which prices and within which filters. Pure.

Used by ``shared.core.planning``, whose terms apply.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shared.core.errors import Refused
from shared.core.market import Instrument, Instruments, Quotes
from shared.core.matching import BPS, Side
from shared.core.money import HUNDRED, ONE, ZERO, ceil_to_step, floor_to_step


@dataclass(frozen=True, slots=True)
class PlanningInput:
    """What sizing needs. ``targets_pct`` in percent (an asset not in it: 0), ``holdings`` by asset incl. ``quote``.

    ``prices`` fixes the sizing price of an asset in place of its bid: a plan is measured at one set of prices while its
    limits follow the market, so it comes to rest however the market moves. ``sold`` / ``bought`` name assets already
    traded by the same plan: they are traded back for their own sake only by more than their ``smallest_order``.
    ``slippage_bps`` bounds the limit price away from the bid or ask. ``ways``: the one side on which an asset may be
    traded, when not both (see ``shared.core.one_way``). ``fee_asset``: what the venue takes its fees from, where that
    is a third asset (see ``shared.core.fee_reserve``).
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
    fee_asset: str = ""


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
    is_large: bool  # worth an order of its own: at least the minimum; what trades back, more than the smallest order

    @property
    def cost(self) -> Decimal:
        """Money that must be there for each unit bought: its limit, and the fee where that comes on top."""
        return self.limit * self.instrument.buying_costs

    def proceeds(self, quantity: Decimal) -> Decimal:
        """Money that selling ``quantity`` brings at the bid, after the fee."""
        return quantity * self.touch * (1 - self.instrument.taker_fee)


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


def money_per_value(planning: PlanningInput, asset: str, price: Decimal, side: Side) -> Decimal:
    """Money paid (buy) or received (sell), fee included, for what is worth 1 at the sizing ``price``.

    1 for an asset that cannot be traded now: its gap is money that waits.
    """
    instrument = tradable(planning, asset)
    if instrument is None:
        return ONE
    quoted = planning.quotes[asset]
    if side is Side.SELL:
        return quoted.bid * (1 - instrument.taker_fee) / price
    return quoted.ask * instrument.buying_costs / (price * instrument.buying_keeps)


def _limit(planning: PlanningInput, asset: str, instrument: Instrument, side: Side) -> Decimal:
    """Bid or ask moved by the slippage bound, rounded to the tick without passing the bound or the touch."""
    quoted, slip = planning.quotes[asset], planning.slippage_bps / BPS
    if side is Side.BUY:
        return max(floor_to_step(quoted.ask * (1 + slip), instrument.tick_size), quoted.ask)
    return min(ceil_to_step(quoted.bid * (1 - slip), instrument.tick_size), quoted.bid)


def smallest_order(planning: PlanningInput, instrument: Instrument, price: Decimal) -> Decimal:
    """Value at ``price`` of the smallest order that the filters allow at the market's price and the limit's
    slippage, with one lot of rounding: where the market has fallen since, the minimum is more of the asset.
    """
    limit = market_price(planning, instrument.base, price) * (1 - planning.slippage_bps / BPS)
    least = max(instrument.min_notional / limit, instrument.min_quantity) if limit > 0 else instrument.min_quantity
    return (least + instrument.lot_step) * price


def least_quantity(instrument: Instrument, price: Decimal) -> Decimal:
    """The smallest quantity that the filters allow at ``price``, in whole lots."""
    smallest = max(instrument.min_quantity, instrument.min_notional / price, instrument.lot_step)
    return ceil_to_step(smallest, instrument.lot_step)


def market_price(planning: PlanningInput, asset: str, otherwise: Decimal) -> Decimal:
    """The bid of an asset; ``otherwise`` without a quote."""
    quoted = planning.quotes.get(asset)
    return otherwise if quoted is None else quoted.bid


def unavoidable_rest(planning: PlanningInput, prices: Mapping[str, Decimal]) -> Decimal:
    """How much money, at the market's prices, may be missing from an asset at rest: the largest of the smallest orders
    (what another asset would have to be sold by), and the lots that quantities are rounded by.
    """
    largest = lots = ZERO
    for asset, price in prices.items():
        instrument = planning.instruments.get(asset)
        if instrument is not None:
            at_market = market_price(planning, asset, price)
            largest = max(largest, smallest_order(planning, instrument, at_market))
            lots += instrument.lot_step * at_market
    return largest + lots


def gaps_on(
    planning: PlanningInput, prices: Mapping[str, Decimal], after: Decimal, side: Side
) -> tuple[list[Gap], list[str]]:
    """Assets to trade on ``side``, with quantities before rounding for buys and after it for sells."""
    gaps: list[Gap] = []
    dropped: list[str] = []
    traded_otherwise = planning.bought if side is Side.SELL else planning.sold
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
        minimum = least_quantity(instrument, min(limit, touch))
        if minimum > instrument.max_quantity:  # filters that no order can meet at this price
            dropped.append(f"below_minimum:{asset}")
            continue
        if side is Side.SELL:
            most = min(held, instrument.max_quantity)
            quantity = floor_to_step(min(most, quantity), instrument.lot_step)
        else:
            quantity /= instrument.buying_keeps
        is_back = asset in traded_otherwise and value <= smallest_order(planning, instrument, price)
        is_large = quantity >= minimum and not is_back
        gaps.append(Gap(asset, instrument, price, value, touch, limit, quantity, minimum, is_large))
    return gaps, dropped

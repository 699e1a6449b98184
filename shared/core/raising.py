"""Sales for a withdrawal: at least the money that is wanted, from no more orders than it takes. Pure.

Other plans leave cash within the smallest order of its target; whoever takes money out wants all of it. So quantities
are rounded up, the venue's minimum is sold where less would do, and fees come out of what is sold, as far as there is
something to sell. Terms are those of ``shared.core.planning``; cash is what it really is, at the market's prices.
"""

from collections.abc import Mapping
from decimal import Decimal

from shared.core.legs import (
    Gap,
    PlanningInput,
    gaps_on,
    sizing_prices,
    target_share,
    tradable,
    unavoidable_rest,
)
from shared.core.matching import Side
from shared.core.money import ONE, ZERO, ceil_to_step, exact, floor_to_step
from shared.core.planning import OrderDraft, Sizing

# Weights are rounded far below this share of the whole, orders are far above it.
_NOTHING = Decimal("1e-12")


@exact
def raising_orders(planning: PlanningInput) -> Sizing:
    """Sales of what is above its target until cash reaches its own target and pays for what is to be bought.

    The largest first. When all of them together bring too little (fees, a lower price, holdings too small to sell), the
    same assets are sold further; when nothing is above its target any more, all in proportion. Money stuck in an asset
    that cannot be traded now is not taken from others. Raises Refused when a held asset has no price.
    """
    prices = sizing_prices(planning)
    lacking = _lacking(planning, prices)
    if lacking <= 0:
        return Sizing()
    gaps, dropped = _above_target(planning, prices, lacking)
    sold: dict[str, Decimal] = {}
    for gap in gaps:
        over = ceil_to_step(gap.value / gap.price, gap.instrument.lot_step)
        if lacking > 0 and _most(planning, gap) >= gap.minimum:
            sold[gap.asset] = _enough(planning, gap, lacking, over)
            lacking -= _brings(gap, sold[gap.asset])
        elif lacking > 0:
            dropped.append(f"below_minimum:{gap.asset}")
    for gap in gaps:
        if lacking > 0 and gap.asset in sold:
            before = sold[gap.asset]
            sold[gap.asset] = _enough(planning, gap, lacking + _brings(gap, before), _most(planning, gap))
            lacking -= _brings(gap, sold[gap.asset] - before)
    drafts = (_draft(gap, sold[gap.asset]) for gap in gaps if gap.asset in sold)
    return Sizing(tuple(drafts), tuple(dropped))


@exact
def has_raised(planning: PlanningInput) -> bool:
    """Whether the money is there, and what was to be bought has been: but for less than the smallest order."""
    prices = sizing_prices(planning)
    return _lacking(planning, prices) <= unavoidable_rest(planning, prices)


def _above_target(
    planning: PlanningInput, prices: Mapping[str, Decimal], lacking: Decimal
) -> tuple[list[Gap], list[str]]:
    """What may be sold, the largest excess first, and the notes on what cannot be."""
    total = _value(planning, prices)
    gaps, dropped = gaps_on(planning, prices, total, Side.SELL)
    gaps = [gap for gap in gaps if gap.value > total * _NOTHING]
    others = ONE - target_share(planning, planning.quote)
    if not gaps and not dropped and others > 0:
        gaps, dropped = gaps_on(planning, prices, max(ZERO, total - lacking / others), Side.SELL)
    return sorted(gaps, key=lambda gap: (-gap.value, gap.asset)), dropped


def _value(planning: PlanningInput, prices: Mapping[str, Decimal]) -> Decimal:
    worth = (planning.holdings.get(asset, ZERO) * price for asset, price in prices.items())
    return sum(worth, planning.holdings.get(planning.quote, ZERO))


def _lacking(planning: PlanningInput, prices: Mapping[str, Decimal]) -> Decimal:
    """Cash that is missing for its target and for purchases with their costs; less what cannot be sold now."""
    total = _value(planning, prices)
    lacking = target_share(planning, planning.quote) * total - planning.holdings.get(planning.quote, ZERO)
    for asset, price in prices.items():
        gap = target_share(planning, asset) * total - planning.holdings.get(asset, ZERO) * price
        instrument = tradable(planning, asset)
        if instrument is None:
            lacking += min(gap, ZERO)
        elif gap > 0 and planning.ways.get(asset, Side.BUY) is Side.BUY:
            lacking += gap / price * planning.quotes[asset].ask / (1 - instrument.taker_fee)
    return lacking


def _most(planning: PlanningInput, gap: Gap) -> Decimal:
    """The largest order the filters and the holding allow."""
    most = min(planning.holdings.get(gap.asset, ZERO), gap.instrument.max_quantity)
    return floor_to_step(most, gap.instrument.lot_step)


def _enough(planning: PlanningInput, gap: Gap, money: Decimal, most: Decimal) -> Decimal:
    """The smallest valid quantity that brings ``money``, at most ``most`` or else the smallest order there is."""
    wanted = ceil_to_step(money / _brings(gap, Decimal(1)), gap.instrument.lot_step)
    return min(_most(planning, gap), max(gap.minimum, min(wanted, most)))


def _brings(gap: Gap, quantity: Decimal) -> Decimal:
    return quantity * gap.touch * (1 - gap.instrument.taker_fee)


def _draft(gap: Gap, quantity: Decimal) -> OrderDraft:
    return OrderDraft(Side.SELL, gap.asset, gap.instrument.symbol, quantity, gap.limit, quantity * gap.touch)

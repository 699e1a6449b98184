"""From target weights to orders: pure, exact sizing by the venue's own filters.

Terms, for asset i: v_i = holding valued at the sizing price p_i (bid unless given), t_i = target as a fraction, f_i =
taker fee, s_i = (1 - f_i) * bid_i / p_i = money that selling what is worth 1 brings, b_i = ask_i / ((1 - f_i) * p_i) =
money that buying what is worth 1 takes, cash = money at hand, t_0 = its target.

The targets are shares of V2, what the holdings are worth once they are on target: the one value at which the money
that purchases and the cash target take is the money that there is and that sales bring,

    cash + sum over over-weight i of (v_i - t_i * V2) * s_i
        = t_0 * V2 + sum over under-weight i of (t_i * V2 - v_i) * b_i

So fees and spread are paid by all alike, and so is a move of the market away from the sizing prices. The difference of
the sides grows with V2, is made of straight pieces and convex (b_i >= s_i): Newton's method ends after a few steps.
Over-weight assets are sold down to t_i * V2, under-weight ones bought up to it; only the difference is traded.

Legs under the venue's minimum are dropped, their money goes to the other legs of the same side; but no more may be left
so than one smallest order an asset, however many of them there are. What small legs add up to is therefore traded in
whole minimum legs: over-weights are sold when a purchase lacks the money, under-weights bought when cash is left. Each
of these legs makes the sum of all distances from target (in money at the market's prices, cash included) smaller and
leaves its own asset within the minimum, so there is an end to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.core.errors import Refused
from shared.core.legs import (
    Gap,
    PlanningInput,
    gaps_on,
    market_price,
    money_per_value,
    sizing_prices,
    smallest_order,
    target_share,
    tradable,
    unavoidable_rest,
)
from shared.core.matching import Side
from shared.core.money import HUNDRED, ONE, ZERO, ceil_to_step, exact, floor_to_step
from shared.core.one_way import without_untouched

__all__ = [
    "OrderDraft",
    "PlanningInput",
    "Sizing",
    "buy_orders",
    "drift_after",
    "is_settled",
    "sell_orders",
    "value_after_fees",
]

_ITERATIONS = 60
_SETTLED = Decimal("1e-18")
# A gap smaller than this part of the minimum is not bought in a whole minimum leg: nearly all of that would be excess,
# and sold back. Cash that is worth an order is the sum of the gaps of at most 10 assets, so one of them is larger.
_LEAST_PART = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """A limit order to place: quantity in base (a multiple of the lot), limit on the tick.

    ``value`` is quantity times the quoted price it should trade at (bid for a sell, ask for a buy).
    """

    side: Side
    asset: str
    symbol: str
    quantity: Decimal
    limit_price: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True)
class Sizing:
    """The orders of one phase, and the legs that were left out: "below_minimum:<asset>", "not_tradable:<asset>"."""

    drafts: tuple[OrderDraft, ...] = ()
    dropped: tuple[str, ...] = ()


@exact
def sell_orders(planning: PlanningInput) -> Sizing:
    """Orders that bring every over-weight asset down to its target; a held asset without a target is sold whole.

    Never more than is held, quantities floored to the lot (the remainder is dust and is kept). Over-weights too small
    to trade are sold in minimum-sized legs only where a purchase or the cash target lacks more than this takes from
    them. Raises Refused when a held asset has no price.
    """
    planning = without_untouched(planning)
    prices = sizing_prices(planning)
    after = value_after_fees(planning)
    gaps, dropped = gaps_on(planning, prices, after, Side.SELL)
    large, small = ([gap for gap in gaps if gap.is_large is wanted] for wanted in (True, False))
    need = _money_need(planning, prices, after)
    cash = need.cash + sum((gap.proceeds(gap.quantity) for gap in large), ZERO)
    legs = _helping_legs(planning, small, need, cash)
    drafts = [_draft(gap, gap.quantity, Side.SELL) for gap in large]
    drafts += [_draft(gap, quantity, Side.SELL) for gap, quantity in legs]
    dropped += [f"below_minimum:{gap.asset}" for gap in small if gap.asset not in {leg.asset for leg, _ in legs}]
    return Sizing(tuple(drafts), tuple(dropped))


@exact
def buy_orders(planning: PlanningInput) -> Sizing:
    """Orders that bring every under-weight asset up to its target from the cash at hand (less the cash target).

    The fee taken in the bought asset is grossed up, one charged on top is reserved: the sum of quantity * limit price
    with it never exceeds the cash; when that is short every leg worth an order shrinks by one factor. Raises Refused
    when a held asset has no price.
    """
    planning = without_untouched(planning)
    prices = sizing_prices(planning)
    after = value_after_fees(planning)
    gaps, dropped = gaps_on(planning, prices, after, Side.BUY)
    target_cash = target_share(planning, planning.quote) * after
    cash = max(ZERO, planning.holdings.get(planning.quote, ZERO) - target_cash)
    # What was sold before is bought back, but for a large gap, only with money that nothing else can use.
    back = [gap for gap in gaps if gap.asset in planning.sold and not gap.is_large]
    forth = [gap for gap in gaps if gap not in back]
    spare = max(ZERO, cash - _limit_money(forth) - _blocked_money(planning, prices, after))
    money = _allotted(forth, cash, spare)
    unused = min(cash, _limit_money(forth) + spare) - sum(money.values(), ZERO)
    if unused > unavoidable_rest(planning, prices):
        money |= _whole_legs(back, unused)
    drafts, too_small = [], []
    for gap in gaps:
        quantity = floor_to_step(money.get(gap.asset, ZERO) / gap.cost, gap.instrument.lot_step)
        quantity = min(quantity, floor_to_step(gap.instrument.max_quantity, gap.instrument.lot_step))
        if quantity >= gap.minimum:
            drafts.append(_draft(gap, quantity, Side.BUY))
        else:
            too_small.append(f"below_minimum:{gap.asset}")
    return Sizing(tuple(drafts), (*dropped, *too_small))


@exact
def value_after_fees(planning: PlanningInput) -> Decimal:
    """V2 of the module's formula: what the holdings are worth once on target. Raises Refused without a price."""
    prices = sizing_prices(planning)
    worth = {asset: planning.holdings.get(asset, ZERO) * price for asset, price in prices.items()}
    money = {
        (asset, side): money_per_value(planning, asset, price, side) for asset, price in prices.items() for side in Side
    }
    cash, cash_share = planning.holdings.get(planning.quote, ZERO), target_share(planning, planning.quote)
    total = sum(worth.values(), cash)
    after = total
    for _ in range(_ITERATIONS):
        missing, slope = cash_share * after - cash, cash_share
        for asset, value in worth.items():
            share = target_share(planning, asset)
            gap = share * after - value
            rate = money[asset, Side.SELL if gap < 0 else Side.BUY]
            missing, slope = missing + gap * rate, slope + share * rate
        step = missing / slope if slope > 0 else ZERO
        after = max(ZERO, after - step)
        if abs(step) <= total * _SETTLED:
            break
    return after


@exact
def drift_after(
    holdings: Mapping[str, Decimal], targets_pct: Mapping[str, Decimal], prices: Mapping[str, Decimal], quote: str
) -> Decimal:
    """The largest distance of any asset from its target, in percentage points of the value at ``prices``.

    The quote currency counts (price 1). 0 for an empty portfolio. Raises Refused when a held asset has no price.
    """
    worth: dict[str, Decimal] = {}
    for asset in {*holdings, *targets_pct}:
        quantity = holdings.get(asset, ZERO)
        if quantity and asset != quote and asset not in prices:
            raise Refused.one("prices", asset, "a price for every asset that is held", "has no price")
        worth[asset] = quantity * (ONE if asset == quote else prices.get(asset, ZERO))
    total = sum(worth.values(), ZERO)
    if total <= 0:
        return ZERO
    return max(abs(value / total * HUNDRED - targets_pct.get(asset, ZERO)) for asset, value in worth.items())


@exact
def is_settled(planning: PlanningInput) -> bool:
    """Whether every asset is as near to its target as the filters allow, measured by the sizing prices.

    An over-weight is then no larger than its own smallest order at the market's price, unless all that is held is too
    small to sell. To an under-weight no more money is missing than another asset would have to be sold by
    (``unavoidable_rest``), and what is stuck in holdings too small to sell. The same bounds hold for cash.
    """
    planning = without_untouched(planning)
    prices = sizing_prices(planning)
    after = value_after_fees(planning)
    missing = [target_share(planning, planning.quote) * after - planning.holdings.get(planning.quote, ZERO)]
    stuck = ZERO
    for asset, price in prices.items():
        held = planning.holdings.get(asset, ZERO) * price
        gap = target_share(planning, asset) * after - held
        in_money = gap * market_price(planning, asset, price) / price
        instrument = planning.instruments.get(asset)
        smallest = smallest_order(planning, instrument, price) if instrument is not None else ZERO
        if gap >= 0:
            missing.append(in_money)
        elif instrument is not None and held < smallest:
            stuck -= in_money
        elif -gap > smallest:
            return False
    rest = unavoidable_rest(planning, prices)
    return -missing[0] <= rest and max(missing) <= rest + stuck


@dataclass(frozen=True, slots=True)
class _MoneyNeed:
    """What purchases worth an order take in all, the least that one of them takes, and cash beyond its target."""

    wanted: Decimal
    least: Decimal
    cash: Decimal

    def met_by(self, cash: Decimal) -> Decimal:
        """How much of the need so much cash meets: none of the purchases while it is too little for any order."""
        if cash < 0:
            return cash
        return min(cash, self.wanted) if cash >= self.least else ZERO

    def lacking(self, cash: Decimal) -> Decimal:
        """What there must be more than so much cash before any of the need is met."""
        return max(ZERO, self.least - cash)


def _money_need(planning: PlanningInput, prices: Mapping[str, Decimal], after: Decimal) -> _MoneyNeed:
    large = [gap for gap in gaps_on(planning, prices, after, Side.BUY)[0] if gap.is_large]
    return _MoneyNeed(
        wanted=sum((gap.quantity * gap.touch * gap.instrument.buying_costs for gap in large), ZERO),
        least=min((gap.minimum * gap.cost for gap in large), default=ZERO),
        cash=planning.holdings.get(planning.quote, ZERO) - target_share(planning, planning.quote) * after,
    )


def _helping_legs(
    planning: PlanningInput, small: list[Gap], need: _MoneyNeed, cash: Decimal
) -> list[tuple[Gap, Decimal]]:
    """The over-weights under the minimum to sell nevertheless, with quantities: where they do the need more good than
    they do their own assets harm, alone or (a purchase may take several) together with those before them.

    Each leaves its asset at most one minimum under its target. Those that a minimum leg harms least come first.
    """
    legs: list[tuple[Gap, Decimal]] = []
    tried: list[tuple[Gap, Decimal]] = []
    then, harm = cash, ZERO
    for gap in sorted(small, key=lambda gap: (gap.minimum - gap.value / gap.price) * gap.touch):
        lot = gap.instrument.lot_step
        held = floor_to_step(min(planning.holdings.get(gap.asset, ZERO), gap.instrument.max_quantity), lot)
        if gap.minimum > held or not planning.targets_pct.get(gap.asset, ZERO):
            continue
        over = gap.value / gap.price
        wanted = ceil_to_step(need.lacking(then) / gap.proceeds(ONE), lot)
        quantity = max(gap.minimum, min(wanted, floor_to_step(gap.minimum + over, lot), held))
        tried.append((gap, quantity))
        then += gap.proceeds(quantity)
        harm += (quantity - over) * gap.touch
        if need.met_by(then) - need.met_by(cash) > harm:
            legs, tried = [*legs, *tried], []
            cash, harm = then, ZERO
    return legs


def _blocked_money(planning: PlanningInput, prices: Mapping[str, Decimal], after: Decimal) -> Decimal:
    """Cash that waits for under-weight assets which cannot be traded now."""
    waiting = ZERO
    for asset, price in prices.items():
        if tradable(planning, asset) is None:
            waiting += max(ZERO, target_share(planning, asset) * after - planning.holdings.get(asset, ZERO) * price)
    return waiting


def _limit_money(gaps: list[Gap]) -> Decimal:
    return sum((gap.quantity * gap.cost for gap in gaps), ZERO)


def _allotted(gaps: list[Gap], cash: Decimal, spare: Decimal) -> dict[str, Decimal]:
    """Money by leg: to the large ones first, then to those under the minimum.

    Large legs that shrink below the minimum are made whole from each other's money, the largest first; what the rest
    of them lack is kept, the next sales may bring what is missing. Small ones are made whole from their own money and
    the ``spare`` cash (so none ends further than the minimum from its target); what is left of their money goes to the
    large legs in proportion, at most half a minimum each (about a whole one would be sold back), else it stays cash.
    """
    large, small = ([gap for gap in gaps if gap.is_large is wanted] for wanted in (True, False))
    wanted = _limit_money(large)
    factor = min(ONE, cash / wanted) if wanted else ONE
    money = {gap.asset: gap.quantity * gap.cost * factor for gap in large}
    shrunk = [gap for gap in large if money[gap.asset] < gap.minimum * gap.cost]
    kept = {gap.asset: money[gap.asset] for gap in large if gap not in shrunk}
    whole = _whole_legs(shrunk, sum((money[gap.asset] for gap in shrunk), ZERO))
    pool = min(cash - wanted * factor, _limit_money(small) + spare)
    rounded_up = _whole_legs(small, pool)
    left = min(
        pool - sum(rounded_up.values(), ZERO), _limit_money([gap for gap in small if gap.asset not in rounded_up])
    )
    total = sum(kept.values(), ZERO)
    for gap in large:
        if gap.asset in kept:
            kept[gap.asset] += min(left * kept[gap.asset] / total, gap.minimum * gap.cost / 2)
    return {**kept, **whole, **rounded_up}


def _whole_legs(gaps: list[Gap], pool: Decimal) -> dict[str, Decimal]:
    """Legs of the minimum for as many of ``gaps`` as the money is enough for, the largest first."""
    legs: dict[str, Decimal] = {}
    for gap in sorted(gaps, key=lambda gap: (-gap.quantity * gap.cost, gap.asset)):
        least = gap.minimum * gap.cost
        if pool >= least and gap.quantity >= gap.minimum * _LEAST_PART:
            legs[gap.asset] = least
            pool -= least
    return legs


def _draft(gap: Gap, quantity: Decimal, side: Side) -> OrderDraft:
    """An order for ``quantity`` of the gap's asset."""
    return OrderDraft(side, gap.asset, gap.instrument.symbol, quantity, gap.limit, quantity * gap.touch)

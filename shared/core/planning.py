"""From target weights to orders: pure, exact sizing by the venue's own filters.

Terms, for asset i: v_i = holding valued at the sizing price p_i (bid unless given), t_i = target as a fraction, f_i =
taker fee, k_i = (1 - f_i) * bid_i / ask_i = what one unit of money spent on i is worth afterwards, V = sum of v_i.

Fees and spread are paid out of V, so the targets are shares of V2, the value afterwards, the solution of

    V2 = V - sum over over-weight i of (v_i - t_i * V2) * f_i
           - sum over under-weight i of (t_i * V2 - v_i) * (1 / k_i - 1)

found by fixed-point iteration (the right side changes by about one fee per unit of V2). Over-weight assets are sold
down to t_i * V2, under-weight ones bought up to it; only the difference is traded. Legs under the venue's
minimum are dropped; their money goes to the other legs of the same side, or makes whole minimum legs of the largest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.core.errors import Refused
from shared.core.legs import (
    Gap,
    PlanningInput,
    cost_of_closing,
    gaps_on,
    sizing_prices,
    smallest_order,
    target_share,
    tradable,
    unavoidable_rest,
)
from shared.core.market import Instruments, Quotes
from shared.core.matching import Side
from shared.core.money import HUNDRED, ONE, ZERO, ceil_to_step, exact, floor_to_step, plain

__all__ = [
    "MinimumAmount",
    "OrderDraft",
    "PlanningInput",
    "Sizing",
    "buy_orders",
    "drift_after",
    "is_settled",
    "minimum_amount",
    "sell_orders",
    "smallest_cycle",
    "smallest_leg",
    "smallest_threshold",
    "value_after_fees",
]

_ITERATIONS = 60
_SETTLED = Decimal("1e-18")
# Room for taker fees, the slippage bound and a price move between a preview and its first orders.
_SAFETY = Decimal("1.05")
_CENT = Decimal("0.01")


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


@dataclass(frozen=True, slots=True)
class MinimumAmount:
    """The smallest amount (quote currency) a strategy works with, the asset that sets it, and why."""

    amount: Decimal
    asset: str
    explanation: str


@exact
def sell_orders(planning: PlanningInput) -> Sizing:
    """Orders that bring every over-weight asset down to its target; a held asset without a target is sold whole.

    Never more than is held, quantities floored to the lot (the remainder is dust and is kept). Over-weights too small
    to trade are sold in minimum-sized legs only as far as a purchase of at least the minimum lacks the money.
    Raises Refused when a held asset has no price.
    """
    prices = sizing_prices(planning)
    after = value_after_fees(planning)
    gaps, dropped = gaps_on(planning, prices, after, Side.SELL)
    large = [gap for gap in gaps if gap.quantity >= gap.minimum]
    small = sorted((gap for gap in gaps if gap.quantity < gap.minimum), key=lambda gap: -gap.value)
    drafts = [_draft(gap, gap.quantity, Side.SELL) for gap in large]
    lacking = _lacking_cash(planning, prices, after) - _net_proceeds(large)
    for gap in small:
        held = floor_to_step(planning.holdings.get(gap.asset, ZERO), gap.instrument.lot_step)
        worth = gap.minimum * gap.price
        has_target = planning.targets_pct.get(gap.asset, ZERO) > 0
        # Selling more than the over-weight must do more good to the purchase than harm to this asset.
        helps = lacking > 0 and gap.value + lacking > worth
        if has_target and gap.minimum <= held and helps:
            drafts.append(_draft(gap, gap.minimum, Side.SELL))
            lacking -= worth
        else:
            dropped.append(f"below_minimum:{gap.asset}")
    return Sizing(tuple(drafts), tuple(dropped))


@exact
def buy_orders(planning: PlanningInput) -> Sizing:
    """Orders that bring every under-weight asset up to its target from the cash at hand (less the cash target).

    The fee taken in the bought asset is grossed up. Sum of quantity * limit price never exceeds the cash; when it is
    short every leg shrinks by one factor. Raises Refused when a held asset has no price.
    """
    prices = sizing_prices(planning)
    after = value_after_fees(planning)
    gaps, dropped = gaps_on(planning, prices, after, Side.BUY)
    target_cash = target_share(planning, planning.quote) * after
    cash = max(ZERO, planning.holdings.get(planning.quote, ZERO) - target_cash)
    money = {gap.asset: gap.quantity * gap.limit for gap in gaps}
    wanted = sum(money.values(), ZERO)
    if wanted > cash:
        money = {asset: amount * cash / wanted for asset, amount in money.items()}
    spare = max(ZERO, cash - wanted - _blocked_money(planning, prices, after))
    money, too_small = _respread(gaps, money, spare)
    drafts = []
    for gap in gaps:
        quantity = floor_to_step(money.get(gap.asset, ZERO) / gap.limit, gap.instrument.lot_step)
        quantity = min(quantity, floor_to_step(gap.instrument.max_quantity, gap.instrument.lot_step))
        if gap.asset in money and quantity >= gap.minimum:
            drafts.append(_draft(gap, quantity, Side.BUY))
        elif gap.asset in money:
            too_small.append(gap.asset)
    return Sizing(tuple(drafts), (*dropped, *(f"below_minimum:{asset}" for asset in too_small)))


@exact
def value_after_fees(planning: PlanningInput) -> Decimal:
    """V2 of the module's formula: what the holdings are worth once on target. Raises Refused without a price."""
    prices = sizing_prices(planning)
    worth = {asset: planning.holdings.get(asset, ZERO) * price for asset, price in prices.items()}
    total = sum(worth.values(), planning.holdings.get(planning.quote, ZERO))
    after = total
    for _ in range(_ITERATIONS):
        cost = ZERO
        for asset, value in worth.items():
            cost += cost_of_closing(planning, asset, target_share(planning, asset) * after - value)
        newer = max(ZERO, total - cost)
        if abs(newer - after) <= total * _SETTLED:
            return newer
        after = newer
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
    """Whether every asset is as near to its target as the filters allow: within the smallest order there is.

    That is the largest minimum notional at the limit price, and the lots that quantities are rounded by. An
    under-weight may also lack the cash that is left (too little for an order) and what is stuck in holdings too small
    to sell.
    """
    prices = sizing_prices(planning)
    total = sum(
        (planning.holdings.get(asset, ZERO) * price for asset, price in prices.items()),
        planning.holdings.get(planning.quote, ZERO),
    )
    gaps: dict[str, Decimal] = {}
    stuck = ZERO
    for asset, price in prices.items():
        held = planning.holdings.get(asset, ZERO) * price
        gaps[asset] = target_share(planning, asset) * total - held
        instrument = planning.instruments.get(asset)
        if instrument is not None and gaps[asset] < 0 and held < smallest_order(planning, instrument, price):
            stuck -= gaps[asset]
    rest = unavoidable_rest(planning, prices)
    cash_gap = target_share(planning, planning.quote) * total - planning.holdings.get(planning.quote, ZERO)
    if any(gap - max(ZERO, -cash_gap) > rest + stuck or -gap > rest for gap in gaps.values()):
        return False
    # A price better than planned leaves money that belongs to what was sold: up to the rest for each of them.
    return -rest * _SAFETY * (1 + len(planning.sold)) <= cash_gap <= (rest + stuck) * _SAFETY


@exact
def minimum_amount(
    targets_pct: Mapping[str, Decimal],
    rule_points: Mapping[str, Decimal] | Decimal | None,
    instruments: Instruments,
    quotes: Quotes,
    quote: str,
) -> MinimumAmount:
    """The smallest amount at which every leg of the first purchase, and a correction of ``rule_points``, can trade.

    ``rule_points``: percentage points that an asset moves at least when the threshold fires, for all or by asset (0: it
    waits until it can be traded); None: no threshold, only the purchase counts. Raises Refused for an asset without an
    instrument or a quote.
    """
    best = MinimumAmount(ZERO, quote, "nothing has to be bought")
    for asset, weight in sorted(targets_pct.items()):
        if asset == quote:
            continue
        leg = smallest_leg(asset, instruments, quotes)
        found = ceil_to_step(leg * HUNDRED / weight, _CENT)
        why = f"the first purchase of {asset} ({plain(weight)} %) must be worth at least {_money(leg)} {quote}"
        points = rule_points.get(asset) if isinstance(rule_points, Mapping) else rule_points
        if points and points < weight:
            found = ceil_to_step(leg * HUNDRED / points, _CENT)
            why = (
                f"a correction of {plain(points)} percentage points of {asset} must be worth at least "
                f"{_money(leg)} {quote}"
            )
        if found > best.amount:
            best = MinimumAmount(found, asset, why)
    return best


@exact
def smallest_threshold(
    amount: Decimal, targets_pct: Mapping[str, Decimal], instruments: Instruments, quotes: Quotes, quote: str
) -> Decimal:
    """The smallest threshold (percentage points, 2 decimals, rounded up) whose correction can trade at ``amount``."""
    legs = [smallest_leg(asset, instruments, quotes) for asset in targets_pct if asset != quote]
    return ceil_to_step(max(legs, default=ZERO) * HUNDRED / amount, _CENT)


def smallest_cycle(targets_pct: Mapping[str, Decimal], instruments: Instruments, quotes: Quotes, quote: str) -> Decimal:
    """The least value (quote currency) of new money that can buy any of the targets: the smallest of their legs.

    Less than that waits as cash until more comes. Raises Refused for an asset without an instrument or a quote.
    """
    return min((smallest_leg(asset, instruments, quotes) for asset in targets_pct if asset != quote), default=ZERO)


@exact
def smallest_leg(asset: str, instruments: Instruments, quotes: Quotes) -> Decimal:
    """The smallest value (quote currency) an order of ``asset`` may safely have: filters plus 5 %. Raises Refused."""
    instrument, quoted = instruments.get(asset), quotes.get(asset)
    if instrument is None or not instrument.tradable:
        raise Refused.one(
            "targets", asset, ", ".join(sorted(instruments)) or "(nothing)", "is not traded at this venue"
        )
    if quoted is None:
        raise Refused.one("targets", asset, "an asset with a price", "has no price yet")
    step = max(instrument.lot_step, instrument.min_quantity)
    return max(instrument.min_notional, step * quoted.ask) * _SAFETY


def _money(value: Decimal) -> str:
    return plain(ceil_to_step(value, _CENT))


def _lacking_cash(planning: PlanningInput, prices: Mapping[str, Decimal], after: Decimal) -> Decimal:
    """Money that purchases worth trading (and the cash target) need beyond the cash at hand."""
    gaps, _ = gaps_on(planning, prices, after, Side.BUY)
    needed = sum((gap.quantity * gap.price for gap in gaps if gap.quantity >= gap.minimum), ZERO)
    return needed + target_share(planning, planning.quote) * after - planning.holdings.get(planning.quote, ZERO)


def _blocked_money(planning: PlanningInput, prices: Mapping[str, Decimal], after: Decimal) -> Decimal:
    """Cash that waits for under-weight assets which cannot be traded now."""
    waiting = ZERO
    for asset, price in prices.items():
        if tradable(planning, asset) is None:
            waiting += max(ZERO, target_share(planning, asset) * after - planning.holdings.get(asset, ZERO) * price)
    return waiting


def _net_proceeds(gaps: list[Gap]) -> Decimal:
    return sum((gap.quantity * gap.price * (1 - gap.instrument.taker_fee) for gap in gaps), ZERO)


def _respread(gaps: list[Gap], money: Mapping[str, Decimal], spare: Decimal) -> tuple[dict[str, Decimal], list[str]]:
    """Money by leg once legs under the minimum are gone, and the assets that were dropped.

    Their money and the ``spare`` cash first make whole minimum legs of the largest of them (so none ends further than
    the minimum from its target); what is left of their money goes to the large legs in proportion, else it stays cash.
    """
    smallest = {gap.asset: gap.minimum * gap.limit for gap in gaps}
    kept = {asset: amount for asset, amount in money.items() if amount >= smallest[asset]}
    small = sorted(set(money) - set(kept), key=lambda asset: (-money[asset], asset))
    pool = spare + sum((money[asset] for asset in small), ZERO)
    total = sum(kept.values(), ZERO)
    rounded_up: dict[str, Decimal] = {}
    dropped: list[str] = []
    for asset in small:
        if pool >= smallest[asset]:
            rounded_up[asset] = smallest[asset]
            pool -= smallest[asset]
        else:
            dropped.append(asset)
    left = min(pool, sum((money[asset] for asset in dropped), ZERO))
    if total > 0:
        kept = {asset: amount + left * amount / total for asset, amount in kept.items()}
    return {**kept, **rounded_up}, dropped


def _draft(gap: Gap, quantity: Decimal, side: Side) -> OrderDraft:
    """An order for ``quantity`` of the gap's asset."""
    return OrderDraft(side, gap.asset, gap.instrument.symbol, quantity, gap.limit, quantity * gap.touch)

"""What the executor keeps of plans, orders and fills, and what may be concluded from it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from shared.contracts.plans import PlanClosedSummary, RebalancePlanned, TradedWays
from shared.core.matching import Side
from shared.core.money import MAX_DECIMALS, ONE, ZERO, ceil_to_step, exact, plain
from shared.core.order_styles import OrderKind
from shared.core.orders import UNSETTLED, OrderState, VenueReport, may_become, reported_state, state_after_fill
from shared.core.situation import INVEST, WITHDRAW
from shared.venues.port import OrderRequest, VenueOrder, VenueTrade

INFINITY = Decimal("Infinity")

_SMALLEST_AMOUNT = Decimal(f"1e-{MAX_DECIMALS}")


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order intent and what is known of it. ``send_deadline`` is wall clock.

    ``limit_price`` of a market order is the touch it was sized at; it is not sent. On a direct pair ``quote`` is not
    what the strategy is measured in: that is ``valued_in`` then (else ""), and ``quote_price`` the worth of one unit of
    ``quote`` in it when the order was made (else 1).
    """

    client_order_id: str
    plan_id: str
    strategy_id: str
    epoch: int
    round: int
    asset: str
    quote: str
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal
    send_deadline: datetime
    state: OrderState = OrderState.INTENDED
    version: int = 1
    venue_order_id: str = ""
    filled_quantity: Decimal = ZERO
    detail: str = ""
    kind: OrderKind = OrderKind.IOC
    valued_in: str = ""
    quote_price: Decimal = ONE

    @property
    def is_direct(self) -> bool:
        """Whether it is on a direct pair, not against the strategy's quote currency."""
        return bool(self.valued_in)

    @exact
    def worth(self, quantity: Decimal) -> Decimal:
        """Of so much of its base at its limit, in the strategy's quote currency."""
        return quantity * self.limit_price * self.quote_price

    def request(self) -> OrderRequest:
        """The order as it is sent."""
        return OrderRequest(self.client_order_id, self.symbol, self.side, self.quantity, self.limit_price, self.kind)

    @property
    def is_by_value(self) -> bool:
        """Whether the venue is told what to spend: ``quantity`` is then what that should buy, not the most it can."""
        return self.kind is OrderKind.MARKET and self.side is Side.BUY

    @property
    def is_resting(self) -> bool:
        """Whether it stands in the venue's book until it is cancelled."""
        return self.kind is OrderKind.MAKER and self.state is OrderState.OPEN


@dataclass(frozen=True, slots=True)
class FillRecord:
    """A booked trade."""

    trade_id: str
    client_order_id: str
    asset: str
    quote: str
    side: Side
    quantity: Decimal
    quote_quantity: Decimal
    fee: Decimal
    fee_asset: str
    market_time: datetime


@dataclass(frozen=True, slots=True)
class CycleSizing:
    """The prices that a plan is measured by, and the cycle (sells, then buys) it has come to.

    ``sliced_at``: when parts of larger orders last went out (wall clock).
    """

    cycle: int
    prices: Mapping[str, Decimal]
    sliced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """Where a strategy's plans stand. ``sequence``: how often that was told."""

    strategy_id: str
    venue: str
    sequence: int = 0
    fills_total: int = 0
    last_closed_plan_id: str = ""
    last_closed: PlanClosedSummary | None = None
    seal_requested: bool = False
    sealed: bool = False
    hold_requested: str = ""
    held_for: str = ""
    position_required: int = 0


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """An accepted plan with everything done for it so far. ``is_open`` False: nothing more will be done.

    ``fills``: every fill of the strategy that the plan's holdings do not contain yet, also late ones of earlier plans.
    ``strategy``: None where nothing was stored yet; ``phases``: how many were committed.
    """

    plan: RebalancePlanned
    is_open: bool
    orders: tuple[OrderRecord, ...] = ()
    fills: tuple[FillRecord, ...] = ()
    sizing: CycleSizing | None = None
    strategy: StrategyRow | None = None
    phases: int = 0

    @property
    def hurried(self) -> bool:
        """Whether somebody waits for the plan's end (a hold, a seal)."""
        return self.strategy is not None and bool(self.strategy.seal_requested or self.strategy.hold_requested)

    @property
    def resting(self) -> tuple[OrderRecord, ...]:
        """Orders that stand in the venue's book."""
        return tuple(order for order in self.orders if order.is_resting)

    @property
    def unclear(self) -> tuple[OrderRecord, ...]:
        """Unsettled orders that do not rest: they end by themselves, and are asked for until they have."""
        return tuple(order for order in self.unsettled if not order.is_resting)

    @property
    def unsettled(self) -> tuple[OrderRecord, ...]:
        """Orders that may still move money."""
        return tuple(order for order in self.orders if order.state in UNSETTLED)

    @property
    def last_round(self) -> int:
        """Number of the last phase whose intents were committed; -1 when there was none."""
        return max((order.round for order in self.orders), default=-1)

    @property
    def market_time(self) -> datetime:
        """Market time of the plan or of its newest fill."""
        return max((self.plan.market_time, *(fill.market_time for fill in self.fills)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something learned of an order: the venue's word, or the executor's own conclusion (``state``) with a detail."""

    client_order_id: str
    order: VenueOrder | None = None
    state: OrderState | None = None
    detail: str = ""


def with_phase(record: PlanRecord, orders: tuple[OrderRecord, ...], sizing: CycleSizing) -> PlanRecord:
    """The plan once a phase of it is committed."""
    return replace(record, orders=(*record.orders, *orders), sizing=sizing, phases=record.phases + 1)


@exact
def with_replies(record: PlanRecord, evidences: Iterable[Evidence]) -> PlanRecord | None:
    """The plan once the venue's replies to its last phase are booked, if nothing else happens to it; None when they do
    not tell all of it: an order was refused, withheld or not answered, one is not settled, or a fee was not taken from
    what its trade brought. What is held after such a fee hangs on the order of the trades, which only the books know.
    """
    orders, fills = {order.client_order_id: order for order in record.orders}, list(record.fills)
    for evidence in evidences:
        order = orders[evidence.client_order_id]
        if evidence.order is None:
            return None
        trades = {trade.trade_id: trade for trade in evidence.order.trades}.values()
        after = concluded(order, sum((trade.quantity for trade in trades), ZERO), [evidence])
        if after.state in UNSETTLED or not all(_pays_by_itself(order, trade) for trade in trades):
            return None
        orders[order.client_order_id] = replace(after, version=order.version + 1)
        fills += [_filled(order, trade) for trade in trades]
    strategy, booked = record.strategy, len(fills) - len(record.fills)
    if strategy is not None:
        strategy = replace(strategy, fills_total=strategy.fills_total + booked)
    return replace(record, orders=tuple(orders.values()), fills=tuple(fills), strategy=strategy)


def _pays_by_itself(order: OrderRecord, trade: VenueTrade) -> bool:
    """Whether the fee is taken from what the trade brings, or is none."""
    return trade.fee <= 0 or trade.fee_asset == (order.asset if order.side is Side.BUY else order.quote)


def _filled(order: OrderRecord, trade: VenueTrade) -> FillRecord:
    return FillRecord(
        trade_id=trade.trade_id,
        client_order_id=order.client_order_id,
        asset=order.asset,
        quote=order.quote,
        side=order.side,
        quantity=trade.quantity,
        quote_quantity=trade.quote_quantity,
        fee=trade.fee,
        fee_asset=trade.fee_asset,
        market_time=trade.at,
    )


def is_last(orders: Iterable[OrderRecord], replies: Iterable[Evidence]) -> bool:
    """Whether a phase should be its plan's last: purchases that have all traded whole."""
    return all(
        order.side is Side.BUY
        and reply.order is not None
        and reply.order.report.executed_quantity >= order.quantity > 0
        for order, reply in zip(orders, replies, strict=True)
    )


@exact
def holdings_of(record: PlanRecord) -> dict[str, Decimal]:
    """The strategy's holdings now: as the plan saw them, changed by the fills since.

    buy: asset +q, quote -quote_quantity; sell: the reverse; the fee is taken from its own asset, as far as that is held
    (the ledger has the wallet bear the rest).
    """
    held = {line.asset: line.quantity for line in record.plan.lines}
    for fill in record.fills:
        sign = 1 if fill.side is Side.BUY else -1
        held[fill.asset] = held.get(fill.asset, ZERO) + sign * fill.quantity
        held[fill.quote] = held.get(fill.quote, ZERO) - sign * fill.quote_quantity
        if fill.fee:
            own = held.get(fill.fee_asset, ZERO)
            held[fill.fee_asset] = own - min(fill.fee, max(own, ZERO))
    return held


def traded_on(fills: Iterable[FillRecord], side: Side, quote: str) -> frozenset[str]:
    """The assets, but ``quote``, that these fills sold or bought: on a direct pair one is sold and one bought."""
    found = {fill.asset if fill.side is side else fill.quote for fill in fills}
    return frozenset(found - {quote})


@exact
def may_take(
    order: OrderRecord, buying_costs: Decimal, third_fee: Mapping[str, Decimal] = MappingProxyType({})
) -> dict[str, Decimal]:
    """What an order may take at most of what the strategy holds, by asset: a sale what it sells, a purchase its worth
    at the limit times ``buying_costs``, rounded up to 18 decimals; and ``third_fee``, its fee where the venue takes
    that from a third asset that the strategy holds.
    """
    if order.side is Side.SELL:
        most = {order.asset: order.quantity}
    else:
        worth = ceil_to_step(order.quantity * order.limit_price * buying_costs, _SMALLEST_AMOUNT)
        most = {order.quote: worth}
    for asset, fee in third_fee.items():
        if fee > 0:
            most[asset] = most.get(asset, ZERO) + fee
    return {asset: Decimal(plain(amount)) for asset, amount in most.items()}


def targets_of(plan: RebalancePlanned) -> dict[str, Decimal]:
    """Target weight in percent by asset, zero targets left out."""
    return {line.asset: line.target_weight_pct for line in plan.lines if line.target_weight_pct > 0}


def ways_of(plan: RebalancePlanned, held: Iterable[str]) -> dict[str, Side]:
    """The one side on which an asset may be traded, where it is not both.

    What is held without a line in a plan for new money or for a withdrawal (a rebate in another asset) stays as it is:
    without a target it is never bought.
    """
    ways = {line.asset: Side(line.ways.upper()) for line in plan.lines if line.ways is not TradedWays.BOTH}
    ways.pop(plan.quote, None)
    if plan.kind in {INVEST, WITHDRAW}:
        ways |= dict.fromkeys({*held} - {plan.quote, *(line.asset for line in plan.lines)}, Side.BUY)
    return ways


def concluded(order: OrderRecord, booked_quantity: Decimal, evidences: Iterable[Evidence]) -> OrderRecord:
    """The order after ``evidences``, its fills already booked up to ``booked_quantity``. Steps not in the table of
    ``shared.core.orders`` are late or lagging words and change nothing but what was booked.
    """
    state, detail, venue_order_id = order.state, order.detail, order.venue_order_id
    for evidence in evidences:
        to = evidence.state
        if evidence.order is not None:
            to = _reported(order, booked_quantity, evidence.order.report)
            venue_order_id = evidence.order.venue_order_id or venue_order_id
        if to is not None and to is not state and may_become(state, to):
            state, detail = to, evidence.detail or detail
    most = INFINITY if order.is_by_value and state in UNSETTLED else order.quantity
    state = state_after_fill(state, most, booked_quantity)
    return replace(order, filled_quantity=booked_quantity, state=state, detail=detail, venue_order_id=venue_order_id)


def _reported(order: OrderRecord, booked_quantity: Decimal, report: VenueReport) -> OrderState:
    """The state a report leads to. An order by value may trade more than its quantity, so only the venue ends it."""
    if not order.is_by_value:
        return reported_state(order.quantity, booked_quantity, report)
    state = reported_state(INFINITY, booked_quantity, report)
    is_whole = state is OrderState.PARTIALLY_FILLED and booked_quantity >= order.quantity
    return OrderState.FILLED if is_whole else state

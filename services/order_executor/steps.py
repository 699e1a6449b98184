"""What to do next for a plan, from what has been done and the market now. Pure: recovery is asking again.

A plan runs in cycles: a phase of sells (round 2k), then, once they have all ended, a phase of buys (round 2k + 1) from
what the sells really brought. All of it is measured by one set of prices, the plan's own, while limits follow the
market: so what is left gets smaller with every cycle, also in a market that runs away meanwhile. When something
tradable is left (partial fills, refused or expired orders, a price better or worse than planned), another cycle
follows, at most ``MAX_CYCLES`` in all.

Where a direct pair is cheaper than a sale and the purchase it pays for (``shared.core.routing``), both go out as one
order, together with the sells of the cycle; the purchases come after it, from what is held then. A pair is tried once a
plan: what did not trade there goes through the quote currency.

A buy must not spend more than the strategy has, even at its limit, so the room between ask and limit is money that
stays behind. It starts at ``FIRST_BUY_ROOM_BPS`` and doubles with each cycle, up to the slippage bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from services.order_executor.records import (
    CycleSizing,
    OrderRecord,
    PlanRecord,
    holdings_of,
    targets_of,
    traded_on,
    ways_of,
)
from services.order_executor.styling import Occasion, Phase, Wait, styled, styling_of
from services.order_executor.third_fees import fees_at_most
from shared.core.errors import Refused
from shared.core.fee_reserve import keep_fees
from shared.core.identity import client_order_id
from shared.core.legs import smallest_order
from shared.core.market import Instruments, Quotes
from shared.core.matching import Book, Side
from shared.core.money import ZERO, exact
from shared.core.order_styles import OrderKind, OrderStyle
from shared.core.planning import (
    OrderDraft,
    PlanningInput,
    Sizing,
    buy_orders,
    drift_after,
    is_settled,
    sell_orders,
)
from shared.core.position import PlanOutcome
from shared.core.raising import has_raised, raising_orders
from shared.core.routing import DirectDraft, DirectPair, route_in_words, routed, routes_in, worth_quoted
from shared.core.situation import EXIT, WITHDRAW
from shared.core.styled_orders import at_the_touch

MAX_CYCLES = 60
FIRST_BUY_ROOM_BPS = Decimal(5)
_DRIFT_UNIT = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Market:
    """Quotes fit to trade on and the instruments, for one look; ``stale`` names held or wanted assets without one,
    ``unreconciled`` those that are not traded because venue and books differ. ``books``: see ``styling.Occasion``.
    ``pairs``: direct pairs between the assets that are fit to trade on. ``fee_asset``: the third asset that the venue
    takes its fees from, "" where it takes none.
    """

    quotes: Quotes
    instruments: Instruments
    stale: frozenset[str] = frozenset()
    unreconciled: frozenset[str] = frozenset()
    books: Mapping[str, Book | None] = field(default_factory=dict)
    pairs: tuple[DirectPair, ...] = ()
    fee_asset: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """How orders are made: slippage bound, epoch of the writer, wall clock now, time allowed to send, what the venue
    takes.
    """

    slippage_bps: Decimal
    epoch: int
    now: datetime
    send_within: timedelta
    kinds: frozenset[OrderKind] = frozenset({OrderKind.IOC})


@dataclass(frozen=True, slots=True)
class Send:
    """Commit these intents with this sizing, then send them all at once.

    ``buying_costs``: by symbol, money a purchase takes for each 1 it is worth; 1 where it is not said. ``third_fees``:
    by client order id, what the fee may take of ``fee_asset``, where the strategy holds any.
    """

    orders: tuple[OrderRecord, ...]
    sizing: CycleSizing
    buying_costs: Mapping[str, Decimal] = field(default_factory=dict)
    fee_asset: str = ""
    third_fees: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing more is to be done. ``worst_drift_pct`` in percentage points at the sizing prices."""

    outcome: PlanOutcome
    detail: str
    worst_drift_pct: Decimal | None


def next_step(record: PlanRecord, market: Market, terms: Terms) -> Send | Close | Wait:
    """The next step of an open plan all of whose orders have ended. A plan that cannot be sized at all is closed."""
    try:
        return _next_step(record, market, terms)
    except Refused as refused:
        # An exit or a withdrawal that was never sized has not shown that nothing is left to sell.
        is_over = not record.orders and record.plan.kind not in {EXIT, WITHDRAW}
        outcome = PlanOutcome.NOTHING_TRADABLE if is_over else PlanOutcome.PARTIAL
        return Close(outcome, f"refused: {refused}"[:500], None)


def _next_step(record: PlanRecord, market: Market, terms: Terms) -> Send | Close | Wait:
    expired = terms.now >= record.plan.expires_at
    sizing = record.sizing
    if sizing is None:
        return _close_expired(record, market, terms) if expired else _new_cycle(record, market, terms, 0)
    planning = _planning(record, market, terms, sizing.prices)
    if record.last_round % 2 == 0:  # the sells have ended
        buys = _buys(planning, sizing.cycle)
        if buys.drafts:
            if expired:
                return _close_expired(record, market, terms)
            resize = _buyer(sizing.cycle)
            return _send(record, _Sized(buys, planning, resize, sizing), market, terms)
    sells, buys = _sells(record, planning), _buys(planning, sizing.cycle + 1)
    if not sells.drafts and not buys.drafts:
        return _close(record, market, planning, (*sells.dropped, *buys.dropped))
    if expired or sizing.cycle + 1 >= MAX_CYCLES:
        reason = "expired" if expired else "rounds_used_up"
        return _close(record, market, planning, (reason, *sells.dropped, *buys.dropped), leftover=True)
    return _new_cycle(record, market, terms, sizing.cycle + 1)


def _new_cycle(record: PlanRecord, market: Market, terms: Terms, cycle: int) -> Send | Close | Wait:
    planning = _planning(record, market, terms, record.sizing.prices if record.sizing else {})
    if record.sizing is None:
        sizing = CycleSizing(cycle, plan_prices(record, market))
    else:
        sizing = replace(record.sizing, cycle=cycle)
    sells = _sells(record, planning)
    if sells.drafts:
        return _send(record, _Sized(sells, planning, lambda given: _sells(record, given), sizing), market, terms)
    buys = _buys(planning, cycle)
    if buys.drafts:
        return _send(record, _Sized(buys, planning, _buyer(cycle), sizing), market, terms)
    return _close(record, market, planning, (*sells.dropped, *buys.dropped))


def _sells(record: PlanRecord, planning: PlanningInput) -> Sizing:
    sizing = raising_orders(planning) if record.plan.kind == WITHDRAW else sell_orders(planning)
    if not planning.fee_asset:
        return sizing
    sold = [order for order in record.orders if order.side is Side.SELL]
    return keep_fees(sizing, planning, {order.asset for order in sold if not order.filled_quantity})


def _buys(planning: PlanningInput, cycle: int) -> Sizing:
    return buy_orders(with_buy_room(planning, cycle))


def with_buy_room(planning: PlanningInput, cycle: int) -> PlanningInput:
    """The sizing of what must not spend more than there is: with the room of the cycle between touch and limit."""
    return replace(planning, slippage_bps=min(planning.slippage_bps, FIRST_BUY_ROOM_BPS * 2**cycle))


def _buyer(cycle: int) -> Callable[[PlanningInput], Sizing]:
    return lambda given: _buys(given, cycle)


def plan_prices(record: PlanRecord, market: Market) -> dict[str, Decimal]:
    """What the plan is measured by: its own bids; the market's for an asset the plan had none of."""
    found: dict[str, Decimal] = {}
    for line in record.plan.lines:
        if line.asset != record.plan.quote and line.bid > 0:
            found[line.asset] = line.bid
        elif line.asset in market.quotes:
            found[line.asset] = market.quotes[line.asset].bid
    return found


def _planning(record: PlanRecord, market: Market, terms: Terms, prices: Mapping[str, Decimal]) -> PlanningInput:
    prices = prices or plan_prices(record, market)
    holdings = {asset: max(ZERO, quantity) for asset, quantity in holdings_of(record).items()}
    if record.plan.kind == EXIT:
        # To sell all, the worth of the rest need not be known: what was never priced keeps nothing else from it.
        holdings = {asset: held for asset, held in holdings.items() if asset not in unpriced(record, market, prices)}
    return PlanningInput(
        targets_pct=targets_of(record.plan),
        holdings=holdings,
        quotes=market.quotes,
        instruments=market.instruments,
        quote=record.plan.quote,
        slippage_bps=terms.slippage_bps,
        prices=prices,
        sold=traded_on(record.fills, Side.SELL, record.plan.quote),
        bought=traded_on(record.fills, Side.BUY, record.plan.quote),
        ways=ways_of(record.plan, holdings),
        fee_asset=market.fee_asset,
    )


def unpriced(record: PlanRecord, market: Market, prices: Mapping[str, Decimal]) -> frozenset[str]:
    """The held assets that neither the plan nor the market has a price of."""
    return frozenset(
        asset
        for asset, held in holdings_of(record).items()
        if held > 0 and asset != record.plan.quote and asset not in prices and asset not in market.quotes
    )


@dataclass(frozen=True, slots=True)
class _Sized:
    """One side of a cycle by the default style, and how to size it by another input."""

    default: Sizing
    planning: PlanningInput
    resize: Callable[[PlanningInput], Sizing]
    cycle: CycleSizing


def _send(record: PlanRecord, sized: _Sized, market: Market, terms: Terms) -> Send | Wait:
    cycle = sized.cycle
    occasion = Occasion(terms.now, terms.kinds, cycle.cycle, market.books)
    phase = styled(record, sized.planning, sized.default, sized.resize, occasion)
    if isinstance(phase, Wait):
        return Wait(min(phase.until, record.plan.expires_at))
    number = 2 * cycle.cycle + (0 if phase.drafts[0].side is Side.SELL else 1)
    direct, drafts = _routes(record, sized, phase, market)
    orders = tuple(_intent(record, draft, number, phase, terms) for draft in drafts)
    orders += tuple(_direct_intent(record, draft, number, market, terms) for draft in direct)
    is_same_cycle = record.sizing is not None and record.sizing.cycle == cycle.cycle
    sliced_at = terms.now if phase.is_sliced else cycle.sliced_at if is_same_cycle else None
    traded = (*market.instruments.values(), *(pair.instrument for pair in market.pairs))
    costs = {one.symbol: one.buying_costs for one in traded}
    fees = fees_at_most(orders, sized.planning, market.pairs)
    return Send(orders, replace(cycle, sliced_at=sliced_at), costs, market.fee_asset, fees)


def _routes(
    record: PlanRecord, sized: _Sized, phase: Phase, market: Market
) -> tuple[tuple[DirectDraft, ...], tuple[OrderDraft, ...]]:
    """The orders on direct pairs that the sales of a phase, and the purchases after them, become; and the sales left.

    Only where a plan sells to buy, and where its orders take at once: what rests or is sliced is placed as its style
    says.
    """
    tried = {order.symbol for order in record.orders}
    pairs = [pair for pair in market.pairs if pair.instrument.symbol not in tried]
    takes = styling_of(record).style in {OrderStyle.LIMIT, OrderStyle.MARKET}
    sells_to_buy = record.plan.kind not in {EXIT, WITHDRAW} and phase.drafts[0].side is Side.SELL
    if not (pairs and takes and sells_to_buy):
        return (), phase.drafts
    cycle = sized.cycle.cycle
    buys = buy_orders(at_the_touch(_after_sales(sized.planning, phase.drafts)))
    routes = routed(with_buy_room(sized.planning, cycle), phase.drafts, buys.drafts, pairs)
    return routes.direct, routes.sells


@exact
def _after_sales(planning: PlanningInput, sells: Sequence[OrderDraft]) -> PlanningInput:
    """The holdings as they will be when these sales trade at the touch."""
    held = dict(planning.holdings)
    for sell in sells:
        fee = planning.instruments[sell.asset].taker_fee
        held[sell.asset] -= sell.quantity
        held[planning.quote] = held.get(planning.quote, ZERO) + sell.value * (1 - fee)
    return replace(planning, holdings=held)


def _intent(record: PlanRecord, draft: OrderDraft, number: int, phase: Phase, terms: Terms) -> OrderRecord:
    plan = record.plan
    return OrderRecord(
        client_order_id=client_order_id(plan.plan_id, number, draft.symbol, draft.side),
        plan_id=plan.plan_id,
        strategy_id=plan.strategy_id,
        epoch=terms.epoch,
        round=number,
        asset=draft.asset,
        quote=plan.quote,
        symbol=draft.symbol,
        side=draft.side,
        quantity=draft.quantity,
        limit_price=draft.limit_price,
        send_deadline=min(terms.now + terms.send_within, plan.expires_at),
        kind=phase.kind,
    )


def _direct_intent(record: PlanRecord, draft: DirectDraft, number: int, market: Market, terms: Terms) -> OrderRecord:
    plan, pair = record.plan, draft.pair
    return OrderRecord(
        client_order_id=client_order_id(plan.plan_id, number, pair.symbol, draft.side),
        plan_id=plan.plan_id,
        strategy_id=plan.strategy_id,
        epoch=terms.epoch,
        round=number,
        asset=pair.base,
        quote=pair.quote,
        symbol=pair.symbol,
        side=draft.side,
        quantity=draft.quantity,
        limit_price=draft.limit_price,
        send_deadline=min(terms.now + terms.send_within, plan.expires_at),
        detail=route_in_words(draft, plan.quote),
        valued_in=plan.quote,
        quote_price=worth_quoted(pair, market.quotes),
    )


def _close_expired(record: PlanRecord, market: Market, terms: Terms) -> Close:
    planning = _planning(record, market, terms, record.sizing.prices if record.sizing else {})
    return _close(record, market, planning, ("expired",), leftover=True)


def _close(
    record: PlanRecord, market: Market, planning: PlanningInput, notes: tuple[str, ...], *, leftover: bool = False
) -> Close:
    """completed: on target as far as filters allow. nothing_tradable: nothing traded, no order is worth sending (also
    because the market came back before one was met), and none will be once what is halted or silent trades again.
    Else partial; expired only when the time ran out before anything traded.
    """
    drift = drift_after(planning.holdings, planning.targets_pct, planning.prices, planning.quote).quantize(_DRIFT_UNIT)
    missing = sorted(unpriced(record, market, planning.prices)) if record.plan.kind == EXIT else []
    notes = (*notes, *(f"not_tradable:{asset}" for asset in missing))
    untraded = [asset for kind, _, asset in (note.partition(":") for note in notes) if kind == "not_tradable"]
    blocked = any(_may_trade_later(record, planning, asset) for asset in untraded)
    is_done = has_raised if record.plan.kind == WITHDRAW else is_settled
    settled = not blocked and not leftover and is_done(planning)
    if record.fills:
        outcome = PlanOutcome.COMPLETED if settled else PlanOutcome.PARTIAL
    elif "expired" in notes:
        outcome = PlanOutcome.EXPIRED
    else:
        # An exit whose orders all came to nothing is tried again: it is over only once nothing was worth sending.
        is_over = not blocked and (not record.orders or (settled and record.plan.kind != EXIT))
        outcome = PlanOutcome.NOTHING_TRADABLE if is_over else PlanOutcome.PARTIAL
    routes = [order.detail for order in record.orders if order.filled_quantity and routes_in(order.detail)]
    detail = ",".join(dict.fromkeys([*notes, *routes]))
    return Close(outcome, detail, drift)


def _may_trade_later(record: PlanRecord, planning: PlanningInput, asset: str) -> bool:
    """Whether an asset that cannot be traded now would be, once it can: what an exit could not sell anyway (dust, a
    pair that is no longer listed) must not keep a strategy from its end.
    """
    if record.plan.kind != EXIT:
        return True
    instrument, price = planning.instruments.get(asset), planning.prices.get(asset)
    if instrument is None:
        return False
    held = planning.holdings.get(asset, ZERO)
    return price is None or held * price >= smallest_order(planning, instrument, price)


def with_stale_named(close: Close, market: Market) -> Close:
    """A close that says which assets had no usable price, or were not traded because venue and books differ."""
    names = [f"stale_price:{asset}" for asset in sorted(market.stale)]
    return with_detail(close, *names, *(f"unreconciled:{asset}" for asset in sorted(market.unreconciled)))


def with_detail(close: Close, *notes: str) -> Close:
    """A close that says more."""
    return replace(close, detail=",".join(filter(None, [close.detail, *notes])))

"""What a plan's next phase is in each style, and what is concluded of its orders."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.order_executor.adapters.binance.dialect import BinanceDialect
from services.order_executor.adapters.binance.parse import book_of
from services.order_executor.records import Evidence, OrderRecord, PlanRecord, StrategyRow, concluded
from services.order_executor.steps import Close, Market, Send, Terms, next_step
from services.order_executor.styling import Wait, why_cancelled
from shared.contracts.plans import OrdersStyled, RebalancePlanned
from shared.core.matching import Book, Level, Side
from shared.core.order_styles import OrderKind, OrderStyle
from shared.core.orders import OrderState, VenueReport
from shared.core.styled_orders import Vicinity
from shared.venues.port import OrderRequest, VenueOrder
from tests.services.order_executor.test_steps import DRIFTED, NOW, TERMS, after, market, record

D = Decimal
ALL = replace(TERMS, kinds=frozenset(OrderKind))
MAKER = OrdersStyled(style=OrderStyle.MAKER, patience_ms=60_000)
WAITED_FOR = StrategyRow("s1", "paper", seal_requested=True)
TWAP = OrdersStyled(style=OrderStyle.TWAP, slice_notional=D(30), every_ms=10_000)


def styled_record(orders: OrdersStyled, kind: str = "rebalance") -> PlanRecord:
    made = record(*DRIFTED, kind=kind)
    longer = made.plan.expires_at + orders.styling().longest
    plan = RebalancePlanned.model_validate({**made.plan.model_dump(), "orders": orders, "expires_at": longer})
    return replace(made, plan=plan)


def sent(step: object) -> Send:
    assert isinstance(step, Send), step
    return step


def later(seconds: float) -> Terms:
    return replace(ALL, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("orders", "kinds", "kind"),
    [
        (OrdersStyled(style=OrderStyle.MARKET), ALL.kinds, OrderKind.MARKET),
        (OrdersStyled(style=OrderStyle.MARKET), TERMS.kinds, OrderKind.IOC),
        (MAKER, ALL.kinds, OrderKind.MAKER),
        (MAKER, TERMS.kinds, OrderKind.IOC),
        (TWAP, TERMS.kinds, OrderKind.IOC),
    ],
)
def test_phase_when_the_venue_takes_the_kind_or_not_is_of_it_or_the_default(
    orders: OrdersStyled, kinds: frozenset[OrderKind], kind: OrderKind
) -> None:
    step = sent(next_step(styled_record(orders), market(), replace(TERMS, kinds=kinds)))
    assert {order.kind for order in step.orders} == {kind}


def test_maker_when_somebody_waits_or_the_plan_is_an_exit_takes_at_once() -> None:
    for plan in (replace(styled_record(MAKER), strategy=WAITED_FOR), styled_record(MAKER, kind="exit")):
        assert {order.kind for order in sent(next_step(plan, market(), ALL)).orders} == {OrderKind.IOC}


def test_maker_when_patience_is_over_takes_what_is_left() -> None:
    plan = styled_record(MAKER)
    first = sent(next_step(plan, market(), ALL))
    plan = after(plan, first, "0")
    again = sent(next_step(plan, market(), later(30)))
    assert (again.orders[0].kind, again.orders[0].round) == (OrderKind.MAKER, 2)
    plan = after(plan, again, "0.5")
    buys = sent(next_step(plan, market(), later(62)))
    assert {order.side for order in buys.orders} == {Side.BUY}  # paid by what the sale has brought so far
    assert {order.kind for order in buys.orders} == {OrderKind.MAKER}
    rest = sent(next_step(after(plan, buys), market(), later(63)))
    assert {(order.side, order.kind) for order in rest.orders} == {(Side.SELL, OrderKind.IOC)}


def test_twap_when_a_slice_has_gone_out_waits_for_the_next_but_not_with_its_purchases() -> None:
    plan = styled_record(TWAP)
    first = sent(next_step(plan, market(), ALL))
    assert first.orders[0].quantity == D("0.03")
    plan = after(plan, first)
    buys = sent(next_step(plan, market(), later(1)))
    assert (buys.orders[0].side, buys.orders[0].round) == (Side.BUY, 1)
    plan = after(plan, buys)
    assert next_step(plan, market(), later(9)) == Wait(NOW + timedelta(seconds=10))
    second = sent(next_step(plan, market(), later(10)))
    assert (second.orders[0].side, second.orders[0].round) == (Side.SELL, 2)
    hurried = sent(next_step(replace(plan, strategy=WAITED_FOR), market(), later(2)))
    assert hurried.orders[0].quantity > D("0.06"), "all of it, and now"


def test_twap_when_sliced_to_the_end_closes_on_target() -> None:
    plan, terms = styled_record(TWAP), ALL
    for _ in range(200):
        step = next_step(plan, market(), terms)
        if isinstance(step, Wait):
            terms = replace(terms, now=step.until)
        elif isinstance(step, Send):
            plan = after(plan, step)
        else:
            break
    assert isinstance(step, Close)
    assert step.outcome.value == "completed"
    assert max(order.quantity * order.limit_price for order in plan.orders if order.side is Side.SELL) <= D(30)


def test_twap_when_a_share_of_the_book_is_asked_for_looks_at_the_side_it_takes() -> None:
    plan = styled_record(OrdersStyled(style=OrderStyle.TWAP, depth_share_pct=D(10), every_ms=1_000))
    book = Book(bids=(Level(D(1000), D("0.5")),), asks=(Level(D(1000), D(500)),))
    seen = replace(market(), books={"BTC": book})
    assert isinstance(seen, Market)
    assert sent(next_step(plan, seen, ALL)).orders[0].quantity == D("0.05")


def test_resting_order_when_the_plan_is_waited_for_is_cancelled() -> None:
    plan = styled_record(MAKER)
    step = sent(next_step(plan, market(), ALL))
    plan = replace(plan, orders=tuple(replace(order, state=OrderState.OPEN) for order in step.orders))
    near = Vicinity(NOW, plan.plan.expires_at, market().quotes["BTC"], 7)
    assert why_cancelled(plan.orders[0], plan, near) == ""
    assert why_cancelled(plan.orders[0], replace(plan, strategy=WAITED_FOR), near) == "the plan is waited for"
    assert (plan.resting, plan.unclear) == (plan.orders, ())


def order(kind: OrderKind, side: Side = Side.BUY) -> OrderRecord:
    return OrderRecord("o1", "p", "s1", 7, 1, "BTC", "USDT", "BTCUSDT", side, D(2), D(1000), NOW, kind=kind)


def told(executed: str, *, is_open: bool) -> list[Evidence]:
    return [Evidence("o1", order=VenueOrder("o1", "9", "BTCUSDT", VenueReport(is_open, D(executed))))]


@pytest.mark.parametrize(
    ("executed", "is_open", "booked", "state"),
    [
        ("2.1", False, "2.1", OrderState.FILLED),  # it bought more than foreseen for the same money
        ("2.1", False, "2.05", OrderState.UNKNOWN),  # a fill is missing, though more than foreseen is booked
        ("2.05", True, "2.05", OrderState.OPEN),
        ("1.9", False, "1.9", OrderState.PARTIALLY_FILLED),
        ("0", False, "0", OrderState.UNFILLED),
    ],
)
def test_purchase_by_value_when_reported_ends_only_by_the_venues_word(
    executed: str, is_open: bool, booked: str, state: OrderState
) -> None:
    now = concluded(order(OrderKind.MARKET), D(booked), told(executed, is_open=is_open))
    assert now.state is state


def test_purchase_by_value_when_only_fills_are_known_has_not_ended() -> None:
    assert concluded(order(OrderKind.MARKET), D("2.05"), []).state is OrderState.INTENDED
    assert concluded(order(OrderKind.IOC), D(2), []).state is OrderState.FILLED


@pytest.mark.parametrize(
    ("kind", "side", "expected"),
    [
        (OrderKind.IOC, Side.BUY, {"type": "LIMIT", "timeInForce": "IOC", "quantity": "0.5", "price": "100.5"}),
        (OrderKind.MAKER, Side.SELL, {"type": "LIMIT_MAKER", "quantity": "0.5", "price": "100.5"}),
        (OrderKind.MARKET, Side.SELL, {"type": "MARKET", "quantity": "0.5"}),
        (OrderKind.MARKET, Side.BUY, {"type": "MARKET", "quoteOrderQty": "50.25"}),
    ],
)
def test_parameters_when_of_a_kind_are_what_the_venue_asks_for(
    kind: OrderKind, side: Side, expected: dict[str, object]
) -> None:
    request = OrderRequest("o1", "BTCUSDT", side, D("0.5"), D("100.5"), kind)
    found = BinanceDialect().order_call(request, NOW).parameters
    others = {"symbol", "side", "newClientOrderId", "newOrderRespType", "recvWindow"}
    assert {name: value for name, value in found.items() if name not in others} == expected
    assert found["newClientOrderId"] == "o1"


@pytest.mark.parametrize("body", [{}, {"bids": [["1", "x"]], "asks": []}, {"bids": [["-1", "1"]], "asks": []}])
def test_book_when_it_makes_no_sense_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"book|amount"):
        book_of(body)

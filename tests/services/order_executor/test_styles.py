"""Order styles on a real venue: what is sent, when a resting order ends, and that a plan always ends."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from shared.contracts import subjects
from shared.contracts.halts import HaltVenue, ResumeVenue
from shared.contracts.plans import OrdersStyled, RebalancePlanned, SealStrategy
from shared.core.order_styles import OrderStyle
from tests.services.order_executor.rig import Rows, Stack, eventually, plan_for
from tests.services.order_executor.test_plans import check_books, ready

LONG = timedelta(minutes=5)
TWO = {"BTC": "60", "ETH": "40"}


def maker(patience_ms: int) -> OrdersStyled:
    return OrdersStyled(style=OrderStyle.MAKER, patience_ms=patience_ms)


async def styled_plan(stack: Stack, orders: OrdersStyled, **changes: Any) -> RebalancePlanned:
    """A first purchase of 1200 USDT in that style, with all the time it may need."""
    expires_at = datetime.now(UTC) + timedelta(seconds=30) + orders.styling().longest
    values = {"kind": "initial", "orders": orders, "expires_at": expires_at} | changes
    return await plan_for(stack.exchange, "s1", TWO, {"USDT": "1200"}, **values)


async def sent(stack: Stack) -> Rows:
    return await stack.rows("SELECT * FROM executor.orders ORDER BY round, symbol")


async def open_at_venue(stack: Stack) -> list[Any]:
    venue = stack.exchange.venue()
    try:
        return list(await venue.fetch_open_orders())
    finally:
        await venue.close()


def resting(stack: Stack, number: int = 2) -> Callable[[], Awaitable[bool]]:
    """Whether so many orders rest, as the executor knows."""

    async def rest() -> bool:
        rows = await stack.rows("SELECT FROM executor.orders WHERE kind = 'maker' AND state = 'open'")
        return len(rows) == number

    return rest


async def test_market_when_a_plan_is_traded_spends_no_more_than_it_has(stack: Stack) -> None:
    await ready(stack)
    plan = await styled_plan(stack, OrdersStyled(style=OrderStyle.MARKET))
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    assert {row["kind"] for row in await sent(stack)} == {"market"}
    (spent,) = await stack.rows("SELECT sum(quote_quantity) AS money FROM executor.fills")
    assert Decimal(1100) < spent["money"] <= Decimal(1200)
    await check_books(stack)


async def test_maker_when_nobody_comes_takes_once_patience_is_over(stack: Stack) -> None:
    await ready(stack)
    plan = await styled_plan(stack, maker(1_000))
    quotes = await stack.exchange.quotes()
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    rows = await sent(stack)
    assert {row["kind"] for row in rows if row["round"] == 1} == {"maker"}
    assert {row["limit_price"] for row in rows if row["round"] == 1} == {Decimal(quotes[a][0]) for a in TWO}
    assert {row["kind"] for row in rows if row["state"] == "filled"} == {"ioc"}
    assert await open_at_venue(stack) == []
    await check_books(stack)


async def test_maker_when_the_market_comes_is_filled_as_the_maker(stack: Stack) -> None:
    await ready(stack)
    plan = await styled_plan(stack, maker(60_000))
    await stack.send_plan(plan)
    await eventually(resting(stack))

    async def closed() -> bool:
        await stack.exchange.call("POST", "/control/market/advance", {"rows": 1})
        await asyncio.sleep(0.1)  # the pace of the market
        return bool(await stack.rows("SELECT FROM executor.plans WHERE outcome IS NOT NULL"))

    await eventually(closed, 50)
    filled = [row for row in await sent(stack) if row["filled_quantity"]]
    assert "maker" in {row["kind"] for row in filled}
    assert await open_at_venue(stack) == []
    await check_books(stack)


async def test_maker_when_halted_is_cancelled_and_goes_on_when_resumed(stack: Stack) -> None:
    await ready(stack)
    plan = await styled_plan(stack, maker(60_000))
    await stack.send_plan(plan)
    await eventually(resting(stack))
    await stack.ask(HaltVenue(venue="paper", reason="test"), "halt")
    await eventually(resting(stack, 0))
    assert await open_at_venue(stack) == []
    before = len(await sent(stack))
    await stack.ask(ResumeVenue(venue="paper"), "resume")
    await eventually(resting(stack))
    assert len(await sent(stack)) == before + 2
    await stack.publish(subjects.executor_commands("paper"), SealStrategy(strategy_id="s1", venue="paper"), "seal")
    assert (await stack.closed(plan))["outcome"] == "completed"
    await check_books(stack)


async def test_maker_when_the_plan_expires_is_cancelled(stack: Stack) -> None:
    await ready(stack)
    await stack.send_plan(warm := await plan_for(stack.exchange, "s0", TWO, {"USDT": "100"}))
    await stack.closed(warm)
    orders = maker(60_000)
    soon = datetime.now(UTC) + timedelta(seconds=2) + orders.styling().longest
    plan = await styled_plan(stack, orders, expires_at=soon)
    await stack.send_plan(plan)
    await eventually(resting(stack))
    query = "UPDATE executor.plans SET body = jsonb_set(body, '{expires_at}', $1::jsonb) WHERE plan_id = $2"
    await stack.rows(query, f'"{datetime.now(UTC).isoformat()}"', plan.plan_id)
    assert (await stack.closed(plan))["outcome"] == "expired"
    assert await open_at_venue(stack) == []
    await check_books(stack)


async def test_plan_when_it_comes_too_late_to_begin_is_expired_whatever_time_it_may_take(stack: Stack) -> None:
    await ready(stack)
    orders = maker(60_000)
    soon = datetime.now(UTC) + orders.styling().longest - timedelta(seconds=1)
    plan = await styled_plan(stack, orders, expires_at=soon)
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "expired"
    assert await sent(stack) == []


async def test_maker_when_its_reply_is_lost_rests_once_it_is_found(stack: Stack) -> None:
    await ready(stack)
    stack.way.faults = ["lost_reply", "5xx_after"]
    plan = await styled_plan(stack, maker(1_500))
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    rows = await sent(stack)
    assert {row["was_unknown"] for row in rows if row["round"] == 1} == {True}
    assert {row["state"] for row in rows if row["round"] == 1} == {"unfilled"}
    await check_books(stack)


async def test_maker_when_the_executor_dies_is_cancelled_by_the_next(stack: Stack) -> None:
    await stack.exchange.deposit("first", "USDT", "10000")
    first = stack.process("1")
    plan = await styled_plan(stack, maker(60_000))
    await stack.send_plan(plan)
    await eventually(resting(stack), 60)
    left_behind = {order.client_order_id for order in await open_at_venue(stack)}
    first.end()
    await stack.app()

    async def cancelled() -> bool:
        rows = {row["client_order_id"]: row["state"] for row in await sent(stack)}
        return all(rows[name] == "unfilled" for name in left_behind)

    await eventually(cancelled)
    assert len(left_behind) == 2
    await stack.publish(subjects.executor_commands("paper"), SealStrategy(strategy_id="s1", venue="paper"), "seal")
    assert (await stack.closed(plan))["outcome"] == "completed"
    assert await open_at_venue(stack) == []
    await check_books(stack)


async def test_maker_when_the_executor_stops_leaves_nothing_at_the_venue(stack: Stack) -> None:
    await ready(stack)
    await stack.send_plan(await styled_plan(stack, maker(60_000)))
    await eventually(resting(stack))
    await stack.stop_apps()
    assert await open_at_venue(stack) == []
    await check_books(stack)


async def test_twap_when_an_order_is_large_sends_slices_one_at_a_time(stack: Stack) -> None:
    await ready(stack)
    orders = OrdersStyled(style=OrderStyle.TWAP, slice_notional=Decimal(200), every_ms=400)
    plan = await styled_plan(stack, orders)
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    rows = await sent(stack)
    assert max(row["quantity"] * row["limit_price"] for row in rows) < Decimal(201)
    rounds = sorted({row["round"] for row in rows})
    assert len(rounds) >= 4  # 720 USDT of BTC by 200
    times = [min(row["intended_at"] for row in rows if row["round"] == number) for number in rounds]
    slices = times[:4]
    assert all(later - earlier >= timedelta(milliseconds=350) for earlier, later in pairwise(slices))
    await check_books(stack)


async def test_twap_when_the_executor_dies_between_slices_goes_on_with_the_next(stack: Stack) -> None:
    await stack.exchange.deposit("first", "USDT", "10000")
    orders = OrdersStyled(style=OrderStyle.TWAP, slice_notional=Decimal(400), every_ms=3_000)
    first = stack.process("1")
    plan = await styled_plan(stack, orders)
    await stack.send_plan(plan)
    await eventually(lambda: stack.rows("SELECT FROM executor.fills"), 60)
    first.end()
    await stack.app()
    assert (await stack.closed(plan, 40))["outcome"] == "completed"
    assert len({row["round"] for row in await sent(stack)}) > 1
    assert {row["kind"] for row in await sent(stack)} == {"ioc"}
    await check_books(stack)

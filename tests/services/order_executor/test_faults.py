"""Ambiguous replies, sudden deaths and two executors: never an order twice, never a fill lost."""

import asyncio
import signal
from datetime import UTC, datetime, timedelta

import pytest

from services.order_executor.records import OrderRecord
from shared.core.identity import client_order_id
from shared.core.matching import Side
from tests.servers import EmbeddedNats, EmbeddedPostgres
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, Stack, eventually, plan_for
from tests.services.order_executor.test_plans import THREE, check_books, ready

AMBIGUOUS = (
    "lost_request",
    "late_request",
    "lost_reply",
    "late_reply",
    "5xx_before",
    "5xx_after",
    "garbage",
    "reset",
)


@pytest.mark.parametrize("fault", AMBIGUOUS)
async def test_plan_when_every_reply_of_a_phase_is_ambiguous_sends_each_intent_once(stack: Stack, fault: str) -> None:
    stack.ws_api_url = "ws://127.0.0.1:1/ws-api/v3"  # no user stream: only questions can tell
    await ready(stack)
    stack.way.faults = [fault] * 3
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    orders = await stack.rows("SELECT * FROM executor.orders")
    first = [row for row in orders if row["round"] == min(order["round"] for order in orders)]
    assert len(first) == 3
    assert all(row["was_unknown"] for row in first)
    # Where the machine is slow, a request can be given up before the way has passed it on: the venue's book decides.
    at_venue = {order["clientOrderId"] for order in await stack.exchange.orders()}
    assert {row["client_order_id"] for row in first if row["state"] == "filled"} == at_venue & {
        row["client_order_id"] for row in first
    }
    assert {row["state"] for row in first} <= {"filled", "absent"}
    assert any(row["state"] == "filled" for row in first) == (fault not in {"lost_request", "5xx_before"})
    assert len(stack.way.orders_seen) == len(orders)
    await check_books(stack)


async def test_plan_when_orders_are_done_and_told_as_refused_books_them_and_orders_nothing_again(stack: Stack) -> None:
    stack.ws_api_url = "ws://127.0.0.1:1/ws-api/v3"  # no user stream: only questions can tell
    await ready(stack)
    stack.way.faults = ["refused_after"] * 3
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    orders = await stack.rows("SELECT * FROM executor.orders ORDER BY round")
    assert [row["state"] for row in orders[:3]] == ["filled"] * 3
    assert len(stack.way.orders_seen) == len(orders)
    await check_books(stack)


async def test_plan_when_replies_are_lost_and_the_user_stream_tells_books_each_fill_once(stack: Stack) -> None:
    await ready(stack)
    stack.way.faults = ["lost_reply"] * 3
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    await check_books(stack)


@pytest.mark.parametrize("reaches_venue", [True, False])
async def test_executor_when_killed_with_an_order_on_the_way_sends_it_never_again(
    stack: Stack, *, reaches_venue: bool
) -> None:
    await stack.exchange.deposit("first", "USDT", "10000")
    process = stack.process()
    await eventually(lambda: stack.rows("SELECT FROM executor.accounts WHERE opened_at IS NOT NULL"))
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    stack.way.faults = [] if reaches_venue else ["lost_request"] * 3
    stack.way.on_order = lambda _moment: None if process.code is not None else process.send(signal.SIGKILL)
    await stack.send_plan(plan)

    async def died() -> bool:
        return process.code is not None

    await eventually(died)
    stack.way.on_order = lambda _moment: None
    stack.way.faults = []
    assert {row["state"] for row in await stack.rows("SELECT state FROM executor.orders")} == {"intended"}
    stack.process("2")
    assert (await stack.closed(plan))["outcome"] == "completed"
    first = await stack.rows("SELECT state FROM executor.orders WHERE round = 1")
    assert len(first) == 3
    # What was not yet on the wire when the process died is absent even when the way to the venue is open.
    assert {row["state"] for row in first} <= ({"filled", "absent"} if reaches_venue else {"absent"})
    await check_books(stack)


async def test_executor_when_killed_after_the_venue_filled_books_every_fill(stack: Stack) -> None:
    await stack.exchange.deposit("first", "USDT", "10000")
    process = stack.process()
    await eventually(lambda: stack.rows("SELECT FROM executor.accounts WHERE opened_at IS NOT NULL"))
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    filled: list[str] = []

    def kill(moment: str) -> None:
        filled.append(moment)
        if filled.count("after") == 3 and process.code is None:
            process.send(signal.SIGKILL)

    stack.way.faults = ["late_reply"] * 3
    stack.way.on_order = kill
    await stack.send_plan(plan)

    async def died() -> bool:
        return process.code is not None

    await eventually(died)
    stack.process("2")
    assert (await stack.closed(plan))["outcome"] == "completed"
    assert {row["state"] for row in await stack.rows("SELECT state FROM executor.orders WHERE round = 1")} == {"filled"}
    await check_books(stack)


async def test_executors_when_two_run_have_one_writer_and_the_frozen_one_never_writes_again(stack: Stack) -> None:
    await stack.exchange.deposit("first", "USDT", "10000")
    first = stack.process("1")
    await eventually(lambda: stack.rows("SELECT FROM executor.accounts WHERE opened_at IS NOT NULL"))
    second = stack.process("2")
    stack.way.faults = ["lost_reply"] * 3
    stack.way.on_order = lambda moment: first.send(signal.SIGSTOP) if moment == "after" else None
    plan = await plan_for(
        stack.exchange, "s1", THREE, {"USDT": "1200"}, expires_at=datetime.now(UTC) + timedelta(seconds=60)
    )
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] in {"completed", "partial"}
    assert second.code is None
    stack.way.on_order = lambda _moment: None
    sent = len(stack.way.orders_seen)
    first.send(signal.SIGCONT)

    async def ended() -> bool:
        return first.code is not None

    await eventually(ended)
    assert first.code == 3
    assert len(stack.way.orders_seen) == sent
    epochs = await stack.rows("SELECT epoch FROM executor.accounts")
    assert [row["epoch"] for row in epochs] == [2]
    await check_books(stack)


async def test_executor_when_killed_again_and_again_ends_every_plan_with_exact_books(stack: Stack) -> None:
    await stack.exchange.deposit("first", "USDT", "50000")
    plans = [await plan_for(stack.exchange, f"s{n}", THREE, {"USDT": "2000"}) for n in range(6)]
    plans = [plan.model_copy(update={"expires_at": datetime.now(UTC) + timedelta(seconds=120)}) for plan in plans]
    process = stack.process("0")
    for number, plan in enumerate(plans):
        await stack.send_plan(plan)
        if number % 2:
            continue
        count = len(stack.way.orders_seen)

        async def sent(count: int = count) -> bool:
            return len(stack.way.orders_seen) > count

        await eventually(sent, 30)
        await asyncio.sleep(0.004 * number)
        process.end(signal.SIGKILL)
        process = stack.process(str(number + 1))
    for plan in plans:
        assert (await stack.closed(plan, 60))["outcome"] == "completed"
    await check_books(stack)


async def test_late_fill_when_absence_was_believed_is_booked_and_told(stack: Stack) -> None:
    """A venue that breaks its own rules: an order turns up after its absence was proven."""
    await ready(stack)
    stack.way.faults = ["lost_request"]
    plan = await plan_for(stack.exchange, "s1", {"BTC": "50", "USDT": "50"}, {"USDT": "1000"})
    await stack.send_plan(plan)
    await stack.closed(plan)
    name = client_order_id(plan.plan_id, 1, "BTCUSDT", "BUY")
    (order,) = await stack.rows("SELECT * FROM executor.orders WHERE client_order_id = $1", name)
    assert order["state"] == "absent"
    venue = stack.exchange.venue()
    record = OrderRecord(
        **{key: order[key] for key in ("plan_id", "strategy_id", "epoch", "round", "asset", "quote", "symbol")},
        client_order_id=name,
        side=Side.BUY,
        quantity=order["quantity"],
        limit_price=order["limit_price"],
        send_deadline=order["send_deadline"],
    )
    await venue.place_order(record.request(), lambda: None)
    await venue.close()

    async def booked() -> bool:
        (row,) = await stack.rows("SELECT state FROM executor.orders WHERE client_order_id = $1", name)
        return bool(row["state"] == "filled")

    await eventually(booked)  # the user stream alone told of it
    (row,) = await stack.rows("SELECT * FROM executor.strategies")
    assert row["fills_total"] == len(await stack.rows("SELECT FROM executor.fills"))
    (last,) = await stack.rows(
        "SELECT payload FROM executor.outbox WHERE subject LIKE 'plan-results.%' ORDER BY id DESC LIMIT 1"
    )
    assert b'"late_fill"' in last["payload"]
    await check_books(stack)


async def test_plan_when_postgres_dies_with_the_orders_on_their_way_still_ends_with_exact_books(
    provisioned_nats: EmbeddedNats, fresh_postgres: EmbeddedPostgres, exchange: Exchange
) -> None:
    way = FaultyWay(exchange.url)
    await way.start()
    stack = Stack(provisioned_nats.url, fresh_postgres.dsn_of("trimtab"), exchange, way)
    await stack.open()
    try:
        await exchange.deposit("first", "USDT", "10000")
        process = stack.process()
        await eventually(lambda: stack.rows("SELECT FROM executor.accounts WHERE opened_at IS NOT NULL"))
        plan = await plan_for(exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
        killed: list[str] = []

        def kill(moment: str) -> None:
            if not killed:
                killed.append(moment)
                fresh_postgres.kill()

        way.faults = ["late_reply"] * 3
        way.on_order = kill
        await stack.send_plan(plan)

        async def dead() -> bool:
            return bool(killed)

        await eventually(dead)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(fresh_postgres.restart)
        if process.code is not None:
            stack.process("2")
        await stack.reconnect()
        assert (await stack.closed(plan, 40))["outcome"] == "completed"
        await check_books(stack)
    finally:
        await stack.close()
        await way.stop()


async def test_events_when_nats_dies_during_a_plan_are_all_published_in_the_end(
    stack: Stack, provisioned_nats: EmbeddedNats
) -> None:
    await ready(stack)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    stack.way.on_order = lambda moment: provisioned_nats.kill() if moment == "before" else None
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] in {"completed", "partial"}
    stack.way.on_order = lambda _moment: None
    assert await stack.rows("SELECT FROM executor.outbox WHERE published_at IS NULL")
    await asyncio.to_thread(provisioned_nats.restart)

    async def published() -> bool:
        return not await stack.rows("SELECT FROM executor.outbox WHERE published_at IS NULL")

    await eventually(published, 30)
    await check_books(stack)

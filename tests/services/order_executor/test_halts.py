"""The kill switch: what is halted sends nothing, whatever restarts, and nothing is lost by it."""

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import nats.errors
import pytest

from services.order_executor.adapters.postgres_halts import HaltStore
from shared.contracts.halts import HaltCause, HaltVenue, ResumeVenue
from shared.contracts.wire import Meta
from shared.core.errors import Conflict
from shared.venues.binance import BINANCE
from tests.servers import EmbeddedPostgres
from tests.services.order_executor.rig import Stack, eventually, plan_for
from tests.services.order_executor.test_plans import THREE, check_books, events, ready

HALT, RESUME = HaltVenue(venue="paper", reason="a test"), ResumeVenue(venue="paper")


async def test_plan_when_halted_is_refused_and_after_resuming_the_next_is_carried_out(stack: Stack) -> None:
    await ready(stack)
    halted = await stack.ask(HALT, "h1")
    assert (halted.halted, halted.sequence, halted.reason, halted.cause) == (True, 1, "a test", HaltCause.ASKED)
    assert (await stack.ask(HaltVenue(venue="paper", reason="another"), "h2")) == halted
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    closed = await stack.closed(plan)
    assert (closed["outcome"], closed["detail"]) == ("expired", "")
    assert (await events(stack, "trimtab.plan.progressed"))[-1]["last_closed"]["detail"] == "halted"
    assert await stack.rows("SELECT FROM executor.orders") == []
    resumed = await stack.ask(RESUME, "r1")
    assert (resumed.halted, resumed.sequence) == (False, 2)
    again = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, previous_plan_id=plan.plan_id)
    await stack.send_plan(again)
    assert (await stack.closed(again))["outcome"] == "completed"
    assert [event["halted"] for event in await events(stack, "trimtab.halt.changed")] == [True, False]
    assert [event["kind"] for event in await events(stack, "trimtab.notification.raised")] == ["halted", "resumed"]
    await check_books(stack)


async def test_open_plan_when_halted_sends_nothing_more_and_goes_on_when_resumed(stack: Stack) -> None:
    await ready(stack)
    stack.prices.paused = True
    later = await stack.exchange.market_time() + timedelta(minutes=1)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, market_time=later)
    await stack.send_plan(plan)
    await eventually(lambda: stack.rows("SELECT FROM executor.plans"))
    await stack.ask(HALT, "h1")
    stack.prices.ahead_ms, stack.prices.paused = 60_000, False
    sent = stack.prices.sent
    await eventually(lambda: _true(stack.prices.sent >= sent + 5))
    assert await stack.rows("SELECT FROM executor.orders") == []
    await stack.ask(RESUME, "r1")
    assert (await stack.closed(plan))["outcome"] == "completed"
    await check_books(stack)


async def test_open_plan_when_halted_until_it_expires_ends_as_expired(stack: Stack) -> None:
    await ready(stack)
    later = await stack.exchange.market_time() + timedelta(minutes=1)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, market_time=later, expires_at=soon)
    await stack.send_plan(plan)
    await eventually(lambda: stack.rows("SELECT FROM executor.plans"))
    await stack.ask(HALT, "h1")
    stack.prices.ahead_ms = 60_000
    closed = await stack.closed(plan)
    assert closed["outcome"] == "expired"
    assert "halted" in closed["detail"]
    assert await stack.rows("SELECT FROM executor.orders") == []


async def test_halt_when_orders_flow_stops_the_last_within_a_second_and_books_what_was_sent(stack: Stack) -> None:
    stack.further = {"TRIMTAB_GUARD_ORDERS_PER_MINUTE": "100000"}
    await ready(stack, "100000")
    written: list[float] = []
    stack.way.on_order = lambda moment: written.append(time.monotonic()) if moment == "before" else None
    plans = [
        await plan_for(stack.exchange, f"s{number}", THREE, {"USDT": "1000"}, kind="initial") for number in range(100)
    ]
    sending = asyncio.gather(*(stack.send_plan(plan) for plan in plans))
    await eventually(lambda: _true(len(written) >= 10), pause_s=0)
    asked = time.monotonic()
    await stack.ask(HALT, "h1")
    answered = time.monotonic()
    await sending
    await eventually(lambda: _true(time.monotonic() > answered + 1.5))
    assert max(written) < asked + 1, "an order was written more than a second after the halt was asked for"
    assert len(written) < 3 * len(plans), "nothing was left to be stopped: the test shows nothing"
    unsettled = "SELECT FROM executor.orders WHERE state IN ('intended', 'unknown', 'open')"

    async def all_settled() -> bool:
        return not await stack.rows(unsettled)

    await eventually(all_settled)
    await check_books(stack)
    await stack.ask(RESUME, "r1")


async def _true(value: bool) -> bool:
    return value


async def test_halt_when_everything_restarts_is_still_in_force(stack: Stack) -> None:
    await stack.exchange.deposit("first", "USDT", "10000")
    process = stack.process()

    async def halts() -> bool:
        try:
            return (await stack.ask(HALT, "h1")).halted
        except nats.errors.Error:  # nobody answers yet
            return False

    await eventually(halts)
    process.end()
    again = stack.process("2")
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "expired"
    assert await stack.rows("SELECT FROM executor.orders") == []
    again.end()


async def test_switch_when_another_executor_changes_it_is_known_to_the_active_one_as_well(
    stack: Stack,
) -> None:
    await ready(stack)
    (app, _) = stack._apps[0]
    pool = await asyncpg.create_pool(stack.dsn, min_size=1, max_size=1)
    try:
        other = HaltStore(pool, "paper")  # as one that stands by, and heard a command that this one did not
        await other.change(halted=True, cause=HaltCause.ASKED, reason="another", message_id="h1")
    finally:
        await pool.close()

    async def heard() -> bool:
        assert app.switch is not None
        return app.switch.reason == "another"

    await eventually(heard)


async def test_halt_when_the_executor_hangs_is_thrown_by_one_standing_by_and_nothing_is_sent_after_it(
    stack: Stack,
) -> None:
    """Frozen with orders committed and not sent yet, halted meanwhile, revived: their deadline has passed.

    One order at most can have been frozen between its guard and its write, and is written when the process goes on: its
    receive window has passed, so the venue refuses it.
    """
    await stack.exchange.deposit("first", "USDT", "10000")
    active = stack.process("active")
    await eventually(lambda: stack.rows("SELECT FROM executor.accounts WHERE opened_at IS NOT NULL"))
    standby = stack.process("standby")

    async def stands_by() -> bool:
        return b"standing by" in standby.log.read_bytes()

    await eventually(stands_by)
    stack.way.on_order = lambda moment: active.send(signal.SIGSTOP) if moment == "after" else None
    soon = datetime.now(UTC) + timedelta(seconds=8)
    plans = [
        await plan_for(stack.exchange, f"s{n}", THREE, {"USDT": "600"}, kind="initial", expires_at=soon)
        for n in range(12)
    ]
    for plan in plans:
        await stack.send_plan(plan)
    await eventually(lambda: _true(len(stack.way.orders_seen) >= 1))
    asked = time.monotonic()
    assert (await stack.ask(HALT, "h1")).halted
    frozen_until = asked + BINANCE.receive_window_ms / 1000 + 0.5
    await eventually(lambda: _true(time.monotonic() > frozen_until))
    sent, taken = len(stack.way.orders_seen), await stack.exchange.orders()
    stack.way.on_order = lambda _moment: None
    active.send(signal.SIGCONT)
    outcomes = {(await stack.closed(plan, 60))["outcome"] for plan in plans}
    assert outcomes & {"expired", "partial"}, "nothing was left to be stopped: the test shows nothing"
    assert await stack.exchange.orders() == taken, "the venue took an order after the halt"
    assert len(stack.way.orders_seen) <= sent + 1, "orders were sent after the halt"
    await check_books(stack)


async def test_halt_when_a_frozen_executor_holds_the_row_is_recorded_and_what_that_one_was_about_to_commit_never_is(
    stack: Stack,
) -> None:
    await ready(stack)
    frozen = await asyncpg.connect(stack.dsn, server_settings={"application_name": "order_executor"})
    await frozen.execute("BEGIN")
    await frozen.execute(
        "SELECT FROM executor.halts WHERE venue = 'paper' FOR SHARE"
    )  # as before intents are committed
    assert (await stack.ask(HALT, "h1")).halted
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await frozen.execute("COMMIT")


async def test_resume_when_it_is_older_than_the_halt_in_force_is_refused(stack: Stack) -> None:
    """As a process finds it in its socket that was frozen while a person resumed, and halted again."""
    await ready(stack)
    (app, _) = stack._apps[0]
    assert app.switch is not None
    asked = Meta("r1", "test", datetime.now(UTC), "r1", "")
    await stack.ask(HALT, "h1")
    with pytest.raises(Conflict, match="halted again since"):
        await app.switch.on_resume_asked(RESUME, asked)
    assert app.switch.reason == "a test"
    late = Meta("r2", "test", datetime.now(UTC) - timedelta(minutes=1), "r2", "")
    with pytest.raises(Conflict, match="too long ago"):
        await app.switch.on_resume_asked(RESUME, late)
    assert not (await stack.ask(RESUME, "r3")).halted


async def test_halt_when_the_database_is_gone_is_in_force_at_once_and_recorded_later(
    fresh_postgres: EmbeddedPostgres, stack: Stack
) -> None:
    stack.dsn = fresh_postgres.dsn_of("trimtab")
    await stack.reconnect()
    await ready(stack)
    (app, _) = stack._apps[0]
    assert app.switch is not None
    fresh_postgres.kill()
    with pytest.raises(AssertionError, match="not recorded yet"):
        await stack.ask(HALT, "h1")
    assert app.switch.reason == "a test"
    await asyncio.to_thread(fresh_postgres.restart)
    await stack.reconnect()

    async def recorded() -> bool:
        rows = await stack.rows("SELECT halted FROM executor.halts")
        return [row["halted"] for row in rows] == [True]

    await eventually(recorded)

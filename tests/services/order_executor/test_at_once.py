"""What a plan's usual steps do in one statement each, when something has changed before they get their locks: the same
as if they had looked after it. And that they leave the same rows and events as their longer forms.
"""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.order_executor.adapters.postgres_plans import PlanStore
from services.order_executor.booking import FilledOrders
from services.order_executor.records import Evidence, PlanRecord
from services.order_executor.steps import Close
from shared.contracts.plans import RebalancePlanned
from shared.core.errors import RetryLater, Stop
from shared.core.orders import OrderState
from shared.core.position import PlanOutcome
from tests.services.order_executor.rig import eventually
from tests.services.order_executor.test_late_words import META
from tests.services.order_executor.test_steps import NOW
from tests.services.order_executor.test_together import TODAY, Books, books, traded

__all__ = ["books"]

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
HELD = "UPDATE executor.strategies SET hold_requested = 'h1'"
SEALED = "UPDATE executor.strategies SET seal_requested = true"
REQUIRED = "UPDATE executor.strategies SET position_required = 9"
TOUCHED = "UPDATE executor.strategies SET venue = venue"
HALTED = "UPDATE executor.halts SET halted = true, reason = 'tests', sequence = sequence + 1"
TAKEN_OVER = "UPDATE executor.accounts SET epoch = epoch + 1, holder = 'another'"
CLOSED = "UPDATE executor.plans SET outcome = 'partial', closed_at = now()"


async def meanwhile(books: Books, attempt: Coroutine[Any, Any, Any], *changes: str) -> Any:
    """What comes of an attempt that has to wait for the locks of these changes, which are committed then."""
    async with books.pool.acquire() as connection, connection.transaction():
        for change in changes:
            await connection.execute(change)
        task = asyncio.create_task(attempt)
        # Asked on another connection: within a transaction the answer stays the same.
        await eventually(lambda: books.pool.fetchval(WAITING), 20)
    return await task


async def begun(books: Books, strategy_id: str = "s1") -> PlanRecord:
    """A plan that was taken with its first phase."""
    plan = books.plan(strategy_id)
    assert (await books.take(plan))[0] == "begun"
    return await books.plans.load(plan.plan_id)


async def filled(books: Books, strategy_id: str = "s1") -> PlanRecord:
    """A plan all of whose orders have traded."""
    record = await begun(books, strategy_id)
    await books.orders.book([traded(order) for order in record.orders])
    return await books.plans.load(record.plan.plan_id)


def next_plan(books: Books, record: PlanRecord) -> RebalancePlanned:
    """The plan that follows one that was closed."""
    fills = len(record.fills)
    known = {"plan_id": f"{record.plan.plan_id}-2", "position_version": 2, "previous_plan_id": record.plan.plan_id}
    return books.plan(record.plan.strategy_id).model_copy(update={**known, "fills_seen": fills})


async def close(books: Books, record: PlanRecord) -> bool:
    return await books.plans.close(record, Close(PlanOutcome.COMPLETED, "", None), NOW)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [(HELD, "held"), (SEALED, "sealed"), (REQUIRED, "stale"), (TOUCHED, "begun"), (HALTED, "halted")],
)
async def test_plan_when_it_waits_for_a_change_is_judged_after_it(books: Books, change: str, outcome: str) -> None:
    first = await filled(books)
    assert await close(books, first)
    before = await books.count("orders")
    taken, step = await meanwhile(books, books.take(next_plan(books, first)), change)
    assert taken == outcome
    assert await books.count("orders") == before + (len(step.orders) if outcome == "begun" else 0)


@pytest.mark.parametrize("is_first", [True, False])
async def test_plan_when_the_account_is_taken_over_meanwhile_is_left_to_the_other(books: Books, is_first: bool) -> None:
    record = await filled(books, "s0")
    assert await close(books, record)
    before = [await books.count(table) for table in ("strategies", "plans", "orders", "outbox")]
    plan = books.plan("s1") if is_first else next_plan(books, record)
    with pytest.raises(Stop, match="superseded"):
        await meanwhile(books, books.take(plan), TAKEN_OVER)
    assert [await books.count(table) for table in ("strategies", "plans", "orders", "outbox")] == before


async def test_plan_when_another_of_its_strategy_is_taken_meanwhile_is_dropped(books: Books) -> None:
    first = await filled(books)
    assert await close(books, first)
    plan = next_plan(books, first)
    other = plan.model_copy(update={"plan_id": "other"})
    taken, _ = await meanwhile(
        books,
        books.take(plan),
        "UPDATE executor.strategies SET sequence = sequence + 1",
        "INSERT INTO executor.plans (plan_id, strategy_id, position_version, previous_plan_id, body, message_id) "  # noqa: S608
        f"VALUES ('other', 's1', 2, '{first.plan.plan_id}', '{other.model_dump_json()}', 'm')",
    )
    assert taken == "stale"


@pytest.mark.parametrize(
    ("change", "error"), [(HALTED, RetryLater), (TAKEN_OVER, Stop), (f"{TOUCHED}; {CLOSED}", Stop), (TOUCHED, None)]
)
async def test_intents_when_they_wait_for_a_change_are_committed_by_what_is_so_after_it(
    books: Books, change: str, error: type[Exception] | None
) -> None:
    plan = books.plan("s1")
    assert (await books.plans.accept(plan, META, datetime.now(UTC))).outcome == "accepted"
    told = await books.told("s1")
    intents = books.orders.intents(books.phase(plan), TODAY)
    attempt = books.orders.commit_intents(intents)
    if error is None:
        await meanwhile(books, attempt, change)
        assert await books.count("orders") == len(intents.step.orders)
        return
    with pytest.raises(error):
        await meanwhile(books, attempt, change)
    assert await books.count("orders") == 0
    assert await books.told("s1") == told
    assert await books.pool.fetchval("SELECT sizing FROM executor.plans") is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE executor.strategies SET fills_total = fills_total + 1",
        "UPDATE executor.strategies SET hold_requested = 'h1', sequence = sequence + 1",
        "UPDATE executor.plans SET phases = phases + 1",
        "UPDATE executor.orders SET state = 'unknown' WHERE side = 'BUY' AND round = 1",
    ],
    ids=["late_fill", "hold", "phase", "alive"],
)
@pytest.mark.parametrize("waits", [True, False])
async def test_intents_when_the_plan_is_not_as_it_was_sized_are_not_committed(
    books: Books, change: str, *, waits: bool
) -> None:
    record = await filled(books)
    before = await books.count("orders"), await books.told("s1")
    again = replace(books.phase(record.plan), orders=tuple(replace(o, round=3) for o in record.orders))
    attempt = books.orders.commit_intents(books.orders.intents(again, TODAY, record))
    locks = ("SELECT FROM executor.strategies FOR UPDATE", "SELECT FROM executor.plans FOR UPDATE")
    if waits:
        attempt = meanwhile(books, attempt, *locks, change)
    else:
        await books.pool.execute(change)
    with pytest.raises(RetryLater, match="not as it was"):
        await attempt
    assert (await books.count("orders"), await books.told("s1")) == before


async def test_intents_when_orders_rest_as_they_did_are_committed(books: Books) -> None:
    record = await filled(books)
    await books.pool.execute("UPDATE executor.orders SET state = 'open', kind = 'maker'")
    record = await books.plans.load(record.plan.plan_id)
    assert record.resting
    names = tuple(replace(o, round=3, client_order_id=f"{o.client_order_id}3") for o in record.orders)
    await books.orders.commit_intents(
        books.orders.intents(replace(books.phase(record.plan), orders=names), TODAY, record)
    )
    assert await books.count("orders") == 2 * len(record.orders)


async def test_close_when_an_order_comes_back_to_life_meanwhile_looks_again(books: Books) -> None:
    record = await filled(books)
    alive = f"UPDATE executor.orders SET state = 'unknown' WHERE symbol = '{record.orders[0].symbol}'"  # noqa: S608
    told = await books.told("s1")
    assert await meanwhile(books, close(books, record), "SELECT FROM executor.strategies FOR UPDATE", alive) is False
    assert await books.told("s1") == told
    assert await books.pool.fetchval("SELECT outcome IS NULL FROM executor.plans")


async def test_close_when_a_fill_is_booked_meanwhile_looks_again(books: Books) -> None:
    record = await filled(books)
    counted = "UPDATE executor.strategies SET fills_total = fills_total + 1"
    assert await meanwhile(books, close(books, record), counted) is False
    assert await books.pool.fetchval("SELECT outcome IS NULL FROM executor.plans")


@pytest.mark.parametrize(("change", "then"), [(HELD, ["closed", "held"]), (SEALED, ["closed", "sealed"])])
async def test_close_when_somebody_asks_for_the_end_meanwhile_tells_of_both(
    books: Books, change: str, then: list[str]
) -> None:
    record = await filled(books)
    told = len(await books.told("s1"))
    assert await meanwhile(books, close(books, record), change) is True
    assert (await books.told("s1"))[told:] == [f"plan.progressed {each}" for each in then]


async def test_close_when_the_plan_is_closed_already_says_so(books: Books) -> None:
    record = await filled(books)
    assert await close(books, record)
    told = await books.told("s1")
    assert not await close(books, record)
    assert await books.told("s1") == told


_ROWS = {
    "plans": "SELECT position_version, previous_plan_id, message_id, sizing, outcome, detail FROM executor.plans "
    "WHERE strategy_id = $1",
    "strategies": "SELECT venue, sequence, fills_total, seal_requested, sealed, hold_requested, held_for, "
    "position_required, last_closed - 'plan_id' - 'closed_at' AS last_closed FROM executor.strategies "
    "WHERE strategy_id = $1",
    "orders": "SELECT account, epoch, round, asset, quote, symbol, side, quantity, limit_price, state, version, "
    "market_day, kind, detail, valued_in, quote_price, was_unknown FROM executor.orders WHERE strategy_id = $1 "
    "ORDER BY symbol",
}


async def test_steps_when_they_take_the_longer_form_leave_the_same_rows_and_tell_the_same(books: Books) -> None:
    """Without a lease a plan is accepted, and without a row read before it is closed, in the longer form."""
    short = await filled(books, "s1")
    assert await close(books, short)
    plan, longer = books.plan("s2"), PlanStore(books.pool)
    assert (await longer.accept(plan, META, datetime.now(UTC))).outcome == "accepted"
    await books.orders.commit_intents(books.orders.intents(books.phase(plan), TODAY))
    orders = (await books.plans.load(plan.plan_id)).orders
    await books.orders.book([traded(order) for order in orders])
    record = replace(await longer.load(plan.plan_id), strategy=None)
    assert await longer.close(record, Close(PlanOutcome.COMPLETED, "", None), NOW)
    for table, query in _ROWS.items():
        rows = [[dict(row) for row in await books.pool.fetch(query, name)] for name in ("s1", "s2")]
        assert rows[0] == rows[1], table
    assert await books.told("s1") == await books.told("s2")
    assert await _bodies(books, "s1") == await _bodies(books, "s2")


async def _bodies(books: Books, strategy_id: str) -> list[set[tuple[str, str]]]:
    """What the events tell, but for the names of things and when they were."""
    rows = await books.pool.fetch(
        "SELECT payload FROM executor.outbox WHERE subject LIKE '%' || $1 || '%' ORDER BY id", strategy_id
    )
    named = ("_id", "_at", "_time", "last_closed")
    return [
        {(key, str(value)) for key, value in json.loads(row["payload"]).items() if not key.endswith(named)}
        for row in rows
    ]


async def test_booking_when_a_filled_order_is_told_again_asks_nothing_of_the_database(books: Books) -> None:
    record = await filled(books)
    order = record.orders[0]
    async with books.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK executor.strategies, executor.orders, executor.fills IN ACCESS EXCLUSIVE MODE")
        told = traded(order)
        assert await asyncio.wait_for(books.orders.book([told]), 5) == {f"{order.symbol}:{order.client_order_id}"}


@pytest.mark.parametrize("change", ["another_trade", "another_venue_order", "no_word_of_it", "not_filled"])
async def test_filled_orders_when_something_else_is_told_do_not_have_it(books: Books, change: str) -> None:
    record = await begun(books)
    order, *_ = record.orders
    known, told = FilledOrders(), traded(order)
    assert told.order is not None
    stored = replace(order, state=OrderState.OPEN if change == "not_filled" else OrderState.FILLED, venue_order_id="7")
    known.note([stored], {order.client_order_id: [told]})
    assert known.has(told) is (change != "not_filled")
    other = {
        "another_trade": traded(order, "T:2"),
        "another_venue_order": replace(told, order=replace(told.order, venue_order_id="8")),
        "no_word_of_it": Evidence(order.client_order_id, state=OrderState.UNKNOWN),
        "not_filled": told,
    }[change]
    assert not known.has(other)

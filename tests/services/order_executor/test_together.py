"""What several plans do in one transaction: bookings that come together, a plan with the intents of its first phase.
Whatever becomes of one, it is nothing to the others.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from services.order_executor.adapters.postgres_account import AccountStore
from services.order_executor.adapters.postgres_halts import HaltStore
from services.order_executor.adapters.postgres_orders import OrderStore
from services.order_executor.adapters.postgres_plans import PlanStore
from services.order_executor.booking import BookingQueue
from services.order_executor.lease import Lease
from services.order_executor.records import Evidence, OrderRecord, PlanRecord, with_phase, with_replies
from services.order_executor.steps import Send, Terms, next_step
from shared.contracts.halts import HaltCause
from shared.contracts.plans import RebalancePlanned
from shared.core.errors import Stop
from shared.core.identity import plan_id
from shared.core.orders import OrderState, VenueReport
from shared.venues.port import VenueOrder, VenueTrade
from tests.services.order_executor.rig import Stack, plan_for
from tests.services.order_executor.test_late_words import CASH, META
from tests.services.order_executor.test_plans import THREE, check_books, events, ready
from tests.services.order_executor.test_steps import NOW, market, record

D = Decimal
TODAY = date(2026, 1, 1)


def word(name: str) -> Evidence:
    return Evidence(name, state=OrderState.UNKNOWN)


class Transactions:
    """Notes what is booked together; fails for what is ``broken``, and waits while ``open`` is not set."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, ...]] = []
        self.broken: set[str] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()

    async def __call__(self, evidences: Sequence[Evidence], *, patient: bool) -> frozenset[str]:
        names = tuple(evidence.client_order_id for evidence in evidences)
        self.batches.append(names)
        self.begun.set()
        await self.open.wait()
        if self.broken & set(names):
            raise Stop(f"broken: {self.broken & set(names)}")
        return frozenset(names)


async def test_bookings_when_one_is_under_way_go_together_with_the_next() -> None:
    transactions = Transactions()
    queue = BookingQueue(transactions)
    assert await queue.book([word("alone")]) == {"alone"}
    transactions.open.clear()
    transactions.begun.clear()
    first = asyncio.create_task(queue.book([word("a")]))
    await transactions.begun.wait()
    others = [asyncio.create_task(queue.book([word(name)])) for name in "bcd"]
    await asyncio.sleep(0)  # each of them asks
    others[1].cancel()
    transactions.open.set()
    assert await first == {"a"}
    done = await asyncio.gather(*others, return_exceptions=True)
    assert transactions.batches == [("alone",), ("a",), ("b", "c", "d")]
    assert done[0] == done[2] == frozenset("bcd")
    assert isinstance(done[1], asyncio.CancelledError)


async def test_bookings_when_one_of_them_fails_leave_the_others_booked() -> None:
    transactions = Transactions()
    transactions.broken = {"b"}
    queue = BookingQueue(transactions)
    done = await asyncio.gather(*(queue.book([word(name)]) for name in "abc"), return_exceptions=True)
    assert transactions.batches[0] == ("a", "b", "c")
    assert (done[0], done[2]) == (frozenset("a"), frozenset("c"))
    assert isinstance(done[1], Stop)
    assert "broken: {'b'}" in str(done[1])
    assert await queue.book([word("later")]) == {"later"}


class Books:
    """Stores of one account, and plans of any strategy."""

    def __init__(self, pool: Any, lease: Lease) -> None:
        self.pool, self.lease = pool, lease
        self.orders, self.plans = OrderStore(pool, "paper", lease), PlanStore(pool, lease)

    @staticmethod
    def plan(strategy_id: str) -> RebalancePlanned:
        now = datetime.now(UTC)
        changes = {
            "strategy_id": strategy_id,
            "plan_id": plan_id(strategy_id, 1, ""),
            "decided_at": now,
            "expires_at": now + timedelta(seconds=30),
        }
        return RebalancePlanned.model_validate({**record(*CASH).plan.model_dump(), **changes})

    def phase(self, plan: RebalancePlanned) -> Send:
        terms = Terms(D(50), self.lease.epoch, datetime.now(UTC), timedelta(seconds=1))
        step = next_step(PlanRecord(plan, is_open=True), market(), terms)
        assert isinstance(step, Send)
        return step

    async def take(self, plan: RebalancePlanned) -> tuple[str, Send]:
        """Offer the plan together with its first phase."""
        step = self.phase(plan)
        answer = await self.plans.accept(plan, META, datetime.now(UTC), self.orders.intents(step, TODAY))
        return answer.outcome, step

    async def intended(self, strategy_id: str) -> OrderRecord:
        """The first order of a plan that was taken."""
        outcome, step = await self.take(self.plan(strategy_id))
        assert outcome == "begun"
        return step.orders[0]

    async def count(self, table: str) -> int:
        found: int = await self.pool.fetchval(f"SELECT count(*) FROM executor.{table}")  # noqa: S608
        return found

    async def told(self, strategy_id: str) -> list[str]:
        """What the outbox tells of a strategy, in its order."""
        rows = await self.pool.fetch(
            "SELECT headers ->> 'ce-type' AS type, payload FROM executor.outbox WHERE subject LIKE '%' || $1 || '%' "
            "ORDER BY id",
            strategy_id,
        )
        bodies = [(row["type"].removeprefix("trimtab."), json.loads(row["payload"])) for row in rows]
        return [f"{kind} {body.get('change') or body.get('state') or body.get('fill_number')}" for kind, body in bodies]


def traded(order: OrderRecord, trade_id: str = "") -> Evidence:
    """The whole order, in one trade."""
    value = (order.quantity * order.limit_price).normalize()
    name = trade_id or f"{order.symbol}:{order.client_order_id}"
    trade = VenueTrade(name, "7", order.symbol, order.quantity, order.limit_price, value, D(0), order.asset, NOW)
    report = VenueReport(is_open=False, executed_quantity=order.quantity)
    return Evidence(order.client_order_id, order=VenueOrder(order.client_order_id, "7", order.symbol, report, (trade,)))


@pytest_asyncio.fixture
async def books(postgres_dsn: str) -> AsyncIterator[Books]:
    pool = await asyncpg.create_pool(postgres_dsn, min_size=1, max_size=4)
    lease = await AccountStore(pool, "paper", "paper").acquire("tests", 60)
    assert lease is not None
    await HaltStore(pool, "paper").read()
    yield Books(pool, lease)
    await pool.close()


REPLIES = {
    "whole": lambda order: [(order.quantity, order.asset)],
    "in two trades": lambda order: [(order.quantity / 4, order.asset), (3 * order.quantity / 4, order.asset)],
    "in part": lambda order: [(order.quantity / 4, order.asset)],
    "not at all": lambda _: [],
    "told twice": lambda order: [(order.quantity, order.asset)] * 2,
}


def reply(order: OrderRecord, parts: Sequence[tuple[Decimal, str]], executed: Decimal | None = None) -> Evidence:
    """An order that has ended with these trades and fees' assets; of what is said twice, one is the other."""
    price, names = order.limit_price, [f"{order.symbol}:{order.client_order_id}:{part}" for part, _ in enumerate(parts)]
    if len(set(parts)) < len(parts):
        names = names[:1] * len(parts)
    trades = tuple(
        VenueTrade(name, "7", order.symbol, quantity, price, quantity * price, D("0.001"), fee_asset, NOW)
        for name, (quantity, fee_asset) in zip(names, parts, strict=True)
    )
    traded = sum({trade.trade_id: trade.quantity for trade in trades}.values(), D(0))
    report = VenueReport(is_open=False, executed_quantity=traded if executed is None else executed)
    return Evidence(order.client_order_id, order=VenueOrder(order.client_order_id, "7", order.symbol, report, trades))


@pytest.mark.parametrize(("first", "second"), list(itertools.product(REPLIES, repeat=2)))
async def test_plan_with_replies_is_what_is_in_the_books_once_they_are_booked(
    books: Books, first: str, second: str
) -> None:
    plan, step = books.plan("s1"), books.phase(books.plan("s1"))
    answer = await books.plans.accept(plan, META, datetime.now(UTC), books.orders.intents(step, TODAY))
    known = with_phase(PlanRecord(plan, is_open=True, strategy=answer.strategy), step.orders, step.sizing)
    assert known == await books.plans.load(plan.plan_id)
    replies = [reply(order, REPLIES[how](order)) for order, how in zip(step.orders, (first, second), strict=True)]
    await books.orders.book(replies)
    loaded, told = await books.plans.load(plan.plan_id), with_replies(known, replies)
    assert told is not None
    assert replace(told, fills=()) == replace(loaded, fills=())
    assert {fill.trade_id: fill for fill in told.fills} == {fill.trade_id: fill for fill in loaded.fills}
    assert len(told.fills) == len(loaded.fills)


async def test_plan_with_replies_that_do_not_tell_all_of_it_is_not_known(books: Books) -> None:
    plan, step = books.plan("s1"), books.phase(books.plan("s1"))
    known, (one, two) = with_phase(PlanRecord(plan, is_open=True), step.orders, step.sizing), step.orders
    whole = [(one.quantity, one.asset)]
    assert with_replies(known, [reply(one, whole), word(two.client_order_id)]) is None
    withheld = Evidence(two.client_order_id, state=OrderState.WITHHELD)
    assert with_replies(known, [reply(one, whole), withheld]) is None
    trade_to_come = reply(two, [(two.quantity / 2, two.asset)], executed=two.quantity)
    assert with_replies(known, [reply(one, whole), trade_to_come]) is None
    for payer in ("BNB", one.asset, two.quote):  # what is left of it may hang on which trade was first
        assert with_replies(known, [reply(one, whole), reply(two, [(two.quantity, payer)])]) is None
    assert with_replies(known, [reply(one, whole), reply(two, [])]) is not None


async def test_bookings_when_somebody_holds_one_strategy_do_not_wait_for_it(books: Books) -> None:
    held, free = await books.intended("held"), await books.intended("free")
    async with books.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM executor.strategies WHERE strategy_id = 'held' FOR UPDATE")
        waiting = asyncio.create_task(books.orders.book([traded(held)]))
        assert await books.orders.book([traded(free)])
        assert await books.orders.book([traded(free)]), "nor does what comes after"
        assert not waiting.done()
        assert await connection.fetch("SELECT strategy_id FROM executor.fills") == [("free",)]
    assert await waiting
    assert await books.count("fills") == 2


async def test_booking_of_an_order_of_another_account_is_left_out(books: Books) -> None:
    ours, others = await books.intended("ours"), await books.intended("others")
    change = "UPDATE executor.orders SET account = 'another' WHERE client_order_id = $1"
    await books.pool.execute(
        "INSERT INTO executor.accounts (account, epoch, holder, lease_until) VALUES ('another', 1, '', now())"
    )
    await books.pool.execute(change, others.client_order_id)
    booked = await books.orders.book([traded(ours), traded(others)])
    assert booked == {f"{ours.symbol}:{ours.client_order_id}"}
    assert await books.pool.fetch("SELECT strategy_id FROM executor.fills") == [("ours",)]


async def test_bookings_when_two_orders_claim_one_trade_refuse_one_and_hurt_no_third(books: Books) -> None:
    orders = [await books.intended(name) for name in ("one", "two", "third")]
    told = [traded(orders[0], "T:1"), traded(orders[1], "T:1"), traded(orders[2])]
    done = await asyncio.gather(*(books.orders.book([each]) for each in told), return_exceptions=True)
    assert sorted(isinstance(each, Exception) for each in done) == [False, False, True]
    assert not isinstance(done[2], Exception)
    assert await books.count("fills") == 2


async def test_bookings_when_many_come_at_once_number_and_tell_each_strategys_fills_in_order(books: Books) -> None:
    names = [f"s{number}" for number in range(8)]
    steps = [(await books.take(books.plan(name)))[1] for name in names]
    told = [traded(order) for step in steps for order in step.orders]
    await asyncio.gather(*(books.orders.book([each]) for each in (*told, *told)))
    for name, step in zip(names, steps, strict=True):
        count = len(step.orders)
        tale = await books.told(name)
        assert tale[: 1 + count] == ["plan.progressed accepted", *["order.changed intended"] * count]
        fills = [each for each in tale if each.startswith("order.filled")]
        assert fills == [f"order.filled {number}" for number in range(1, count + 1)]
        assert tale.count("order.changed filled") == count
        assert len(tale) == 1 + 3 * count, "everything is told once"


async def test_plan_when_its_first_phase_fails_is_not_accepted_either(books: Books) -> None:
    plan = books.plan("s1")
    step = books.phase(plan)
    twice = replace(step, orders=(*step.orders, step.orders[0]))
    with pytest.raises(asyncpg.UniqueViolationError):
        await books.plans.accept(plan, META, datetime.now(UTC), books.orders.intents(twice, TODAY))
    assert [await books.count(table) for table in ("strategies", "plans", "orders", "outbox")] == [0, 0, 0, 0]


async def test_plan_when_the_venue_is_halted_or_the_account_lost_commits_no_intent(books: Books) -> None:
    await HaltStore(books.pool, "paper").change(halted=True, cause=HaltCause.ASKED, reason="tests", message_id="h")
    assert (await books.take(books.plan("s1")))[0] == "halted"
    assert await books.count("orders") == 0
    await HaltStore(books.pool, "paper").change(halted=False, cause=HaltCause.ASKED, reason="", message_id="r")
    await books.pool.execute("UPDATE executor.accounts SET epoch = epoch + 1, holder = 'another'")
    with pytest.raises(Stop, match="superseded"):
        await books.take(books.plan("s2"))
    assert await books.count("orders") == 0


async def test_plan_when_it_comes_twice_at_once_has_its_intents_once(books: Books) -> None:
    plan = books.plan("s1")
    done = await asyncio.gather(*(books.take(plan) for _ in range(3)))
    assert sorted(outcome for outcome, _ in done) == ["begun", "duplicate_open", "duplicate_open"]
    assert await books.count("orders") == len(done[0][1].orders)


async def test_plans_when_many_come_at_once_end_each_for_itself(stack: Stack) -> None:
    """Two of them cannot be taken: one was made from fills that nobody has seen, one is for a plan before it."""
    await ready(stack)
    good = [await plan_for(stack.exchange, f"s{n}", THREE, {"USDT": "1200"}, kind="initial") for n in range(6)]
    bad = [
        await plan_for(stack.exchange, "s6", THREE, {"USDT": "1200"}, fills_seen=1),
        await plan_for(stack.exchange, "s7", THREE, {"USDT": "1200"}, previous_plan_id="another"),
    ]
    await asyncio.gather(*(stack.send_plan(plan) for plan in (*bad, *good)))
    for plan in good:
        assert (await stack.closed(plan))["outcome"] == "completed"
    assert await stack.rows("SELECT FROM executor.plans WHERE strategy_id = ANY($1)", ["s6", "s7"]) == []
    for plan in good:
        progress = [e for e in await events(stack, "trimtab.plan.progressed") if e["strategy_id"] == plan.strategy_id]
        assert [(event["change"], event["sequence"]) for event in progress] == [("accepted", 1), ("closed", 2)]
    await check_books(stack)

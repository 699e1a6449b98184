"""Words that come late or cannot be stored now, on a real PostgreSQL: fills of an earlier plan while a later one is
open, orders that turn out to be alive while their plan is being closed, decisions of an evaluator that has not heard of
an exit, commands that meet a lock.
"""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from services.order_executor import lease as leases
from services.order_executor.adapters.postgres_account import AccountStore
from services.order_executor.adapters.postgres_holds import HoldStore
from services.order_executor.adapters.postgres_orders import OrderStore
from services.order_executor.adapters.postgres_plans import PlanStore
from services.order_executor.handlers import Handlers
from services.order_executor.records import Evidence, OrderRecord, PlanRecord, holdings_of
from services.order_executor.runner import PlanRunners
from services.order_executor.steps import Close, Send, Terms, next_step
from shared.contracts.plans import FreeStrategy, HoldStrategy, RebalancePlanned, SealStrategy
from shared.contracts.wire import Meta
from shared.core.errors import RetryLater, Stop
from shared.core.identity import plan_id
from shared.core.orders import OrderState, VenueReport
from shared.core.position import PlanOutcome
from shared.venues.port import VenueOrder, VenueTrade
from tests.services.order_executor.test_steps import NOW, line, market, record

D = Decimal
META = Meta("m", "tests", NOW, "c", "")
CASH = (line("BTC", "0", "1000", "50"), line("ETH", "0", "100", "50"), line("USDT", "1000", "1", "0"))


class Books:
    """The executor's stores on one database, and what a runner would do with them."""

    def __init__(self, pool: Any, orders: OrderStore) -> None:
        self.pool, self.orders, self.plans = pool, orders, PlanStore(pool)

    async def accept(self, previous: str = "", *, fills: int = 0, kind: str = "rebalance") -> tuple[str, str]:
        """Offer the plan that follows ``previous``; its id, and what became of it."""
        body = record(*CASH, kind=kind).plan
        now = datetime.now(UTC)
        name = plan_id("s1", 1 + fills, previous)
        changes = {"plan_id": name, "position_version": 1 + fills, "fills_seen": fills, "previous_plan_id": previous}
        times = {"decided_at": now, "expires_at": now + timedelta(seconds=30)}
        plan = RebalancePlanned.model_validate({**body.model_dump(), **changes, **times})
        return name, (await self.plans.accept(plan, META, now)).outcome

    async def send(self, name: str) -> tuple[OrderRecord, ...]:
        """Commit the intents of the plan's first phase."""
        step = next_step(
            await self.plans.load(name), market(), Terms(D(50), 1, datetime.now(UTC), timedelta(seconds=1))
        )
        assert isinstance(step, Send)
        await self.orders.commit_intents(self.orders.intents(step, date(2026, 1, 1)))
        return step.orders

    async def say(self, order: OrderRecord, state: OrderState) -> None:
        await self.orders.book([Evidence(order.client_order_id, state=state)])

    async def fill(self, order: OrderRecord) -> None:
        """The venue says after all that the whole order has traded."""
        trade = VenueTrade(
            f"{order.symbol}:{order.client_order_id}",
            "77",
            order.symbol,
            order.quantity,
            order.limit_price,
            order.quantity * order.limit_price,
            D(0),
            order.asset,
            NOW,
        )
        report = VenueReport(is_open=False, executed_quantity=order.quantity)
        told = VenueOrder(order.client_order_id, "77", order.symbol, report, (trade,))
        await self.orders.book([Evidence(order.client_order_id, order=told)])

    async def close(self, plan: PlanRecord, outcome: PlanOutcome = PlanOutcome.PARTIAL) -> bool:
        return await self.plans.close(plan, Close(outcome, "", None), NOW)


@pytest_asyncio.fixture
async def books(postgres_dsn: str) -> AsyncIterator[Books]:
    pool = await asyncpg.create_pool(postgres_dsn, min_size=1, max_size=2)
    lease = await AccountStore(pool, "paper", "paper").acquire("tests", 60)
    assert lease is not None
    yield Books(pool, OrderStore(pool, "paper", lease))
    await pool.close()


async def test_late_fill_when_a_later_plan_is_open_counts_in_what_it_may_spend(books: Books) -> None:
    first, _ = await books.accept()
    order, *others = await books.send(first)
    for each in (order, *others):
        await books.say(each, OrderState.REJECTED)
    assert await books.close(await books.plans.load(first))
    second, outcome = await books.accept(first)
    assert outcome == "accepted"
    before = await books.plans.load(second)
    await books.fill(order)
    now = await books.plans.load(second)
    assert holdings_of(before)["USDT"] == 1000
    assert holdings_of(now)["USDT"] == 1000 - order.quantity * order.limit_price, "that money is gone already"
    assert holdings_of(now)[order.asset] == order.quantity
    assert not await books.close(before), "closed on a view without the fill"
    assert await books.close(now)
    assert [(await books.accept(second))[1], (await books.accept(second, fills=1))[1]] == ["stale", "accepted"]


async def test_close_when_an_order_turns_out_to_be_alive_looks_again(books: Books) -> None:
    name, _ = await books.accept()
    order, *others = await books.send(name)
    for each in (order, *others):
        await books.say(each, OrderState.REJECTED)
    settled = await books.plans.load(name)
    assert not settled.unsettled
    await books.say(order, OrderState.UNKNOWN)
    assert not await books.close(settled), "money may still move under this plan"
    await books.fill(order)
    assert await books.close(await books.plans.load(name))


async def test_plan_when_an_exit_has_been_carried_out_is_taken_for_an_exit_only(books: Books) -> None:
    """An evaluator that has not heard of the stop yet must not buy back what was sold."""
    sold, _ = await books.accept(kind="exit")
    assert await books.close(await books.plans.load(sold), PlanOutcome.PARTIAL)
    assert (await books.accept(sold, kind="rebalance"))[1] == "stale"
    assert (await books.accept(sold, kind="initial"))[1] == "stale"
    assert (await books.accept(sold, kind="exit"))[1] == "accepted"


async def test_commands_when_the_strategy_is_locked_come_again_instead_of_being_given_up(postgres_dsn: str) -> None:
    """A command in the dead letters would leave its strategy unsealed, and so its money unpaid, for ever."""
    holder = await asyncpg.connect(postgres_dsn)
    pool = await asyncpg.create_pool(postgres_dsn, min_size=1, max_size=2, server_settings={"lock_timeout": "100"})
    try:
        plans = PlanStore(pool)
        await plans.accept(record(*CASH).plan, META, NOW)
        runners = cast(PlanRunners, SimpleNamespace(begin=lambda plan, meta: plans.accept(plan, meta, NOW)))
        handlers = Handlers("paper", plans, HoldStore(pool), runners, lambda: None, set)
        async with holder.transaction():
            await holder.execute("SELECT FROM executor.strategies FOR UPDATE")
            with pytest.raises(RetryLater):
                await handlers.on_seal(SealStrategy(strategy_id="s1", venue="paper"), META)
            with pytest.raises(RetryLater):
                await handlers.on_hold(HoldStrategy(strategy_id="s1", venue="paper", hold_id="h"), META)
            with pytest.raises(RetryLater):
                await handlers.on_free(
                    FreeStrategy(strategy_id="s1", venue="paper", hold_id="h", position_version=1), META
                )
            with pytest.raises(RetryLater):
                await handlers.on_plan(record(*CASH).plan, META)
        await handlers.on_seal(SealStrategy(strategy_id="s1", venue="paper"), META)
    finally:
        await pool.close()
        await holder.close()


async def test_plan_when_the_account_has_another_writer_by_now_is_left_to_that_one(postgres_dsn: str) -> None:
    """A process that was frozen takes a message before it knows; its successor has looked for open plans already."""
    pool = await asyncpg.create_pool(postgres_dsn, min_size=1, max_size=2)
    try:
        accounts = AccountStore(pool, "paper", "paper")
        ours = await leases.acquire(accounts, "ours", 0.05)
        await leases.acquire(accounts, "theirs", 5.0)
        with pytest.raises(Stop, match="superseded"):
            await PlanStore(pool, ours).accept(record(*CASH).plan, META, NOW)
        assert await pool.fetch("SELECT FROM executor.plans") == []
    finally:
        await pool.close()

"""What may change while a plan waits for room, or its closing for a lock: it goes on by what is so after that."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from services.order_executor.adapters.postgres_at_once import commit_at_once
from services.order_executor.adapters.postgres_halts import HaltStore
from services.order_executor.adapters.postgres_plans import Answer
from services.order_executor.halting import HaltSwitch
from services.order_executor.market_view import MarketView
from services.order_executor.records import Evidence, OrderRecord
from services.order_executor.runner import Limits, PlanRunners, Tools
from services.order_executor.send_guards import SendGuards
from services.order_executor.steps import Close
from shared.contracts.frames import FrameQuote, PriceFrame, encode_frame
from shared.contracts.plans import RebalancePlanned
from shared.core.errors import Stop
from shared.core.guards import GuardLimits
from shared.core.matching import Side
from shared.core.money import ONE
from shared.core.orders import OrderState, VenueReport
from shared.core.position import PlanOutcome
from shared.venues.dialects import capabilities_of
from shared.venues.port import NotSent, OrderRequest, Search, VenueOrder, VenueTrade
from tests.services.order_executor.rig import eventually
from tests.services.order_executor.test_at_once import WAITING, begun, close
from tests.services.order_executor.test_late_words import META
from tests.services.order_executor.test_steps import DRIFTED, NOW, instrument
from tests.services.order_executor.test_together import TODAY, Books, books, traded

__all__ = ["books"]

D = Decimal


@dataclass
class HeldVenue:
    """Fills ``share`` of every order at its limit; the first replies come when ``open`` is set."""

    capabilities: Any = field(default_factory=lambda: capabilities_of("binance"))
    open: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[OrderRequest] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)
    share: Decimal = ONE

    async def place_order(self, request: OrderRequest, guard: Callable[[], str | None]) -> VenueOrder:
        if (why := guard()) is not None:
            raise NotSent(why)
        self.sent.append(request)
        await self.open.wait()
        number = f"{len(self.sent)}"
        name = f"{request.symbol}:{request.client_order_id}"
        quantity = request.quantity * self.share
        value = (quantity * request.limit_price).normalize()
        asset = request.symbol.removesuffix("USDT")
        trade = VenueTrade(name, number, request.symbol, quantity, request.limit_price, value, D(0), asset, NOW)
        report = VenueReport(is_open=False, executed_quantity=quantity)
        return VenueOrder(request.client_order_id, number, request.symbol, report, (trade,))

    async def find_order(self, search: Search) -> VenueOrder | None:
        self.searched.append(search.client_order_id)
        return None


@dataclass
class Floor:
    """Runners with room for one plan, unless more is said."""

    books: Books
    venue: HeldVenue
    runners: PlanRunners
    stops: list[Stop]

    async def waits_for_room(self) -> bool:
        return bool(self.runners._room._waiters)

    async def sends(self) -> bool:
        return bool(self.venue.sent)

    def sent_of(self, plan_id: str, orders: list[Any]) -> list[OrderRequest]:
        names = {order["client_order_id"] for order in orders if order["plan_id"] == plan_id}
        return [request for request in self.venue.sent if request.client_order_id in names]


async def floor_of(books: Books, room: int = 1) -> Floor:
    venue, market = HeldVenue(), MarketView(1e9)
    at_ms = int(NOW.timestamp() * 1000)
    rows = (FrameQuote("BTC", "1000", "1000", at_ms, 1), FrameQuote("ETH", "100", "100", at_ms, 1))
    market.set_instruments([instrument("BTC"), instrument("ETH")])
    market.on_frame(encode_frame(PriceFrame("paper", "e", 1, at_ms, rows)))
    switch = HaltSwitch("paper", HaltStore(books.pool, "paper"), lambda: None)
    await switch.load()
    many = D(10**12)
    guards = SendGuards(GuardLimits(10**6, many, many, many, many, 10**6), market, switch)

    async def at_once() -> None:
        return None

    tools = Tools(
        cast("Any", venue), books.plans, books.orders, market, books.lease, guards, lambda: None, at_once, lambda: True
    )
    stops: list[Stop] = []
    limits = Limits(D(50), timedelta(seconds=20), 5.0, room)
    return Floor(books, venue, PlanRunners(tools, limits, stops.append), stops)


async def accepted(books: Books, plan: RebalancePlanned) -> RebalancePlanned:
    assert (await books.plans.accept(plan, META, datetime.now(UTC))).outcome == "accepted"
    return plan


async def closed(books: Books, plan: RebalancePlanned) -> None:
    query = "SELECT outcome IS NOT NULL FROM executor.plans WHERE plan_id = $1"
    await eventually(lambda: books.pool.fetchval(query, plan.plan_id), 20)


async def after_an_absent_phase(books: Books) -> tuple[RebalancePlanned, tuple[OrderRecord, ...]]:
    """A second plan for s1; the orders of its first are thought never to have come to the venue."""
    first = await begun(books, "s1")
    absent = [Evidence(order.client_order_id, state=OrderState.UNKNOWN) for order in first.orders]
    await books.orders.book(absent)
    await books.orders.book([Evidence(order.client_order_id, state=OrderState.ABSENT) for order in first.orders])
    first = await books.plans.load(first.plan.plan_id)
    assert await books.plans.close(first, Close(PlanOutcome.PARTIAL, "", None), NOW)
    known = {"plan_id": "second", "position_version": 2, "previous_plan_id": first.plan.plan_id}
    return books.plan("s1").model_copy(update=known), first.orders


@pytest.mark.parametrize("is_new", [True, False])
async def test_plan_when_a_late_fill_is_booked_while_it_waits_for_room_counts_it(books: Books, *, is_new: bool) -> None:
    """Also a new one, of which it is known what it was when it was taken."""
    floor = await floor_of(books)
    other = await accepted(books, books.plan("s0"))
    second, orders = await after_an_absent_phase(books)
    floor.runners.ensure(other.plan_id)
    await eventually(floor.sends)
    if is_new:
        assert await floor.runners.begin(second, META) == "accepted"
    else:
        floor.runners.ensure((await accepted(books, second)).plan_id)
    await eventually(floor.waits_for_room)
    late = next(order for order in orders if order.asset == "BTC")
    await books.orders.book([traded(late)])
    floor.venue.open.set()
    await closed(books, second)
    rows = await books.pool.fetch("SELECT client_order_id, plan_id FROM executor.orders")
    sent = floor.sent_of(second.plan_id, rows)
    bought = sum((each.quantity for each in sent if each.symbol == late.symbol and each.side is Side.BUY), D(0))
    assert bought < late.quantity / 10, f"{late.quantity} was bought already by the late fill, and {bought} again"
    assert not floor.stops


async def test_plan_when_an_order_comes_to_life_while_it_waits_for_room_settles_it_first(books: Books) -> None:
    floor = await floor_of(books)
    other, first = await accepted(books, books.plan("s0")), await begun(books, "s1")
    for state in (OrderState.UNKNOWN, OrderState.ABSENT):
        await books.orders.book([Evidence(order.client_order_id, state=state) for order in first.orders])
    floor.runners.ensure(other.plan_id)
    await eventually(floor.sends)
    floor.runners.ensure(first.plan.plan_id)
    await eventually(floor.waits_for_room)
    alive = first.orders[0]
    report = VenueReport(is_open=True, executed_quantity=D(0))
    told = VenueOrder(alive.client_order_id, "77", alive.symbol, report)
    await books.orders.book([Evidence(alive.client_order_id, order=told)])
    floor.venue.open.set()

    async def has_decided() -> bool:
        return bool(floor.venue.searched) or len(floor.venue.sent) > len(first.orders)

    await eventually(has_decided)
    rows = await books.pool.fetch("SELECT client_order_id, plan_id FROM executor.orders")
    again = floor.sent_of(first.plan.plan_id, rows)
    assert again == [], f"{alive.symbol} is open at the venue, and sent again: {[each.symbol for each in again]}"


async def test_plan_when_the_executor_ends_while_it_waits_for_room_sends_nothing(books: Books) -> None:
    floor = await floor_of(books)
    other, waiting = await accepted(books, books.plan("s0")), await accepted(books, books.plan("s1"))
    floor.runners.ensure(other.plan_id)
    await eventually(floor.sends)
    floor.runners.ensure(waiting.plan_id)
    await eventually(floor.waits_for_room)
    ending = asyncio.create_task(floor.runners.end(10))
    await asyncio.sleep(0)
    floor.venue.open.set()
    await ending
    rows = await books.pool.fetch("SELECT client_order_id, plan_id FROM executor.orders")
    assert floor.sent_of(waiting.plan_id, rows) == [], "a new phase was begun after end()"


async def test_close_when_intents_are_committed_meanwhile_looks_again(books: Books) -> None:
    """Another process has taken the account over and goes on with the plan, which this one finds to be over."""
    plan = await accepted(books, books.plan("s1"))
    record = await books.plans.load(plan.plan_id)
    intents = books.orders.intents(books.phase(plan), TODAY)
    async with books.pool.acquire() as connection, connection.transaction():
        assert (await commit_at_once(connection, books.lease, "paper", intents)).is_committed
        closing = asyncio.create_task(close(books, record))
        await eventually(lambda: books.pool.fetchval(WAITING), 20)
    is_closed = await closing
    unsettled = await books.pool.fetchval("SELECT count(*) FROM executor.orders WHERE state = 'intended'")
    assert unsettled == len(intents.step.orders)
    assert not is_closed, f"closed with {unsettled} intents committed"
    assert await books.pool.fetchval("SELECT outcome IS NULL FROM executor.plans")


async def test_plans_when_they_share_the_room_buy_before_the_next_one_sells(books: Books) -> None:
    """Else a plan is left with its money in cash until every other has sold, and may expire like that."""
    floor, names = await floor_of(books), [f"s{number}" for number in range(5)]
    floor.venue.open.set()
    lines = [each.model_dump() for each in DRIFTED]
    plans = [RebalancePlanned.model_validate({**books.plan(name).model_dump(), "lines": lines}) for name in names]
    for plan in plans:
        floor.runners.ensure((await accepted(books, plan)).plan_id)
    for plan in plans:
        await closed(books, plan)
    rows = await books.pool.fetch("SELECT client_order_id, strategy_id FROM executor.orders")
    of = {row["client_order_id"]: row["strategy_id"] for row in rows}
    tale = [(of[each.client_order_id], each.side.value) for each in floor.venue.sent]
    half_done, most = set[str](), 0
    for name, side in tale:
        half_done = half_done | {name} if side == "SELL" else half_done - {name}
        most = max(most, len(half_done))
    assert most == 1, f"{most} plans had sold and not bought, with room for one: {tale}"


async def test_plan_when_it_is_told_again_while_it_is_accepted_has_one_task(books: Books) -> None:
    """Both deliveries find it: the one that began it has its first phase in hand, the other must leave it alone."""
    floor, plan = await floor_of(books, room=2), books.plan("s1")
    accept, told_again = books.plans.accept, asyncio.Event()

    async def slowly(*arguments: Any) -> Answer:
        answer = await accept(*arguments)
        if answer.outcome == "begun":
            await told_again.wait()
        return answer

    books.plans.accept = slowly  # type: ignore[assignment,method-assign]
    first = asyncio.create_task(floor.runners.begin(plan, META))
    await eventually(lambda: books.pool.fetchval("SELECT count(*) FROM executor.plans"))
    assert await floor.runners.begin(plan, META) == "duplicate_open"
    told_again.set()
    assert await first == "begun"
    await eventually(floor.sends)
    states = {row["state"] for row in await books.pool.fetch("SELECT state FROM executor.orders")}
    assert states == {"intended"}, "somebody took the phase for that of a process that died"
    assert floor.venue.searched == []
    floor.venue.open.set()
    await closed(books, plan)
    rows = await books.pool.fetch("SELECT client_order_id FROM executor.orders")
    assert sorted(request.client_order_id for request in floor.venue.sent) == sorted(row[0] for row in rows)


STRATEGY_ROW = "SELECT FROM executor.strategies WHERE strategy_id = $1 FOR UPDATE"


async def is_waiting(books: Books) -> bool:
    return bool(await books.pool.fetchval(WAITING))


@pytest.mark.parametrize("is_whole", [True, False])
async def test_plan_when_its_purchases_have_traded_whole_lets_another_trade_while_they_are_booked(
    books: Books, *, is_whole: bool
) -> None:
    floor = await floor_of(books)
    first, second = await accepted(books, books.plan("s0")), await accepted(books, books.plan("s1"))
    floor.venue.share = D(1) if is_whole else D("0.5")
    floor.runners.ensure(first.plan_id)
    await eventually(floor.sends)
    async with books.pool.acquire() as connection, connection.transaction():
        await connection.execute(STRATEGY_ROW, "s0")
        floor.venue.open.set()
        await eventually(lambda: is_waiting(books), 20)
        floor.runners.ensure(second.plan_id)
        if is_whole:
            await closed(books, second)
        else:
            await eventually(floor.waits_for_room)
        rows = await books.pool.fetch("SELECT client_order_id, plan_id, state FROM executor.orders")
        assert {row["state"] for row in rows if row["plan_id"] == first.plan_id} == {"intended"}
        assert bool(floor.sent_of(second.plan_id, rows)) == is_whole
    floor.venue.share = D(1)
    for plan in (first, second):
        await closed(books, plan)


async def test_plan_when_more_is_to_do_after_it_left_its_place_waits_for_one_and_looks_again(books: Books) -> None:
    floor = await floor_of(books)
    other = await accepted(books, books.plan("s0"))
    second, orders = await after_an_absent_phase(books)
    floor.runners.ensure((await accepted(books, second)).plan_id)
    await eventually(floor.sends)
    late = next(order for order in orders if order.asset == "BTC")
    close, is_booked = books.plans.close, asyncio.Event()

    async def close_after_the_booking(*arguments: Any) -> bool:
        await is_booked.wait()
        return await close(*arguments)

    books.plans.close = close_after_the_booking  # type: ignore[method-assign]
    async with books.pool.acquire() as connection, connection.transaction():
        await connection.execute(STRATEGY_ROW, "s1")
        floor.venue.open.set()
        await eventually(lambda: is_waiting(books), 20)
        floor.venue.open.clear()
        sent = len(floor.venue.sent)
        floor.runners.ensure(other.plan_id)

        async def other_sends() -> bool:
            return len(floor.venue.sent) > sent

        await eventually(other_sends)
        booking = asyncio.create_task(books.orders.book([traded(late)]))
    await booking
    is_booked.set()
    await eventually(floor.waits_for_room)
    rows = await books.pool.fetch("SELECT client_order_id, plan_id FROM executor.orders WHERE round > 1")
    assert floor.sent_of(second.plan_id, rows) == []
    floor.venue.open.set()
    for plan in (other, second):
        await closed(books, plan)
    rows = await books.pool.fetch("SELECT client_order_id, plan_id FROM executor.orders WHERE round > 1")
    again = floor.sent_of(second.plan_id, rows)
    assert [(request.symbol, request.side) for request in again][:1] == [(late.symbol, Side.SELL)]
    assert not floor.stops


@pytest.mark.parametrize("told", ["accepted", "duplicate_open"])
async def test_plan_when_its_beginning_fails_after_it_was_told_again_is_worked_on(books: Books, told: str) -> None:
    """The second delivery was acknowledged, so nobody tells of the plan any more."""
    floor, plan = await floor_of(books, room=2), books.plan("s1")
    accept, told_again = books.plans.accept, asyncio.Event()

    async def failing(*arguments: Any) -> Answer:
        if len(arguments) < 4:
            return await accept(*arguments)
        if told == "duplicate_open":
            assert (await accept(*arguments)).outcome == "begun"
        await told_again.wait()
        raise ConnectionError("gone")

    books.plans.accept = failing  # type: ignore[assignment,method-assign]
    first = asyncio.create_task(floor.runners.begin(plan, META))
    if told == "duplicate_open":
        await eventually(lambda: books.pool.fetchval("SELECT count(*) FROM executor.plans"))
    else:
        await asyncio.sleep(0)
    assert await floor.runners.begin(plan, META) == told
    told_again.set()
    with pytest.raises(ConnectionError):
        await first
    assert list(floor.runners._tasks) == [plan.plan_id]
    await floor.runners.end(0)

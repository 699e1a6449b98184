"""Rate limits at a venue that counts and bans: at ten times the load no ban, after a ban not a word until its end."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from services.order_executor.adapters.ccxt_venue import CcxtVenue
from shared.core.errors import RetryLater
from shared.core.matching import Side
from shared.venues.port import NotSent, OrderRefused, OrderRequest, Search
from tests.servers import EmbeddedNats
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, ExchangeProcess, Process, Stack, eventually, plan_for
from tests.services.order_executor.test_plans import THREE, check_books, ready


@pytest.fixture
def exchange_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    """An exchange of the test's own: its limits are changed."""
    made = ExchangeProcess(tmp_path_factory.mktemp("exchange"))
    yield made
    made.process.end()


@pytest_asyncio.fixture
async def way(exchange: Exchange) -> AsyncIterator[FaultyWay]:
    """A way to the exchange."""
    made = FaultyWay(exchange.url)
    await made.start()
    yield made
    await made.stop()


async def counts(exchange: Exchange) -> dict[str, Any]:
    found: dict[str, Any] = (await exchange.call("GET", "/control/rates"))["counts"]
    return found


async def counts_at_rest(exchange: Exchange) -> dict[str, Any]:
    """The counts once what a process had sent before its end has arrived."""
    before, found = {"requests": -1}, await counts(exchange)
    while found["requests"] != before["requests"]:
        await asyncio.sleep(0.3)
        before, found = found, await counts(exchange)
    return found


def order(number: int) -> OrderRequest:
    return OrderRequest(f"rate{number}", "BTCUSDT", Side.BUY, Decimal("0.001"), Decimal(10))


async def says(process: Process, words: str) -> bool:
    return words in process.log.read_text()


async def hammer(venue: CcxtVenue, numbers: Iterator[int], until: float) -> int:
    """Orders and reads as fast as they come; how many went through."""
    done = 0
    while time.monotonic() < until:
        try:
            await venue.place_order(order(next(numbers)), lambda: None)
            done += 1
        except OrderRefused:
            done += 1
        except NotSent:
            await asyncio.sleep(0.002)
        try:
            await venue.fetch_balances()
            done += 1
        except RetryLater:
            await asyncio.sleep(0.002)
    return done


async def test_venue_when_asked_for_ten_times_its_limits_never_refuses_or_bans(exchange: Exchange) -> None:
    await exchange.deposit("first", "USDT", "10000")
    await exchange.call("POST", "/control/rates", {"weight_per_minute": 400, "orders_per_10s": 20})
    venue = exchange.venue()
    try:
        await venue.fetch_instruments()
        numbers = iter(range(1_000_000))
        until = time.monotonic() + 3
        done = sum(await asyncio.gather(*(hammer(venue, numbers, until) for _ in range(10))))
        assert done > 10
        assert next(numbers) > 200, "ten times the limit was never wanted"
        found = await counts(exchange)
        assert (found["refused"], found["bans"]) == (0, 0)
        # What is at the venue can still be found out about.
        search = Search("rate0", "", "BTCUSDT", datetime.now(UTC) - timedelta(days=10_000))
        await venue.find_order(search)
        assert (await counts(exchange))["refused"] == 0
    finally:
        await venue.close()


async def test_venue_when_it_bans_is_left_alone_until_the_stated_end(exchange: Exchange) -> None:
    venue = exchange.venue()
    try:
        await venue.fetch_instruments()
        banned = await exchange.call("POST", "/control/rates/ban", {"seconds": 3})
        end_ms = banned["banned_until_ms"]
        with pytest.raises(RetryLater) as told:
            await venue.fetch_balances()
        assert 1 < told.value.after_s <= 3.1
        before = await counts(exchange)
        assert before["while_banned"] == 1
        until = await asyncio.wait_for(venue.silenced(), 1)
        assert until.timestamp() * 1000 >= end_ms
        while time.time() * 1000 < end_ms - 100:
            with pytest.raises(NotSent):
                await venue.place_order(order(1), lambda: None)
            with pytest.raises(RetryLater):
                await venue.fetch_balances()
            with pytest.raises(RetryLater):
                venue.news()
            await asyncio.sleep(0.01)
        assert await counts(exchange) == before, "a request reached the venue during the ban"

        async def answers() -> bool:
            with suppress(RetryLater):
                await venue.fetch_balances()
                return True
            return False

        await eventually(answers)
        assert (await counts(exchange))["while_banned"] == 1
    finally:
        await venue.close()


async def test_executor_when_banned_and_restarted_asks_nothing_until_the_end_and_then_trades(
    provisioned_nats: EmbeddedNats, postgres_dsn: str, exchange: Exchange, way: FaultyWay
) -> None:
    stack = Stack(provisioned_nats.url, postgres_dsn, exchange, way)
    await stack.open()
    try:
        await exchange.deposit("first", "USDT", "10000")
        process = stack.process()
        await eventually(lambda: stack.rows("SELECT FROM executor.accounts WHERE opened_at IS NOT NULL"))
        other = stack.process("2")  # stands by already: the ban shall not end while it is being loaded
        await eventually(lambda: says(other, "standing by"))
        stack.prices.paused = True  # the rig asks the exchange, too
        await asyncio.sleep(0.5)
        banned = await exchange.call("POST", "/control/rates/ban", {"seconds": 8})
        recorded = "SELECT FROM executor.accounts WHERE silent_until >= $1"
        end = datetime.fromtimestamp(banned["banned_until_ms"] / 1000, UTC)
        await eventually(lambda: stack.rows(recorded, end))
        process.end()
        before = await counts_at_rest(exchange)
        assert before["while_banned"] >= 1
        epoch = "SELECT FROM executor.accounts WHERE epoch = 2"
        await eventually(lambda: stack.rows(epoch))
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds() - 0.1)  # the ban is a time
        assert (await counts(exchange))["requests"] == before["requests"], "asked during the ban"
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds() + 0.1)
        stack.prices.paused = False
        plan = await plan_for(exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
        await stack.send_plan(plan)
        assert (await stack.closed(plan))["outcome"] == "completed"
        await check_books(stack)
    finally:
        await stack.close()


async def test_plan_when_the_order_limit_is_reached_waits_and_is_carried_out(stack: Stack) -> None:
    await stack.exchange.call("POST", "/control/rates", {"orders_per_10s": 3})
    await ready(stack)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "completed"
    assert (await counts(stack.exchange))["refused"] == 0
    withheld = await stack.rows("SELECT detail FROM executor.orders WHERE state = 'withheld'")
    assert all("nothing may be asked" in row["detail"] for row in withheld)
    await check_books(stack)

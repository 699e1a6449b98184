"""The adapter against the real simulated exchange."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import pytest_asyncio

from services.order_executor.adapters.ccxt_venue import CcxtVenue
from shared.core.errors import RetryLater, Stop
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import ceil_to_step, floor_to_step
from shared.venues.port import (
    BalanceNews,
    NotSent,
    OrderNews,
    OrderRefused,
    OrderRequest,
    OutcomeUnknown,
    Search,
    UserNews,
)
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, eventually


@pytest_asyncio.fixture
async def venue(exchange: Exchange) -> AsyncIterator[CcxtVenue]:
    made = exchange.venue()
    await exchange.deposit("first", "USDT", "10000")
    yield made
    await made.close()


async def order_for(venue: CcxtVenue, exchange: Exchange, name: str, value: str = "100") -> OrderRequest:
    listed = {found.base: found for found in await venue.fetch_instruments()}["BTC"]
    ask = Decimal((await exchange.quotes())["BTC"][1])
    limit = ceil_to_step(ask * Decimal("1.005"), listed.tick_size)
    return OrderRequest(name, "BTCUSDT", Side.BUY, floor_to_step(Decimal(value) / ask, listed.lot_step), limit)


async def search_for(exchange: Exchange, name: str) -> Search:
    return Search(name, "", "BTCUSDT", await exchange.market_time() - timedelta(minutes=1))


def send() -> str | None:
    return None


async def test_instruments_when_read_are_exact(venue: CcxtVenue) -> None:
    listed = {found.base: found for found in await venue.fetch_instruments()}
    btc: Instrument = listed["BTC"]
    assert btc.symbol == "BTCUSDT"
    assert btc.quote == "USDT"
    assert btc.taker_fee == Decimal("0.001")
    assert btc.min_notional == 5
    assert str(btc.lot_step).lstrip("0.").startswith("1")


async def test_order_when_placed_comes_back_with_its_fills_and_is_found_again(
    venue: CcxtVenue, exchange: Exchange
) -> None:
    request = await order_for(venue, exchange, "ttfirst")
    order = await venue.place_order(request, send)
    assert order.report.executed_quantity == request.quantity
    assert not order.report.is_open
    assert sum((trade.quantity for trade in order.trades), Decimal(0)) == request.quantity
    assert all(trade.fee_asset == "BTC" and trade.fee > 0 for trade in order.trades)
    found = await venue.find_order(await search_for(exchange, "ttfirst"))
    assert found is not None
    assert {t.trade_id: t.quote_quantity for t in found.trades} == {t.trade_id: t.quote_quantity for t in order.trades}
    assert await venue.find_order(await search_for(exchange, "ttother")) is None
    spent = sum((trade.quote_quantity for trade in order.trades), Decimal(0))
    assert (await venue.fetch_balances()).total["USDT"] == 10_000 - spent


async def test_order_when_guard_refuses_is_never_sent(venue: CcxtVenue, exchange: Exchange) -> None:
    request = await order_for(venue, exchange, "ttguarded")
    with pytest.raises(NotSent, match="too late"):
        await venue.place_order(request, lambda: "too late")
    assert await exchange.orders() == []


async def test_order_when_too_large_is_refused_with_the_venues_code(venue: CcxtVenue, exchange: Exchange) -> None:
    with pytest.raises(OrderRefused) as refused:
        await venue.place_order(await order_for(venue, exchange, "ttlarge", "20000"), send)
    assert refused.value.code == "-2010"
    with pytest.raises(OrderRefused) as refused:
        await venue.place_order(await order_for(venue, exchange, "ttsmall", "2"), send)
    assert refused.value.code == "-1013"


@pytest.mark.parametrize("fault", ["lost_request", "5xx_before", "lost_reply", "5xx_after", "garbage", "reset"])
async def test_order_when_reply_is_ambiguous_is_unknown_and_sent_once(exchange: Exchange, fault: str) -> None:
    way = FaultyWay(exchange.url)
    await way.start()
    venue = exchange.venue(way.url, timeout_ms=300)
    try:
        await exchange.deposit("first", "USDT", "10000")
        request = await order_for(venue, exchange, "ttfault")
        way.faults = [fault]
        with pytest.raises(OutcomeUnknown):
            await venue.place_order(request, send)
        assert len(way.orders_seen) == 1
        found = await venue.find_order(await search_for(exchange, "ttfault"))
        assert (found is not None) == (fault not in {"lost_request", "5xx_before"})
    finally:
        await venue.close()
        await way.stop()


async def test_news_when_order_fills_and_money_arrives_tells_both(venue: CcxtVenue, exchange: Exchange) -> None:
    heard: list[UserNews] = []

    async def follow() -> None:
        async for news in venue.news():
            heard.append(news)

    task = asyncio.create_task(follow())
    request = await order_for(venue, exchange, "ttnews")
    number = 0

    async def subscribed() -> bool:
        nonlocal number
        number += 1
        await exchange.deposit(f"again{number}", "USDT", "1")
        return BalanceNews("USDT") in heard

    await eventually(subscribed)
    order = await venue.place_order(request, send)

    async def told() -> bool:
        trades = {t.trade_id for n in heard if isinstance(n, OrderNews) for t in n.order.trades}
        return trades == {trade.trade_id for trade in order.trades}

    await eventually(told)
    by_stream = {t.trade_id: t for n in heard if isinstance(n, OrderNews) for t in n.order.trades}
    assert by_stream == {trade.trade_id: trade for trade in order.trades}
    deposits = await venue.fetch_deposits()
    assert exchange.deposit_id("first") in {deposit.deposit_id for deposit in deposits}
    assert len(deposits) == number + 1
    task.cancel()


async def test_reads_when_venue_is_gone_ask_to_retry_and_wrong_key_stops(exchange: Exchange) -> None:
    gone = exchange.venue("http://127.0.0.1:1", timeout_ms=300)
    with pytest.raises(RetryLater):
        await gone.fetch_balances()
    await gone.close()
    exchange.ws_api_url = "ws://127.0.0.1:1/ws-api/v3"
    stranger = exchange.venue()
    with pytest.raises(RetryLater):
        await anext(aiter(stranger.news()))
    stranger._exchange.apiKey = "someone else's"
    with pytest.raises(Stop):
        await stranger.fetch_balances()
    await stranger.close()


async def test_find_order_when_more_trades_are_there_than_one_reading_looks_at_does_not_call_it_absent(
    exchange: Exchange, venue: CcxtVenue
) -> None:
    """A venue that finds no order by its client id, and an account in which somebody else trades."""
    await exchange.call("POST", "/control/conditions", {"identity": "none"})
    try:
        ours = await order_for(venue, exchange, "ours", "10")
        await venue.place_order(ours, send)
        for number in range(25):
            await venue.place_order(replace(ours, client_order_id=f"other{number}"), send)
        search = await search_for(exchange, "ours")
        with pytest.raises(RetryLater, match="more trades than one reading"):
            await venue.find_order(search)
        found = await venue.find_order(search)
        assert found is not None
        assert found.client_order_id == "ours"
        assert await venue.find_order(await search_for(exchange, "neversent")) is None
    finally:
        await exchange.call("POST", "/control/conditions", {"identity": "binance"})

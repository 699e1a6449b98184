"""Websockets as ccxt.pro's unmodified `binance` uses them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ccxt.pro as ccxt
import pytest

from tests.services.simulated_exchange.running import Running, until

NEW_YEAR = 1_704_067_200_000
DAY = 86_400_000


@pytest.fixture
async def client(exchange: Running) -> AsyncIterator[Any]:
    await exchange.deposit("USDT", "10000")
    client = exchange.ccxt_pro()
    await client.load_markets()
    yield client
    await client.close()


async def test_tickers_when_rows_pass_are_watched_in_market_time(exchange: Running, client: Any) -> None:
    ticker = await client.watch_ticker("BTC/USDT")
    assert (ticker["last"], ticker["timestamp"]) == (10000, NEW_YEAR)
    books = await client.watch_bids_asks(["BTC/USDT", "ONE/USDT"])
    assert set(books) <= {"BTC/USDT", "ONE/USDT"}
    next_ticker = asyncio.ensure_future(client.watch_ticker("BTC/USDT"))
    while not next_ticker.done() or next_ticker.result()["last"] != 10100:
        if next_ticker.done():
            next_ticker = asyncio.ensure_future(client.watch_ticker("BTC/USDT"))
        if (await exchange.control("market"))["row"] == 0:
            await exchange.advance()
        await asyncio.wait([next_ticker], timeout=0.1)
    assert next_ticker.result()["timestamp"] == NEW_YEAR + DAY


async def test_candles_and_trades_when_rows_pass_are_watched(exchange: Running, client: Any) -> None:
    candles = await client.watch_ohlcv("BTC/USDT", "1d")
    assert candles[-1][:5] == [NEW_YEAR, 10000, 10000, 10000, 10000]
    trades = asyncio.ensure_future(client.watch_trades("BTC/USDT"))
    while not trades.done():
        await exchange.advance()
        await asyncio.wait([trades], timeout=0.2)
    assert trades.result()[-1]["price"] in {10100, 9000, 11000}


async def test_order_book_when_rows_pass_follows_the_venue(exchange: Running, client: Any) -> None:
    for _ in range(3):
        book = asyncio.ensure_future(client.watch_order_book("BTC/USDT"))
        while not book.done():
            await exchange.advance()
            await asyncio.wait([book], timeout=0.2)
        price = (await client.fetch_ticker("BTC/USDT"))["ask"]
        if book.result()["asks"][0][0] == price:
            break
    watched, fetched = book.result(), await client.fetch_order_book("BTC/USDT")
    assert [list(level) for level in watched["asks"]] == fetched["asks"]
    assert [list(level) for level in watched["bids"]] == fetched["bids"]


async def test_orders_when_placed_over_websocket_are_reported_to_watchers(exchange: Running, client: Any) -> None:
    orders = asyncio.ensure_future(client.watch_orders())
    balances = asyncio.ensure_future(client.watch_balance())
    await waiting(client, "orders", "spot:balance")
    params = {"timeInForce": "IOC", "newClientOrderId": "ws-1"}
    order = await client.create_order_ws("BTC/USDT", "limit", "buy", 0.5, 10001, params)
    assert (order["status"], order["filled"]) == ("closed", 0.5)
    (watched,) = await asyncio.wait_for(orders, 5)
    while watched["status"] != "closed":
        watched = (await asyncio.wait_for(client.watch_orders(), 5))[-1]
    assert (watched["id"], watched["clientOrderId"], watched["filled"]) == (order["id"], "ws-1", 0.5)
    assert watched["timestamp"] == NEW_YEAR
    balance = await asyncio.wait_for(balances, 5)
    assert (balance["BTC"]["free"], balance["USDT"]["free"]) == (0.4995, 4999.5)
    assert (await client.fetch_order_ws(order["id"], "BTC/USDT"))["status"] == "closed"


async def test_order_when_cancelled_over_websocket_is_cancelled(exchange: Running, client: Any) -> None:
    order = await client.create_order_ws("BTC/USDT", "limit", "buy", 0.1, 9000)
    assert [one["id"] for one in await client.fetch_open_orders_ws("BTC/USDT")] == [order["id"]]
    assert (await client.cancel_order_ws(order["id"], "BTC/USDT"))["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order_ws(order["id"], "BTC/USDT")
    # ccxt parses this reply for futures accounts only; what matters is that it came.
    assert (await client.fetch_balance_ws())["info"]["balances"][0]["free"] == "10000.00000000"


async def test_balance_when_deposited_is_pushed(exchange: Running, client: Any) -> None:
    balances = asyncio.ensure_future(client.watch_balance())
    await waiting(client, "spot:balance")
    await exchange.deposit("BTC", "1.5")
    balance = await asyncio.wait_for(balances, 5)
    while "BTC" not in balance or balance["BTC"]["free"] != 1.5:
        balance = await asyncio.wait_for(client.watch_balance(), 5)


async def waiting(client: Any, *hashes: str) -> None:
    """Until ccxt has subscribed to user data and waits for these messages."""

    def all_wait() -> bool:
        socket = client.clients.get(client.urls["api"]["ws"]["ws-api"]["spot"])
        return socket is not None and set(hashes) <= set(socket.futures)

    await until(all_wait)

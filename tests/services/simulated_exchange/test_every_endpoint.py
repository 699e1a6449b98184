"""Every call of Binance's dialect, made by ccxt and ccxt.pro as they are; the venue's own log proves it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from services.simulated_exchange.binance.routes import ENDPOINTS
from tests.services.simulated_exchange.running import Running

PAIR = "BTC/USDT"
EVERYTHING = {"kind": "late_reply", "delay_ms": 0}


@pytest.fixture
async def funded(exchange: Running) -> Running:
    await exchange.deposit("USDT", "100000")
    await exchange.deposit("BTC", "2")
    await exchange.control("withdrawals", {"id": "w-1", "asset": "BTC", "amount": "0.5"})
    await exchange.control("faults", EVERYTHING)
    return exchange


@pytest.fixture
async def client(funded: Running) -> AsyncIterator[Any]:
    client = funded.ccxt()
    yield client
    await client.close()


@pytest.fixture
async def pro(funded: Running) -> AsyncIterator[Any]:
    client = funded.ccxt_pro()
    yield client
    await client.close()


async def asked(exchange: Running) -> set[tuple[str, str]]:
    log: Any = await exchange.control("faults/log")
    return {(entry["method"], entry["path"]) for entry in log}


async def test_rest_when_ccxt_makes_every_call_answers_each(funded: Running, client: Any) -> None:
    await client.load_markets()
    await _public_calls(client)
    await _orders(client)
    await _account_calls(client)
    missing = {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS} - await asked(funded)
    assert missing == set()


async def _public_calls(client: Any) -> None:
    await client.public_get_ping()
    assert await client.fetch_time()
    assert (await client.fetch_status())["status"] == "ok"
    assert (await client.fetch_ticker(PAIR))["last"] == 10_000
    assert PAIR in await client.fetch_tickers()
    assert PAIR in await client.fetch_bids_asks([PAIR])
    assert (await client.fetch_last_prices([PAIR]))[PAIR]["price"] == 10_000
    assert (await client.fetch_order_book(PAIR, 5))["bids"]
    assert await client.fetch_trades(PAIR)
    for method in ("publicGetTrades", "publicGetHistoricalTrades"):
        assert await client.fetch_trades(PAIR, None, None, {"fetchTradesMethod": method})
    assert await client.fetch_ohlcv(PAIR, "1d")
    named = {"symbol": "BTCUSDT"}
    assert await client.public_get_uiklines(named | {"interval": "1d"})
    assert (await client.public_get_avgprice(named))["price"] == "10000.00000000"
    assert (await client.public_get_ticker_tradingday(named))["lastPrice"] == "10000.00000000"
    assert (await client.public_get_ticker(named | {"windowSize": "1d"}))["lastPrice"] == "10000.00000000"


async def _orders(client: Any) -> None:
    assert await client.create_order(PAIR, "limit", "buy", 0.1, 9500, {"test": True})
    resting = await client.create_order(PAIR, "limit", "buy", 0.1, 9500, {"clientOrderId": "c-1"})
    assert (await client.fetch_order(None, PAIR, {"clientOrderId": "c-1"}))["id"] == resting["id"]
    moved = await client.edit_order(resting["id"], PAIR, "limit", "buy", 0.1, 9600)
    assert (moved["status"], moved["price"]) == ("open", 9600)
    assert [one["id"] for one in await client.fetch_open_orders(PAIR)] == [moved["id"]]
    assert (await client.cancel_order(moved["id"], PAIR))["status"] == "canceled"
    await client.create_order(PAIR, "limit", "sell", 0.1, 10_500)
    assert len(await client.cancel_all_orders(PAIR)) == 1
    bought = await client.create_market_buy_order_with_cost(PAIR, 100)
    assert bought["status"] == "closed"
    assert len(await client.fetch_orders(PAIR)) == 4
    assert [one["order"] for one in await client.fetch_order_trades(bought["id"], PAIR)] == [bought["id"]]
    assert [one["id"] for one in await client.fetch_closed_orders(PAIR)] == [bought["id"]]
    assert len(await client.fetch_my_trades(PAIR)) == 1


async def _account_calls(client: Any) -> None:
    assert (await client.fetch_balance())["BTC"]["total"] > 1.5
    assert {one["currency"] for one in await client.fetch_deposits()} == {"USDT", "BTC"}
    assert [one["amount"] for one in await client.fetch_withdrawals()] == [0.5]
    assert (await client.fetch_deposit_address("BTC"))["address"] == "paper"
    assert (await client.fetch_trading_fees())[PAIR]["taker"] == 0.001
    assert (await client.private_get_account_commission({"symbol": "BTCUSDT"}))["standardCommission"]
    assert (await client.sapi_get_account_apirestrictions())["enableWithdrawals"] is False
    assert (await client.sapi_get_account_status())["data"] == "Normal"
    assert [one["limit"] for one in await client.private_get_ratelimit_order()] == [100_000, 200_000_000]
    assert (await client.sapi_get_account_apitradingstatus())["data"]["isLocked"] is False
    key = (await client.public_post_userdatastream())["listenKey"]
    await client.public_put_userdatastream({"listenKey": key})
    await client.public_delete_userdatastream({"listenKey": key})


async def test_websocket_api_when_ccxt_pro_makes_its_calls_answers_each(funded: Running, pro: Any) -> None:
    await pro.load_markets()
    await funded.control("faults", EVERYTHING)
    before = await asked(funded)
    assert await pro.fetch_trades_ws(PAIR)
    assert await pro.fetch_ohlcv_ws(PAIR, "1d")
    # ccxt parses this reply for futures accounts only; what matters is that it came.
    assert (await pro.fetch_balance_ws())["info"]["balances"][0]["asset"] == "USDT"
    placed = await pro.create_order_ws(PAIR, "limit", "buy", 0.1, 9500)
    moved = await pro.edit_order_ws(placed["id"], PAIR, "limit", "buy", 0.1, 9600)
    assert (await pro.fetch_order_ws(moved["id"], PAIR))["price"] == 9600
    assert [one["id"] for one in await pro.fetch_open_orders_ws(PAIR)] == [moved["id"]]
    assert (await pro.cancel_order_ws(moved["id"], PAIR))["status"] == "canceled"
    await pro.create_order_ws(PAIR, "limit", "buy", 0.1, 9500)
    await pro.cancel_all_orders_ws(PAIR)
    await pro.create_order_ws(PAIR, "limit", "buy", 0.1, 10_400)
    assert len(await pro.fetch_orders_ws(PAIR)) == 4
    assert [one["status"] for one in await pro.fetch_closed_orders_ws(PAIR)] == ["closed"]
    assert len(await pro.fetch_my_trades_ws(PAIR)) == 1
    new = await asked(funded) - before
    assert ("POST", "/api/v3/order/cancelReplace") in new
    assert ("DELETE", "/api/v3/openOrders") in new


Watch = Callable[[Any], Awaitable[Any]]
WATCHES: dict[str, Watch] = {
    "ticker": lambda pro: pro.watch_ticker(PAIR),
    "tickers": lambda pro: pro.watch_tickers([PAIR]),
    "bids and asks": lambda pro: pro.watch_bids_asks([PAIR]),
    "trades": lambda pro: pro.watch_trades(PAIR),
    "aggregate trades": lambda pro: pro.watch_trades(PAIR, None, None, {"name": "aggTrade"}),
    "candles": lambda pro: pro.watch_ohlcv(PAIR, "1d"),
    "book": lambda pro: pro.watch_order_book(PAIR),
    "book's best levels": lambda pro: pro.watch_order_book(PAIR, 10),
    "candles of several": lambda pro: pro.watch_ohlcv_for_symbols([[PAIR, "1d"]]),
    "trades of several": lambda pro: pro.watch_trades_for_symbols([PAIR]),
    "books of several": lambda pro: pro.watch_order_book_for_symbols([PAIR]),
}


@pytest.mark.parametrize("name", list(WATCHES))
async def test_stream_when_ccxt_pro_watches_it_comes(funded: Running, pro: Any, name: str) -> None:
    await pro.load_markets()
    watching = asyncio.ensure_future(WATCHES[name](pro))
    while not watching.done():
        await funded.advance()
        await asyncio.wait([watching], timeout=0.1)
        if (await funded.control("market"))["ended"]:
            break
    assert await asyncio.wait_for(watching, 10)


async def test_user_streams_when_ccxt_pro_watches_them_tell_orders_trades_and_balances(
    funded: Running, pro: Any
) -> None:
    await pro.load_markets()
    waiting = [asyncio.ensure_future(watch) for watch in (pro.watch_orders(PAIR), pro.watch_my_trades(PAIR))]
    balance = asyncio.ensure_future(pro.watch_balance())
    number = 0
    while not all(one.done() for one in (*waiting, balance)):
        number += 1
        await pro.create_order(PAIR, "market", "buy", 0.001)
        await asyncio.wait([*waiting, balance], timeout=0.1)
        assert number < 100
    assert waiting[0].result()[0]["symbol"] == PAIR
    assert waiting[1].result()[0]["amount"] == 0.001
    assert balance.result()["BTC"]["free"] > 1.5

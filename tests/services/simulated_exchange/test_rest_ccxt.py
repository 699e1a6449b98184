"""REST as ccxt's unmodified `binance` uses it."""

from collections.abc import AsyncIterator
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tests.services.simulated_exchange.running import Running

NEW_YEAR = 1_704_067_200_000
DAY = 86_400_000


@pytest.fixture
async def client(exchange: Running) -> AsyncIterator[Any]:
    await exchange.deposit("USDT", "10000")
    client = exchange.ccxt()
    yield client
    await client.close()


async def test_markets_when_loaded_have_filters_and_grow_with_listings(exchange: Running, client: Any) -> None:
    markets = await client.load_markets()
    assert sorted(markets) == ["BTC/USDT", "ONE/USDT"]
    assert markets["BTC/USDT"]["precision"]["amount"] == 0.00001
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["BTC/USDT"]["limits"]["cost"]["min"] == 5
    assert markets["BTC/USDT"]["active"]
    assert {"BTC", "ONE", "USDT"} <= set(client.currencies)
    assert "ETH" not in client.currencies
    await exchange.advance(2)
    assert "ETH/USDT" in await client.load_markets(True)


async def test_load_markets_when_margins_are_asked_for_works(exchange: Running, client: Any) -> None:
    client.options["fetchMargins"] = True
    assert "BTC/USDT" in await client.load_markets()


async def test_account_when_fetched_shows_deposit_fees_and_history(exchange: Running, client: Any) -> None:
    balance = await client.fetch_balance()
    assert balance["USDT"] == {"free": 10000.0, "used": 0.0, "total": 10000.0}
    fees = await client.fetch_trading_fees()
    assert fees["BTC/USDT"]["taker"] == fees["BTC/USDT"]["maker"] == 0.001
    await exchange.advance()
    await exchange.deposit("BTC", "0.5", "d-2")
    newest_last = await client.fetch_deposits()
    assert [(one["txid"], one["currency"], one["amount"], one["status"]) for one in newest_last] == [
        ("deposit-USDT-10000", "USDT", 10000.0, "ok"),
        ("d-2", "BTC", 0.5, "ok"),
    ]
    assert [one["timestamp"] for one in newest_last] == [NEW_YEAR, NEW_YEAR + DAY]
    assert [one["txid"] for one in await client.fetch_deposits(since=NEW_YEAR + 1)] == ["d-2"]
    assert [one["txid"] for one in await client.fetch_deposits("USDT", limit=5)] == ["deposit-USDT-10000"]
    assert await client.fetch_withdrawals() == []
    assert (await client.fetch_status())["status"] == "ok"


async def test_limit_ioc_order_when_placed_is_found_by_client_id_with_its_trades(
    exchange: Running, client: Any
) -> None:
    params = {"timeInForce": "IOC", "newClientOrderId": "tt-1"}
    order = await client.create_order("BTC/USDT", "limit", "buy", 0.5, 10001, params)
    assert (order["status"], order["filled"], order["clientOrderId"]) == ("closed", 0.5, "tt-1")
    assert order["info"]["transactTime"] == NEW_YEAR
    found = await client.fetch_order(None, "BTC/USDT", {"origClientOrderId": "tt-1"})
    assert (found["id"], found["status"], found["cost"]) == (order["id"], "closed", 5000.5)
    (trade,) = await client.fetch_my_trades("BTC/USDT")
    assert (trade["order"], trade["amount"], trade["price"]) == (order["id"], 0.5, 10001)
    assert (trade["fee"], trade["takerOrMaker"]) == ({"currency": "BTC", "cost": 0.0005}, "taker")
    assert trade["id"] == order["trades"][0]["id"]
    balance = await client.fetch_balance()
    assert (balance["BTC"]["free"], balance["USDT"]["free"]) == (0.4995, 4999.5)


async def test_limit_ioc_order_when_deeper_than_its_limit_is_partly_filled(exchange: Running, client: Any) -> None:
    await exchange.deposit("USDT", "20000")
    order = await client.create_order("BTC/USDT", "limit", "buy", 2, 10001, {"timeInForce": "IOC"})
    assert (order["status"], order["filled"], order["remaining"]) == ("expired", 0.9999, 1.0001)


async def test_market_orders_when_by_quantity_and_by_cost_fill(exchange: Running, client: Any) -> None:
    bought = await client.create_order("BTC/USDT", "market", "buy", None, None, {"cost": 1000})
    assert bought["status"] == "closed"
    assert 999.5 < bought["cost"] <= 1000
    sold = await client.create_order("BTC/USDT", "market", "sell", 0.05)
    assert (sold["status"], sold["filled"]) == ("closed", 0.05)
    assert sold["trades"][0]["fee"]["currency"] == "USDT"


async def test_open_orders_when_placed_are_listed_and_cancelled(exchange: Running, client: Any) -> None:
    first = await client.create_order("BTC/USDT", "limit", "buy", 0.1, 9500, {"newClientOrderId": "a"})
    second = await client.create_order("BTC/USDT", "limit", "buy", 0.2, 9400)
    third = await client.create_order("ONE/USDT", "limit", "buy", 1000, 0.019, {"postOnly": True})
    assert third["type"] == "limit"
    assert [one["id"] for one in await client.fetch_open_orders("BTC/USDT")] == [first["id"], second["id"]]
    client.options["warnOnFetchOpenOrdersWithoutSymbol"] = False
    assert len(await client.fetch_open_orders()) == 3
    assert (await client.fetch_balance())["USDT"]["used"] == 950 + 1880 + 19
    cancelled = await client.cancel_order(None, "BTC/USDT", {"origClientOrderId": "a"})
    assert (cancelled["id"], cancelled["status"]) == (first["id"], "canceled")
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order(first["id"], "BTC/USDT")
    assert len(await client.cancel_all_orders("BTC/USDT")) == 1
    states = [(one["id"], one["status"]) for one in await client.fetch_orders("BTC/USDT")]
    assert states == [(first["id"], "canceled"), (second["id"], "canceled")]


async def test_resting_order_when_the_market_comes_is_filled_as_maker(exchange: Running, client: Any) -> None:
    order = await client.create_order("BTC/USDT", "limit", "buy", 0.1, 9500)
    await exchange.advance(2)
    found = await client.fetch_order(order["id"], "BTC/USDT")
    assert (found["status"], found["average"], found["lastUpdateTimestamp"]) == ("closed", 9500, NEW_YEAR + 2 * DAY)
    (trade,) = await client.fetch_my_trades("BTC/USDT")
    assert (trade["takerOrMaker"], trade["timestamp"]) == ("maker", NEW_YEAR + 2 * DAY)


async def test_my_trades_when_asked_by_id_order_and_time_are_the_right_ones(exchange: Running, client: Any) -> None:
    orders = []
    for _ in range(3):
        orders.append(await client.create_order("BTC/USDT", "market", "buy", 0.01))
        await exchange.advance()
    every = await client.fetch_my_trades("BTC/USDT")
    assert [trade["order"] for trade in every] == [order["id"] for order in orders]
    from_second = await client.fetch_my_trades("BTC/USDT", params={"fromId": every[1]["id"]})
    assert [trade["id"] for trade in from_second] == [trade["id"] for trade in every[1:]]
    of_second = await client.fetch_my_trades("BTC/USDT", params={"orderId": orders[1]["id"]})
    assert [trade["id"] for trade in of_second] == [every[1]["id"]]
    since = await client.fetch_my_trades("BTC/USDT", since=NEW_YEAR + DAY, limit=1)
    assert [trade["id"] for trade in since] == [every[1]["id"]]
    latest = await client.fetch_my_trades("BTC/USDT", limit=2)
    assert [trade["id"] for trade in latest] == [trade["id"] for trade in every[1:]]


async def test_market_data_when_fetched_carries_market_time(exchange: Running, client: Any) -> None:
    await exchange.advance(3)
    ticker = await client.fetch_ticker("BTC/USDT")
    assert (ticker["last"], ticker["bid"], ticker["ask"]) == (11000, 10998.9, 11001.1)
    assert (ticker["open"], ticker["high"], ticker["low"]) == (9000, 11000, 9000)
    assert ticker["timestamp"] == NEW_YEAR + 3 * DAY
    tickers = await client.fetch_tickers()
    assert sorted(tickers) == ["BTC/USDT", "ETH/USDT", "ONE/USDT"]
    assert tickers["ONE/USDT"]["timestamp"] == NEW_YEAR + 2 * DAY
    assert sorted(await client.fetch_tickers(["BTC/USDT", "ETH/USDT"])) == ["BTC/USDT", "ETH/USDT"]
    books = await client.fetch_bids_asks(["BTC/USDT"])
    assert books["BTC/USDT"]["bid"] == 10998.9
    assert sorted(await client.fetch_last_prices()) == ["BTC/USDT", "ETH/USDT", "ONE/USDT"]
    book = await client.fetch_order_book("BTC/USDT", 3)
    assert [price for price, _ in book["asks"]] == [11001.1, 11002.2, 11003.3]
    trades = await client.fetch_trades("BTC/USDT")
    assert trades[-1]["timestamp"] == NEW_YEAR + 3 * DAY
    assert await client.fetch_time() > 1_700_000_000_000 + DAY


async def test_candles_when_fetched_join_and_stop_at_the_market_time(exchange: Running, client: Any) -> None:
    await exchange.advance(3)
    candles = await client.fetch_ohlcv("BTC/USDT", "1d")
    assert [candle[:5] for candle in candles] == [
        [NEW_YEAR, 10000, 10000, 10000, 10000],
        [NEW_YEAR + DAY, 10000, 10100, 10000, 10100],
        [NEW_YEAR + 2 * DAY, 10100, 10100, 9000, 9000],
        [NEW_YEAR + 3 * DAY, 9000, 11000, 9000, 11000],
    ]
    since = await client.fetch_ohlcv("BTC/USDT", "1d", since=NEW_YEAR + DAY, limit=2)
    assert [candle[0] for candle in since] == [NEW_YEAR + DAY, NEW_YEAR + 2 * DAY]
    (week, *_) = await client.fetch_ohlcv("BTC/USDT", "1w")
    assert week[:5] == [NEW_YEAR, 10000, 11000, 9000, 11000]
    (month,) = await client.fetch_ohlcv("BTC/USDT", "1M")
    assert month[:5] == [NEW_YEAR, 10000, 11000, 9000, 11000]
    assert [candle[4] for candle in await client.fetch_ohlcv("ETH/USDT", "1h")] == [2000, 2100]


@pytest.mark.parametrize(
    ("symbol", "arguments", "error"),
    [
        ("BTC/USDT", ("limit", "buy", 2, 9500), ccxt.InsufficientFunds),
        ("BTC/USDT", ("limit", "buy", 0.0001, 9500), ccxt.BadRequest),
        ("BTC/USDT", ("limit", "buy", 0.1, 15000), ccxt.InvalidOrder),
        ("BTC/USDT", ("limit", "buy", 0.1, 10100, {"postOnly": True}), ccxt.OrderImmediatelyFillable),
        ("BTC/USDT", ("limit", "buy", 0.01, 9500, {"newClientOrderId": "open"}), ccxt.InvalidOrder),
    ],
)
async def test_order_when_refused_is_the_error_that_ccxt_knows(
    exchange: Running, client: Any, symbol: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    await client.create_order("BTC/USDT", "limit", "buy", 0.01, 9000, {"newClientOrderId": "open"})
    with pytest.raises(error):
        await client.create_order(symbol, *arguments)
    assert len(await client.fetch_orders("BTC/USDT")) == 1


async def test_key_when_unknown_or_secret_wrong_is_an_authentication_error(exchange: Running) -> None:
    for key, secret in (("nobody", "x"), ("paper-key", "wrong")):
        client = exchange.ccxt(key, secret)
        try:
            with pytest.raises(ccxt.AuthenticationError):
                await client.fetch_balance()
        finally:
            await client.close()

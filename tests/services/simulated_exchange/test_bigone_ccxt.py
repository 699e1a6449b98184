"""BigONE's dialect driven by ccxt's ``bigone`` as it is: every spot call it has."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import pytest

from tests.services.simulated_exchange.running import KEY, SECRET, Running, serving

PAIR = "BTC/USDT"


@pytest.fixture
async def exchange(tmp_path: Path, prices_file: Path) -> AsyncIterator[Running]:
    fields = {
        "exchange_dialect": "bigone",
        "exchange_prices_file": str(prices_file),
        "exchange_depth_usdt": 10_000,
        "exchange_depth_levels": 5,
    }
    async with serving(tmp_path / "state", **fields) as running:
        await running.deposit("USDT", "100000")
        await running.deposit("BTC", "2")
        yield running


def pointed(exchange: Running, key: str = KEY, secret: str = SECRET) -> Any:
    client = ccxt.bigone({"apiKey": key, "secret": secret, "enableRateLimit": False})
    for name, address in client.urls["api"].items():
        client.urls["api"][name] = address.replace("https://{hostname}", exchange.http)
    return client


@pytest.fixture
async def client(exchange: Running) -> AsyncIterator[Any]:
    client = pointed(exchange)
    yield client
    await client.close()


async def test_markets_when_loaded_have_their_rules(client: Any) -> None:
    markets = await client.load_markets()
    assert {name for name, market in markets.items() if market["spot"]} == {PAIR, "BigONE Token/USDT"}
    market = markets[PAIR]
    assert (market["precision"], market["limits"]["cost"]["min"]) == (
        {"amount": 0.00001, "price": 0.01}
        | {name: market["precision"][name] for name in market["precision"] if name not in {"amount", "price"}},
        5.0,
    )
    assert {"BTC", "USDT"} <= client.currencies.keys()


async def test_public_calls_when_made_tell_the_market(exchange: Running, client: Any) -> None:
    await exchange.advance(2)
    assert abs(await client.fetch_time() - time.time() * 1000) < 60_000
    ticker = await client.fetch_ticker(PAIR)
    assert (ticker["last"], ticker["bid"] < 9000 < ticker["ask"]) == (9000.0, True)
    assert (await client.fetch_tickers([PAIR, "ETH/USDT"])).keys() == {PAIR, "ETH/USDT"}
    assert len(await client.fetch_tickers()) == 3
    book = await client.fetch_order_book(PAIR, 3)
    assert len(book["bids"]) == len(book["asks"]) == 3
    assert book["bids"][0][0] == ticker["bid"]
    trades = await client.fetch_trades(PAIR)
    assert [trade["price"] for trade in trades] == [10_000, 10_100, 9000]
    candles = await client.fetch_ohlcv(PAIR, "1d")
    assert [candle[4] for candle in candles] == [10_000, 10_100, 9000]
    since = client.parse8601("2024-01-02T00:00:00Z")
    assert [candle[4] for candle in await client.fetch_ohlcv(PAIR, "1d", since, 1)] == [10_100]
    for period in client.timeframes:
        assert await client.fetch_ohlcv(PAIR, period)


async def test_limit_orders_when_placed_rest_fill_and_cancel(exchange: Running, client: Any) -> None:
    resting = await client.create_order(PAIR, "limit", "buy", 0.1, 9500, {"clientOrderId": "c-1"})
    assert (resting["status"], resting["clientOrderId"]) == ("open", "c-1")
    at_once = await client.create_order(PAIR, "limit", "buy", 0.1, 10_400, {"timeInForce": "IOC"})
    assert (at_once["status"], at_once["filled"]) == ("open", 0)  # as it was taken
    filled = await client.fetch_order(at_once["id"])
    assert (filled["status"], filled["filled"], filled["timeInForce"]) == ("closed", 0.1, "IOC")
    assert [one["id"] for one in await client.fetch_open_orders(PAIR)] == [resting["id"]]
    assert [one["id"] for one in await client.fetch_closed_orders(PAIR)] == [at_once["id"]]
    assert {one["id"] for one in await client.fetch_orders(PAIR)} == {resting["id"], at_once["id"]}
    cancelled = await client.cancel_order(resting["id"])
    assert cancelled["status"] == "canceled"
    with pytest.raises(ccxt.InvalidOrder):
        await client.cancel_order(resting["id"])
    for price in (9400, 9300):
        await client.create_order(PAIR, "limit", "buy", 0.1, price)
    assert [one["status"] for one in await client.cancel_all_orders(PAIR)] == ["canceled"] * 2
    (trade,) = await client.fetch_my_trades(PAIR)
    assert (trade["order"], trade["amount"], trade["takerOrMaker"]) == (at_once["id"], 0.1, "taker")
    assert trade["fee"] == {"cost": 0.0001, "currency": "BTC"}


async def test_resting_order_when_it_fills_is_a_makers_trade(exchange: Running, client: Any) -> None:
    resting = await client.create_order(PAIR, "limit", "buy", 0.1, 9500, {"postOnly": True})
    await exchange.advance(2)
    order = await client.fetch_order(resting["id"])
    assert (order["status"], order["postOnly"], order["average"]) == ("closed", True, 9500)
    (trade,) = await client.fetch_my_trades(PAIR)
    assert (trade["takerOrMaker"], trade["order"]) == ("maker", resting["id"])


async def test_market_orders_when_placed_sell_base_and_buy_by_cost(client: Any) -> None:
    sold = await client.create_order(PAIR, "market", "sell", 0.5)
    bought = await client.create_market_buy_order_with_cost(PAIR, 1000)
    assert (await client.fetch_order(sold["id"]))["filled"] == 0.5
    cost = (await client.fetch_order(bought["id"]))["cost"]
    assert 999 < cost <= 1000
    balance = await client.fetch_balance()
    assert balance["BTC"]["free"] == pytest.approx(1.5 + 0.0999, abs=1e-3)


async def test_market_buy_when_set_to_base_brings_its_amount(tmp_path: Path, prices_file: Path) -> None:
    fields = {"exchange_dialect": "bigone", "exchange_market_buy_amount": "base"}
    async with serving(tmp_path / "base", exchange_prices_file=str(prices_file), **fields) as exchange:
        await exchange.deposit("USDT", "10000")
        client = pointed(exchange)
        try:
            params = {"createMarketBuyOrderRequiresPrice": False}
            order = await client.create_order(PAIR, "market", "buy", 0.25, None, params)
            (trade,) = await client.fetch_my_trades(PAIR)
            assert (trade["order"], trade["amount"]) == (order["id"], 0.25)
        finally:
            await client.close()


async def test_account_calls_when_made_tell_balances_and_movements(exchange: Running, client: Any) -> None:
    await exchange.control("withdrawals", {"id": "w-1", "asset": "BTC", "amount": "0.5"})
    await client.create_order(PAIR, "limit", "sell", 0.5, 11_000)
    balance = await client.fetch_balance()
    assert (balance["BTC"]["total"], balance["BTC"]["used"], balance["USDT"]["free"]) == (1.5, 0.5, 100_000)
    assert (await client.fetch_balance({"type": "fund"}))["BTC"]["total"] == 0
    came = {(one["id"], one["amount"], one["status"]) for one in await client.fetch_deposits()}
    assert came == {("1", 100_000, "ok"), ("2", 2, "ok")}
    assert [one["currency"] for one in await client.fetch_deposits("BTC")] == ["BTC"]
    (gone,) = await client.fetch_withdrawals()
    assert (gone["txid"], gone["amount"], gone["type"]) == ("w-1", 0.5, "withdrawal")
    assert (await client.fetch_deposit_address("BTC", {"network": "BTC"}))["address"] == "paper"
    for move in (client.withdraw("BTC", 1, "elsewhere"), client.transfer("BTC", 1, "spot", "fund")):
        with pytest.raises(ccxt.PermissionDenied):
            await move


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (("limit", "buy", 100, 10_000), ccxt.InsufficientFunds),
        (("limit", "buy", 0.0001, 10_000), ccxt.InvalidOrder),
        (("limit", "buy", 0.1, 90_000), ccxt.InvalidOrder),
    ],
)
async def test_order_when_refused_raises_what_ccxt_makes_of_the_code(client: Any, order: Any, error: Any) -> None:
    with pytest.raises(error):
        await client.create_order(PAIR, *order)
    assert await client.fetch_orders(PAIR) == []


async def test_client_id_when_used_again_within_a_day_is_refused(exchange: Running, client: Any) -> None:
    order = ("limit", "buy", 0.1, 9500, {"clientOrderId": "c-1"})
    placed = await client.create_order(PAIR, *order)
    await client.cancel_order(placed["id"])
    with pytest.raises(ccxt.ExchangeError, match="54041"):
        await client.create_order(PAIR, *order)
    await exchange.advance(1)
    await client.create_order(PAIR, *order)


async def test_key_or_secret_when_wrong_is_unauthorized(exchange: Running) -> None:
    for key, secret in ((KEY, "other"), ("other", SECRET)):
        client = pointed(exchange, key, secret)
        try:
            with pytest.raises(ccxt.AuthenticationError):
                await client.fetch_balance()
        finally:
            await client.close()
    async with aiohttp.ClientSession() as session:
        for header in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer e30.e30.e30"}):
            async with session.get(f"{exchange.http}/api/v3/viewer/accounts", headers=header) as response:
                assert (response.status, (await response.json())["code"]) == (401, 40004)


async def test_clock_when_skewed_past_the_window_refuses_tokens(exchange: Running, client: Any) -> None:
    await exchange.control("conditions", {"clock_skew_ms": 60_000})
    with pytest.raises(ccxt.AuthenticationError):
        await client.fetch_balance()


async def test_lists_when_long_come_in_pages(client: Any) -> None:
    for number in range(5):
        await client.create_order(PAIR, "limit", "buy", 0.01, 9500, {"clientOrderId": f"c-{number}"})
    request = {"asset_pair_name": "BTC-USDT", "limit": 2}
    seen: list[str] = []
    token = ""
    while True:
        page = await client.private_get_orders(request | ({"page_token": token} if token else {}))
        seen += [row["client_order_id"] for row in page["data"]]
        token = page["page_token"]
        if not token:
            break
    assert seen == [f"c-{number}" for number in (4, 3, 2, 1, 0)]
    await client.private_post_orders_cancel({"client_order_id": "c-3"})
    with pytest.raises(ccxt.ExchangeError, match="54043"):
        await client.private_post_orders_cancel({"client_order_id": "c-3"})
    pending = await client.private_get_orders({"asset_pair_name": "BTC-USDT", "state": "CANCELLED"})
    assert [row["client_order_id"] for row in pending["data"]] == ["c-3"]


async def test_fault_when_it_names_a_pair_and_side_hits_this_dialect_too(exchange: Running, client: Any) -> None:
    rule = {"kind": "contradiction", "symbol": "BTCUSDT", "side": "BUY", "code": 10014, "message": "Insufficient funds"}
    await exchange.control("faults", rule | {"path": "/api/v3/viewer/orders"})
    await client.create_order(PAIR, "limit", "sell", 0.1, 11_000)
    with pytest.raises(ccxt.InsufficientFunds):
        await client.create_order(PAIR, "limit", "buy", 0.1, 9500, {"clientOrderId": "c-1"})
    assert "c-1" in {order["clientOrderId"] for order in await client.fetch_open_orders(PAIR)}
    (entry,) = await exchange.control("faults/log")
    assert entry["client_order_id"] == "c-1"


async def test_requests_when_too_many_are_refused_with_the_venues_code(exchange: Running, client: Any) -> None:
    await exchange.control("rates/ban", {"seconds": 60})
    with pytest.raises(ccxt.RateLimitExceeded):
        await client.fetch_ticker(PAIR)


async def test_pair_when_halted_or_delisted_is_suspended_or_unknown(exchange: Running, client: Any) -> None:
    placed = await client.create_order(PAIR, "limit", "buy", 0.1, 9500)
    for condition, code in (("halted", "60100"), ("delisted", "10013")):
        await exchange.control("conditions", {condition: ["BTCUSDT"]})
        with pytest.raises(ccxt.BadSymbol, match=code):
            await client.create_order(PAIR, "limit", "buy", 0.1, 9500)
    assert (await client.fetch_order(placed["id"]))["status"] == "canceled"

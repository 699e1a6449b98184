"""What Binance refuses, with its codes; parameters in the query, in the body and in both."""

from typing import Any

import pytest

from tests.services.simulated_exchange.running import KEY, Running
from tests.services.simulated_exchange.signed import call, now_ms, signature, signed

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "9000"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}


def without(fields: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name not in names}


async def test_order_when_parameters_are_in_query_body_or_both_is_the_same(exchange: Running) -> None:
    await exchange.deposit("USDT", "10000")
    text = signed(MARKET)
    status, in_query = await call(exchange, "POST", "/api/v3/order", text)
    assert (status, in_query["status"]) == (200, "FILLED"), in_query
    status, in_body = await call(exchange, "POST", "/api/v3/order", body=signed(MARKET | {"newClientOrderId": "b"}))
    assert (status, in_body["clientOrderId"]) == (200, "b"), in_body
    query = "symbol=BTCUSDT&side=BUY&type=MARKET"
    body = f"quantity=0.1&timestamp={now_ms()}"
    mixed = f"{body}&signature={signature(query + body)}"
    status, answer = await call(exchange, "POST", "/api/v3/order", query, body=mixed)
    assert (status, answer["executedQty"]) == (200, "0.10000000"), answer


@pytest.mark.parametrize(
    ("key", "query", "status", "code"),
    [
        (None, lambda: signed({}), 401, -2014),
        ("", lambda: signed({}), 401, -2014),
        ("nobody", lambda: signed({}), 401, -2015),
        (KEY, lambda: signed({}, "wrong"), 400, -1022),
        (KEY, lambda: signed({}) + "&recvWindow=6000", 400, -1022),
        (KEY, lambda: f"timestamp={now_ms()}", 400, -1102),
        (KEY, lambda: f"signature={signature('')}", 400, -1102),
        (KEY, lambda: signed({"timestamp": now_ms() - 6_000}), 400, -1021),
        (KEY, lambda: signed({"timestamp": now_ms() - 6_000, "recvWindow": 10_000}), 200, None),
        (KEY, lambda: signed({"timestamp": now_ms() + 2_000}), 400, -1021),
        (KEY, lambda: signed({"timestamp": now_ms() + 500}), 200, None),
        (KEY, lambda: signed({"recvWindow": 60_001}), 400, -1131),
        (KEY, lambda: signed({"timestamp": "soon"}), 400, -1100),
        (KEY, lambda: signed({}) + "&x=%ff%ed%a0%80", 400, -1022),
        (KEY, lambda: signed({"x": "\u00e9\u2713"}), 200, None),
        (KEY, lambda: signed({"timestamp": "\u0661"}), 400, -1100),
    ],
)
async def test_signed_call_when_wrongly_made_is_refused(
    exchange: Running, key: str | None, query: Any, status: int, code: int | None
) -> None:
    answered, body = await call(exchange, "GET", "/api/v3/account", query(), key=key)
    assert (answered, body.get("code")) == (status, code)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (without(LIMIT, "symbol"), -1102, "'symbol'"),
        (LIMIT | {"symbol": "ETHUSDT"}, -1121, "Invalid symbol."),
        (LIMIT | {"symbol": "btc/usdt"}, -1100, "'symbol'"),
        (without(LIMIT, "side"), -1102, "'side'"),
        (LIMIT | {"side": "HOLD"}, -1117, "Invalid side."),
        (LIMIT | {"type": "ICEBERG"}, -1116, "Invalid orderType."),
        (without(LIMIT, "timeInForce"), -1102, "'timeInForce'"),
        (LIMIT | {"timeInForce": "GTD"}, -1115, "Invalid timeInForce."),
        (without(LIMIT, "price"), -1102, "'price'"),
        (without(LIMIT, "quantity"), -1102, "'quantity'"),
        (LIMIT | {"quantity": "-1"}, -1100, "'quantity'"),
        (LIMIT | {"quantity": "1e5"}, -1100, "'quantity'"),
        (LIMIT | {"quantity": "NaN"}, -1100, "'quantity'"),
        (LIMIT | {"quantity": "0"}, -1013, "Invalid quantity."),
        (LIMIT | {"quantity": "0.100000001"}, -1111, "precision"),
        (LIMIT | {"quantity": "0.100001"}, -1013, "Filter failure: LOT_SIZE"),
        (LIMIT | {"quantity": "0.0005"}, -1013, "Filter failure: NOTIONAL"),
        (LIMIT | {"quantity": "99999"}, -1013, "Filter failure: LOT_SIZE"),
        (LIMIT | {"price": "9000.001"}, -1013, "Filter failure: PRICE_FILTER"),
        (LIMIT | {"price": "1000"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        (LIMIT | {"quoteOrderQty": "100"}, -1106, "'quoteOrderQty'"),
        (LIMIT | {"stopPrice": "100"}, -1106, "'stopPrice'"),
        (LIMIT | {"newClientOrderId": "a" * 37}, -1100, "'newClientOrderId'"),
        (LIMIT | {"newClientOrderId": "a b"}, -1100, "'newClientOrderId'"),
        (LIMIT | {"newOrderRespType": "ALL"}, -1100, "newOrderRespType"),
        (MARKET | {"price": "1"}, -1106, "'price'"),
        (MARKET | {"quoteOrderQty": "10"}, -1106, "'quoteOrderQty'"),
        (without(MARKET, "quantity"), -1102, "'quantity'"),
        (MARKET | {"quantity": "2"}, -2010, "insufficient balance"),
        (MARKET | {"side": "SELL"}, -2010, "insufficient balance"),
        (LIMIT | {"type": "LIMIT_MAKER"}, -1106, "'timeInForce'"),
        (without(LIMIT, "timeInForce") | {"type": "LIMIT_MAKER", "price": "10001"}, -2010, "immediately match"),
        (LIMIT | {"newClientOrderId": "open"}, -2010, "Duplicate order sent."),
    ],
)
async def test_new_order_when_wrong_has_binances_code_and_does_nothing(
    exchange: Running, fields: dict[str, str], code: int, message: str
) -> None:
    await exchange.deposit("USDT", "10000")
    status, _ = await call(exchange, "POST", "/api/v3/order", signed(LIMIT | {"newClientOrderId": "open"}))
    assert status == 200
    for path in ("/api/v3/order", "/api/v3/order/test"):
        status, body = await call(exchange, "POST", path, signed(fields))
        if path.endswith("test") and "newOrderRespType" in fields:
            continue
        assert (status, body["code"]) == (400, code), body
        assert message in body["msg"]
    _, orders = await call(exchange, "GET", "/api/v3/allOrders", signed({"symbol": "BTCUSDT"}))
    assert len(orders) == 1


@pytest.mark.parametrize(
    ("method", "path", "fields", "code"),
    [
        ("GET", "/api/v3/order", {"symbol": "BTCUSDT", "orderId": "9"}, -2013),
        ("GET", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": "x"}, -2013),
        ("GET", "/api/v3/order", {"symbol": "BTCUSDT"}, -1102),
        ("DELETE", "/api/v3/order", {"symbol": "BTCUSDT", "orderId": "9"}, -2011),
        ("DELETE", "/api/v3/order", {"symbol": "BTCUSDT", "origClientOrderId": "x"}, -2011),
        ("DELETE", "/api/v3/openOrders", {"symbol": "BTCUSDT"}, -2011),
        ("GET", "/api/v3/myTrades", {}, -1102),
        ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT", "fromId": "x"}, -1100),
        ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("PUT", "/api/v3/userDataStream", {"listenKey": "x"}, -1125),
    ],
)
async def test_query_when_wrong_has_binances_code(
    exchange: Running, method: str, path: str, fields: dict[str, str], code: int
) -> None:
    status, body = await call(exchange, method, path, signed(fields))
    assert (status, body["code"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/api/v3/depth", "", -1102),
        ("/api/v3/depth", "symbol=NOPE", -1121),
        ("/api/v3/klines", "symbol=BTCUSDT", -1102),
        ("/api/v3/klines", "symbol=BTCUSDT&interval=7m", -1120),
        ("/api/v3/ticker/price", "symbols=%5B%5D", -1100),
        ("/api/v3/ticker/price", "symbols=BTCUSDT", -1100),
        ("/api/v3/ticker/price", "symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D", -1128),
        ("/api/v3/exchangeInfo", "symbol=ETHUSDT", -1121),
    ],
)
async def test_market_data_when_wrongly_asked_has_binances_code(
    exchange: Running, path: str, query: str, code: int
) -> None:
    status, body = await call(exchange, "GET", path, query)
    assert (status, body["code"]) == (400, code)


async def test_response_types_when_asked_for_tell_as_much(exchange: Running) -> None:
    await exchange.deposit("USDT", "10000")
    keys = {}
    for kind in ("ACK", "RESULT", "FULL"):
        _, body = await call(exchange, "POST", "/api/v3/order", signed(MARKET | {"newOrderRespType": kind}))
        keys[kind] = set(body)
    assert keys["ACK"] == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert keys["FULL"] - keys["RESULT"] == {"fills"}
    assert {"status", "executedQty", "cummulativeQuoteQty"} <= keys["RESULT"]


async def test_client_order_id_when_reused_after_a_fill_names_the_newer_order(exchange: Running) -> None:
    await exchange.deposit("USDT", "10000")
    for quantity in ("0.1", "0.2"):
        fields = MARKET | {"quantity": quantity, "newClientOrderId": "again"}
        status, _ = await call(exchange, "POST", "/api/v3/order", signed(fields))
        assert status == 200
    query = signed({"symbol": "BTCUSDT", "origClientOrderId": "again"})
    _, body = await call(exchange, "GET", "/api/v3/order", query)
    assert (body["orderId"], body["origQty"]) == (2, "0.20000000")


async def test_wallet_when_asked_answers_what_clients_need(exchange: Running) -> None:
    await exchange.deposit("USDT", "10000")
    _, account = await call(exchange, "GET", "/api/v3/account", signed({"omitZeroBalances": "true"}))
    assert account["balances"] == [{"asset": "USDT", "free": "10000.00000000", "locked": "0.00000000"}]
    _, fees = await call(exchange, "GET", "/api/v3/account/commission", signed({"symbol": "BTCUSDT"}))
    assert fees["standardCommission"]["taker"] == "0.00100000"
    _, coins = await call(exchange, "GET", "/sapi/v1/capital/config/getall", signed({}))
    assert [coin["coin"] for coin in coins] == ["USDT", "BTC", "ONE"]
    _, history = await call(exchange, "GET", "/sapi/v1/capital/deposit/hisrec", signed({"status": "0"}))
    assert history == []
    query = signed({"symbol": "BTCUSDT", "computeCommissionRates": "true"} | MARKET)
    _, rates = await call(exchange, "POST", "/api/v3/order/test", query)
    assert rates["standardCommissionForOrder"]["taker"] == "0.00100000"
    _, average = await call(exchange, "GET", "/api/v3/avgPrice", "symbol=BTCUSDT")
    assert average["price"] == "10000.00000000"
    _, aggregates = await call(exchange, "GET", "/api/v3/aggTrades", "symbol=BTCUSDT")
    assert aggregates[-1]["p"] == "10000.00000000"


async def test_weight_when_used_is_told_in_headers(exchange: Running) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        used = []
        for _ in range(2):
            async with session.get(f"{exchange.http}/api/v3/exchangeInfo") as response:
                used.append(int(response.headers["X-MBX-USED-WEIGHT-1M"]))
    assert used[1] - used[0] == 20 or used[1] == 20  # a minute may end in between

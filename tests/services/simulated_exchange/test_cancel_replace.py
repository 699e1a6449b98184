"""One call that cancels and places: what happens when one half of it, or both, cannot be."""

from typing import Any

import pytest

from tests.services.simulated_exchange.running import Running
from tests.services.simulated_exchange.signed import call, signed

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "9500"}
PATH = "/api/v3/order/cancelReplace"


@pytest.fixture
async def funded(exchange: Running) -> Running:
    await exchange.deposit("USDT", "1000")
    _, placed = await call(exchange, "POST", "/api/v3/order", body=signed(LIMIT | {"newClientOrderId": "old"}))
    assert placed["status"] == "NEW"
    return exchange


async def replace(exchange: Running, **fields: Any) -> tuple[int, Any]:
    order = LIMIT | {"cancelReplaceMode": "STOP_ON_FAILURE", "newClientOrderId": "new"} | fields
    return await call(exchange, "POST", PATH, body=signed(order))


async def open_ids(exchange: Running) -> list[str]:
    _, orders = await call(exchange, "GET", "/api/v3/openOrders", signed({"symbol": "BTCUSDT"}))
    return [order["clientOrderId"] for order in orders]


@pytest.mark.parametrize(
    ("fields", "status", "code", "results", "left"),
    [
        ({"cancelOrigClientOrderId": "old"}, 200, None, ("SUCCESS", "SUCCESS"), ["new"]),
        ({"cancelOrigClientOrderId": "none"}, 400, -2022, ("FAILURE", "NOT_ATTEMPTED"), ["old"]),
        (
            {"cancelOrigClientOrderId": "none", "cancelReplaceMode": "ALLOW_FAILURE", "quantity": "0.005"},
            409,
            -2021,
            ("FAILURE", "SUCCESS"),
            ["old", "new"],
        ),
        (
            {"cancelOrigClientOrderId": "none", "cancelReplaceMode": "ALLOW_FAILURE"},
            400,
            -2022,
            ("FAILURE", "FAILURE"),
            ["old"],
        ),
        ({"cancelOrigClientOrderId": "old", "quantity": "5"}, 409, -2021, ("SUCCESS", "FAILURE"), []),
    ],
)
async def test_replacing_when_a_half_fails_tells_which(
    funded: Running, fields: dict[str, Any], status: int, code: int | None, results: tuple[str, str], left: list[str]
) -> None:
    answered, body = await replace(funded, **fields)
    outcome = body if code is None else body["data"]
    assert (answered, body.get("code")) == (status, code)
    assert (outcome["cancelResult"], outcome["newOrderResult"]) == results
    assert await open_ids(funded) == left


@pytest.mark.parametrize(
    ("fields", "code"),
    [({}, -1102), ({"cancelOrigClientOrderId": "old", "price": ""}, -1102), ({"cancelReplaceMode": "MAYBE"}, -1100)],
)
async def test_replacing_when_its_form_is_wrong_does_nothing(
    funded: Running, fields: dict[str, Any], code: int
) -> None:
    status, body = await replace(funded, **fields)
    assert (status, body["code"]) == (400, code)
    assert await open_ids(funded) == ["old"]


async def test_tickers_of_other_spans_when_asked_tell_today_or_refuse(exchange: Running) -> None:
    await exchange.advance(2)
    _, today = await call(exchange, "GET", "/api/v3/ticker/tradingDay", "symbol=BTCUSDT")
    assert (today["openPrice"], today["lastPrice"], today["count"]) == ("10100.00000000", "9000.00000000", 1)
    _, several = await call(exchange, "GET", "/api/v3/ticker", "symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D")
    assert [one["symbol"] for one in several] == ["BTCUSDT", "ETHUSDT"]
    for query, code in (("symbol=BTCUSDT&windowSize=1h", -1130), ("", -1102)):
        status, body = await call(exchange, "GET", "/api/v3/ticker", query)
        assert (status, body["code"]) == (400, code)

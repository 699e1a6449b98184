"""The control API: deposits, accounts, pace; who may call it."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.services.simulated_exchange.running import Running, serving, until


async def test_market_when_asked_tells_where_it_is(exchange: Running) -> None:
    market = await exchange.control("market")
    assert market == {
        "source": "prices.csv",
        "rows_total": 5,
        "row": 0,
        "ticks": 2,
        "first_time": "2024-01-01T00:00:00Z",
        "last_time": "2024-01-05T00:00:00Z",
        "market_time": "2024-01-01T00:00:00Z",
        "ended": False,
        "paused": True,
        "rows_per_second": 20.0,
        "listed": ["BTC", "ONE"],
        "assets": ["BTC", "ETH", "ONE"],
    }
    market = await exchange.advance(99)
    assert (market["advanced"], market["row"], market["ended"], market["ticks"]) == (4, 4, True, 12)


async def test_market_when_resumed_runs_to_the_end_and_pauses_when_told(exchange: Running) -> None:
    await exchange.control("market/speed", {"rows_per_second": 0.001})
    assert not (await exchange.control("market/resume", {}))["paused"]
    await exchange.control("market/advance", {"rows": 1}, status=422)
    await exchange.control("market/speed", {"rows_per_second": 200})

    async def ended() -> bool:
        return bool((await exchange.control("market"))["ended"])

    await until(ended)
    assert (await exchange.control("market/pause", {}))["paused"]


async def test_deposit_when_sent_again_is_credited_once(exchange: Running) -> None:
    body = {"id": "d-1", "asset": "USDT", "amount": "100.5"}
    first = await exchange.control("deposits", body)
    assert first == body | {"account": 1, "time": "2024-01-01T00:00:00Z"}
    assert await exchange.control("deposits", body) == first
    (account,) = (await exchange.control("accounts"),)
    assert account == [{"account": 1, "api_key": "paper-key", "balances": {"USDT": {"free": "100.5", "locked": "0"}}}]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("deposits", {"asset": "USDT", "amount": "1"}, "id"),
        ("deposits", {"id": "", "asset": "USDT", "amount": "1"}, "id"),
        ("deposits", {"id": "x" * 129, "asset": "USDT", "amount": "1"}, "id"),
        ("deposits", {"id": 7, "asset": "USDT", "amount": "1"}, "id"),
        ("deposits", {"id": "x", "asset": "usdt", "amount": "1"}, "asset"),
        ("deposits", {"id": "x", "asset": "XYZ", "amount": "1"}, "asset"),
        ("deposits", {"id": "x", "asset": "USDT", "amount": 1.5}, "amount"),
        ("deposits", {"id": "x", "asset": "USDT", "amount": "0"}, "amount"),
        ("deposits", {"id": "x", "asset": "USDT", "amount": "-1"}, "amount"),
        ("deposits", {"id": "x", "asset": "USDT", "amount": "NaN"}, "amount"),
        ("deposits", {"id": "x", "asset": "USDT", "amount": "1e400"}, "amount"),
        ("deposits", {"id": "x", "asset": "USDT", "amount": "0.000000001"}, "amount"),
        ("deposits", {"id": "x", "asset": "USDT", "amount": "1", "account": "nobody"}, "account"),
        ("deposits", {"id": "used", "asset": "USDT", "amount": "2"}, "id"),
        ("market/speed", {"rows_per_second": 0}, "rows_per_second"),
        ("market/speed", {"rows_per_second": "fast"}, "rows_per_second"),
        ("market/speed", {"rows_per_second": True}, "rows_per_second"),
        ("market/advance", {"rows": 0}, "rows"),
        ("market/advance", {"rows": 1.5}, "rows"),
        ("market/advance", {"to_row": -1}, "to_row"),
        ("market/advance", {"to_row": True}, "to_row"),
        ("accounts", {"api_key": "paper-key", "api_secret": "other"}, "api_key"),
        ("accounts", {"api_key": "new"}, "api_secret"),
    ],
)
async def test_control_when_wrong_names_the_field_and_changes_nothing(
    exchange: Running, path: str, body: dict[str, Any], field: str
) -> None:
    await exchange.deposit("USDT", "1", "used")
    before = (await exchange.control("accounts"), await exchange.control("market"))
    answer = await exchange.control(path, body, status=422)
    assert [problem["field"] for problem in answer["error"]["problems"]] == [field]
    assert all(problem["allowed"] for problem in answer["error"]["problems"])
    assert (await exchange.control("accounts"), await exchange.control("market")) == before


async def test_account_when_added_trades_by_its_own_key(exchange: Running) -> None:
    await exchange.control("accounts", {"api_key": "second", "api_secret": "s2"})
    await exchange.control("deposits", {"id": "d", "asset": "USDT", "amount": "50", "account": "second"})
    client = exchange.ccxt("second", "s2")
    try:
        assert (await client.fetch_balance())["USDT"]["free"] == 50
    finally:
        await client.close()


async def test_control_when_a_token_is_set_needs_it_and_never_serves_web_pages(tmp_path: Path) -> None:
    async with serving(tmp_path, exchange_control_token="t") as exchange, aiohttp.ClientSession() as session:
        answers = {}
        for name, headers in {
            "none": {},
            "wrong": {"X-Control-Token": "x"},
            "page": {"X-Control-Token": "t", "Origin": "http://example.org"},
            "right": {"X-Control-Token": "t"},
        }.items():
            async with session.post(f"{exchange.http}/control/market/pause", headers=headers) as response:
                answers[name] = response.status
        async with session.get(f"{exchange.http}/healthz") as response:
            answers["health"] = response.status
    assert answers == {"none": 403, "wrong": 403, "page": 403, "right": 200, "health": 200}


async def test_market_when_advanced_to_a_row_twice_stands_there_once(exchange: Running) -> None:
    for _ in range(2):
        market = await exchange.control("market/advance", {"to_row": 2})
        assert market["row"] == 2
    assert market["advanced"] == 0
    assert (await exchange.control("market/advance", {"to_row": 99}))["row"] == 4

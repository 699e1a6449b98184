"""kill -9 at any time: what was accepted is there, what was not is not, the market goes on where it was."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.services.simulated_exchange.running import ExchangeProcess, until
from tests.services.simulated_exchange.signed import call, signed

D = Decimal


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ExchangeProcess]:
    process = ExchangeProcess(tmp_path / "state", TRIMTAB_EXCHANGE_ROWS_PER_SECOND="200")
    await process.start()
    yield process
    process.kill()


async def test_venue_when_killed_while_trading_loses_nothing_it_confirmed(process: ExchangeProcess) -> None:
    exchange = process.running
    await exchange.deposit("USDT", "100000", "d-1")
    confirmed: dict[str, dict[str, Any]] = {}
    row = 0
    for round_number in range(3):
        enough = len(confirmed) + 7
        killed = asyncio.ensure_future(_kill_after(process, 0.25, lambda enough=enough: len(confirmed) >= enough))
        while not killed.done():
            name = f"c-{round_number}-{len(confirmed)}"
            kind = (
                {"type": "MARKET"} if len(confirmed) % 3 else {"type": "LIMIT", "timeInForce": "GTC", "price": "25000"}
            )
            order = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.001", "newClientOrderId": name} | kind
            try:
                status, body = await call(exchange, "POST", "/api/v3/order", signed(order))
                row = (await exchange.control("market"))["row"]
            except (aiohttp.ClientError, ConnectionError):
                break
            if status == 200:
                confirmed[name] = body
        await killed
        await process.start()
        assert (await exchange.control("market"))["row"] >= row
    assert len(confirmed) > 20
    await exchange.control("market/pause", {})
    await _check_books(process, confirmed)


async def _kill_after(process: ExchangeProcess, seconds: float, reached: Callable[[], bool]) -> None:
    await asyncio.sleep(seconds)  # the moment of death, not a wait for something
    await until(reached)
    process.kill()


async def _check_books(process: ExchangeProcess, confirmed: dict[str, dict[str, Any]]) -> None:
    """Every confirmed order is there with its fills, and the balances follow from deposits and trades exactly."""
    exchange = process.running
    _, orders = await call(exchange, "GET", "/api/v3/allOrders", signed({"symbol": "BTCUSDT", "limit": 1000}))
    by_name = {order["clientOrderId"]: order for order in orders}
    _, trades = await call(exchange, "GET", "/api/v3/myTrades", signed({"symbol": "BTCUSDT", "limit": 1000}))
    by_id = {trade["id"]: trade for trade in trades}
    assert len(by_id) == len(trades)
    for name, body in confirmed.items():
        assert by_name[name]["orderId"] == body["orderId"]
        for fill in body["fills"]:
            assert by_id[fill["tradeId"]]["qty"] == fill["qty"]
    for order in orders:
        filled = sum((D(trade["qty"]) for trade in trades if trade["orderId"] == order["orderId"]), D(0))
        assert filled == D(order["executedQty"])
    _, account = await call(exchange, "GET", "/api/v3/account", signed({}))
    total = {one["asset"]: D(one["free"]) + D(one["locked"]) for one in account["balances"]}
    assert total["USDT"] == 100_000 - sum((D(trade["quoteQty"]) for trade in trades), D(0))
    assert total["BTC"] == sum((D(trade["qty"]) - D(trade["commission"]) for trade in trades), D(0))
    locked = sum(
        (D(one["price"]) * (D(one["origQty"]) - D(one["executedQty"])) for one in orders if one["status"] == "NEW"),
        D(0),
    )
    assert next(D(one["locked"]) for one in account["balances"] if one["asset"] == "USDT") == locked


async def test_venue_when_killed_running_runs_on_and_keeps_deposits_once(process: ExchangeProcess) -> None:
    exchange = process.running
    await exchange.deposit("USDT", "100", "d-1")
    await exchange.control("market/speed", {"rows_per_second": 321})

    async def moved() -> bool:
        return int((await exchange.control("market"))["row"]) > 300

    await until(moved)
    process.kill()
    await process.start()
    await exchange.deposit("USDT", "100", "d-1")
    market = await exchange.control("market")
    assert (market["row"] > 300, market["paused"], market["rows_per_second"]) == (True, False, 321)
    _, history = await call(exchange, "GET", "/sapi/v1/capital/deposit/hisrec", signed({}))
    assert [one["txId"] for one in history] == ["d-1"]
    _, account = await call(exchange, "GET", "/api/v3/account", signed({"omitZeroBalances": "true"}))
    assert account["balances"] == [{"asset": "USDT", "free": "100.00000000", "locked": "0.00000000"}]


async def test_second_process_when_started_on_the_same_folder_is_refused(
    process: ExchangeProcess, tmp_path: Path
) -> None:
    import subprocess
    import sys

    from tests.services.simulated_exchange.running import ROOT

    command = [sys.executable, "-m", "services.simulated_exchange"]
    environment = {"TRIMTAB_EXCHANGE_PORT": "0", "TRIMTAB_EXCHANGE_STATE_DIR": str(tmp_path / "state")}
    second = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 1
    assert "state_dir: cannot be opened" in second.stderr

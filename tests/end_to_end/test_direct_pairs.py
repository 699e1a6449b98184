"""A whole run on a market with pairs of a strategy's assets: it trades through them, and the books are the venue's."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.demo.lockstep import lockstep
from deploy.demo.session import Ending
from deploy.embedded.options import ExchangeOptions
from services.ledger.adapters.postgres_checks import check_books
from tests.end_to_end.asking import why_command
from tests.end_to_end.generated_market import TIGHT, price_file
from tests.end_to_end.running_stack import running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

DAYS = 30
_ORDERS = """
SELECT count(*) FILTER (WHERE valued_in = '') AS usual, count(*) FILTER (WHERE valued_in = 'USDT') AS direct,
       count(*) FILTER (WHERE valued_in = 'USDT' AND state = 'filled') AS filled,
       count(*) FILTER (WHERE state IN ('unknown', 'open', 'intended')) AS unclear
FROM executor.orders
"""
_PLANS = "SELECT count(*) AS plans, count(*) FILTER (WHERE outcome = 'completed') AS completed FROM executor.plans"


async def test_strategy_when_its_assets_have_pairs_trades_through_them_and_says_so(tmp_path: Path) -> None:
    pairs = "ETH/BTC,SOL/BTC,SOL/ETH"
    prices = price_file(tmp_path)
    prices.write_text("\n".join(prices.read_text().splitlines()[:DAYS]) + "\n")
    market = ExchangeOptions(prices_file=prices, start_paused=True, cross_pairs=pairs)
    async with running_stack(tmp_path, market, [TIGHT], lockstep=True) as running:
        async with lockstep(running.stack, running.exchange) as driver:
            await driver.run(running.session, Ending(until_end=True), asyncio.Event())
        (strategy_id,) = [one["id"] for one in (await running.gateway.get("/strategies"))["strategies"]]
        report: dict[str, Any] = await running.report()
        connection = await asyncpg.connect(running.stack.postgres_dsn)
        try:
            orders, plans = await connection.fetchrow(_ORDERS), await connection.fetchrow(_PLANS)
        finally:
            await connection.close()
        books = await check_books(running.stack.postgres_dsn)
        asked = await asyncio.to_thread(why_command, running, strategy_id)
    assert plans["completed"] == plans["plans"] > 10
    assert orders["direct"] > 10
    assert orders["filled"] > 10
    assert orders["unclear"] == 0
    assert books.differences == ()
    assert report["ledger"]["balanced"], report["ledger"]
    assert report["ledger"]["equals_venue"], report["ledger"]
    assert asked.returncode == 0, asked.stderr
    assert " Traded directly: " in asked.stdout, asked.stdout
    assert " bps through USDT" in asked.stdout

"""BigONE's own example through the whole system: 1,200 USDT at 40 % ONE, 30 % BTC, 30 % ETH, threshold 5 points."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded.options import ExchangeOptions
from tests.end_to_end.running_stack import RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

DOCUMENT = {
    "name": "BigONE's example",
    "venue": "paper",
    "funding_asset": "USDT",
    "amount": "1200",
    "targets": {"ONE": "40", "BTC": "30", "ETH": "30"},
    "rebalance": {"threshold": "5"},
}
START = {"ONE": Decimal("0.02"), "BTC": Decimal(60_000), "ETH": Decimal(3_000)}


def prices_for(weights: dict[str, str]) -> dict[str, Decimal]:
    """Prices that move a portfolio bought at START on target to these weights (percent, sum 100)."""
    targets = {"ONE": 40, "BTC": 30, "ETH": 30}
    return {asset: START[asset] * Decimal(weights[asset]) / targets[asset] for asset in START}


def price_file(folder: Path, rows: Sequence[dict[str, Decimal]]) -> Path:
    path = folder / "prices.csv"
    lines = ["time,ONE,BTC,ETH"]
    for day, row in enumerate(rows, start=1):
        lines.append(f"2024-01-{day:02d}," + ",".join(f"{row[asset]:.8f}" for asset in ("ONE", "BTC", "ETH")))
    path.write_text("\n".join(lines) + "\n")
    return path


async def strategy_after(running: RunningStack, condition: str, value: Any, within_s: float = 60.0) -> dict[str, Any]:
    """The strategy's detail once ``condition`` (a key of its last plan, or its newest decision's code) is ``value``."""
    async with asyncio.timeout(within_s):
        while True:
            (brief,) = (await running.gateway.get("/strategies"))["strategies"]
            detail = await running.gateway.get(f"/strategies/{brief['id']}")
            last = detail["last_plan"] or {}
            if last.get(condition) == value and detail["open_plan_id"] is None:
                return detail
            await asyncio.sleep(0.05)


async def decision_after(running: RunningStack, market_day: str, within_s: float = 60.0) -> dict[str, Any]:
    """The newest decision once one was made at the given market day."""
    async with asyncio.timeout(within_s):
        while True:
            (brief,) = (await running.gateway.get("/strategies"))["strategies"]
            decisions = (await running.gateway.get(f"/strategies/{brief['id']}/decisions"))["decisions"]
            if decisions and decisions[0]["last_at"].startswith(market_day):
                return dict(decisions[0])
            await asyncio.sleep(0.05)


async def fills_of(running: RunningStack) -> list[tuple[str, str]]:
    """(side, symbol) of every order of the rebalance, in the order they were meant."""
    import asyncpg

    connection = await asyncpg.connect(running.stack.postgres_dsn)
    try:
        rows = await connection.fetch(
            "SELECT DISTINCT side, symbol FROM executor.orders JOIN executor.plans USING (plan_id) "
            "WHERE body ->> 'kind' = 'rebalance' AND filled_quantity > 0"
        )
        return sorted((row["side"], row["symbol"]) for row in rows)
    finally:
        await connection.close()


async def test_bigone_example_when_one_coin_rises_and_one_falls_trades_exactly_those_two(tmp_path: Path) -> None:
    moved = prices_for({"ONE": "40", "BTC": "40", "ETH": "20"})
    prices = price_file(tmp_path, [START, START, moved, moved])
    market = ExchangeOptions(prices_file=prices, rows_per_second=5, start_paused=True)
    async with running_stack(tmp_path, market, [DOCUMENT]) as running:
        await running.exchange.advance(2)
        detail = await strategy_after(running, "kind", "rebalance")
        assert await fills_of(running) == [("BUY", "ETHUSDT"), ("SELL", "BTCUSDT")]
        assert detail["last_plan"]["outcome"] == "completed"
        report = await running.report()
    assert report["ledger"]["balanced"]
    assert report["ledger"]["equals_venue"]
    (strategy,) = report["strategies"]
    assert strategy["rebalances"] == 1
    for asset, weight in strategy["weights"].items():
        off = abs(Decimal(weight["actual"]) - Decimal(weight["target"]))
        assert off < Decimal("0.15"), asset  # a lot is worth up to 1 USDT of 1,200


@pytest.mark.parametrize(("weight", "rebalances"), [("34.8", 0), ("35.2", 1)])
async def test_bigone_example_when_weight_is_near_the_band_fires_only_outside(
    tmp_path: Path, weight: str, rebalances: int
) -> None:
    rest = (100 - Decimal(weight)) / 70
    edge = prices_for({"BTC": weight, "ONE": str(40 * rest), "ETH": str(30 * rest)})
    prices = price_file(tmp_path, [START, START, edge, edge])
    market = ExchangeOptions(prices_file=prices, rows_per_second=5, start_paused=True)
    async with running_stack(tmp_path, market, [DOCUMENT]) as running:
        await running.exchange.advance(2)
        if rebalances:
            await strategy_after(running, "kind", "rebalance")
        else:
            await running.exchange.advance(1)
        report = await running.report()
    (strategy,) = report["strategies"]
    assert strategy["rebalances"] == rebalances
    if not rebalances:
        assert abs(Decimal(strategy["weights"]["BTC"]["actual"]) - Decimal(weight)) < Decimal("0.15")

"""On a lockstep run every day has a reason, and its figures are those of an independent computation."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.demo.lockstep import lockstep
from deploy.demo.session import Ending
from deploy.embedded.options import ExchangeOptions
from tests.end_to_end.asking import why_command
from tests.end_to_end.generated_market import QUIET_ROW, TIGHT, WEEKLY, days, price_file
from tests.end_to_end.running_stack import RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ON_THE_WAY = {"plan_open", "fills_pending", "awaiting_funds", "awaiting_activation"}
HALF_SPREAD = Decimal("0.0002")
WEEK = timedelta(days=7)

Holdings = dict[str, Decimal]


def held(fills: list[Any], until: datetime, *, inclusive: bool) -> Holdings:
    """What 3,000 USDT became through the fills before a time (or up to it)."""
    holdings = {"USDT": Decimal(3000)}
    for fill in fills:
        if fill["market_time"] < until or (inclusive and fill["market_time"] == until):
            sign = 1 if fill["side"] == "BUY" else -1
            holdings[fill["asset"]] = holdings.get(fill["asset"], Decimal(0)) + sign * fill["quantity"]
            holdings["USDT"] -= sign * fill["quote_quantity"]
            holdings[fill["fee_asset"]] -= fill["fee"]
    return holdings


def check_figures(one: dict[str, Any], holdings: Holdings, prices: dict[str, Decimal], targets: dict[str, str]) -> None:
    """The recorded prices are the day's (less half the spread), the weights those of the holdings at these prices."""
    inputs = one["inputs"]
    values = {asset: quantity * Decimal(inputs.get(f"price.{asset}", "1")) for asset, quantity in holdings.items()}
    total = sum(values.values())
    for asset, target in targets.items():
        assert abs(Decimal(inputs[f"price.{asset}"]) / prices[asset] - 1) < HALF_SPREAD
        assert inputs[f"target.{asset}"] == target
        weight = Decimal(inputs[f"weight.{asset}"])
        assert abs(weight - 100 * values[asset] / total) < Decimal("1e-7"), one
    off = {asset: abs(100 * values[asset] / total - Decimal(targets.get(asset, "0"))) for asset in values}
    furthest = max(off, key=lambda asset: off[asset])
    assert f"{furthest} was at " in one["sentence"] or f"{furthest}, by " in one["sentence"]
    assert f"{round(off[furthest], 2).normalize():f} points" in one["sentence"]


def expected_code(document: dict[str, Any], drift: Decimal, day: timedelta, day_before: timedelta) -> str:
    """The rule, computed anew; times since the first purchase. An interval is due with the first day not before it."""
    if "threshold" in document["rebalance"]:
        return "threshold_reached" if drift >= Decimal(document["rebalance"]["threshold"]) else "within_band"
    return "interval_due" if day // WEEK > day_before // WEEK else "interval_not_due"


async def fills_of(running: RunningStack, strategy_id: str) -> list[Any]:
    connection = await asyncpg.connect(running.stack.postgres_dsn)
    try:
        return await connection.fetch(
            "SELECT f.*, o.side, o.asset FROM executor.fills f JOIN executor.orders o USING (client_order_id) "
            "WHERE f.strategy_id = $1",
            strategy_id,
        )
    finally:
        await connection.close()


async def answers(running: RunningStack, strategy_id: str, at: str) -> list[dict[str, Any]]:
    """The answers for a moment, oldest first, without what was only on its way."""
    found = (await running.gateway.get(f"/strategies/{strategy_id}/decisions", at=at))["decisions"]
    return [one for one in reversed(found) if one["code"] not in ON_THE_WAY]


async def check_days(running: RunningStack, document: dict[str, Any], strategy_id: str) -> int:
    """Every day of one strategy; how often it acted."""
    fills, prices, acted = await fills_of(running, strategy_id), {}, 0
    start = last = datetime.fromisoformat(days()[0][0]).replace(tzinfo=UTC)
    for number, (day, told) in enumerate(days()):
        prices |= {asset: Decimal(price) for asset, price in told.items()}
        if number in {0, QUIET_ROW}:
            continue  # bought on the first day; on the quiet one nothing could be seen
        moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
        found = await answers(running, strategy_id, day)
        assert found, f"no reason for {day}"
        assert {one["last_at"] for one in found} == {f"{day}T00:00:00Z"}
        before = held(fills, moment, inclusive=False)
        check_figures(found[0], before, prices, document["targets"])
        values = {asset: before[asset] * Decimal(found[0]["inputs"].get(f"price.{asset}", "1")) for asset in before}
        total = sum(values.values())
        drift = max(abs(100 * values[a] / total - Decimal(document["targets"].get(a, "0"))) for a in values)
        code = found[0]["code"].partition(":")[0]
        assert code == expected_code(document, drift, moment - start, last - start), day
        last = moment
        if found[0]["acted"]:
            acted += 1
            check_figures(found[-1], held(fills, moment, inclusive=True), prices, document["targets"])
            assert not found[-1]["acted"]
        assert await answers(running, strategy_id, f"{day}T12:00") == found
    assert await answers(running, strategy_id, "2023-12-31") == []
    quiet = await answers(running, strategy_id, days()[QUIET_ROW][0])
    assert quiet == await answers(running, strategy_id, days()[QUIET_ROW - 1][0])
    return acted


async def test_why_when_asked_for_each_day_of_a_run_has_the_right_reason_and_figures(tmp_path: Path) -> None:
    market = ExchangeOptions(prices_file=price_file(tmp_path), start_paused=True)
    async with running_stack(tmp_path, market, [TIGHT, WEEKLY], lockstep=True) as running:
        async with lockstep(running.stack, running.exchange) as driver:
            await driver.run(running.session, Ending(until_end=True), asyncio.Event())
        ids = {one["name"]: one["id"] for one in (await running.gateway.get("/strategies"))["strategies"]}
        assert await check_days(running, TIGHT, ids["tight"]) > 10
        assert await check_days(running, WEEKLY, ids["weekly"]) == 11
        asked = await asyncio.to_thread(why_command, running, ids["tight"], "--at", days()[20][0])
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout.startswith(f"{days()[20][0]} 00:00:00: ")
        assert " points off, the threshold is 1.5" in asked.stdout
        refused = await asyncio.to_thread(why_command, running, ids["tight"], "--at", "soon")
        assert refused.returncode == 2
        assert "at" in refused.stderr

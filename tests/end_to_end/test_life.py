"""How strategies end, through the whole system: take-profit, stop-loss, a user's stop, a stop during the first
purchase, money that is not there, and the same with services killed in between. One stack serves them all.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deploy.embedded.options import ExchangeOptions
from shared.core.identity import derived_id
from tests.end_to_end.running_stack import RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(150), pytest.mark.asyncio(loop_scope="module")]

START = {"BTC": Decimal(60_000), "ETH": Decimal(3_000), "SOL": Decimal(100), "ONE": Decimal("0.02")}
# BTC up by half, then SOL down by half: one strategy's take-profit, then another's stop-loss; ETH and ONE stand.
UP = {**START, "BTC": Decimal(90_000)}
DOWN = {**UP, "SOL": Decimal(50)}
ROWS = [START, START, *[UP] * 8, *[DOWN] * 8]


def document(name: str, targets: dict[str, str], amount: str = "1000", **more: str) -> dict[str, Any]:
    return {
        "name": name,
        "venue": "paper",
        "funding_asset": "USDT",
        "amount": amount,
        "targets": targets,
        "rebalance": {"threshold": "20"},
        **more,
    }


TAKES_PROFIT = document("takes profit", {"BTC": "50", "ETH": "50"}, take_profit="20", stop_loss="-50")
STOPS_LOSS = document("stops loss", {"SOL": "50", "ONE": "50"}, take_profit="50", stop_loss="-20")
STAYS = document("stays", {"ETH": "50", "ONE": "50"}, take_profit="50", stop_loss="-50")


def price_file(folder: Path) -> Path:
    path = folder / "prices.csv"
    lines = [f"time,{','.join(START)}"]
    lines += [f"2024-01-{day:02d}," + ",".join(str(price) for price in row.values()) for day, row in enumerate(ROWS, 1)]
    path.write_text("\n".join(lines) + "\n")
    return path


class Life:
    """The stack as these stories need it."""

    def __init__(self, running: RunningStack) -> None:
        self.running = running
        self._keys = 0

    def key(self) -> str:
        self._keys += 1
        return derived_id("life", self._keys)

    async def create(self, strategy: dict[str, Any]) -> str:
        """Preview and confirm; the id."""
        gateway = self.running.gateway
        preview = await gateway.post("/strategies/preview", strategy, self.key())
        made = await gateway.post("/strategies", {"preview_id": preview["preview_id"]}, self.key())
        return str(made["id"])

    async def stop(self, strategy_id: str) -> None:
        await self.running.gateway.post(f"/strategies/{strategy_id}/stop", {}, self.key())

    async def detail(self, strategy_id: str) -> dict[str, Any]:
        return await self.running.gateway.get(f"/strategies/{strategy_id}")

    async def usdt(self) -> Decimal:
        wallets = (await self.running.gateway.get("/wallets"))["wallets"]
        return Decimal(wallets[0]["balances"].get("USDT", "0"))

    async def until(self, strategy_id: str, *statuses: str, within_s: float = 60.0) -> dict[str, Any]:
        """The strategy once its status is one of these."""

        async def there() -> dict[str, Any] | None:
            detail = await self.detail(strategy_id)
            return detail if detail["status"] in statuses else None

        found: dict[str, Any] = await eventually(there, f"{strategy_id} is not {statuses}", within_s)
        return found

    async def closed(self, strategy_id: str, wallet_before: Decimal, within_s: float = 60.0) -> Decimal:
        """What a strategy brought back to the wallet: it is closed, holds nothing, and the wallet has the money."""
        await self.until(strategy_id, "closed", within_s=within_s)

        async def paid() -> Decimal | None:
            there, empty = await self.usdt(), not (await self.detail(strategy_id))["holdings"]
            return there - wallet_before if there > wallet_before and empty else None

        found: Decimal = await eventually(paid, "the wallet has nothing back", 5)
        return found

    async def advance_until(self, strategy_id: str, *statuses: str, rows: int = 8) -> dict[str, Any]:
        """Move the market on, a row at a time, until the strategy gets there."""
        for _ in range(rows):
            await self.running.exchange.advance(1)
            try:
                return await self.until(strategy_id, *statuses, within_s=0.5)
            except AssertionError:
                continue
        return await self.until(strategy_id, *statuses)


async def eventually(condition: Callable[[], Awaitable[Any]], otherwise: str, within_s: float) -> Any:
    """The first answer of ``condition`` that is not None; fails after ``within_s``."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                if (found := await condition()) is not None:
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(otherwise) from None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def life(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Life]:
    """The stack with 6,000 USDT in the wallet and the market held still; whatever happened, the books must hold."""
    folder = tmp_path_factory.mktemp("life")
    market = ExchangeOptions(prices_file=price_file(folder), rows_per_second=5, start_paused=True)
    async with running_stack(folder, market, [], evaluators=2) as running:
        stack = Life(running)
        deposit = {"id": "life", "asset": "USDT", "amount": "6000"}
        await running.gateway.post("/wallets/paper/deposits", deposit, stack.key())

        async def arrived() -> bool | None:
            return await stack.usdt() == 6000 or None

        await eventually(arrived, "the deposit has not arrived", 10)
        yield stack
        report = await running.report()
        assert report["ledger"]["differences"] == []
        assert report["ledger"]["balanced"]
        assert report["ledger"]["equals_venue"]


async def test_take_profit_when_reached_closes_and_pays_into_the_wallet(life: Life) -> None:
    wallet = await life.usdt()
    strategy = await life.create(TAKES_PROFIT)
    await life.until(strategy, "active")
    exiting = await life.advance_until(strategy, "exiting", "closed")
    assert exiting["exit_reason"] == "take_profit"
    assert Decimal(exiting["inputs"]["profit_pct"]) >= 20
    won = await life.closed(strategy, wallet - 1000) - 1000
    assert Decimal(240) < won < Decimal(250), "half of it rose by half; fees and spread are less than 10"
    detail = await life.detail(strategy)
    assert (detail["last_plan"]["kind"], detail["last_plan"]["reason"]) == ("exit", "take_profit")


async def test_stop_loss_when_reached_closes_and_pays_into_the_wallet(life: Life) -> None:
    wallet = await life.usdt()
    strategy = await life.create(STOPS_LOSS)
    await life.until(strategy, "active")
    exiting = await life.advance_until(strategy, "exiting", "closed", rows=len(ROWS))
    assert exiting["exit_reason"] == "stop_loss"
    lost = 1000 - await life.closed(strategy, wallet - 1000)
    assert Decimal(250) < lost < Decimal(260), "half of it fell by half; fees and spread are less than 10"


async def test_stop_when_user_asks_sells_all_and_pays_back_once(life: Life) -> None:
    wallet = await life.usdt()
    strategy = await life.create(STAYS)
    await life.until(strategy, "active")
    key = life.key()
    stops = [life.running.gateway.post(f"/strategies/{strategy}/stop", {}, one) for one in (key, key, life.key())]
    await asyncio.gather(*stops)
    back = await life.closed(strategy, wallet - 1000)
    assert Decimal(990) < back < Decimal(1000)
    assert (await life.detail(strategy))["exit_reason"] == "stopped_by_user"


async def test_stop_when_the_first_purchase_is_under_way_ends_it_and_pays_back(life: Life) -> None:
    """Each is stopped a little later in its first second of life: in funding, before, in and after its purchase."""
    wallet = await life.usdt()
    strategies = [await life.create(STAYS) for _ in range(4)]
    for number, strategy in enumerate(strategies):
        await asyncio.sleep(0.05 * number)
        await life.stop(strategy)
    for strategy in strategies:
        await life.until(strategy, "closed")

    async def all_back() -> Decimal | None:
        back = await life.usdt() - wallet
        return back if back > -40 else None

    assert await eventually(all_back, "the wallet misses money", 5) <= 0


async def test_funding_when_the_wallet_has_money_for_one_refuses_the_other(life: Life) -> None:
    wallet = await life.usdt()
    amount = str((wallet * Decimal("0.6")).quantize(Decimal(1)))
    wanted = [document(name, {"ETH": "50", "ONE": "50"}, amount) for name in ("one", "other")]
    one, other = await asyncio.gather(*(life.create(strategy) for strategy in wanted))
    ends = [await life.until(strategy, "active", "refused") for strategy in (one, other)]
    assert sorted(end["status"] for end in ends) == ["active", "refused"]
    (refused,) = [end for end in ends if end["status"] == "refused"]
    assert "wallet holds" in refused["reason"]
    assert refused["holdings"] == {}
    (running,) = [end for end in ends if end["status"] == "active"]
    await life.stop(running["id"])
    back = await life.closed(running["id"], wallet - Decimal(amount))
    assert Decimal("0.99") < back / Decimal(amount) < 1


async def test_life_when_each_service_is_killed_on_the_way_is_the_same(life: Life) -> None:
    """Killed: ledger while funding, executor while buying, registry at the stop, then all of them while selling."""
    wallet = await life.usdt()
    kill = life.running.stack.kill
    strategy = await life.create(STAYS)
    await kill("ledger")
    await life.until(strategy, "building", "active", within_s=30)
    await kill("order_executor")
    await life.until(strategy, "active", within_s=40)
    await life.stop(strategy)
    for name in ("strategy_registry", "order_executor", "ledger"):
        await kill(name)
    for name in ("strategy_evaluator-1", "price_feed"):
        await kill(name)
    back = await life.closed(strategy, wallet - 1000, within_s=60)
    assert Decimal(990) < back < Decimal(1000)

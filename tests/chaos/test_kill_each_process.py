"""kill -9 of every process in turn while the market runs: it ends with the conditions of an undisturbed run."""

import asyncio
from pathlib import Path

import pytest

from deploy.demo.scenario import example_documents
from deploy.demo.session import Ending
from deploy.embedded.options import ExchangeOptions
from tests.end_to_end.demo_process import assert_books_and_trades_hold
from tests.end_to_end.running_stack import RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

VICTIMS = (
    "strategy_evaluator-1",
    "price_feed",
    "order_executor",
    "ledger",
    "strategy_registry",
    "gateway",
    "simulated_exchange",
    "nats",
    "postgres",
)
ASSETS = ("ONE", "BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "AVAX", "LINK")
BETWEEN_KILLS_S = 2.0
BACK_WITHIN_S = 45.0


async def _is_back(running: RunningStack, name: str, restarts_before: int) -> None:
    """Wait until the supervisor has restarted a process and it is ready."""
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            state = running.stack.status()[name]
            if state.restarts > restarts_before and state.status == "ready":
                return
            await asyncio.sleep(0.05)


async def test_run_when_every_process_is_killed_once_ends_balanced(tmp_path: Path) -> None:
    market = ExchangeOptions(seed=7, rows_per_second=30, start_paused=True)
    async with running_stack(tmp_path, market, example_documents(ASSETS)) as running:
        stop = asyncio.Event()
        driving = asyncio.create_task(running.session.run(Ending(exit_after_s=BACK_WITHIN_S * len(VICTIMS)), stop))
        for name in VICTIMS:
            await asyncio.sleep(BETWEEN_KILLS_S)  # let trading go on: a kill between two rebalances proves little
            before = running.stack.restarts[name]
            await running.stack.kill(name)
            await _is_back(running, name, before)
        await asyncio.sleep(BETWEEN_KILLS_S)
        stop.set()
        await driving
        report = await running.report()
    assert_books_and_trades_hold(report)
    for name in VICTIMS:
        assert report["services"][name]["restarts"] >= 1, name

"""In lockstep a run is reproducible to the last digit, however many evaluators share the work, and if one dies."""

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.lockstep import lockstep
from deploy.demo.report import make_report
from deploy.demo.session import Ending
from deploy.embedded.options import ExchangeOptions
from tests.end_to_end.demo_process import DemoRun, run_demo
from tests.end_to_end.generated_market import EXITS, LATE, ROWS, TIGHT, WEEKLY, price_file
from tests.end_to_end.replays import normalised, plans_of
from tests.end_to_end.running_stack import RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

DATA = Path(os.environ.get("TRIMTAB_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
DAILY = DATA / "daily" / "binance_daily_close_2018-2026.csv"
SLEPT_ROWS = 10
DOCUMENTS = (TIGHT, WEEKLY, EXITS, LATE)

Run = Callable[[int, int], DemoRun]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs of the generated market, made when they are first asked for: (evaluators, which)."""
    made: dict[tuple[int, int], DemoRun] = {}

    def one(evaluators: int, which: int) -> DemoRun:
        if (evaluators, which) not in made:
            folder = tmp_path_factory.mktemp(f"run-{evaluators}-{which}")
            files = []
            for number, content in enumerate(DOCUMENTS):
                (folder / f"{number}.yaml").write_text(json.dumps(content))
                files += ["--strategy", str(folder / f"{number}.yaml")]
            market = ["--prices", str(price_file(folder)), "--until-end", "--lockstep", "--quiet"]
            found = run_demo(folder, [*market, *files, "--evaluators", str(evaluators)])
            assert found.exit_code == 0, found.output
            made[evaluators, which] = found
        return made[evaluators, which]

    return one


def test_run_when_repeated_in_lockstep_gives_the_same_report_to_the_last_byte(run: Run) -> None:
    first, second = run(1, 1).report, run(1, 2).report
    assert normalised(first) == normalised(second)
    assert first["lockstep"]["rows"] == ROWS - 1
    assert first["ledger"]["balanced"]
    assert first["ledger"]["equals_venue"]
    assert first["not_started"] == []
    by_name = {one["name"]: one for one in first["strategies"]}
    assert by_name["tight"]["rebalances"] > 5
    assert by_name["weekly"]["rebalances"] >= 10
    assert by_name["exits"]["status"] == "closed"
    assert by_name["starts late"]["plans"][0]["market_time"].startswith("2024-02-0")


@pytest.mark.parametrize("evaluators", [2, 4, 8])
def test_run_when_several_evaluators_share_it_accepts_the_same_plans(run: Run, evaluators: int) -> None:
    one, several = run(1, 1).report, run(evaluators, 1).report
    assert plans_of(several) == plans_of(one)
    assert normalised({**several, "decisions": {}}) == normalised({**one, "decisions": {}})


async def test_run_when_an_evaluator_is_killed_accepts_the_same_plans(run: Run, tmp_path: Path) -> None:
    undisturbed = plans_of(run(1, 1).report)
    market = ExchangeOptions(prices_file=price_file(tmp_path), start_paused=True)
    # The confirmations of take-profit and stop-loss begin anew with another evaluator, so "exits" may end a day later.
    documents = [one for one in DOCUMENTS if one["name"] != "exits"]
    async with (
        running_stack(tmp_path, market, documents, evaluators=2, lockstep=True) as running,
        lockstep(running.stack, running.exchange) as driver,
    ):
        driving = asyncio.create_task(driver.run(running.session, Ending(until_end=True), asyncio.Event()))
        for name in itertools.islice(itertools.cycle(("strategy_evaluator-1", "strategy_evaluator-2")), 3):
            await asyncio.sleep(0.5)  # a kill between two rows proves little: let it happen anywhere
            await running.stack.kill(name)
            await _back(running.stack, name)
        passed = await asyncio.wait_for(driving, 240)
        await running.session.settle()
        report = (await make_report(running.stack, running.session, running.began, passed)).content
    assert report["services"]["strategy_evaluator-1"]["restarts"] >= 1
    assert plans_of(report) == {name: plans for name, plans in undisturbed.items() if name != "exits"}


async def test_run_when_evaluators_are_frozen_and_revived_accepts_the_same_plans(run: Run, tmp_path: Path) -> None:
    undisturbed = plans_of(run(1, 1).report)
    market = ExchangeOptions(prices_file=price_file(tmp_path), start_paused=True)
    documents = [one for one in DOCUMENTS if one["name"] != "exits"]  # as above
    async with (
        running_stack(tmp_path, market, documents, evaluators=2, lockstep=True) as running,
        lockstep(running.stack, running.exchange) as driver,
    ):
        driving = asyncio.create_task(driver.run(running.session, Ending(until_end=True), asyncio.Event()))
        for name in ("strategy_evaluator-1", "strategy_evaluator-2"):
            await _row_passed(running, 3)
            await _sleep_through(running, name, SLEPT_ROWS)
        passed = await asyncio.wait_for(driving, 240)
        await running.session.settle()
        report = (await make_report(running.stack, running.session, running.began, passed)).content
    restarts = {name: one["restarts"] for name, one in report["services"].items() if "evaluator" in name}
    assert set(restarts.values()) == {0}, "they woke up, nobody started them anew"
    assert plans_of(report) == {name: plans for name, plans in undisturbed.items() if name != "exits"}


async def _sleep_through(running: RunningStack, name: str, rows: int) -> None:
    """Stop a process until the market has passed so many rows without it."""
    pid = running.stack.status()[name].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert await _row_passed(running, rows) < ROWS - 1, "it wakes up within the run"
    finally:
        os.kill(pid, signal.SIGCONT)


async def _row_passed(running: RunningStack, rows: int) -> int:
    """Wait for so many rows more; the row then."""
    until = (await running.exchange.market()).row + rows
    async with asyncio.timeout(60):
        while True:
            row = (await running.exchange.market()).row
            if row >= until:
                return row
            await asyncio.sleep(0.02)


async def _back(stack: Any, name: str) -> None:
    deadline = time.monotonic() + 45
    while stack.status()[name].status != "ready":
        assert time.monotonic() < deadline, f"{name} is not back"
        await asyncio.sleep(0.05)


@pytest.mark.skipif(not DAILY.exists(), reason=f"real daily prices are not here: {DAILY} (set TRIMTAB_TEST_DATA)")
def test_run_when_real_days_are_repeated_gives_the_same_report_to_the_last_byte(tmp_path: Path) -> None:
    prices = tmp_path / "days.csv"
    header, *days = DAILY.read_text().splitlines()
    # From July 2020 on: SOL and AVAX are listed, and the strategy of ten assets begins with the second of them.
    prices.write_text("\n".join([header, *days[920:1040]]) + "\n")
    reports = []
    for which in ("first", "second"):
        folder = tmp_path / which
        folder.mkdir()
        found = run_demo(folder, ["--prices", str(prices), "--until-end", "--lockstep", "--quiet"])
        assert found.exit_code == 0, found.output
        reports.append(normalised(found.report))
    assert reports[0] == reports[1]
    assert json.loads(reports[0])["lockstep"]["rows"] == 119

"""Runs `trimtab demo` as a user would, as a process, and reads its report."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

# The smallest order, 5 USDT, in the least that a strategy of the runs comes down to (350 USDT in December 2018) is 1.4
# points; a little more where the market fell while the plan ran.
LARGEST_REST_POINTS = 2

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class DemoRun:
    """A demo that has ended."""

    exit_code: int
    output: str
    report: dict[str, Any]
    data_dir: Path


def run_demo(folder: Path, arguments: Sequence[str], *, timeout_s: float = 240) -> DemoRun:
    """One demo on a data folder below ``folder``; the exit code and the report come back."""
    data_dir, report = folder / "data", folder / "report.json"
    done = subprocess.run(
        [
            *[sys.executable, "-m", "deploy.command_line", "demo"],
            *["--data", str(data_dir), "--report", str(report), *arguments],
        ],
        cwd=folder,
        env={**as_installed(os.environ), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    output = done.stdout + done.stderr
    content = json.loads(report.read_text()) if report.exists() else {}
    return DemoRun(done.returncode, output, content, data_dir)


def as_installed(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the services run as a user's do: FastStream starts a crashed consumer again.

    Tests of consumers switch that off. A stack needs it: nats-py's ``fetch`` raises another TimeoutError than the one
    FastStream expects when the server's answer and the deadline come at the same moment.
    """
    return {name: value for name, value in environment.items() if name != "FASTSTREAM_SUPERVISOR_DISABLED"}


def processes_naming(path: Path) -> list[str]:
    """Command lines of living processes that refer to ``path`` by argument, working folder or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            about = " ".join([*process.cmdline(), process.cwd(), *process.environ().values()])
        except psutil.Error:
            continue
        if process.pid != os.getpid() and str(path) in about:
            found.append(" ".join(process.cmdline()))
    return found


def assert_books_and_trades_hold(report: dict[str, Any]) -> None:
    """The conditions every run must end with: traded, balanced, equal to the venue, every rebalance on target, nothing
    left unclear.
    """
    assert report["ledger"]["balanced"] is True
    assert report["ledger"]["differences"] == []
    assert report["ledger"]["equals_venue"] is True
    assert report["orders"]["unknown"] == 0
    assert report["fills"] > 0
    assert report["ledger"]["transactions"] >= report["fills"]
    for strategy in report["strategies"]:
        assert strategy["status"] == "active", strategy
        assert strategy["rebalances"] >= 1, strategy
        assert strategy["rebalances_off_target"] == 0, strategy
        assert Decimal(strategy["worst_drift_after_rebalance"]) < LARGEST_REST_POINTS, strategy
        assert sum(Decimal(weight["target"]) for weight in strategy["weights"].values()) == 100

"""The main job as a user runs it: one command, real servers, a report whose books are checked against the venue."""

import os
from pathlib import Path

import pytest

from tests.end_to_end.demo_process import assert_books_and_trades_hold, processes_naming, run_demo

pytestmark = pytest.mark.stack

DATA = Path(os.environ.get("TRIMTAB_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
DAILY = DATA / "daily" / "binance_daily_close_2018-2026.csv"


def test_demo_when_market_is_synthetic_rebalances_every_strategy_and_balances(tmp_path: Path) -> None:
    run = run_demo(tmp_path, ["--exit-after", "30s", "--rows-per-second", "30"])
    assert run.exit_code == 0, run.output
    assert_books_and_trades_hold(run.report)
    assert processes_naming(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) in (["data", "report.json"], ["report.json"])


@pytest.mark.skipif(not DAILY.exists(), reason=f"real daily prices are not here: {DAILY} (set TRIMTAB_TEST_DATA)")
def test_demo_when_replaying_eight_real_years_rebalances_through_listings_and_crash(tmp_path: Path) -> None:
    run = run_demo(tmp_path, ["--prices", str(DAILY), "--rows-per-second", "40", "--until-end"])
    assert run.exit_code == 0, run.output
    assert_books_and_trades_hold(run.report)
    assert run.report["prices"]["first"].startswith("2018-01-01")
    assert run.report["prices"]["last"].startswith("2026-01-02")


BAD_FILES = [
    ("empty.csv", "", "empty"),
    ("broken.csv", "time,BTC,ETH\n2024-01-01,1,2\n2024-01-02,x,2\n", "BTC"),
    ("backwards.csv", "time,BTC,ETH\n2024-01-02,1,2\n2024-01-01,1,2\n", "time"),
    ("zero.csv", "time,BTC,ETH\n2024-01-01,0,2\n", "BTC"),
]


@pytest.mark.parametrize(("name", "content", "names"), BAD_FILES)
def test_demo_when_price_file_is_broken_refuses_and_starts_nothing(
    tmp_path: Path, name: str, content: str, names: str
) -> None:
    prices = tmp_path / name
    prices.write_text(content)
    run = run_demo(tmp_path, ["--prices", str(prices), "--until-end"], timeout_s=30)
    assert run.exit_code == 2
    assert names in run.output
    assert name in run.output
    assert not run.data_dir.exists()

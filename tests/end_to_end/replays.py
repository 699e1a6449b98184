"""Replays in lockstep as a user runs them, what of their reports must be equal, and what each strategy file shows."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.demo_process import DemoRun, run_demo

STRATEGY_FILES = sorted((Path(__file__).resolve().parent / "strategies").glob("*.yaml"))
OF_THE_MACHINE = ("latency_ms", "services", "wall_s")
_ID = re.compile(r"\b(st|pl|tt|tr|pv)[0-9a-hjkmnp-tv-z]{26}\b")


@dataclass(frozen=True, slots=True)
class Shown:
    """What the plans of a strategy must show: the reasons that lead to them (the asset left out), and the last status.

    ``rebalances``: at least so many. ``also``: codes of decisions not to act that no other strategy file leads to.
    """

    reasons: frozenset[str]
    rebalances: int = 1
    status: str = "active"
    also: tuple[str, ...] = ()


_THRESHOLD, _INTERVAL = frozenset({"threshold_reached"}), frozenset({"interval_due"})
_PROFIT, _LOSS = frozenset({"take_profit"}), frozenset({"stop_loss"})
_MONEY = frozenset({"new_money"})

SHOWN: Mapping[str, Shown] = {
    "absolute_band": Shown(_THRESHOLD, 2),
    "relative_band": Shown(_THRESHOLD, 2),
    "hybrid_band": Shown(_THRESHOLD, 2),
    "per_asset_band": Shown(_THRESHOLD, 2),
    "interval": Shown(_INTERVAL, 20),
    "min_drift": Shown(_INTERVAL, 3, also=("below_min_drift",)),
    "interval_or_threshold": Shown(_INTERVAL | _THRESHOLD, 3),
    "interval_and_threshold": Shown(_INTERVAL, 2, also=("interval_not_due",)),
    "to_band_edge": Shown(_THRESHOLD, 3, also=("below_minimum",)),
    "to_halfway": Shown(_THRESHOLD, 3),
    "cooldown": Shown(_THRESHOLD, 3, also=("cooldown",)),
    "cost_guard": Shown(_THRESHOLD, 2, also=("cost_guard",)),
    "hold": Shown(frozenset(), 0, also=("hold_mode",)),
    "start_price_below": Shown(_THRESHOLD, 1, also=("awaiting_start_price",)),
    "start_price_above": Shown(_THRESHOLD, 1),
    "take_profit": Shown(_PROFIT, 0, "closed", also=("confirming_take_profit",)),
    "stop_loss": Shown(_LOSS, 0, "closed", also=("confirming_stop_loss",)),
    "trailing_take_profit": Shown(_PROFIT, 0, "closed"),
    "stop_loss_from_peak": Shown(_LOSS, 0, "closed"),
    "cash_weight": Shown(_THRESHOLD, 2),
    "asset_funded": Shown(_THRESHOLD, 2),
    "asset_funded_exit": Shown(_PROFIT, 0, "closed"),
    "listed_late": Shown(_THRESHOLD, 1),
    "auto_invest_weekly": Shown(_MONEY, 0, also=("auto_invest_due",)),
    "auto_invest_monthly": Shown(_MONEY | _THRESHOLD),
    "auto_invest_drawdown": Shown(_MONEY, 0, also=("auto_invest_drawdown", "confirming_drawdown")),
    "auto_invest_skip": Shown(_MONEY, 0),
    "auto_invest_carry_over": Shown(_MONEY, 0),
    "auto_invest_over_limit": Shown(_MONEY, 0),
    "take_profit_keep": Shown(frozenset(), 0, "closed"),
    "stop_loss_pause": Shown(frozenset(), 0, "paused", also=("paused",)),
}
"""By the name of the file. A file that is not here fails the test."""


def replay(
    folder: Path, prices: Path, files: Sequence[Path], *, evaluators: int = 1, timeout_s: float = 480
) -> DemoRun:
    """`trimtab demo` of strategy files, row by row to the last price. Raises AssertionError when it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    strategies = [argument for file in files for argument in ("--strategy", str(file))]
    market = ["--prices", str(prices), "--until-end", "--lockstep", "--quiet"]
    found = run_demo(folder, [*market, *strategies, "--evaluators", str(evaluators)], timeout_s=timeout_s)
    assert found.exit_code == 0, found.output
    return found


def normalised(report: Mapping[str, Any]) -> str:
    """The report without what the machine decides: ids, latencies, memory, wall-clock times."""
    content = {name: value for name, value in report.items() if name not in OF_THE_MACHINE}
    content["lockstep"] = {name: content["lockstep"][name] for name in ("rows", "traded")}
    names: dict[str, str] = {}

    def name_of(match: re.Match[str]) -> str:
        return names.setdefault(match[0], f"id-{len(names) + 1}")

    return _ID.sub(name_of, json.dumps(content, indent=1))


def plans_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Every accepted plan with its orders, by strategy."""
    return {one["name"]: one["plans"] for one in report["strategies"]}


def assert_every_rule_fired(report: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Each strategy file traded for the reasons it is about. ``names``: file by strategy name."""
    assert sorted(names.values()) == sorted(SHOWN)
    assert report["not_started"] == []
    assert report["ledger"]["balanced"]
    assert report["ledger"]["equals_venue"]
    assert {names[one["name"]] for one in report["strategies"]} == set(SHOWN)
    for one in report["strategies"]:
        shown = SHOWN[names[one["name"]]]
        reasons = Counter(plan["reason"].partition(":")[0] for plan in one["plans"])
        assert reasons["initial_purchase"] == 1, one["name"]
        bands_as_well = _THRESHOLD if one["status"] in {"closed", "paused"} else frozenset()
        assert shown.reasons <= set(reasons), (one["name"], reasons)
        assert set(reasons) <= shown.reasons | bands_as_well | {"initial_purchase"}, (one["name"], reasons)
        assert one["rebalances"] >= shown.rebalances, (one["name"], reasons)
        assert one["status"] == shown.status, one["name"]
        for code in shown.also:
            assert report["decisions"].get(code, 0) > 0, (one["name"], code)

"""Strategies of every kind of rule, at random, and what becomes of them when they act."""

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

from shared.core.decisions import Decision, ExitRequested, Plan
from shared.core.position import PlanOutcome, PlanProgress, Position
from shared.core.situation import Market, Situation, StrategyView
from shared.core.strategy import StrategyStatus, parse_strategy
from tests.core.portfolio_samples import AT

D = Decimal


def acts(decision: Decision) -> str | None:
    """The code of a plan or an exit, None for a hold."""
    return decision.code if isinstance(decision, Plan | ExitRequested) else None


def random_situation(rng: random.Random, assets: list[str], slot: int, *, fewer_waiting: bool = False) -> Situation:
    """A strategy of every kind. ``fewer_waiting``: few of those that are looked at again at every tick."""
    names = rng.sample([*assets, "USDT"], rng.randint(2, min(4, len(assets) + 1)))
    weights = [rng.randint(1, 30) for _ in names[1:]]
    targets = {names[0]: str(100 - sum(weights))} | dict(zip(names[1:], map(str, weights), strict=True))
    document = {
        "name": "x", "venue": "paper", "funding_asset": "USDT", "amount": "1000", "targets": targets,
        "rebalance": _random_rule(rng, names, guarded=0.03 if fewer_waiting else 0.3),
        "take_profit": rng.choice([None, "3", {"percent": "40", "confirm": "2"}, {"percent": "2", "trailing": "1"}]),
        "stop_loss": rng.choice([None, "-3", {"percent": "-30", "confirm": "1"}, {"percent": "-6", "trailing": True}]),
    }  # fmt: skip
    status = StrategyStatus.ACTIVE
    started = [name for name in names if name != "USDT"]
    if rng.random() < 0.2:
        status, price = StrategyStatus.BUILDING, rng.choice(["0.00001234", "0.45", "8", "60000"])
        document["start"] = {"asset": rng.choice(started), rng.choice(["at_or_below", "at_or_above"]): price}
    amount = D(30) if rng.random() < (0.02 if fewer_waiting else 0.34) else rng.choice([D(1000), D(100000)])
    view = StrategyView(f"s{slot}", 1, status, parse_strategy(document), AT)
    return Situation(view, Position(f"s{slot}", 1, 0, {"USDT": amount}, amount), PlanProgress(f"s{slot}"))


def _random_rule(rng: random.Random, names: list[str], guarded: float) -> dict[str, Any]:
    """One of every kind of rule, with every kind of guard."""
    threshold: Any = rng.choice(
        ["0.5", "4", "25", {"relative": "10"}, {"relative": "120"}, {"factor": "20", "floor": "3"}, {"points": "6"}]
    )
    if isinstance(threshold, dict) and rng.random() < 0.4:
        threshold = {**threshold, "per_asset": {rng.choice(names): rng.choice(["0.7", "2", "30"])}}
    rule: dict[str, Any] = rng.choice(
        [{"threshold": threshold}, {"threshold": threshold}, {"interval": "2h"}, {"hold": True},
         {"interval": "2h", "threshold": threshold}, {"interval": "2h", "threshold": threshold, "when": "all"}]
    )  # fmt: skip
    if "hold" in rule:
        return rule
    if "interval" in rule and "when" not in rule and rng.random() < 0.5:
        rule = {**rule, "min_drift": rng.choice(["0.3", "2", "9"])}
    if "threshold" in rule:
        rule = {**rule, "destination": rng.choice(["target", "target", "halfway", "band_edge"])}
    if rng.random() < guarded:
        rule = {**rule, "cost_guard": rng.choice(["0.5", "2", "20", "200"])}
    return {**rule, "cooldown": rng.choice(["0m", "5m", "1h"])}


def after(before: Situation, decision: Decision, frame: Market, rng: random.Random) -> Situation:
    """The world after a decision: rebalanced (fully or in part), or sold and begun anew."""
    position = before.position
    assert position is not None
    if isinstance(decision, ExitRequested):
        total = decision.figures.valuation.total if decision.figures.valuation else D(1)
        before = replace(before, strategy=replace(before.strategy, peak=None))
        return replace(before, position=replace(position, version=position.version + 1, holdings={"USDT": total},
                                                contributed=total))  # fmt: skip
    assert isinstance(decision, Plan)
    valuation = decision.draft.valuation
    share = D(1) if rng.random() < 0.7 else D(repr(rng.random()))
    holdings = {}
    for line in valuation.lines:
        value = line.value + share * (line.target_pct * valuation.total / 100 - line.value)
        holdings[line.asset] = (value / line.bid).quantize(D("0.000000001"))
    outcome = PlanOutcome.COMPLETED if share == 1 else rng.choice(list(PlanOutcome))
    progress = PlanProgress(before.strategy.strategy_id, None, decision.draft.plan_id, outcome, frame.now, 0, False)
    strategy = before.strategy
    if decision.draft.kind == "initial":
        strategy = replace(strategy, status=StrategyStatus.ACTIVE, active_since=frame.now)
    return replace(
        before,
        strategy=strategy,
        position=replace(position, version=position.version + 1, holdings=holdings),
        progress=progress,
        last_closed_kind=decision.draft.kind,
        last_closed_reason=decision.code,
    )

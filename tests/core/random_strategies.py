"""Strategies of every kind of rule, at random, and what becomes of them when they act."""

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from shared.core.auto_invest import AutoInvestState, AutoInvestStatus, Cause
from shared.core.decisions import CycleDue, Decision, ExitRequested, Plan
from shared.core.position import PlanOutcome, PlanProgress, Position
from shared.core.situation import Market, Request, RequestKind, Situation, StrategyView, is_done
from shared.core.strategy import StrategyStatus, parse_strategy
from tests.core.portfolio_samples import AT

D = Decimal


def acts(decision: Decision) -> str | None:
    """The code of a plan, an exit or a cycle, None for a hold."""
    return decision.code if isinstance(decision, Plan | ExitRequested | CycleDue) else None


def random_situation(
    rng: random.Random, assets: list[str], slot: int, *, fewer_waiting: bool = False, investing: bool = False
) -> Situation:
    """A strategy of every kind. ``fewer_waiting``: few of those that are looked at again at every tick. ``investing``:
    many with Auto-Invest.
    """
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
    document["auto_invest"] = _random_auto_invest(rng, assets) if investing else None
    view = StrategyView(f"s{slot}", 1, status, parse_strategy(document), AT)
    if document["auto_invest"] is not None:
        view = replace(view, auto_invest=AutoInvestState(AutoInvestStatus.RUNNING, AT))
    return Situation(view, Position(f"s{slot}", 1, 0, {"USDT": amount}, amount), PlanProgress(f"s{slot}"))


def _random_auto_invest(rng: random.Random, assets: list[str]) -> dict[str, Any] | None:
    daily = {"every": "1d", "at": "07:30", "zone": "Asia/Kolkata"}
    schedule = rng.choice([None, {"every": "1h"}, {"every": "5h"}, daily])
    confirm = rng.choice(["1", "3"])
    drawdown = rng.choice([None, {"loss": "2", "min_interval": rng.choice(["1h", "6h"]), "confirm": confirm}])
    if rng.random() < 0.4 or (schedule is None and drawdown is None):
        return None
    asset = rng.choice(["USDT", rng.choice(assets)])
    return {"amount": "20", "asset": asset, "schedule": schedule, "drawdown": drawdown, "grace": "2h"}


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


def after(
    before: Situation, decision: Decision, frame: Market, rng: random.Random, *, asked_for: Sequence[str] = ()
) -> Situation:
    """The world after a decision: rebalanced (fully or in part), sold and begun anew, or with more money in it.

    With assets that may be ``asked_for``, something is now and then, or a pause begins or ends: the next event would
    tell so, too.
    """
    if isinstance(decision, CycleDue):
        return _after_cycle(before, decision, frame, rng)
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
    strategy, request = before.strategy, before.strategy.request
    if decision.draft.kind == "initial":
        strategy = replace(strategy, status=StrategyStatus.ACTIVE, active_since=frame.now)
    elif request is None:
        strategy = _asked(strategy, rng, asked_for) if asked_for else strategy
    elif is_done(request.kind, outcome, 0):
        strategy = replace(strategy, request=None, requests_open=0, status=StrategyStatus.ACTIVE)
    return replace(
        before,
        strategy=strategy,
        position=replace(position, version=position.version + 1, holdings=holdings),
        progress=progress,
        last_closed_kind=decision.draft.kind,
        last_closed_reason=decision.code,
        last_closed_answers=decision.draft.answers,
    )


def _asked(strategy: StrategyView, rng: random.Random, assets: Sequence[str]) -> StrategyView:
    """Half of the times something is asked for: new money that is there already, a payout that is not paid."""
    kind = rng.choice([None, None, None, *RequestKind])
    if kind is None:
        return strategy
    asset = rng.choice(["USDT", *strategy.definition.targets, rng.choice(assets)])
    request = Request(f"rq{rng.random()}", kind, asset, D(15))
    if kind is RequestKind.WITHDRAW and rng.random() < 0.5:
        request, strategy = (
            replace(request, amount=None, percent=D(20)),
            replace(strategy, status=StrategyStatus.PAUSED),
        )
    return replace(strategy, request=request, requests_open=1)


def _after_cycle(before: Situation, due: CycleDue, frame: Market, rng: random.Random) -> Situation:
    """The cycle is made, and its money is there; or it is left out."""
    strategy, position, plan = before.strategy, before.position, before.strategy.definition.auto_invest
    state = strategy.auto_invest
    assert position is not None
    assert plan is not None
    assert state is not None
    state = replace(state, cycle=due.cycle)
    if due.cause is Cause.SCHEDULE:
        state = replace(state, settled_until=due.due_at)
    if not due.made or rng.random() < 0.3:
        state = state if due.cause is Cause.SCHEDULE else replace(state, left_out_at=frame.now)
        return replace(before, strategy=replace(strategy, auto_invest=state))
    worth = plan.amount * (D(1) if plan.asset == "USDT" else frame.quotes[plan.asset].bid)
    held = {**position.holdings, plan.asset: position.holdings.get(plan.asset, D(0)) + plan.amount}
    version = position.version + 1
    position = replace(position, version=version, holdings=held, contributed=position.contributed + worth)
    request = Request(f"rq{due.cycle}", RequestKind.INVEST, plan.asset, plan.amount, position_version=version)
    state = replace(state, last_made_at=frame.now)
    strategy = replace(strategy, auto_invest=state, request=request, requests_open=1)
    return replace(before, strategy=strategy, position=position)

"""From what a session has seen to what the view shows."""

import time
from decimal import Decimal
from typing import Any

from deploy.demo.session import DemoSession
from deploy.demo.view import DecisionLine, DemoView, StrategyPanel, WeightLine
from deploy.embedded.stack import Stack

_DECISIONS_SHOWN = 8
_DETAIL_INPUTS = ("threshold", "profit_pct", "value", "due_at", "cooldown_until")


def picture_of(session: DemoSession, stack: Stack) -> DemoView:
    """The screen's content right now."""
    seen = session.seen
    market = seen.market
    names = {one["id"]: one["name"] for one in seen.strategies}
    return DemoView(
        source=market.source if market else "starting",
        market_time=_short(market.market_time) if market else "",
        ticks=market.ticks if market else 0,
        rows_done=market.row + 1 if market else 0,
        rows_total=market.rows_total if market else None,
        elapsed_s=time.monotonic() - session.started_at,
        prices=seen.prices,
        strategies=[_panel(one, seen.progress.rebalances.get(one["id"], 0)) for one in seen.strategies],
        waiting=seen.waiting,
        decisions=_decisions(seen.decisions, names),
        orders=seen.progress.orders,
        restarts=stack.restarts,
        gateway_url=stack.ports.gateway_url,
    )


def _panel(strategy: dict[str, Any], rebalances: int) -> StrategyPanel:
    lines = [
        WeightLine(
            asset=one["asset"],
            target=Decimal(one["target_pct"]),
            actual=Decimal(one["actual_pct"] or 0),
            band=Decimal(one["upper_pct"]) - Decimal(one["target_pct"]) if one["upper_pct"] else None,
        )
        for one in strategy["assets"]
        if Decimal(one["target_pct"]) > 0 or Decimal(one["actual_pct"] or 0) >= 1
    ]
    return StrategyPanel(
        name=strategy["name"],
        status=strategy["status"],
        value=Decimal(strategy["value"] or 0),
        contributed=Decimal(strategy["contributed"] or 0),
        profit_pct=Decimal(strategy["profit_pct"] or 0),
        rebalances=rebalances,
        weights=lines,
    )


def _decisions(by_strategy: dict[str, list[dict[str, Any]]], names: dict[str, str]) -> list[DecisionLine]:
    newest = sorted(
        (
            (one["last_at"], names.get(strategy_id, strategy_id), one)
            for strategy_id, decisions in by_strategy.items()
            for one in decisions
        ),
        key=lambda row: str(row[0]),
        reverse=True,
    )
    return [
        DecisionLine(
            at=_short(at),
            strategy=name,
            code=one["code"] + (f" x{one['count']}" if one["count"] > 1 else ""),
            detail=_detail(one),
            acted=one["acted"],
        )
        for at, name, one in newest[:_DECISIONS_SHOWN]
    ]


def _detail(decision: dict[str, Any]) -> str:
    inputs: dict[str, str] = decision["inputs"]
    _, _, asset = decision["code"].partition(":")
    about = [asset] if asset else [name.removeprefix("weight.") for name in inputs if name.startswith("weight.")]
    weights = [
        f"{one} {Decimal(inputs[f'weight.{one}']):.2f} %/{inputs.get(f'target.{one}', '0')}"
        for one in about
        if f"weight.{one}" in inputs
    ]
    figures = [f"{name} {inputs[name]}" for name in _DETAIL_INPUTS if name in inputs]
    return "  ".join([*weights, *figures])


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")

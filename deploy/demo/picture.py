"""From what a session has seen to what the view shows."""

import time
from decimal import Decimal
from typing import Any

from deploy.demo.session import DemoSession
from deploy.demo.view import DecisionLine, DemoView, PriceLine, StrategyPanel, WeightLine
from deploy.embedded.stack import Stack
from shared.core.money import HUNDRED, ZERO

# Steps on the way to the next decision: in the audit trail and the API, but between them one sees no decision.
_PASSING = frozenset({"plan_open", "fills_pending", "awaiting_funds", "awaiting_activation", "awaiting_release"})
_HELD_LEAST_PCT = Decimal(1)


class Picture:
    """The screen's content at any moment of one demo; remembers the first price of every asset."""

    def __init__(self, session: DemoSession, stack: Stack) -> None:
        self._session = session
        self._stack = stack
        self._first_bids: dict[str, Decimal] = {}

    def now(self, phase: str) -> DemoView:
        """The screen's content right now; ``phase`` is what the demo is doing, in words."""
        seen = self._session.seen
        market = seen.market
        names = {one["id"]: one["name"] for one in seen.strategies}
        return DemoView(
            source=market.source if market else "starting",
            phase=phase,
            market_time=_short(market.market_time) if market else "",
            ticks=market.ticks if market else 0,
            rows_done=market.row + 1 if market else 0,
            rows_total=market.rows_total if market else None,
            elapsed_s=time.monotonic() - self._session.started_at,
            prices=self._prices(),
            strategies=[_panel(one, seen.progress.rebalances.get(one["id"], 0)) for one in seen.strategies],
            waiting=seen.waiting,
            decisions=decision_lines(seen.decisions, names),
            orders=seen.progress.orders,
            restarts=self._stack.restarts,
            gateway_url=self._stack.ports.gateway_url,
        )

    def _prices(self) -> list[PriceLine]:
        lines = []
        for asset, text in self._session.seen.prices.items():
            bid = Decimal(text)
            first = self._first_bids.setdefault(asset, bid)
            lines.append(PriceLine(asset, bid, (bid / first - 1) * HUNDRED if first else ZERO))
        return lines


def _panel(strategy: dict[str, Any], rebalances: int) -> StrategyPanel:
    funding = strategy["document"]["funding_asset"]
    lines = []
    cash = ZERO
    for one in strategy["assets"]:
        target, actual = Decimal(one["target_pct"]), Decimal(one["actual_pct"] or 0)
        if one["asset"] == funding and not target:
            cash = actual
        elif target or actual >= _HELD_LEAST_PCT:
            band = Decimal(one["upper_pct"]) - target if one["upper_pct"] else None
            lines.append(WeightLine(one["asset"], target, actual, band))
    return StrategyPanel(
        name=strategy["name"],
        status=strategy["status"],
        value=Decimal(strategy["value"] or 0),
        profit_pct=Decimal(strategy["profit_pct"] or 0),
        rebalances=rebalances,
        cash_pct=cash,
        weights=lines,
    )


def decision_lines(by_strategy: dict[str, list[dict[str, Any]]], names: dict[str, str]) -> list[DecisionLine]:
    """The decisions of all strategies, newest first, as lines; steps in between are left out."""
    newest = sorted(
        (
            (one["last_at"], names.get(strategy_id, strategy_id), one)
            for strategy_id, decisions in by_strategy.items()
            for one in decisions
            if one["code"].partition(":")[0] not in _PASSING
        ),
        key=lambda row: str(row[0]),
        reverse=True,
    )
    return [
        DecisionLine(
            at=_short(at),
            strategy=name,
            code=one["code"] + (f" x{one['count']}" if one["count"] > 1 else ""),
            detail=detail_of(one),
            acted=one["acted"],
        )
        for at, name, one in newest
    ]


def detail_of(decision: dict[str, Any]) -> str:
    """The figures behind a decision that fit into a line: the asset it names, or the one furthest from its target."""
    inputs: dict[str, str] = decision["inputs"]
    _, _, asset = decision["code"].partition(":")
    parts = []
    if weights := {name.removeprefix("weight."): text for name, text in inputs.items() if name.startswith("weight.")}:
        off = {one: Decimal(text) - Decimal(inputs.get(f"target.{one}", "0")) for one, text in weights.items()}
        about = asset if asset in off else max(off, key=lambda one: abs(off[one]))
        band = f" of {inputs['threshold']}" if "threshold" in inputs else ""
        parts.append(f"{about} {Decimal(weights[about]):.2f} % ({off[about]:+.2f}{band} points)")
    for name, words in (("due_at", "next"), ("cooldown_until", "waits until")):
        if name in inputs:
            parts.append(f"{words} {_short(inputs[name])}")
    if "profit_pct" in inputs:
        parts.append(f"profit {Decimal(inputs['profit_pct']):+.2f} %")
    return ", ".join(parts)


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")

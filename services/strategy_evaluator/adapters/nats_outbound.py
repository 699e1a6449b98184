"""What the evaluator says: plans and decisions into their streams, exits and cycles as commands to the registry."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from services.strategy_evaluator.asking import Ask, PeakToRecord
from services.strategy_evaluator.outgoing import PlanToPublish
from shared.contracts import subjects
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.lifecycle import PauseStrategy, RunAutoInvest
from shared.contracts.plans import PlanLine, RebalancePlanned, TradedWays, styled
from shared.contracts.strategies import RecordPeak, StopStrategy
from shared.contracts.wire import Message, Meta
from shared.core.decisions import CycleDue
from shared.core.drift import weight_pct
from shared.core.errors import RetryLater
from shared.core.matching import Side
from shared.core.rules import ExitAction
from shared.messaging.broker import NatsBroker
from shared.messaging.publishing import Publisher
from shared.messaging.requests import request

log = logging.getLogger(__name__)

_NS = 1_000_000_000
SOURCE = "strategy_evaluator"
_WAYS = {Side.BUY: TradedWays.BUY, Side.SELL: TradedWays.SELL}


def planned(to_publish: PlanToPublish, expiry: timedelta) -> RebalancePlanned:
    """The message of a plan: the draft and the wall clock."""
    plan, strategy = to_publish.plan, to_publish.strategy
    draft = plan.draft
    decided_at = _at(to_publish.decided_ns)
    total = draft.valuation.total
    return RebalancePlanned(
        plan_id=draft.plan_id,
        strategy_id=strategy.strategy_id,
        strategy_version=strategy.version,
        venue=strategy.definition.venue,
        kind=draft.kind,
        reason=plan.code,
        inputs=plan.figures.as_text(),
        position_version=draft.position_version,
        fills_seen=draft.fills_seen,
        previous_plan_id=draft.previous_plan_id,
        funding_asset=draft.funding_asset,
        quote=draft.quote,
        total_value=total,
        lines=tuple(
            PlanLine(
                asset=line.asset,
                quantity=line.quantity,
                bid=line.bid,
                ask=line.ask,
                value=line.value,
                weight_pct=weight_pct(line, total),
                target_weight_pct=line.target_pct,
                ways=_WAYS[draft.ways[line.asset]] if line.asset in draft.ways else TradedWays.BOTH,
            )
            for line in draft.valuation.lines
        ),
        market_time=draft.market_time,
        decided_at=decided_at,
        expires_at=decided_at + expiry + strategy.definition.orders.longest,
        tick_received_ns=to_publish.tick_received_ns,
        answers=draft.answers,
        orders=styled(strategy.definition.orders),
    )


def command_of(ask: Ask) -> Message:
    """The command to the registry."""
    decision = ask.decision
    inputs = decision.figures.as_text()
    if isinstance(decision, CycleDue):
        return RunAutoInvest(
            strategy_id=ask.strategy_id,
            cycle=decision.cycle,
            cause=decision.cause,
            due_at=decision.due_at,
            market_time=decision.market_time,
            made=decision.made,
            left_out=decision.left_out,
            inputs=inputs,
            price=decision.price,
        )
    if decision.action is ExitAction.PAUSE:
        return PauseStrategy(strategy_id=ask.strategy_id, reason=decision.reason.value, inputs=inputs)
    return StopStrategy(
        strategy_id=ask.strategy_id, reason=decision.reason.value, inputs=inputs, action=decision.action
    )


class Outbound:
    """Publishes and requests over NATS."""

    def __init__(
        self, broker: NatsBroker, publisher: Publisher, plan_expiry: timedelta, clock_ns: Callable[[], int]
    ) -> None:
        self._broker, self._publisher = broker, publisher
        self._plan_expiry, self._clock_ns = plan_expiry, clock_ns

    async def publish_plan(self, to_publish: PlanToPublish) -> None:
        """Store a plan in its stream, once per message id. Raises RetryLater when that is not certain."""
        message = planned(to_publish, self._plan_expiry)
        await self._publisher.publish(
            subjects.plans(message.strategy_id),
            message,
            message_id=to_publish.message_id,
            correlation_id=message.plan_id,
        )

    async def publish_decision(self, decision: DecisionRecorded, message_id: str) -> None:
        """Store a decision; comes back when it is stored, however long the broker is away."""
        while True:
            try:
                await self._publisher.publish(
                    subjects.evaluations(decision.strategy_id),
                    decision,
                    message_id=message_id,
                    correlation_id=decision.plan_id or decision.strategy_id,
                )
            except RetryLater as later:
                log.warning("decision %s is not stored yet: %s", message_id, later)
                await asyncio.sleep(later.after_s)
            else:
                return

    async def ask(self, wanted: Ask) -> None:
        """Ask the registry to stop or pause a strategy, or to decide a cycle. Raises Refused or RetryLater."""
        meta = Meta(wanted.command_id, SOURCE, _at(self._clock_ns()), wanted.command_id, "")
        await request(self._broker, subjects.STRATEGY_COMMANDS, command_of(wanted), meta)

    async def record_peak(self, wanted: PeakToRecord) -> None:
        """Tell the registry a new peak. Raises Refused or RetryLater."""
        peak = wanted.peak
        command = RecordPeak(strategy_id=wanted.strategy_id, profit_pct=peak.profit_pct, contributed=peak.contributed)
        meta = Meta(wanted.command_id, SOURCE, _at(self._clock_ns()), wanted.command_id, "")
        await request(self._broker, subjects.STRATEGY_COMMANDS, command, meta)


def _at(wall_ns: int) -> datetime:
    return datetime.fromtimestamp(wall_ns / _NS, UTC)

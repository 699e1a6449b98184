"""What the evaluator says: plans and decisions into their streams, exits as commands to the registry."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from services.strategy_evaluator.evaluation import ExitToRequest, PeakToRecord, PlanToPublish
from shared.contracts import subjects
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.plans import PlanLine, RebalancePlanned
from shared.contracts.strategies import RecordPeak, StopStrategy
from shared.contracts.wire import Meta
from shared.core.drift import weight_pct
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.publishing import Publisher
from shared.messaging.requests import request

log = logging.getLogger(__name__)

_NS = 1_000_000_000
SOURCE = "strategy_evaluator"


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
            )
            for line in draft.valuation.lines
        ),
        market_time=draft.market_time,
        decided_at=decided_at,
        expires_at=decided_at + expiry,
        tick_received_ns=to_publish.tick_received_ns,
    )


class Outbound:
    """Publishes and requests over NATS."""

    def __init__(
        self, broker: NatsBroker, publisher: Publisher, plan_expiry: timedelta, clock_ns: Callable[[], int]
    ) -> None:
        self._broker, self._publisher = broker, publisher
        self._plan_expiry, self._clock_ns = plan_expiry, clock_ns

    async def publish_plan(self, to_publish: PlanToPublish) -> None:
        """Store a plan in its stream, once per plan id and kind. Raises RetryLater when that is not certain.

        The kind, because the executor may have dropped another evaluator's plan of this id that was not for an exit.
        """
        message = planned(to_publish, self._plan_expiry)
        await self._publisher.publish(
            subjects.plans(message.strategy_id),
            message,
            message_id=f"{message.plan_id}.{message.kind}",
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

    async def request_exit(self, wanted: ExitToRequest) -> None:
        """Ask the registry to stop a strategy. Raises Refused or RetryLater."""
        command = StopStrategy(
            strategy_id=wanted.strategy_id,
            reason=wanted.decision.reason.value,
            inputs=wanted.decision.figures.as_text(),
        )
        meta = Meta(wanted.command_id, SOURCE, _at(self._clock_ns()), wanted.command_id, "")
        await request(self._broker, subjects.STRATEGY_COMMANDS, command, meta)

    async def record_peak(self, wanted: PeakToRecord) -> None:
        """Tell the registry a new peak. Raises Refused or RetryLater."""
        peak = wanted.peak
        command = RecordPeak(strategy_id=wanted.strategy_id, profit_pct=peak.profit_pct, contributed=peak.contributed)
        meta = Meta(wanted.command_id, SOURCE, _at(self._clock_ns()), wanted.command_id, "")
        await request(self._broker, subjects.STRATEGY_COMMANDS, command, meta)


def _at(wall_ns: int) -> datetime:
    return datetime.fromtimestamp(wall_ns / _NS, UTC)

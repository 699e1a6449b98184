"""Plans in Postgres: accepted once, at most one open per strategy, closed once; strategies sealed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg

from services.order_executor.adapters.postgres_at_once import Intents, accept_at_once, close_at_once
from services.order_executor.adapters.postgres_rows import fill_from, order_from, sizing_from
from services.order_executor.adapters.postgres_strategies import (
    STRATEGY_COLUMNS,
    create_and_lock,
    lock_all,
    lock_strategies,
    strategy_from,
    tell_progress,
)
from services.order_executor.lease import Lease
from services.order_executor.records import PlanRecord, StrategyRow
from services.order_executor.steps import Close
from shared.contracts.plans import PlanClosedSummary, RebalancePlanned
from shared.contracts.wire import Meta
from shared.core.orders import UNSETTLED
from shared.core.position import PlanOutcome
from shared.core.situation import EXIT

_OF_STRATEGY = ", ".join(f"s.{name}" for name in STRATEGY_COLUMNS.split(", "))
# One statement, so one snapshot and one round trip.
_LOAD = f"""
SELECT p.body, p.sizing, p.outcome, p.phases, {_OF_STRATEGY},
    ARRAY(SELECT o FROM executor.orders o WHERE o.plan_id = p.plan_id ORDER BY o.round, o.symbol) AS orders,
    ARRAY(SELECT f FROM executor.fills f WHERE f.strategy_id = p.strategy_id
          AND f.fill_number > (p.body->>'fills_seen')::bigint ORDER BY f.fill_number) AS fills,
    ARRAY(SELECT o FROM executor.fills f JOIN executor.orders o USING (client_order_id)
          WHERE f.strategy_id = p.strategy_id
          AND f.fill_number > (p.body->>'fills_seen')::bigint ORDER BY f.fill_number) AS filled
FROM executor.plans p JOIN executor.strategies s USING (strategy_id) WHERE p.plan_id = $1
"""  # noqa: S608
_STANDING = f"""
SELECT {_OF_STRATEGY},
    (SELECT outcome IS NULL FROM executor.plans WHERE plan_id = $2) AS mine,
    EXISTS (SELECT FROM executor.plans WHERE strategy_id = $1 AND outcome IS NULL) AS busy,
    EXISTS (SELECT FROM executor.plans WHERE strategy_id = $1 AND position_version = $3 AND previous_plan_id = $4)
        AS taken
FROM (VALUES (true)) AS one LEFT JOIN executor.strategies s ON s.strategy_id = $1
"""  # noqa: S608
_ON_ARRIVAL = {"expired": "expired_on_arrival", "halted": "halted"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an offered plan (see ``PlanStore.accept``), and the row of its strategy as it is with it, where
    that is known.
    """

    outcome: str
    strategy: StrategyRow | None = None


class PlanStore:
    """Plans of the executor's schema. Every method changes what it changes in one transaction.

    With a lease, plans are taken only while it is ours: one that is taken after a take-over would wait for ever,
    because the new writer has looked for open plans already.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", lease: Lease | None = None) -> None:
        self._pool = pool
        self._lease = lease

    async def accept(self, plan: RebalancePlanned, meta: Meta, now: datetime, intents: Intents | None = None) -> Answer:
        """Insert the plan ("accepted"; "begun" with its first phase, where nothing stands against that), insert it
        closed as expired ("expired", "halted"), or drop it and say why: "duplicate_open", "duplicate_closed",
        "sealed", "held", "stale", "busy". What is dropped is not published.

        ``intents``: of its first phase. Raises Stop when the account has another writer: the plan comes to that one.
        """
        async with self._pool.acquire() as connection:
            if self._lease is not None and now < plan.accept_until:
                standing = await connection.fetchrow(_STANDING, *_named(plan))
                read = StrategyRow(plan.strategy_id, plan.venue)
                if standing["strategy_id"] is not None:
                    read = strategy_from(standing)
                if _why_not(plan, read, standing) is None:
                    saved = await accept_at_once(connection, self._lease, (plan, meta), read, intents)
                    if saved is not None:
                        return Answer("accepted" if intents is None else "begun", saved)
            async with connection.transaction():
                return Answer(await self._accept(connection, plan, meta, now))

    async def _accept(self, connection: Any, plan: RebalancePlanned, meta: Meta, now: datetime) -> str:
        """Whatever may have changed meanwhile: look at everything under the locks."""
        locked = await lock_all(connection, self._lease, plan.venue, plan.strategy_id)
        strategy = locked.strategy or await create_and_lock(connection, plan.strategy_id, plan.venue)
        reason = _why_not(plan, strategy, await connection.fetchrow(_STANDING, *_named(plan)))
        if reason is not None:
            return reason
        refused = "halted" if locked.halted is not None else "expired" if now >= plan.accept_until else None
        await connection.execute(
            "INSERT INTO executor.plans (plan_id, strategy_id, position_version, previous_plan_id, body, "
            "message_id, outcome, closed_at) VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8)",
            plan.plan_id,
            plan.strategy_id,
            plan.position_version,
            plan.previous_plan_id,
            plan.model_dump_json(),
            meta.message_id,
            PlanOutcome.EXPIRED.value if refused else None,
            now if refused else None,
        )
        if refused:
            close = Close(PlanOutcome.EXPIRED, _ON_ARRIVAL[refused], None)
            summary = _summary(plan, close, now, plan.market_time)
            strategy = replace(strategy, last_closed=summary, last_closed_plan_id=plan.plan_id)
        change, open_id = ("closed", None) if refused else ("accepted", plan.plan_id)
        await tell_progress(connection, strategy, change, open_id, meta.message_id)
        return refused or "accepted"

    async def open_plan_ids(self) -> list[str]:
        """Every open plan, oldest first: what a start-up takes up again."""
        rows = await self._pool.fetch("SELECT plan_id FROM executor.plans WHERE outcome IS NULL ORDER BY accepted_at")
        return [row["plan_id"] for row in rows]

    async def load(self, plan_id: str) -> PlanRecord:
        """The plan with its orders (by round) and every fill booked since it was decided, in order: its own, and late
        ones of plans before it, which have changed what it may spend.
        """
        row = await self._pool.fetchrow(_LOAD, plan_id)
        return PlanRecord(
            plan=RebalancePlanned.model_validate_json(row["body"]),
            is_open=row["outcome"] is None,
            orders=tuple(order_from(order) for order in row["orders"]),
            fills=tuple(fill_from({**of, **fill}) for of, fill in zip(row["filled"], row["fills"], strict=True)),
            sizing=sizing_from(row["sizing"]),
            strategy=strategy_from(row),
            phases=row["phases"],
        )

    async def close(self, record: PlanRecord, close: Close, market_time: datetime) -> bool:
        """Close the plan and publish it, and the hold and the seal if one waits. False when it was closed already, or
        when a fill was booked or an order came back to life since ``record`` was loaded: look again.
        """
        plan, read = record.plan, record.strategy
        summary = _summary(plan, close, datetime.now(UTC), max(market_time, record.market_time))
        summary = summary.model_copy(update={"orders": len(record.orders), "fills": len(record.fills)})
        is_usual = not record.hurried and read is not None and read.fills_total == plan.fills_seen + len(record.fills)
        async with self._pool.acquire() as connection:
            if read is not None and is_usual and await close_at_once(connection, record, close, summary, read):
                return True
            async with connection.transaction():
                return await self._close(connection, record, close, summary)

    async def _close(self, connection: Any, record: PlanRecord, close: Close, summary: PlanClosedSummary) -> bool:
        """Whatever may have changed meanwhile: look at everything under the lock."""
        plan = record.plan
        strategy = (await lock_strategies(connection, [plan.strategy_id]))[plan.strategy_id]
        closed = await connection.fetchval(
            "UPDATE executor.plans p SET outcome = $2, detail = $3, closed_at = $4 WHERE plan_id = $1 "
            "AND outcome IS NULL AND $5::bigint = $6::bigint AND NOT EXISTS (SELECT FROM executor.orders o "
            "WHERE o.plan_id = p.plan_id AND o.state = ANY($7::text[])) RETURNING true",
            plan.plan_id,
            close.outcome.value,
            close.detail,
            summary.closed_at,
            plan.fills_seen + len(record.fills),
            strategy.fills_total,
            [state.value for state in UNSETTLED],
        )
        if not closed:
            return False
        strategy = replace(strategy, last_closed=summary, last_closed_plan_id=plan.plan_id)
        strategy = await tell_progress(connection, strategy, "closed", None, plan.plan_id)
        if strategy.held_for != strategy.hold_requested:
            strategy = replace(strategy, held_for=strategy.hold_requested)
            strategy = await tell_progress(connection, strategy, "held", None, plan.plan_id)
        if strategy.seal_requested and not strategy.sealed:
            await tell_progress(connection, replace(strategy, sealed=True), "sealed", None, plan.plan_id)
        return True

    async def seal(self, strategy_id: str, venue: str, message_id: str) -> None:
        """Take no more plans; sealed at once when none is open, else with the end of the open one. A hold changes
        nothing about that, and a sealed strategy is held and freed like any other: whoever asked is answered.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            strategy = await create_and_lock(connection, strategy_id, venue)
            if strategy.seal_requested:
                return
            is_open = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM executor.plans WHERE strategy_id = $1 AND outcome IS NULL)", strategy_id
            )
            if is_open:
                await connection.execute(
                    "UPDATE executor.strategies SET seal_requested = true WHERE strategy_id = $1", strategy_id
                )
                return
            sealed = replace(strategy, seal_requested=True, sealed=True)
            await tell_progress(connection, sealed, "sealed", None, message_id)


def _named(plan: RebalancePlanned) -> tuple[object, ...]:
    """What a plan goes by: the values of ``_STANDING``."""
    return plan.strategy_id, plan.plan_id, plan.position_version, plan.previous_plan_id


def _why_not(plan: RebalancePlanned, strategy: StrategyRow, standing: Mapping[str, Any]) -> str | None:
    """Why a plan is dropped, by the strategy's row and the row of ``_STANDING``; None: it is not."""
    if standing["mine"] is not None:
        return "duplicate_open" if standing["mine"] else "duplicate_closed"
    if strategy.seal_requested:
        return "sealed"
    if strategy.hold_requested:
        return "held"
    stale = (
        plan.position_version < strategy.position_required
        or plan.previous_plan_id != strategy.last_closed_plan_id
        or plan.fills_seen != strategy.fills_total
        or plan.venue != strategy.venue
    )
    # Exiting has no way back, so a purchase after an exit was decided by somebody who has not heard of it.
    exited = strategy.last_closed is not None and strategy.last_closed.kind == EXIT
    if stale or standing["taken"] or (exited and plan.kind != EXIT):
        return "stale"
    return "busy" if standing["busy"] else None


def _summary(plan: RebalancePlanned, close: Close, now: datetime, market_time: datetime) -> PlanClosedSummary:
    return PlanClosedSummary(
        plan_id=plan.plan_id,
        kind=plan.kind,
        reason=plan.reason,
        outcome=close.outcome,
        detail=close.detail,
        closed_at=now,
        market_time=market_time,
        orders=0,
        fills=0,
        worst_drift_pct=close.worst_drift_pct,
        answers=plan.answers,
        prices={line.asset: line.bid for line in plan.lines if line.bid > 0} if plan.kind == EXIT else {},
    )

"""Plans in Postgres: accepted once, at most one open per strategy, closed once; strategies sealed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg

from services.order_executor.adapters.postgres_account import superseded
from services.order_executor.adapters.postgres_events import Announcement, change_and_tell
from services.order_executor.adapters.postgres_rows import fill_from, order_from, sizing_from
from services.order_executor.lease import Lease
from services.order_executor.records import PlanRecord
from services.order_executor.steps import Close
from shared.contracts import subjects
from shared.contracts.plans import PlanClosedSummary, PlanProgressed, RebalancePlanned
from shared.contracts.wire import Meta
from shared.core.orders import UNSETTLED
from shared.core.position import PlanOutcome
from shared.core.situation import EXIT

# One statement, so one snapshot and one round trip.
_LOAD = """
SELECT p.body, p.sizing, p.outcome, s.seal_requested OR s.hold_requested <> '' AS hurried,
    ARRAY(SELECT o FROM executor.orders o WHERE o.plan_id = p.plan_id ORDER BY o.round, o.symbol) AS orders,
    ARRAY(SELECT f FROM executor.fills f WHERE f.strategy_id = p.strategy_id
          AND f.fill_number > (p.body->>'fills_seen')::bigint ORDER BY f.fill_number) AS fills,
    ARRAY(SELECT o FROM executor.fills f JOIN executor.orders o USING (client_order_id)
          WHERE f.strategy_id = p.strategy_id
          AND f.fill_number > (p.body->>'fills_seen')::bigint ORDER BY f.fill_number) AS filled
FROM executor.plans p JOIN executor.strategies s USING (strategy_id) WHERE p.plan_id = $1
"""
_STRATEGY_COLUMNS = (
    "strategy_id, venue, sequence, fills_total, last_closed_plan_id, last_closed, seal_requested, sealed, "
    "hold_requested, held_for, position_required"
)
# In one round trip, but one after the other as everywhere: each waits for a value of the one before it. What had to
# wait for a lock is looked at as it is then.
_LOCK_ALL = f"""
WITH lease AS MATERIALIZED (
    SELECT epoch = $2 AND holder = $3 AS is_ours FROM executor.accounts WHERE account = $1 FOR SHARE
), switch AS MATERIALIZED (
    SELECT halted, reason FROM executor.halts WHERE venue = $4 AND (SELECT count(*) FROM lease) >= 0 FOR SHARE
), strategy AS MATERIALIZED (
    SELECT {_STRATEGY_COLUMNS} FROM executor.strategies
    WHERE strategy_id = $5 AND (SELECT count(*) FROM switch) >= 0 FOR UPDATE
)
SELECT (SELECT is_ours FROM lease) AS is_ours, (SELECT reason FROM switch WHERE halted) AS halted, strategy.*
FROM (VALUES (true)) AS one LEFT JOIN strategy ON true
"""  # noqa: S608
_ON_ARRIVAL = {"expired": "expired_on_arrival", "halted": "halted"}


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """Where a strategy's plans stand, as locked."""

    strategy_id: str
    venue: str
    sequence: int
    fills_total: int
    last_closed_plan_id: str
    last_closed: PlanClosedSummary | None
    seal_requested: bool
    sealed: bool
    hold_requested: str
    held_for: str
    position_required: int


async def lock_strategies(connection: Any, strategy_ids: list[str]) -> dict[str, StrategyRow]:
    """Lock the rows, in the order of their ids, until the transaction ends."""
    return await _lock(connection, "SELECT unnest($1::text[])", strategy_ids)


async def lock_strategies_of(connection: Any, orders: list[str], *, patient: bool) -> dict[str, StrategyRow]:
    """Lock the strategies of these orders (client order ids), likewise. Not ``patient``: raises LockNotAvailableError
    where there is something to wait for.
    """
    of_orders = "SELECT strategy_id FROM executor.orders WHERE client_order_id = ANY($1::text[])"
    return await _lock(connection, of_orders, orders, "" if patient else " NOWAIT")


async def _lock(connection: Any, which: str, names: list[str], how: str = "") -> dict[str, StrategyRow]:
    rows = await connection.fetch(
        f"SELECT {_STRATEGY_COLUMNS} FROM executor.strategies WHERE strategy_id IN ({which}) "  # noqa: S608
        f"ORDER BY strategy_id FOR UPDATE{how}",
        names,
    )
    return {row["strategy_id"]: _strategy_from(row) for row in rows}


async def create_and_lock(connection: Any, strategy_id: str, venue: str) -> StrategyRow:
    """Lock the row of a strategy, made now when this is the first word of it."""
    await connection.execute(
        "INSERT INTO executor.strategies (strategy_id, venue) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        strategy_id,
        venue,
    )
    return (await lock_strategies(connection, [strategy_id]))[strategy_id]


@dataclass(frozen=True, slots=True)
class Locked:
    """What a plan hangs on, until the transaction ends: no take-over and no halt can be committed before.

    ``halted``: why nothing may be sent; ``strategy`` None: nobody has said a word of it yet.
    """

    halted: str | None
    strategy: StrategyRow | None


async def lock_all(connection: Any, lease: Lease | None, venue: str, strategy_id: str) -> Locked:
    """Hold off take-overs and halts, and lock the strategy. Raises Stop when the account has another writer."""
    account, epoch, holder = (lease.account, lease.epoch, lease.holder) if lease is not None else ("", 0, "")
    row = await connection.fetchrow(_LOCK_ALL, account, epoch, holder, venue, strategy_id)
    values = dict(row)
    is_ours, halted = values.pop("is_ours"), values.pop("halted")
    if lease is not None and not is_ours:
        raise superseded(lease)
    return Locked(halted, None if values["strategy_id"] is None else _strategy_from(values))


def _strategy_from(row: Mapping[str, Any]) -> StrategyRow:
    values = dict(row)
    summary = values.pop("last_closed")
    return StrategyRow(**values, last_closed=PlanClosedSummary.model_validate_json(summary) if summary else None)


async def tell_progress(
    connection: Any, strategy: StrategyRow, change: str, open_plan_id: str | None, causation_id: str
) -> StrategyRow:
    """Save the strategy's row with its next sequence and publish it as PlanProgressed; returns the row as saved."""
    saved = replace(strategy, sequence=strategy.sequence + 1)
    summary = saved.last_closed.model_dump_json() if saved.last_closed is not None else None
    message = PlanProgressed(
        strategy_id=saved.strategy_id,
        venue=saved.venue,
        sequence=saved.sequence,
        change=change,
        open_plan_id=open_plan_id,
        last_closed=saved.last_closed,
        fills_total=saved.fills_total,
        sealed=saved.sealed,
        held_for=saved.held_for,
        position_required=saved.position_required,
    )
    subject = subjects.plan_results(saved.strategy_id)
    correlation_id = open_plan_id or saved.last_closed_plan_id or saved.strategy_id
    message_id = f"plan-progress.{saved.strategy_id}.{saved.sequence}"
    await change_and_tell(
        connection,
        "UPDATE executor.strategies SET sequence = $2, fills_total = $3, last_closed_plan_id = $4, "
        "last_closed = $5::jsonb, seal_requested = $6, sealed = $7, hold_requested = $8, held_for = $9, "
        "position_required = $10 WHERE strategy_id = $1",
        (
            saved.strategy_id,
            saved.sequence,
            saved.fills_total,
            saved.last_closed_plan_id,
            summary,
            saved.seal_requested,
            saved.sealed,
            saved.hold_requested,
            saved.held_for,
            saved.position_required,
        ),
        [Announcement(subject, message, message_id, correlation_id, causation_id)],
    )
    return saved


Along = Callable[[Any], Awaitable[None]]
"""Something done on a connection, in its transaction."""


class PlanStore:
    """Plans of the executor's schema. Every method is one transaction.

    With a lease, plans are taken only while it is ours: one that is taken after a take-over would wait for ever,
    because the new writer has looked for open plans already.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", lease: Lease | None = None) -> None:
        self._pool = pool
        self._lease = lease

    async def accept(self, plan: RebalancePlanned, meta: Meta, now: datetime, first: Along | None = None) -> str:
        """Insert the plan ("accepted"), insert it closed as expired ("expired", "halted"), or drop it and say why:
        "duplicate_open", "duplicate_closed", "sealed", "held", "stale", "busy". What is dropped is not published.

        ``first``: what is done in the same transaction, once the plan is accepted. Raises Stop when the account has
        another writer: the plan comes to that one.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            locked = await lock_all(connection, self._lease, plan.venue, plan.strategy_id)
            strategy = locked.strategy or await create_and_lock(connection, plan.strategy_id, plan.venue)
            reason = await self._why_not(connection, plan, strategy)
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
            if first is not None and not refused:
                await first(connection)
            return refused or "accepted"

    async def _why_not(self, connection: Any, plan: RebalancePlanned, strategy: StrategyRow) -> str | None:
        row = await connection.fetchrow(
            "SELECT (SELECT outcome IS NULL FROM executor.plans WHERE plan_id = $1) AS mine, "
            "EXISTS (SELECT FROM executor.plans WHERE strategy_id = $2 AND outcome IS NULL) AS busy, "
            "EXISTS (SELECT FROM executor.plans WHERE strategy_id = $2 AND position_version = $3 "
            "AND previous_plan_id = $4) AS taken",
            plan.plan_id,
            plan.strategy_id,
            plan.position_version,
            plan.previous_plan_id,
        )
        if row["mine"] is not None:
            return "duplicate_open" if row["mine"] else "duplicate_closed"
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
        if stale or row["taken"] or (exited and plan.kind != EXIT):
            return "stale"
        return "busy" if row["busy"] else None

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
            hurried=row["hurried"],
        )

    async def close(self, record: PlanRecord, close: Close, market_time: datetime) -> bool:
        """Close the plan and publish it, and the hold and the seal if one waits. False when it was closed already, or
        when a fill was booked or an order came back to life since ``record`` was loaded: look again.
        """
        plan, now = record.plan, datetime.now(UTC)
        async with self._pool.acquire() as connection, connection.transaction():
            strategy = (await lock_strategies(connection, [plan.strategy_id]))[plan.strategy_id]
            closed = await connection.fetchval(
                "UPDATE executor.plans p SET outcome = $2, detail = $3, closed_at = $4 WHERE plan_id = $1 "
                "AND outcome IS NULL AND $5::bigint = $6::bigint AND NOT EXISTS (SELECT FROM executor.orders o "
                "WHERE o.plan_id = p.plan_id AND o.state = ANY($7::text[])) RETURNING true",
                plan.plan_id,
                close.outcome.value,
                close.detail,
                now,
                plan.fills_seen + len(record.fills),
                strategy.fills_total,
                [state.value for state in UNSETTLED],
            )
            if not closed:
                return False
            summary = _summary(plan, close, now, max(market_time, record.market_time))
            summary = summary.model_copy(update={"orders": len(record.orders), "fills": len(record.fills)})
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

"""What happened, read from Postgres: plans, orders, fills, latencies. Read-only, one snapshot for each question."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

_SETTLED = """
SELECT (SELECT count(*) FROM executor.plans WHERE outcome IS NULL) = 0
   AND (SELECT count(*) FROM executor.orders WHERE state IN ('intended', 'unknown', 'open')) = 0
   AND (SELECT count(*) FROM executor.outbox WHERE published_at IS NULL) = 0
   AND (SELECT count(*) FROM ledger.outbox WHERE published_at IS NULL) = 0
   AND (SELECT count(*) FROM registry.outbox WHERE published_at IS NULL) = 0
   AND (SELECT count(*) FROM executor.fills) = (SELECT coalesce(sum(fills_posted), 0) FROM ledger.strategies)
"""

_CLOSED_PLANS = """
SELECT strategy_id,
       closed ->> 'kind' AS kind,
       closed ->> 'outcome' AS outcome,
       max((closed ->> 'worst_drift_pct')::numeric) AS worst_drift,
       array_agg(DISTINCT closed ->> 'detail') AS details,
       count(*) AS plans
FROM (SELECT message ->> 'strategy_id' AS strategy_id, message -> 'last_closed' AS closed
      FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS message FROM executor.outbox
            WHERE subject LIKE 'plan-results.%') AS messages
      WHERE message ->> 'change' = 'closed') AS closings
GROUP BY 1, 2, 3
"""

_ORDERS = """
SELECT state, count(*) AS orders, count(*) FILTER (WHERE was_unknown) AS was_unknown FROM executor.orders GROUP BY 1
"""

_REBALANCES = """
SELECT strategy_id, count(*) AS plans FROM executor.plans
WHERE body ->> 'kind' = 'rebalance' AND outcome IN ('completed', 'partial', 'expired') GROUP BY 1
"""

# Plans that no tick led to (a first purchase, an interval that has passed) carry the moment of the decision for both.
_TICK_TO_PLAN = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY took_ms)
FROM (SELECT extract(epoch FROM (body ->> 'decided_at')::timestamptz) * 1000
             - (body ->> 'tick_received_ns')::numeric / 1000000 AS took_ms FROM executor.plans) AS decided
WHERE took_ms > 0.001
"""

_PLAN_TO_FILLED = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY took_ms)
FROM (SELECT extract(epoch FROM max(fills.received_at) - (plans.body ->> 'decided_at')::timestamptz) * 1000 AS took_ms
      FROM executor.plans JOIN executor.fills USING (plan_id) GROUP BY plans.plan_id, plans.body) AS filled
"""

_FILL_TO_POSTED = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM posted_at - received_at) * 1000)
FROM ledger.transactions WHERE kind = 'fill'
"""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; None where nothing was measured."""

    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Orders by state and rebalances by strategy so far."""

    orders: Mapping[str, int] = field(default_factory=dict)
    rebalances: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClosedPlans:
    """Plans of one strategy, kind and outcome; ``worst_drift`` in percentage points at the plans' own prices."""

    strategy_id: str
    kind: str
    outcome: str
    plans: int
    worst_drift: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Activity:
    """Counts and latencies of a whole run."""

    plans: int
    fills: int
    orders: Mapping[str, int]
    unknown_resolved: int
    closed: tuple[ClosedPlans, ...]
    tick_to_plan: Percentiles
    plan_to_filled: Percentiles
    fill_to_posted: Percentiles


async def is_settled(dsn: str) -> bool:
    """Whether nothing is on its way: no open plan or order, everything relayed, every fill posted.

    A database that is just being restarted is not settled.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=5)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    try:
        return bool(await connection.fetchval(_SETTLED))
    finally:
        await connection.close()


async def read_progress(dsn: str) -> Progress:
    """Counts for the live view; empty while the database does not answer."""
    try:
        connection = await asyncpg.connect(dsn, timeout=5)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return Progress()
    try:
        return Progress(
            orders={row["state"]: row["orders"] for row in await connection.fetch(_ORDERS)},
            rebalances={row["strategy_id"]: row["plans"] for row in await connection.fetch(_REBALANCES)},
        )
    except asyncpg.PostgresError:
        return Progress()
    finally:
        await connection.close()


async def read_activity(dsn: str) -> Activity:
    """Everything the report says about plans, orders and fills."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        orders = await connection.fetch(_ORDERS)
        closed = await connection.fetch(_CLOSED_PLANS)
        return Activity(
            plans=await connection.fetchval("SELECT count(*) FROM executor.plans"),
            fills=await connection.fetchval("SELECT count(*) FROM executor.fills"),
            orders={row["state"]: row["orders"] for row in orders},
            unknown_resolved=sum(row["was_unknown"] for row in orders if row["state"] != "unknown"),
            closed=tuple(
                ClosedPlans(
                    strategy_id=row["strategy_id"],
                    kind=row["kind"],
                    outcome=row["outcome"],
                    plans=row["plans"],
                    worst_drift=format(row["worst_drift"] or 0, "f"),
                    details=tuple(row["details"]),
                )
                for row in closed
            ),
            tick_to_plan=await _percentiles(connection, _TICK_TO_PLAN),
            plan_to_filled=await _percentiles(connection, _PLAN_TO_FILLED),
            fill_to_posted=await _percentiles(connection, _FILL_TO_POSTED),
        )
    finally:
        await connection.close()


async def _percentiles(connection: Any, query: str) -> Percentiles:
    found = await connection.fetchval(query)
    if not found or found[0] is None:
        return Percentiles(None, None)
    return Percentiles(round(float(found[0]), 2), round(float(found[1]), 2))

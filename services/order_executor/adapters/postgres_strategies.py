"""Where the plans of strategies stand, in Postgres: rows, the locks on them, and what is told of each change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.order_executor.adapters.postgres_account import superseded
from services.order_executor.adapters.postgres_events import Announcement, change_and_tell
from services.order_executor.adapters.statement import Arguments
from services.order_executor.lease import Lease
from services.order_executor.records import StrategyRow
from shared.contracts import subjects
from shared.contracts.plans import PlanClosedSummary, PlanProgressed

STRATEGY_COLUMNS = (
    "strategy_id, venue, sequence, fills_total, last_closed_plan_id, last_closed, seal_requested, sealed, "
    "hold_requested, held_for, position_required"
)
_STRATEGY_FIELDS = tuple(STRATEGY_COLUMNS.split(", "))


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
        f"SELECT {STRATEGY_COLUMNS} FROM executor.strategies WHERE strategy_id IN ({which}) "  # noqa: S608
        f"ORDER BY strategy_id FOR UPDATE{how}",
        names,
    )
    return {row["strategy_id"]: strategy_from(row) for row in rows}


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


def lease_and_switch(arguments: Arguments, lease: Lease | None, venue: str) -> str:
    """Parts ``lease`` (is_ours) and ``switch`` (halted, reason) of a statement, locked one after the other.

    As everywhere: each lock waits for a value of the one before it. What had to wait is looked at as it is then.
    """
    account, epoch, holder = (lease.account, lease.epoch, lease.holder) if lease is not None else ("", 0, "")
    return (
        f"lease AS MATERIALIZED (SELECT epoch = {arguments(epoch)} AND holder = {arguments(holder)} AS is_ours "  # noqa: S608
        f"FROM executor.accounts WHERE account = {arguments(account)} FOR SHARE), "
        f"switch AS MATERIALIZED (SELECT halted, reason FROM executor.halts WHERE venue = {arguments(venue)} "
        "AND (SELECT count(*) FROM lease) >= 0 FOR SHARE)"
    )


def locked_strategy(arguments: Arguments, strategy_id: str, after: str, condition: str = "") -> str:
    """Part ``strategy`` of a statement: the row, locked after the rows of the part ``after``, however many: what is
    said of their number is always true, and makes PostgreSQL lock them first.
    """
    return (
        f"strategy AS MATERIALIZED (SELECT {STRATEGY_COLUMNS} FROM executor.strategies "  # noqa: S608
        f"WHERE strategy_id = {arguments(strategy_id)}{condition} AND (SELECT count(*) FROM {after}) >= 0 FOR UPDATE)"
    )


async def lock_all(connection: Any, lease: Lease | None, venue: str, strategy_id: str) -> Locked:
    """Hold off take-overs and halts, and lock the strategy. Raises Stop when the account has another writer."""
    arguments = Arguments()
    row = await connection.fetchrow(
        f"WITH {lease_and_switch(arguments, lease, venue)}, {locked_strategy(arguments, strategy_id, 'switch')} "  # noqa: S608
        "SELECT (SELECT is_ours FROM lease) AS is_ours, (SELECT reason FROM switch WHERE halted) AS halted, "
        "strategy.* FROM (VALUES (true)) AS one LEFT JOIN strategy ON true",
        *arguments.values,
    )
    values = dict(row)
    is_ours, halted = values.pop("is_ours"), values.pop("halted")
    if lease is not None and not is_ours:
        raise superseded(lease)
    return Locked(halted, None if values["strategy_id"] is None else strategy_from(values))


def strategy_from(row: Mapping[str, Any]) -> StrategyRow:
    """The row of ``STRATEGY_COLUMNS``."""
    values = {name: row[name] for name in _STRATEGY_FIELDS}
    summary = values.pop("last_closed")
    return StrategyRow(**values, last_closed=PlanClosedSummary.model_validate_json(summary) if summary else None)


def saving(arguments: Arguments, saved: StrategyRow) -> str:
    """The statement that saves the row; more conditions may be added to it."""
    values = ", ".join(f"{name} = {value}" for name, value in strategy_values(arguments, saved).items())
    return f"UPDATE executor.strategies SET {values} WHERE strategy_id = {arguments(saved.strategy_id)}"  # noqa: S608


def strategy_values(arguments: Arguments, row: StrategyRow) -> dict[str, str]:
    """The placeholders of what may change of a row, by column."""
    summary = row.last_closed.model_dump_json() if row.last_closed is not None else None
    return {
        "sequence": arguments(row.sequence, "bigint"),
        "fills_total": arguments(row.fills_total, "bigint"),
        "last_closed_plan_id": arguments(row.last_closed_plan_id, "text"),
        "last_closed": arguments(summary, "jsonb"),
        "seal_requested": arguments(row.seal_requested, "boolean"),
        "sealed": arguments(row.sealed, "boolean"),
        "hold_requested": arguments(row.hold_requested, "text"),
        "held_for": arguments(row.held_for, "text"),
        "position_required": arguments(row.position_required, "bigint"),
    }


def progress(saved: StrategyRow, change: str, open_plan_id: str | None, causation_id: str) -> Announcement:
    """PlanProgressed of a row as saved."""
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
    correlation_id = open_plan_id or saved.last_closed_plan_id or saved.strategy_id
    message_id = f"plan-progress.{saved.strategy_id}.{saved.sequence}"
    return Announcement(subjects.plan_results(saved.strategy_id), message, message_id, correlation_id, causation_id)


async def tell_progress(
    connection: Any, strategy: StrategyRow, change: str, open_plan_id: str | None, causation_id: str
) -> StrategyRow:
    """Save the strategy's row with its next sequence and publish it as PlanProgressed; returns the row as saved."""
    saved, arguments = replace(strategy, sequence=strategy.sequence + 1), Arguments()
    told = progress(saved, change, open_plan_id, causation_id)
    await change_and_tell(connection, saving(arguments, saved), arguments.values, [told])
    return saved

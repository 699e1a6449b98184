"""The usual steps of a plan's life, each in one statement: one round trip and one commit, where a transaction of more
takes ten.

Each takes the locks that the steps' longer forms take, in the same order, and changes everything or nothing. Whatever
had to wait for a lock is compared as it is then: PostgreSQL looks at a row that somebody else has changed again before
it locks or changes it. What was read before, without a lock, must be the same still.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

from services.order_executor.adapters.postgres_events import Announcement, adding
from services.order_executor.adapters.postgres_rows import sizing_json
from services.order_executor.adapters.postgres_strategies import (
    lease_and_switch,
    locked_strategy,
    progress,
    saving,
    strategy_values,
)
from services.order_executor.adapters.statement import Arguments
from services.order_executor.lease import Lease
from services.order_executor.records import PlanRecord, StrategyRow
from services.order_executor.steps import Close, Send
from shared.contracts.plans import PlanClosedSummary, RebalancePlanned
from shared.contracts.wire import Meta
from shared.core.orders import UNSETTLED


@dataclass(frozen=True, slots=True)
class Intents:
    """The orders of a phase that are to be committed, with the events that tell of them.

    ``market_day``: the market's day, which the daily limit counts by. ``read``: the plan that the phase was sized by,
    which must be the same still; None for the first phase of a new one.
    """

    step: Send
    market_day: date
    told: Sequence[Announcement]
    read: PlanRecord | None = None

    @property
    def plan_id(self) -> str:
        """Whose phase it is."""
        return self.step.orders[0].plan_id

    @property
    def strategy_id(self) -> str:
        """Whose plan it is."""
        return self.step.orders[0].strategy_id


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether the account was ours, why it is halted (None: it is not), whether the phase was committed: that takes
    both, and a plan that is open and as it was read.
    """

    is_ours: bool
    halted: str | None
    is_committed: bool


async def commit_at_once(connection: Any, lease: Lease, venue: str, intents: Intents) -> Standing:
    """Commit a phase's intents and its sizing; nothing unless the account is ours, not halted, and the plan open and
    as it was read: nothing said of its strategy (a fill, a hold), no phase and no order back to life since.
    """
    arguments, read = Arguments(), intents.read
    as_read = "" if read is None or read.strategy is None else _as_read(arguments, read.strategy)
    parts = [
        lease_and_switch(arguments, lease, venue),
        locked_strategy(arguments, intents.strategy_id, "switch", as_read),
        *([] if read is None else [_orders_held(arguments, intents.plan_id)]),
        "plan AS (UPDATE executor.plans SET phases = phases + 1, "  # noqa: S608
        f"sizing = {arguments(sizing_json(intents.step.sizing), 'jsonb')} "
        f"WHERE plan_id = {arguments(intents.plan_id)} AND outcome IS NULL AND (SELECT count(*) FROM strategy) > 0 "
        "AND (SELECT is_ours FROM lease) AND NOT EXISTS (SELECT FROM switch WHERE halted)"
        f"{'' if read is None else _as_read_of(arguments, read)} RETURNING plan_id)",
        _intents(arguments, lease, intents),
        f"events AS ({adding(arguments, intents.told, 'plan')})",
    ]
    row = await connection.fetchrow(
        f"WITH {', '.join(parts)} SELECT (SELECT is_ours FROM lease) AS is_ours, "  # noqa: S608
        "(SELECT reason FROM switch WHERE halted) AS halted, EXISTS (SELECT FROM plan) AS is_committed",
        *arguments.values,
    )
    return Standing(bool(row["is_ours"]), row["halted"], row["is_committed"])


async def accept_at_once(
    connection: Any, lease: Lease, offered: tuple[RebalancePlanned, Meta], read: StrategyRow, intents: Intents | None
) -> StrategyRow | None:
    """Accept a plan, with its first phase if given, and return the strategy's row with it; None, and nothing changed,
    unless the account is ours and not halted, and the row still as ``read`` (with ``sequence`` 0: still none).

    Every plan taken or closed counts up the row's sequence: what was found of other plans with it holds with it.
    """
    (plan, meta), arguments = offered, Arguments()
    saved = replace(read, sequence=read.sequence + 1)
    parts = [
        lease_and_switch(arguments, lease, plan.venue),
        *_save_as_read(arguments, read, saved),
        "plan AS (INSERT INTO executor.plans (plan_id, strategy_id, position_version, previous_plan_id, body, "  # noqa: S608
        "message_id, sizing, phases) SELECT "
        + arguments.all(plan.plan_id, plan.strategy_id, plan.position_version, plan.previous_plan_id)
        + f", {arguments(plan.model_dump_json(), 'jsonb')}, {arguments(meta.message_id)}, "
        + arguments(sizing_json(intents.step.sizing) if intents is not None else None, "jsonb")
        + f", {arguments(0 if intents is None else 1)} FROM saved RETURNING plan_id)",
        *([_intents(arguments, lease, intents)] if intents is not None else ()),
    ]
    told = [progress(saved, "accepted", plan.plan_id, meta.message_id), *(intents.told if intents is not None else ())]
    parts.append(f"events AS ({adding(arguments, told, 'plan')})")
    is_accepted: bool = await connection.fetchval(
        f"WITH {', '.join(parts)} SELECT EXISTS (SELECT FROM plan)",  # noqa: S608
        *arguments.values,
    )
    return saved if is_accepted else None


async def close_at_once(
    connection: Any, record: PlanRecord, close: Close, summary: PlanClosedSummary, read: StrategyRow
) -> bool:
    """Close a plan; False, and nothing changed, unless it is open with no order unsettled, with as many phases as in
    ``record``, and the strategy's row still as ``read``.
    """
    plan = record.plan
    saved = replace(read, sequence=read.sequence + 1, last_closed=summary, last_closed_plan_id=plan.plan_id)
    arguments = Arguments()
    parts = [
        # Nothing but one row, so that there is something to lock the strategy after.
        "first AS MATERIALIZED (SELECT)",
        locked_strategy(arguments, read.strategy_id, "first", _as_read(arguments, read)),
        _orders_held(arguments, plan.plan_id),
        f"closed AS (UPDATE executor.plans SET outcome = {arguments(close.outcome.value)}, "  # noqa: S608
        f"detail = {arguments(close.detail)}, closed_at = {arguments(summary.closed_at)} "
        f"WHERE plan_id = {arguments(plan.plan_id)} AND outcome IS NULL AND (SELECT count(*) FROM strategy) > 0"
        f"{_as_read_of(arguments, replace(record, orders=()))} RETURNING plan_id)",
        f"saved AS ({saving(arguments, saved)} AND EXISTS (SELECT FROM closed) RETURNING strategy_id)",
        f"events AS ({adding(arguments, [progress(saved, 'closed', None, plan.plan_id)], 'closed')})",
    ]
    is_closed: bool = await connection.fetchval(
        f"WITH {', '.join(parts)} SELECT EXISTS (SELECT FROM closed)",  # noqa: S608
        *arguments.values,
    )
    return is_closed


def _save_as_read(arguments: Arguments, read: StrategyRow, saved: StrategyRow) -> list[str]:
    """The parts that end in ``saved``: a row, if the strategy's was as read."""
    may = "may AS (SELECT FROM lease WHERE is_ours AND NOT EXISTS (SELECT FROM switch WHERE halted)"
    if read.sequence == 0:
        columns = {"strategy_id": arguments(saved.strategy_id), "venue": arguments(saved.venue)}
        columns |= strategy_values(arguments, saved)
        return [
            f"{may})",
            f"saved AS (INSERT INTO executor.strategies ({', '.join(columns)}) SELECT {', '.join(columns.values())} "  # noqa: S608
            "FROM may ON CONFLICT DO NOTHING RETURNING strategy_id)",
        ]
    return [
        locked_strategy(arguments, read.strategy_id, "switch", _as_read(arguments, read)),
        f"{may} AND (SELECT count(*) FROM strategy) > 0)",  # noqa: S608
        f"saved AS ({saving(arguments, saved)} AND EXISTS (SELECT FROM may) RETURNING strategy_id)",
    ]


def _orders_held(arguments: Arguments, plan_id: str) -> str:
    """Part ``held``: the orders of a plan, locked after its strategy, so that those are seen which came back to life
    after the statement began. What was inserted since cannot be seen: the plan's row tells of it.
    """
    return (
        "held AS MATERIALIZED (SELECT client_order_id, state FROM executor.orders "  # noqa: S608
        f"WHERE plan_id = {arguments(plan_id)} AND (SELECT count(*) FROM strategy) > 0 FOR SHARE)"
    )


def _as_read_of(arguments: Arguments, read: PlanRecord) -> str:
    """The condition, beside the part ``held``, that a plan has as many phases as it was read with, and that no order
    but those that were unsettled then is unsettled.
    """
    unsettled = arguments([state.value for state in UNSETTLED], "text[]")
    known = arguments([order.client_order_id for order in read.unsettled], "text[]")
    return (
        f" AND phases = {arguments(read.phases)} AND NOT EXISTS (SELECT FROM held WHERE state = ANY({unsettled}) "
        f"AND client_order_id <> ALL({known}))"
    )


def _as_read(arguments: Arguments, read: StrategyRow) -> str:
    """The condition that a strategy's row is as it was read. What was closed last goes by its id."""
    names = [field.name for field in fields(StrategyRow) if field.name not in {"strategy_id", "last_closed"}]
    return "".join(f" AND {name} = {arguments(getattr(read, name))}" for name in names)


def _intents(arguments: Arguments, lease: Lease, intents: Intents) -> str:
    """The part that inserts the orders, if the part ``plan`` has a row."""
    orders = intents.step.orders
    columns: dict[str, tuple[str, Sequence[object]]] = {
        "client_order_id": ("text", [order.client_order_id for order in orders]),
        "asset": ("text", [order.asset for order in orders]),
        "quote": ("text", [order.quote for order in orders]),
        "symbol": ("text", [order.symbol for order in orders]),
        "side": ("text", [order.side.value for order in orders]),
        "quantity": ("numeric", [order.quantity for order in orders]),
        "limit_price": ("numeric", [order.limit_price for order in orders]),
        "kind": ("text", [order.kind.value for order in orders]),
        "detail": ("text", [order.detail for order in orders]),
        "valued_in": ("text", [order.valued_in for order in orders]),
        "quote_price": ("numeric", [order.quote_price for order in orders]),
    }
    common: dict[str, object] = {
        "plan_id": intents.plan_id,
        "strategy_id": intents.strategy_id,
        "account": lease.account,
        "epoch": lease.epoch,
        "round": orders[0].round,
        "send_deadline": orders[0].send_deadline,
        "market_day": intents.market_day,
        "state": "intended",
    }
    lists = ", ".join(arguments(values, f"{kind}[]") for kind, values in columns.values())
    return (
        f"orders AS (INSERT INTO executor.orders ({', '.join((*columns, *common))}) "  # noqa: S608
        f"SELECT o.*, {arguments.all(*common.values())} FROM unnest({lists}) o WHERE EXISTS (SELECT FROM plan))"
    )

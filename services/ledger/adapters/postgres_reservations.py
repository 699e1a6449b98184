"""Holds of open orders in PostgreSQL: read and written in the transaction that posts, under the journal's lock."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.ledger.adapters.postgres_rows import amount_of, amounts_json
from services.ledger.adapters.results_rows import amounts_from
from services.ledger.requests import Request
from services.ledger.reservations import Key, Movement, OrderHold, Reservations, reserved_of
from shared.contracts.orders import OrderChanged, OrderFilled
from shared.contracts.reservations import AssetAvailable, AvailableReported, OrderReserved, ReportAvailable
from shared.contracts.wire import Meta
from shared.core.double_entry import EXACT_SUMS, strategy_account
from shared.core.errors import RetryLater
from shared.messaging.database_postgres import UNAVAILABLE

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_ORDERS = """
SELECT o.strategy_id, o.client_order_id, venue, version, is_open, may_take, taken, held, step
FROM unnest($1::text[], $2::text[]) AS asked (strategy_id, client_order_id)
JOIN ledger.order_holds o USING (strategy_id, client_order_id)
"""
_OPEN = "SELECT strategy_id, client_order_id FROM ledger.order_holds WHERE is_open AND strategy_id = ANY($1)"
_UPSERT = """
INSERT INTO ledger.order_holds (strategy_id, client_order_id, venue, version, is_open, may_take, taken, held, step)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::boolean[], $6::jsonb[], $7::jsonb[],
    $8::jsonb[], $9::integer[])
ON CONFLICT (strategy_id, client_order_id) DO UPDATE SET version = EXCLUDED.version, is_open = EXCLUDED.is_open,
    may_take = EXCLUDED.may_take, taken = EXCLUDED.taken, held = EXCLUDED.held, step = EXCLUDED.step
"""
_MOVEMENT_COLUMNS = (
    "strategy_id",
    "client_order_id",
    "step",
    "phase",
    "asset",
    "amount",
    "version",
    "sequence",
    "made_at",
)
_BALANCES = "SELECT asset, amount FROM ledger.balances WHERE account = $1 AND amount <> 0 ORDER BY asset"
_HELD = """
SELECT client_order_id, held FROM ledger.order_holds
WHERE is_open AND strategy_id = $1 AND held <> '{}' ORDER BY client_order_id
"""


async def read_reservations(
    connection: Connection, requests: Iterable[Request], strategy_ids: Collection[str]
) -> Reservations:
    """The orders the requests speak of, and which orders of these strategies are open."""
    bodies = (request.body for request in requests)
    keys = {(body.strategy_id, body.client_order_id) for body in bodies if isinstance(body, OrderFilled | OrderChanged)}
    orders: dict[Key, OrderHold] = {}
    if keys:
        for row in await connection.fetch(_ORDERS, [key[0] for key in keys], [key[1] for key in keys]):
            orders[row["strategy_id"], row["client_order_id"]] = _order_from(row)
    opened = await connection.fetch(_OPEN, list(strategy_ids))
    return Reservations(orders, ((row["strategy_id"], row["client_order_id"]) for row in opened))


async def write_reservations(connection: Connection, reservations: Reservations, made_at: datetime) -> None:
    """Write back what changed; the entries that the movements name are already there."""
    if not reservations.changed:
        return
    keys = sorted(reservations.changed)
    orders = [reservations.orders[key] for key in keys]
    await connection.execute(
        _UPSERT,
        [key[0] for key in keys],
        [key[1] for key in keys],
        [order.venue for order in orders],
        [order.version for order in orders],
        [order.is_open for order in orders],
        [amounts_json(order.may_take) for order in orders],
        [amounts_json(order.taken) for order in orders],
        [amounts_json(order.held) for order in orders],
        [order.step for order in orders],
    )
    if reservations.movements:
        await connection.copy_records_to_table(
            "reservations",
            schema_name="ledger",
            columns=_MOVEMENT_COLUMNS,
            records=_movement_rows(reservations.movements, made_at),
        )


class AvailableAnswers:
    """Answers what a strategy may still use. Raises RetryLater when the database cannot be reached."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def available(self, question: ReportAvailable, _meta: Meta) -> AvailableReported:
        """All that it holds, and what of it is reserved; nothing for a strategy that was never funded."""
        try:
            async with (
                self._pool.acquire(timeout=5.0) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                sequence = await connection.fetchval("SELECT sequence FROM ledger.journal_head")
                balances = await connection.fetch(_BALANCES, strategy_account(question.strategy_id))
                held = await connection.fetch(_HELD, question.strategy_id)
        except UNAVAILABLE as error:
            raise RetryLater(f"the ledger cannot be read now: {error!r}") from error
        holdings = {row["asset"]: amount_of(row["amount"]) for row in balances}
        holds = {row["client_order_id"]: dict(amounts_from(row["held"])) for row in held}
        reserved = reserved_of(holdings, holds.values())
        assets = tuple(
            AssetAvailable(
                asset=asset,
                balance=balance,
                reserved=reserved[asset],
                available=EXACT_SUMS.subtract(balance, reserved[asset]),
            )
            for asset, balance in holdings.items()
        )
        orders = tuple(OrderReserved(client_order_id=name, amounts=amounts) for name, amounts in holds.items())
        return AvailableReported(strategy_id=question.strategy_id, sequence=int(sequence), assets=assets, orders=orders)


def _movement_rows(movements: Sequence[Movement], made_at: datetime) -> Iterable[tuple[Any, ...]]:
    for made in movements:
        yield (*made.key, made.step, made.phase.value, made.asset, made.amount, made.version, made.sequence, made_at)


def _order_from(row: Mapping[str, Any]) -> OrderHold:
    return OrderHold(
        venue=row["venue"],
        version=row["version"],
        is_open=row["is_open"],
        may_take=dict(amounts_from(row["may_take"])),
        taken=dict(amounts_from(row["taken"])),
        held=dict(amounts_from(row["held"])),
        step=row["step"],
    )

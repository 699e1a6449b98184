"""Everything that follows from the journal, computed again from entry 1 into a second schema, and compared.

The journal and the marks are only read; the service may go on meanwhile. The second schema (``ledger_rebuilt``) is made
anew by every rebuild and kept, so that what differs can be looked at.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg

from services.ledger.adapters.postgres_results import SCHEMA, ResultsStore
from services.ledger.adapters.postgres_rows import amounts_json
from services.ledger.positions import Positions
from services.ledger.projection import Remembered
from shared.core.errors import RetryLater
from shared.messaging.database_postgres import UNAVAILABLE

REBUILT = "ledger_rebuilt"
NAMED = 100
"""Differences named per table."""

_BATCH = 500
_COMPUTED = ("balances", "clocks", "strategies", "lots", "closings", "flows", "snapshots")
_NEXT_MARK = """
SELECT mark_id, venue, sequence FROM ledger.marks WHERE regular AND mark_id > $1 AND sequence <= $2
ORDER BY mark_id LIMIT 1
"""
_ACCOUNTS = """
INSERT INTO accounts (account, asset, amount)
SELECT account, asset, sum(amount) FROM (
    SELECT source AS account, asset, -amount AS amount FROM ledger.postings
    UNION ALL SELECT destination, asset, amount FROM ledger.postings
) moves GROUP BY account, asset
"""
# What fills took, from the journal; what is held, once from how it came and went, once from what is known of the order.
_TAKEN = """
SELECT t.strategy_id, t.request ->> 'client_order_id' AS client_order_id, took.asset, sum(took.amount) AS amount
FROM ledger.transactions t
CROSS JOIN LATERAL (VALUES
    (t.request ->> CASE lower(t.request ->> 'side') WHEN 'buy' THEN 'quote' ELSE 'base' END,
     (t.request ->> CASE lower(t.request ->> 'side') WHEN 'buy' THEN 'quote_quantity' ELSE 'quantity' END)::numeric),
    (t.request ->> 'fee_asset', (t.request ->> 'fee')::numeric)
) took (asset, amount)
WHERE t.kind = 'fill' AND took.amount > 0
GROUP BY t.strategy_id, t.request ->> 'client_order_id', took.asset
"""
_TOLD = """
SELECT strategy_id, client_order_id, key AS asset, value::numeric AS amount
FROM ledger.order_holds CROSS JOIN jsonb_each_text({column})
"""
_MOVED = """
SELECT strategy_id, client_order_id, asset, sum(CASE phase WHEN 'pending' THEN amount ELSE -amount END) AS amount
FROM ledger.reservations GROUP BY strategy_id, client_order_id, asset
HAVING sum(CASE phase WHEN 'pending' THEN amount ELSE -amount END) <> 0
"""
_LEFT = """
SELECT strategy_id, client_order_id, key AS asset, value::numeric - coalesce((taken ->> key)::numeric, 0) AS amount
FROM ledger.order_holds CROSS JOIN jsonb_each_text(may_take)
WHERE is_open AND value::numeric > coalesce((taken ->> key)::numeric, 0)
"""
_POSITION_COLUMNS = (
    "strategy_id",
    "venue",
    "version",
    "fills_posted",
    "contributed",
    "contributed_in",
    "withdrawn",
    "fees",
)


@dataclass(frozen=True, slots=True)
class Rebuild:
    """How many entries were computed again, and every difference as one line; none: all is equal."""

    entries: int
    differences: tuple[str, ...]


async def rebuild(dsn: str) -> Rebuild:
    """Rebuild and compare. Raises RetryLater when the database cannot be reached."""
    try:
        connection = await asyncpg.connect(dsn, timeout=10.0, server_settings={"timezone": "UTC"})
        try:
            return await _rebuilt(connection)
        finally:
            await connection.close()
    except UNAVAILABLE as error:
        raise RetryLater(f"the ledger's database cannot be reached: {error!r}") from error


async def _rebuilt(connection: "asyncpg.Connection[asyncpg.Record]") -> Rebuild:
    async with connection.transaction():
        await _make_schema(connection)
    builder = _Builder(connection)
    while await builder.come_closer():
        continue
    async with connection.transaction(isolation="repeatable_read"):
        await builder.finish()
        entries = await _rebuild_books(connection)
        differences = [line async for line in _differences(connection)]
    return Rebuild(entries, tuple(differences))


async def _make_schema(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.execute(f"DROP SCHEMA IF EXISTS {REBUILT} CASCADE; CREATE SCHEMA {REBUILT}")
    for table in (*_COMPUTED, "checkpoint"):
        await connection.execute(f"CREATE TABLE {REBUILT}.{table} (LIKE {SCHEMA}.{table} INCLUDING ALL)")
    await connection.execute(f"INSERT INTO {REBUILT}.checkpoint (sequence) VALUES (0)")  # noqa: S608 - our own name
    await connection.execute(f"CREATE TABLE {REBUILT}.accounts (LIKE ledger.balances INCLUDING DEFAULTS)")
    await connection.execute(f"CREATE TABLE {REBUILT}.positions (LIKE ledger.strategies INCLUDING DEFAULTS)")


class _Builder:
    """Projects up to where the service has come, with the prices it recorded at the places where it recorded them."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._memory = Remembered()
        self._mark_id = 0

    async def come_closer(self) -> bool:
        """Project a part of what is missing; False when nothing is."""
        async with self._connection.transaction():
            return await self._advance(await self._goal())

    async def finish(self) -> None:
        """Project all that is missing, in the transaction that is open."""
        goal = await self._goal()
        while await self._advance(goal):
            continue

    async def _goal(self) -> int:
        return int(await self._connection.fetchval(f"SELECT sequence FROM {SCHEMA}.checkpoint"))  # noqa: S608

    async def _advance(self, goal: int) -> bool:
        store = await ResultsStore.opened(self._connection, REBUILT)
        mark = await self._connection.fetchrow(_NEXT_MARK, self._mark_id, goal)
        until = goal if mark is None else mark["sequence"]
        entries = await store.entries(self._memory.sequence, until, _BATCH)
        if entries:
            await store.project(self._memory, entries)
        elif mark is not None:
            await store.snapshot(self._memory, mark["venue"], mark["mark_id"])
            self._mark_id = mark["mark_id"]
        return bool(entries) or mark is not None


async def _rebuild_books(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Balances and positions at the journal's end; returns its length."""
    store = await ResultsStore.opened(connection, REBUILT)
    await connection.execute(_ACCOUNTS)
    positions, last = Positions(), 0
    while entries := await store.entries(last, 2**62, _BATCH):
        for entry in entries:
            positions.take(entry)
        last = entries[-1].sequence
    rows = [
        (
            strategy_id,
            one.venue,
            one.version,
            one.fills_posted,
            one.contributed,
            one.contributed_in,
            one.withdrawn,
            amounts_json(one.fees),
        )
        for strategy_id, one in positions.records.items()
    ]
    await connection.copy_records_to_table("positions", schema_name=REBUILT, columns=_POSITION_COLUMNS, records=rows)
    return last


def _comparisons() -> Iterator[tuple[str, str, str]]:
    """(name, what is stored, what was computed)."""
    for table in _COMPUTED:
        yield f"{SCHEMA}.{table}", f"SELECT * FROM {SCHEMA}.{table}", f"SELECT * FROM {REBUILT}.{table}"  # noqa: S608
    accounts = "SELECT account, asset, amount FROM"
    yield (
        "ledger.balances",
        f"{accounts} ledger.balances WHERE amount <> 0",
        f"{accounts} {REBUILT}.accounts WHERE amount <> 0",
    )
    held = _TOLD.format(column="held")
    yield "ledger.order_holds", _TOLD.format(column="taken"), _TAKEN
    yield "ledger.reservations", held, _MOVED
    yield "ledger.order_holds", held, _LEFT
    positions = f"SELECT {', '.join(_POSITION_COLUMNS)} FROM"
    yield "ledger.strategies", f"{positions} ledger.strategies WHERE version > 0", f"{positions} {REBUILT}.positions"


async def _differences(connection: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[str]:
    for name, stored, computed in _comparisons():
        for told, one, other in (("stored", stored, computed), ("computed", computed, stored)):
            query = f"SELECT row_to_json(d) AS row FROM (({one}) EXCEPT ALL ({other})) d LIMIT {NAMED}"  # noqa: S608
            for row in await connection.fetch(query):
                text = json.dumps(json.loads(row["row"]), sort_keys=True)
                yield f"{name}: only {told}: {text}"

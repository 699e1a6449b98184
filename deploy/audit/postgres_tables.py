"""The schema ``ledger`` of a running system, read by a role that may only SELECT, as one snapshot.

Three sessions share the snapshot, one for each of the large tables, and each fetches the next range while the one
before it is being checked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import asyncpg

from deploy.audit.tables import Batch, Row, SmallTables

UNREADABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What keeps a database from being read."""

_TIMEOUT_S = 10.0
_ENTRIES_AT_ONCE = 4_000
BEFORE_ALL = -(2**63)
"""Before every sequence there can be."""

_SMALL = {
    "journal_head": "SELECT sequence, posted_at, tree_size, tree_peaks FROM ledger.journal_head",
    "identity": "SELECT origin FROM ledger.log_identity",
    "keys": "SELECT key_id, public_key FROM ledger.log_keys",
    "heads": "SELECT number, size, root, signed_at, market_time, key_id, signature FROM ledger.tree_heads",
    "nodes": "SELECT level, place, hash FROM ledger.log_nodes WHERE level > 0",
    "balances": "SELECT account, asset, trim_scale(amount)::text FROM ledger.balances",
}
_LAST = """
SELECT greatest((SELECT max(sequence) FROM ledger.transactions), (SELECT max(sequence) FROM ledger.postings),
                (SELECT max(place) + 1 FROM ledger.log_nodes WHERE level = 0), 0)
"""
_TRANSACTIONS = """
SELECT sequence, transaction_id, kind, venue, strategy_id, market_time, received_at, posted_at, message_id,
       correlation_id, digest, request_type, request
FROM ledger.transactions WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence
"""
_POSTINGS = """
SELECT sequence, line, source, destination, asset, trim_scale(amount)::text
FROM ledger.postings WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence, line
"""
_LEAVES = """
SELECT place, hash FROM ledger.log_nodes WHERE level = 0 AND place >= $1 AND place < $2 ORDER BY place
"""
_LARGE = (_TRANSACTIONS, _POSTINGS, _LEAVES)

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class PostgresTables:
    """``deploy.audit.tables.Tables`` on sessions that share a snapshot."""

    def __init__(self, connections: "tuple[_Connection, ...]", snapshot: str) -> None:
        self.snapshot = snapshot
        self._connections = connections

    async def small(self) -> SmallTables:
        """Everything but the entries."""
        return SmallTables(**{name: await self._connections[0].fetch(query) for name, query in _SMALL.items()})

    async def last(self) -> int:
        """The newest sequence that any of the entries' tables speaks of."""
        return int(await self._connections[0].fetchval(_LAST))

    async def batches(self, after: int = BEFORE_ALL, last: int | None = None) -> AsyncIterator[Batch]:
        """The rows of the entries' tables after a sequence and up to another one (None: all), in ranges that follow
        each other.
        """
        last = await self.last() if last is None else last
        upto = min(max(after, 0) + _ENTRIES_AT_ONCE, last)
        reading = self._read(after, upto)
        while True:
            batch = await reading
            done = upto >= last
            if not done:
                after, upto = upto, min(upto + _ENTRIES_AT_ONCE, last)
                reading = self._read(after, upto)
                await asyncio.sleep(0)  # lets the requests go out: the server works while this range is checked
            yield batch
            if done:
                return

    def _read(self, after: int, upto: int) -> "asyncio.Task[Batch]":
        async def read() -> Batch:
            queries = zip(self._connections, _LARGE, strict=True)
            rows: list[list[Row]] = await asyncio.gather(*(one.fetch(query, after, upto) for one, query in queries))
            return Batch(*rows)

        return asyncio.create_task(read())


@asynccontextmanager
async def opened(dsn: str, snapshot: str = "") -> AsyncIterator[PostgresTables]:
    """The tables at ``dsn``, in a new snapshot or one of another session. Raises UNREADABLE."""
    async with AsyncExitStack() as stack:
        connections: list[_Connection] = []
        for _ in _LARGE:
            connection = await asyncpg.connect(dsn, timeout=_TIMEOUT_S)
            stack.push_async_callback(connection.close)
            await connection.execute("SET timezone = 'UTC'")
            await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
            if snapshot:
                await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            else:
                snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            connections.append(connection)
        yield PostgresTables(tuple(connections), snapshot)

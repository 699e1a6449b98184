"""Exports, streamed: rows come from the server a page at a time, in one snapshot of the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from services.ledger.adapters.postgres_results import SCHEMA, ResultsStore
from services.ledger.adapters.postgres_rows import amount_of
from services.ledger.facts import JournalEntry
from services.ledger.requests import Kind
from shared.core.errors import RetryLater
from shared.core.lots import Method
from shared.messaging.database_postgres import UNAVAILABLE

PAGE = 2_000

_JOURNAL = """
SELECT t.sequence, p.line, t.transaction_id, t.kind, t.venue, t.strategy_id, t.market_time, t.received_at, t.posted_at,
       p.source, p.destination, p.asset, p.amount, t.correlation_id
FROM ledger.transactions t JOIN ledger.postings p USING (sequence)
WHERE ($1 = '' OR t.strategy_id = $1) AND ($2::timestamptz IS NULL OR t.market_time >= $2)
  AND ($3::timestamptz IS NULL OR t.market_time < $3)
ORDER BY t.sequence, p.line
"""
_GAINS = """
SELECT strategy_id, asset, kind, quantity, cost, proceeds, proceeds - cost AS gain, opened_at, opened_by, closed_at,
       closed_by, sequence, piece, method
FROM closings
WHERE ($1 = '' OR strategy_id = $1) AND ($2::timestamptz IS NULL OR closed_at >= $2)
  AND ($3::timestamptz IS NULL OR closed_at < $3) AND method = $4
ORDER BY strategy_id, sequence, asset, piece
"""
_PAYOUTS = """
SELECT sequence, asset, sum(proceeds) AS worth FROM closings
WHERE sequence = ANY($1) AND kind = 'payout' AND method = 'fifo' GROUP BY sequence, asset
"""

JOURNAL_COLUMNS = (
    "sequence",
    "line",
    "transaction_id",
    "kind",
    "venue",
    "strategy_id",
    "market_time",
    "received_at",
    "posted_at",
    "source",
    "destination",
    "asset",
    "amount",
    "correlation_id",
)
GAIN_COLUMNS = (
    "strategy_id",
    "asset",
    "kind",
    "quantity",
    "cost",
    "proceeds",
    "gain",
    "opened_at",
    "opened_by",
    "closed_at",
    "closed_by",
    "sequence",
    "piece",
    "method",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part: of one strategy ("" for all), from (inclusive) to (exclusive) market time, gains by ``method``."""

    strategy_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    method: Method = Method.FIFO


class PostgresExport:
    """One snapshot of the database; make it with ``exporting``."""

    def __init__(self, store: ResultsStore) -> None:
        self._store = store

    async def journal(self, wanted: Wanted) -> AsyncIterator[tuple[Any, ...]]:
        """One row per posting, in ``JOURNAL_COLUMNS``, in the order of the journal."""
        async for row in self._store.connection.cursor(
            _JOURNAL, wanted.strategy_id, wanted.since, wanted.until, prefetch=PAGE
        ):
            yield _plain_row(row)

    async def gains(self, wanted: Wanted) -> AsyncIterator[tuple[Any, ...]]:
        """One row per piece of a lot that was closed, in ``GAIN_COLUMNS``."""
        async for row in self._store.connection.cursor(
            _GAINS, wanted.strategy_id, wanted.since, wanted.until, str(wanted.method), prefetch=PAGE
        ):
            yield _plain_row(row)

    async def entries(self, wanted: Wanted) -> AsyncIterator[tuple[JournalEntry, dict[str, Decimal]]]:
        """Whole entries with the worth of what they paid out, as far as the results have come; from the beginning."""
        last, end = 0, int(await self._store.connection.fetchval("SELECT sequence FROM checkpoint"))
        while page := await self._store.entries(last, end, PAGE):
            last = page[-1].sequence
            paying = [entry.sequence for entry in page if entry.kind in {Kind.WITHDRAW, Kind.RELEASE}]
            worth: dict[int, dict[str, Decimal]] = {}
            for row in await self._store.connection.fetch(_PAYOUTS, paying) if paying else []:
                worth.setdefault(row["sequence"], {})[row["asset"]] = amount_of(row["worth"])
            for entry in page:
                is_wanted = wanted.strategy_id in {"", entry.strategy_id}
                if is_wanted and (wanted.until is None or entry.market_time < wanted.until):
                    yield entry, worth.get(entry.sequence, {})


@asynccontextmanager
async def exporting(dsn: str) -> AsyncIterator[PostgresExport]:
    """The export of the database at ``dsn``, read-only. Raises RetryLater when it cannot be reached."""
    try:
        connection = await asyncpg.connect(dsn, timeout=10.0, server_settings={"timezone": "UTC"})
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield PostgresExport(await ResultsStore.opened(connection, SCHEMA))
        finally:
            await connection.close()
    except UNAVAILABLE as error:
        raise RetryLater(f"the ledger's database cannot be reached: {error!r}") from error


def _plain_row(row: "asyncpg.Record") -> tuple[Any, ...]:
    return tuple(amount_of(value) if isinstance(value, Decimal) else value for value in row.values())

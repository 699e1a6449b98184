"""The journal in PostgreSQL (schema ``ledger``): read pages, let the bookkeeper settle, write back, in one transaction.

The first statement locks the one row of ``journal_head``: whoever posts, in whatever process, posts alone, and every
later statement sees all that was committed before. Deadlocks and lost updates are impossible by that, sequences have no
gaps, and outbox rows are in the order of the journal.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.ledger.adapters.postgres_log import LOCK_HEAD, append_nodes, peaks_of, read_tree
from services.ledger.adapters.postgres_reservations import read_reservations, write_reservations
from services.ledger.adapters.postgres_rows import (
    OUTBOX_COLUMNS,
    POSTING_COLUMNS,
    TRANSACTION_COLUMNS,
    amount_of,
    amounts_json,
    entry_rows,
    outbox_row,
    posting_rows,
    transfer_row,
    waiting_from,
)
from services.ledger.announcements import announcements_of, totals_of
from services.ledger.bookkeeping import Bookkeeper
from services.ledger.pages import Changes, Pages, StrategyRecord, TransferRecord, VenueRecord
from services.ledger.requests import Request
from shared.core.double_entry import dust_account, fees_account, suspense_account, venue_account
from shared.core.errors import RetryLater, Stop, TrimtabError
from shared.messaging.database_postgres import UNAVAILABLE

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_BAD_REQUEST = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_UPSERT_BALANCES = """
INSERT INTO ledger.balances AS b (account, asset, amount)
SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[])
ON CONFLICT (account, asset) DO UPDATE SET amount = EXCLUDED.amount
"""
_UPSERT_STRATEGIES = """
INSERT INTO ledger.strategies (strategy_id, venue, version, fills_posted, contributed, contributed_in, withdrawn, fees,
    is_open)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::numeric[], $6::numeric[], $7::numeric[],
    $8::jsonb[], $9::boolean[])
ON CONFLICT (strategy_id) DO UPDATE SET version = EXCLUDED.version, fills_posted = EXCLUDED.fills_posted,
    contributed = EXCLUDED.contributed, contributed_in = EXCLUDED.contributed_in, withdrawn = EXCLUDED.withdrawn,
    fees = EXCLUDED.fees, is_open = EXCLUDED.is_open
"""
_UPSERT_VENUES = """
INSERT INTO ledger.venues (venue, wallet_version, market_time)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[])
ON CONFLICT (venue) DO UPDATE SET wallet_version = EXCLUDED.wallet_version, market_time = EXCLUDED.market_time
"""
_UPSERT_TRANSFER = """
INSERT INTO ledger.transfers (transfer_id, purpose, venue, strategy_id, digest, state, reason, amounts, message_id,
    correlation_id, received_at, request, sequence, settled_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (transfer_id) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason, amounts = EXCLUDED.amounts,
    sequence = EXCLUDED.sequence, settled_at = EXCLUDED.settled_at
"""
_MOVE_HEAD = "UPDATE ledger.journal_head SET sequence = $1, posted_at = $2, tree_size = $3, tree_peaks = $4"
_TELL_ONCE = """
INSERT INTO ledger.outbox (message_id, subject, headers, payload) VALUES ($1, $2, $3, $4)
ON CONFLICT (message_id) DO NOTHING
"""
_TRANSFERS = """
SELECT transfer_id, purpose, strategy_id, digest, state, message_id, correlation_id, received_at, request
FROM ledger.transfers WHERE transfer_id = ANY($1) OR (state = 'waiting' AND strategy_id = ANY($2))
"""
_STRATEGIES = """
SELECT strategy_id, venue, version, fills_posted, contributed, contributed_in, withdrawn, fees, is_open
FROM ledger.strategies WHERE strategy_id = ANY($1)
"""


class PostgresJournal:
    """``services.ledger.books.Journal`` on a pool; ``now`` is the wall clock (aware UTC)."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", now: Callable[[], datetime]) -> None:
        self.pool = pool
        self._now = now

    async def trouble(self) -> str | None:
        """None when the database answers and has the schema (for the health check); raises what keeps it from it."""
        row = await self.pool.fetchval("SELECT sequence FROM ledger.journal_head")
        return None if row is not None else "ledger.journal_head is empty"

    async def announce_totals(self) -> None:
        """Tell what the books hold at every venue now, unless the newest entry has told it: for those who ask first.

        Raises RetryLater, Stop.
        """
        try:
            async with self.pool.acquire(timeout=5.0) as connection, connection.transaction():
                await _tell_totals(connection)
        except UNAVAILABLE as error:
            raise RetryLater(f"the journal cannot be reached: {error!r}") from error
        except asyncpg.PostgresError as error:
            raise Stop(f"the journal cannot be written: {error!r}") from error

    async def post(self, requests: Sequence[Request]) -> list[TrimtabError | None]:
        """Settle all of them in one transaction and commit; see ``Journal.post`` for what is raised."""
        try:
            async with self.pool.acquire(timeout=5.0) as connection, connection.transaction():
                pages = await read_pages(connection, requests)
                keeper = Bookkeeper(pages, self._now())
                outcomes = keeper.settle_all(requests)
                await write_changes(connection, pages, keeper.changes, keeper.posted_at)
        except UNAVAILABLE as error:
            raise RetryLater(f"the journal cannot be reached: {error!r}") from error
        except _BAD_REQUEST:
            raise
        except asyncpg.PostgresError as error:
            raise Stop(f"the journal cannot be written: {error!r}") from error
        return outcomes


async def _tell_totals(connection: Connection) -> None:
    head = await connection.fetchrow("SELECT sequence, posted_at FROM ledger.journal_head FOR UPDATE")
    venues = [row["venue"] for row in await connection.fetch("SELECT venue FROM ledger.venues ORDER BY venue")]
    if head is None:
        raise Stop("ledger.journal_head is empty: the schema is damaged")
    totalled = (venue_account, fees_account, suspense_account, dust_account)
    accounts = {account(venue) for venue in venues for account in totalled}
    pages = Pages(head["sequence"], head["posted_at"], balances=await read_balances(connection, accounts))
    rows = [outbox_row(totals_of(pages, venue)) for venue in venues]
    await connection.executemany(_TELL_ONCE, rows)


async def read_pages(connection: Connection, requests: Sequence[Request]) -> Pages:
    """Lock the journal's end and read everything the requests touch; call it inside a transaction."""
    head = await connection.fetchrow(LOCK_HEAD)
    if head is None:
        raise Stop("ledger.journal_head is empty: the schema is damaged")
    pages = Pages(sequence=head["sequence"], posted_at=head["posted_at"], tree=await read_tree(connection, head))
    strategy_ids = {request.strategy_id for request in requests if request.strategy_id}
    await _read_digests(connection, pages, requests)
    if strategy_ids:
        await _read_transfers(connection, pages, {r.transfer_id for r in requests if r.transfer_id}, strategy_ids)
        await _read_strategies(connection, pages, strategy_ids)
        pages.reservations = await read_reservations(connection, requests, strategy_ids)
    await _read_venues(connection, pages, {request.body.venue for request in requests})
    accounts = {account for request in requests for account in request.accounts}
    pages.balances = await read_balances(connection, accounts)
    return pages


async def read_balances(connection: Connection, accounts: Collection[str]) -> dict[str, dict[str, Decimal]]:
    """Everything these accounts hold, by account and asset, without zeros."""
    rows = await connection.fetch(
        "SELECT account, asset, amount FROM ledger.balances WHERE account = ANY($1) AND amount <> 0", list(accounts)
    )
    balances: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for row in rows:
        balances[row["account"]][row["asset"]] = amount_of(row["amount"])
    return dict(balances)


async def _read_digests(connection: Connection, pages: Pages, requests: Iterable[Request]) -> None:
    facts = [request.transaction_id for request in requests if request.has_entry and not request.transfer_id]
    if facts:
        rows = await connection.fetch(
            "SELECT transaction_id, digest FROM ledger.transactions WHERE transaction_id = ANY($1)", facts
        )
        pages.digests = {row["transaction_id"]: row["digest"] for row in rows}


async def _read_transfers(
    connection: Connection, pages: Pages, transfer_ids: Collection[str], strategy_ids: Collection[str]
) -> None:
    for row in await connection.fetch(_TRANSFERS, list(transfer_ids), list(strategy_ids)):
        pages.transfer_digests[row["transfer_id"]] = row["digest"]
        if row["state"] == "waiting":
            pages.waiting.setdefault(row["strategy_id"], {})[row["transfer_id"]] = waiting_from(row)


async def _read_strategies(connection: Connection, pages: Pages, strategy_ids: Collection[str]) -> None:
    for row in await connection.fetch(_STRATEGIES, list(strategy_ids)):
        pages.strategies[row["strategy_id"]] = StrategyRecord(
            venue=row["venue"],
            version=row["version"],
            fills_posted=row["fills_posted"],
            contributed=amount_of(row["contributed"]),
            contributed_in=amount_of(row["contributed_in"]),
            withdrawn=amount_of(row["withdrawn"]),
            fees={asset: Decimal(text) for asset, text in json.loads(row["fees"]).items()},
            is_open=row["is_open"],
        )


async def _read_venues(connection: Connection, pages: Pages, venues: Collection[str]) -> None:
    rows = await connection.fetch(
        "SELECT venue, wallet_version, market_time FROM ledger.venues WHERE venue = ANY($1)", list(venues)
    )
    pages.venues = {row["venue"]: VenueRecord(row["market_time"], row["wallet_version"]) for row in rows}


async def write_changes(connection: Connection, pages: Pages, changes: Changes, posted_at: datetime) -> None:
    """Write back what the bookkeeper changed, and what is to be told of it, in the transaction of ``read_pages``."""
    if changes.entries:
        await _append_entries(connection, pages, changes, posted_at)
        await _write_balances(connection, pages, changes)
        await _write_venues(connection, {key: pages.venues[key] for key in sorted(changes.venues)})
    await write_reservations(connection, pages.reservations, posted_at)
    touched = sorted({*changes.strategies, *changes.ended})
    await _write_strategies(connection, {key: pages.strategies[key] for key in touched})
    await _write_transfers(connection, changes.transfers.values())
    rows = [outbox_row(announcement) for announcement in announcements_of(pages, changes, posted_at)]
    await connection.copy_records_to_table("outbox", schema_name="ledger", columns=OUTBOX_COLUMNS, records=rows)


async def _append_entries(connection: Connection, pages: Pages, changes: Changes, posted_at: datetime) -> None:
    tree, nodes = pages.tree.extended(entry.leaf.hash for entry in changes.entries)
    await connection.execute(_MOVE_HEAD, pages.sequence, posted_at, tree.size, peaks_of(tree))
    await connection.copy_records_to_table(
        "transactions", schema_name="ledger", columns=TRANSACTION_COLUMNS, records=entry_rows(changes.entries)
    )
    await connection.copy_records_to_table(
        "postings", schema_name="ledger", columns=POSTING_COLUMNS, records=posting_rows(changes.entries)
    )
    await append_nodes(connection, nodes)


async def _write_balances(connection: Connection, pages: Pages, changes: Changes) -> None:
    keys = sorted(changes.balances)
    amounts = [pages.balance(account, asset) for account, asset in keys]
    await connection.execute(_UPSERT_BALANCES, [key[0] for key in keys], [key[1] for key in keys], amounts)


async def _write_strategies(connection: Connection, records: Mapping[str, StrategyRecord]) -> None:
    if not records:
        return
    values = records.values()
    await connection.execute(
        _UPSERT_STRATEGIES,
        list(records),
        [record.venue for record in values],
        [record.version for record in values],
        [record.fills_posted for record in values],
        [record.contributed for record in values],
        [record.contributed_in for record in values],
        [record.withdrawn for record in values],
        [amounts_json(record.fees) for record in values],
        [record.is_open for record in values],
    )


async def _write_venues(connection: Connection, records: Mapping[str, VenueRecord]) -> None:
    values = records.values()
    versions, times = [record.wallet_version for record in values], [record.market_time for record in values]
    await connection.execute(_UPSERT_VENUES, list(records), versions, times)


async def _write_transfers(connection: Connection, transfers: Iterable[TransferRecord]) -> None:
    if rows := [transfer_row(transfer) for transfer in transfers]:
        await connection.executemany(_UPSERT_TRANSFER, rows)

"""Heads of the Merkle log in PostgreSQL: signed under the journal's lock, told through the outbox; and proofs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from services.ledger.adapters.postgres_log import LOCK_HEAD, Connection, read_leaves, read_roots, read_tree
from services.ledger.adapters.postgres_rows import OUTBOX_COLUMNS, outbox_row
from services.ledger.announcements import SOURCE, Announcement
from services.ledger.heads import SignedHead, Signer, TreeHead, key_id_of
from services.ledger.leaves import Leaf
from shared.contracts import subjects
from shared.contracts.wire import Meta
from shared.core.errors import RetryLater, Stop
from shared.core.merkle import Tree, consistency_spans, inclusion_spans
from shared.messaging.database_postgres import UNAVAILABLE

_NEWEST = """
SELECT origin, number, size, root, signed_at, market_time, signature, public_key
FROM ledger.tree_heads JOIN ledger.log_keys USING (key_id) CROSS JOIN ledger.log_identity
ORDER BY number DESC LIMIT 1
"""
_MARKET_TIME = "SELECT origin, (SELECT max(market_time) FROM ledger.venues) AS market_time FROM ledger.log_identity"
_KNOW_KEY = "INSERT INTO ledger.log_keys (key_id, public_key) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_KEEP = """
INSERT INTO ledger.tree_heads (number, size, root, signed_at, market_time, key_id, signature)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """An entry's leaf and the path from it to the root of ``head``."""

    sequence: int
    leaf: Leaf
    path: list[bytes]
    head: SignedHead


@dataclass(frozen=True, slots=True)
class Consistency:
    """Two sizes of the log, with the path between their roots."""

    older: Tree
    newer: Tree
    path: list[bytes]


class PostgresHeads:
    """Every method raises RetryLater when the database is not there, Stop when it cannot be used or is damaged.

    ``now`` is the wall clock (aware UTC), ``signer`` None where nothing is to be signed.
    """

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", now: Callable[[], datetime], signer: Signer | None
    ) -> None:
        self._pool = pool
        self._now = now
        self._signer = signer

    async def newest(self) -> SignedHead | None:
        """The newest head; None before the first."""
        async with self._transaction() as connection:
            return await _newest(connection)

    async def covering_all(self) -> SignedHead | None:
        """The head over every entry, signed now unless there is one; None while the journal is empty.

        Without a signer: the newest one, which may cover less. A head and the word of it are committed together.
        """
        if self._signer is None:
            return await self.newest()
        async with self._transaction() as connection:
            return await self._covering_all(connection, self._signer)

    async def _covering_all(self, connection: Connection, signer: Signer) -> SignedHead | None:
        row = await connection.fetchrow(LOCK_HEAD)
        if row is None:
            raise Stop("ledger.journal_head is empty: the schema is damaged")
        frontier = await read_tree(connection, row)
        last = await _newest(connection)
        if frontier.size == (0 if last is None else last.head.tree.size):
            return last
        state = await connection.fetchrow(_MARKET_TIME)
        if state is None:
            raise Stop("ledger.log_identity is empty: the schema is damaged")
        # Never before the entries it covers, nor before the head before it, whatever the clock says.
        signed_at = max(self._now(), row["posted_at"], *(() if last is None else (last.head.signed_at,)))
        head = TreeHead(
            origin=state["origin"],
            number=1 if last is None else last.head.number + 1,
            tree=Tree(frontier.size, frontier.root),
            signed_at=signed_at,
            market_time=state["market_time"],
        )
        signed = signer.signed(head)
        await _keep(connection, signed)
        return signed

    async def inclusion(self, entry: str) -> Inclusion | None:
        """The proof for an entry, named by its sequence or its transaction id, in the newest head or a new one.

        None when there is no such entry, or no head that covers it and no signer.
        """
        async with self._transaction() as connection:
            sequence = await _sequence_of(connection, entry)
        if sequence is None:
            return None
        head = await self.newest()
        if head is None or head.head.tree.size < sequence:
            head = await self.covering_all()
        if head is None or head.head.tree.size < sequence:
            return None
        async with self._transaction() as connection:
            (leaf,) = await read_leaves(connection, sequence, sequence)
            path = await read_roots(connection, inclusion_spans(sequence - 1, head.head.tree.size))
        return Inclusion(sequence, leaf, path, head)

    async def consistency(self, first: int, second: int) -> Consistency | None:
        """The proof between two sizes (``second`` 0: of now); None unless 0 < first <= second <= entries."""
        async with self._transaction() as connection:
            size = await connection.fetchval("SELECT tree_size FROM ledger.journal_head")
            second = second or size
            if not 0 < first <= second <= size:
                return None
            spans = consistency_spans(first, second)
            old, new, *path = await read_roots(connection, [(0, first), (0, second), *spans])
        return Consistency(Tree(first, old), Tree(second, new), path)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.acquire(timeout=5.0) as connection, connection.transaction():
                yield connection
        except UNAVAILABLE as error:
            raise RetryLater(f"the log cannot be reached: {error!r}") from error
        except asyncpg.PostgresError as error:
            raise Stop(f"the log cannot be used: {error!r}") from error


async def _newest(connection: Connection) -> SignedHead | None:
    row = await connection.fetchrow(_NEWEST)
    if row is None:
        return None
    tree = Tree(row["size"], row["root"])
    head = TreeHead(row["origin"], row["number"], tree, row["signed_at"], row["market_time"])
    return SignedHead(head, row["public_key"], row["signature"])


async def _keep(connection: Connection, signed: SignedHead) -> None:
    head, key_id = signed.head, key_id_of(signed.public_key)
    await connection.execute(_KNOW_KEY, key_id, signed.public_key)
    tree, times = (head.tree.size, head.tree.root), (head.signed_at, head.market_time)
    await connection.execute(_KEEP, head.number, *tree, *times, key_id, signed.signature)
    name = f"tree-head.{head.number}"
    told = Announcement(subjects.TREE_HEADS, signed.message, Meta(name, SOURCE, head.signed_at, name, ""))
    await connection.copy_records_to_table(
        "outbox", schema_name="ledger", columns=OUTBOX_COLUMNS, records=[outbox_row(told)]
    )


async def _sequence_of(connection: Connection, entry: str) -> int | None:
    if entry.isascii() and entry.isdigit() and len(entry) <= 18:
        query = "SELECT sequence FROM ledger.transactions WHERE sequence = $1::bigint"
        return await connection.fetchval(query, int(entry))  # type: ignore[no-any-return]
    query = "SELECT sequence FROM ledger.transactions WHERE transaction_id = $1"
    return await connection.fetchval(query, entry)  # type: ignore[no-any-return]

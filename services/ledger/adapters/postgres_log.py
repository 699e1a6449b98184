"""The Merkle log in PostgreSQL: its end in ``journal_head``, its perfect subtrees in ``log_nodes``.

The log grows in the transaction that posts, under the same lock, so no entry is ever outside of it. Only every eighth
level of subtrees is stored (one row per entry and one more per 256); those between are computed from at most 256 rows.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.ledger.adapters.postgres_rows import OUTBOX_COLUMNS, outbox_row
from services.ledger.announcements import told_again
from services.ledger.leaves import Cause, Leaf, Times, leaf_of
from shared.core.double_entry import Posting, Transaction
from shared.core.errors import Stop
from shared.core.merkle import HASH_SIZE, Frontier, Node, Span, perfect_subtrees, root_of

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

LOCK_HEAD = "SELECT sequence, posted_at, tree_size, tree_peaks FROM ledger.journal_head FOR UPDATE"

_LEVELS = 8
_ENTRIES_AT_ONCE = 2_000
_ENTRIES = """
SELECT t.sequence, transaction_id, kind, venue, strategy_id, market_time, received_at, posted_at, message_id,
       correlation_id, digest, request_type, request,
       array_agg(ARRAY[p.source, p.destination, p.asset, trim_scale(p.amount)::text] ORDER BY p.line) AS postings
FROM ledger.transactions t JOIN ledger.postings p USING (sequence)
WHERE t.sequence BETWEEN $1 AND $2 GROUP BY t.sequence ORDER BY t.sequence
"""
_NODES = """
SELECT n.level, n.place, n.hash
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS wanted (level, first, last)
JOIN ledger.log_nodes n ON n.level = wanted.level AND n.place BETWEEN wanted.first AND wanted.last
"""


def peaks_of(tree: Frontier) -> bytes:
    """The column ``tree_peaks``."""
    return b"".join(tree.peaks)


async def read_tree(connection: Connection, head: Mapping[str, Any]) -> Frontier:
    """The log up to the newest entry, by a row of ``LOCK_HEAD``; the caller's transaction holds its lock.

    Entries that an older version of the ledger has posted are added first and told again, with their leaves.
    Raises Stop when the row is damaged.
    """
    peaks: bytes = head["tree_peaks"]
    try:
        cut = range(0, len(peaks), HASH_SIZE)
        tree = Frontier(head["tree_size"], tuple(peaks[at : at + HASH_SIZE] for at in cut))
    except ValueError as error:
        raise Stop(f"ledger.journal_head is damaged: {error}") from error
    while tree.size < head["sequence"]:
        last = min(tree.size + _ENTRIES_AT_ONCE, head["sequence"])
        leaves = await read_leaves(connection, tree.size + 1, last)
        if len(leaves) != last - tree.size:
            raise Stop(f"the journal has a gap between entries {tree.size + 1} and {last}")
        tree, nodes = tree.extended(leaf.hash for leaf in leaves)
        await append_nodes(connection, nodes)
        told = [outbox_row(told_again(leaf)) for leaf in leaves]
        await connection.copy_records_to_table("outbox", schema_name="ledger", columns=OUTBOX_COLUMNS, records=told)
        await connection.execute(
            "UPDATE ledger.journal_head SET tree_size = $1, tree_peaks = $2", tree.size, peaks_of(tree)
        )
    return tree


async def append_nodes(connection: Connection, nodes: Iterable[tuple[Node, bytes]]) -> None:
    """Store what has become complete."""
    rows = [(level, place, root) for (level, place), root in nodes if level % _LEVELS == 0]
    await connection.copy_records_to_table(
        "log_nodes", schema_name="ledger", columns=("level", "place", "hash"), records=rows
    )


async def read_leaves(connection: Connection, first: int, last: int) -> list[Leaf]:
    """The leaves of the entries from sequence ``first`` to ``last``, as far as they are there."""
    return [_leaf_from(row) for row in await connection.fetch(_ENTRIES, first, last)]


def _leaf_from(row: Mapping[str, Any]) -> Leaf:
    postings = tuple(Posting(made[0], made[1], made[2], Decimal(made[3])) for made in row["postings"])
    transaction = Transaction(row["transaction_id"], row["kind"], row["venue"], row["strategy_id"], postings)
    cause = Cause(
        message_id=row["message_id"],
        correlation_id=row["correlation_id"],
        digest=row["digest"],
        request_type=row["request_type"],
        request=json.loads(row["request"]),
    )
    return leaf_of(row["sequence"], transaction, Times(row["market_time"], row["received_at"], row["posted_at"]), cause)


async def read_roots(connection: Connection, spans: Sequence[Span]) -> list[bytes]:
    """The root over each span of a proof. Raises Stop when a node is missing."""
    wanted = {node: _rows_under(node) for span in spans for node in perfect_subtrees(span)}
    rows = set(wanted.values())
    found = await connection.fetch(_NODES, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
    stored: dict[Node, bytes] = {(row["level"], row["place"]): row["hash"] for row in found}
    hashes: dict[Node, bytes] = {}
    for node, (level, first, last) in wanted.items():
        try:
            below = [stored[level, place] for place in range(first, last + 1)]
        except KeyError as missing:
            raise Stop(f"ledger.log_nodes is damaged: {missing} is missing") from missing
        hashes[node] = Frontier().extended(below)[0].root
    return [root_of(span, hashes) for span in spans]


def _rows_under(node: Node) -> tuple[int, int, int]:
    """The stored level at or below a node, and the first and last of its places that the node consists of."""
    level, place = node
    above = level % _LEVELS
    return level - above, place << above, ((place + 1) << above) - 1

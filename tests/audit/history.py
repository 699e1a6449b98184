"""A small history made by the ledger itself, as the rows an auditor reads, and the tools of somebody who forges it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.audit.books import Books, text_of
from deploy.audit.growing_tree import GrowingTree
from deploy.audit.notes import text_of as signed_text_of
from deploy.audit.postgres_tables import opened
from deploy.audit.records import Head
from deploy.audit.tables import Batch, Row, SmallTables, entries_in
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_heads import PostgresHeads
from services.ledger.heads import Signer
from services.ledger.requests import Body
from tests.services.ledger.messages import Scene, request_of

SORTED_BY = {"transactions": 1, "postings": 2, "leaves": 1}
COLUMNS = {
    "transactions": "sequence transaction_id kind venue strategy_id market_time received_at posted_at message_id "
    "correlation_id digest request_type request",
    "postings": "sequence line source destination asset amount",
    "leaves": "place hash",
    "journal_head": "sequence posted_at tree_size tree_peaks",
    "identity": "origin",
    "keys": "key_id public_key",
    "heads": "number size root signed_at market_time key_id signature",
    "balances": "account asset amount",
}


@dataclass
class MemoryTables:
    """``deploy.audit.tables.Tables`` in memory: rows by table."""

    rows: dict[str, list[Row]] = field(default_factory=dict)

    async def small(self) -> SmallTables:
        names = ("journal_head", "identity", "keys", "heads", "nodes", "balances")
        return SmallTables(**{name: self.rows[name] for name in names})

    async def batches(self) -> AsyncIterator[Batch]:
        yield self.batch()

    def batch(self) -> Batch:
        """All entries, ordered as the database orders them."""
        return Batch(**{name: sorted(self.rows[name], key=lambda row, n=n: row[:n]) for name, n in SORTED_BY.items()})

    def copy(self) -> "MemoryTables":
        return MemoryTables({name: list(rows) for name, rows in self.rows.items()})


async def read_tables(dsn: str) -> MemoryTables:
    """What the auditor's reader gives, kept."""
    rows: dict[str, list[Row]] = {}
    async with opened(dsn) as tables:
        small = await tables.small()
        for name in ("journal_head", "identity", "keys", "heads", "nodes", "balances"):
            rows[name] = [tuple(row) for row in getattr(small, name)]
        rows |= {name: [] for name in SORTED_BY}
        async for batch in tables.batches():
            for name in SORTED_BY:
                rows[name] += [tuple(row) for row in getattr(batch, name)]
    return MemoryTables(rows)


def story(fills: int = 10) -> list[list[Body]]:
    """Groups of messages; after each of them a head is signed."""
    scene = Scene()
    bought = [scene.fill(number, "BUY", "0.01", "400", "0.00001") for number in range(1, fills // 2 + 1)]
    sold = [scene.fill(number, "SELL", "0.004", "170.5", "0.1705") for number in range(fills // 2 + 1, fills + 1)]
    return [
        [scene.deposit(amount="10000.000000000000000001"), scene.fund(amount="9000")],
        [*bought],
        [*sold[: len(sold) // 2], scene.deposit(2, "0.5", "ETH")],
        [*sold[len(sold) // 2 :], scene.withdraw(fills), scene.deposit(3, "7", "SOL")],
    ]


async def make_history(journal: PostgresJournal, signer: Signer, groups: Sequence[Sequence[Body]]) -> PostgresHeads:
    """Post the groups and sign a head after each."""
    heads = PostgresHeads(journal.pool, lambda: datetime.now(UTC), signer)
    for group in groups:
        assert await journal.post([request_of(body) for body in group]) == [None] * len(group)
        assert await heads.covering_all() is not None
    return heads


def forge(tables: MemoryTables, private_key: Ed25519PrivateKey) -> MemoryTables:
    """The whole history made consistent again after its entries were changed: leaves, nodes, sums, heads, signatures.

    What somebody can do who has the database and the ledger's key.
    """
    forged = tables.copy()
    count = len(forged.rows["transactions"])
    forged.rows["leaves"] = [(place, b"") for place in range(count)]
    tree, books = GrowingTree(), Books()
    roots: dict[int, bytes] = {}
    entries = list(entries_in(forged.batch()))
    for entry in entries:
        tree.append(entry.hash)
        books.take(entry.fields)
        roots[tree.size] = tree.root
    forged.rows["leaves"] = [(place, entry.hash) for place, entry in enumerate(entries)]
    forged.rows["nodes"] = [(*node, root) for node, root in tree.nodes.items()]
    forged.rows["journal_head"] = [(count, entries[-1].posted_at, count, tree.peaks)]
    forged.rows["balances"] = [(*key, text_of(units)) for key, units in books.balances.items()]
    origin, (key_id, public_key) = forged.rows["identity"][0][0], forged.rows["keys"][0]
    forged.rows["heads"] = []
    for number, size, _, signed_at, _, _, _ in tables.rows["heads"]:
        if size <= count:
            market_time = max(entry.market_time for entry in entries[:size])
            head = Head(origin, number, size, roots[size], signed_at, market_time, key_id, public_key, b"")
            signature = private_key.sign(signed_text_of(head).encode())
            forged.rows["heads"].append((number, size, roots[size], signed_at, market_time, key_id, signature))
    return forged


def changed(row: Row, columns: Mapping[str, Any], table: str) -> Row:
    """The row with some columns changed, by name."""
    names = COLUMNS[table].split()
    return tuple(columns.get(name, value) for name, value in zip(names, row, strict=True))

"""The journal and its log as rows of the schema ``ledger``, checked row by row; a reader brings them."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from deploy.audit.books import text_of, units_of
from deploy.audit.collecting import searching_rarely
from deploy.audit.records import Entry, Head, Wrong, entry_of
from deploy.audit.trades import VenueTrades
from deploy.audit.verification import NOTHING_KNOWN, Findings, Trusted, Verification, check_keys

Row = Sequence[Any]
"""Columns in the order in which the classes below name them, as asyncpg gives them; amounts and JSON as text."""

_UNREADABLE = (TypeError, ValueError, AttributeError, KeyError, OverflowError)


@dataclass(frozen=True, slots=True)
class SmallTables:
    """Everything but the entries.

    ``journal_head``: sequence, posted_at, tree_size, tree_peaks. ``identity``: origin. ``keys``: key_id, public_key.
    ``heads``: number, size, root, signed_at, market_time, key_id, signature. ``nodes``: level, place, hash; without
    leaves. ``balances``: account, asset, amount.
    """

    journal_head: Sequence[Row]
    identity: Sequence[Row]
    keys: Sequence[Row]
    heads: Sequence[Row]
    nodes: Sequence[Row]
    balances: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Batch:
    """A range of entries, each table in its order.

    ``transactions``: sequence, transaction_id, kind, venue, strategy_id, market_time, received_at, posted_at,
    message_id, correlation_id, digest, request_type, request. ``postings``: sequence, line, source, destination, asset,
    amount. ``leaves``: place, hash.
    """

    transactions: Sequence[Row]
    postings: Sequence[Row]
    leaves: Sequence[Row]


class Tables(Protocol):
    """One snapshot of the schema."""

    async def small(self) -> SmallTables:
        """Everything but the entries."""

    def batches(self) -> AsyncIterator[Batch]:
        """Every row of the entries' tables, in ranges of sequence that follow each other."""


async def verify_tables(
    tables: Tables,
    trusted: Trusted = NOTHING_KNOWN,
    trades: VenueTrades | None = None,
) -> Findings:
    """Check everything there is. Raises what the reader raises."""
    small = await tables.small()
    checking = begun(small, trusted, trades)
    try:
        with searching_rarely():
            async for batch in tables.batches():
                for entry in entries_in(batch):
                    checking.take(entry)
    except Wrong as wrong:  # what follows a wrong entry proves nothing any more
        checking.note(wrong)
        return checking.findings()
    return ended(small, checking)


def begun(small: SmallTables, trusted: Trusted, trades: VenueTrades | None = None) -> Verification:
    """A check that knows the heads and waits for the entries."""
    checking = Verification(trusted, trades)
    for fault in _take_small(small, checking):
        checking.note(fault)
    return checking


def ended(small: SmallTables, checking: Verification) -> Findings:
    """The findings of a check that has taken every entry."""
    checking.end()
    for difference in _differences(small, checking):
        checking.note(difference)
    return checking.findings()


def _take_small(small: SmallTables, checking: Verification) -> Iterator[Wrong]:
    origins = [row[0] for row in small.identity]
    if len(origins) != 1:
        yield Wrong("identity", f"the log must have one name, it has {len(origins)}")
        return
    try:
        keys: dict[str, bytes] = {row[0]: bytes(row[1]) for row in small.keys}
        if len(keys) != len(small.keys):
            yield Wrong("keys", "one is there twice")
        heads = [_head_of(row, origins[0], keys) for row in small.heads]
        yield from check_keys(keys, (head.key_id for head in heads))
        checking.take_heads(heads)
    except Wrong as wrong:
        yield wrong
    except _UNREADABLE as error:
        yield Wrong("heads", f"they cannot be read: {error!r}")


def _head_of(row: Row, origin: str, keys: Mapping[str, bytes]) -> Head:
    number, size, root, signed_at, market_time, key_id, signature = row
    if key_id not in keys:
        raise Wrong(f"head {number}", f"its key {key_id} is missing")
    return Head(origin, number, size, bytes(root), signed_at, market_time, key_id, keys[key_id], bytes(signature))


def entries_in(batch: Batch) -> Iterator[Entry]:
    """The entries of a range, put together. Raises Wrong where the tables do not fit together."""
    postings, leaves = batch.postings, batch.leaves
    at, end = 0, len(postings)
    for place, row in enumerate(batch.transactions):
        sequence = row[0]
        first = at
        while at < end and postings[at][0] == sequence:
            at += 1
        if place >= len(leaves) or leaves[place][0] != sequence - 1:
            raise _unlogged(leaves, place, sequence)
        if at < end and postings[at][0] < sequence:
            raise Wrong.at(postings[at][0], "it is missing, but not its postings")
        yield _entry_of(row, postings[first:at], leaves[place][1])
    if at < end:
        raise Wrong.at(postings[at][0], "it is missing, but not its postings")
    if len(leaves) > len(batch.transactions):
        raise Wrong.at(leaves[len(batch.transactions)][0] + 1, "it is missing, but not its leaf")


def _unlogged(leaves: Sequence[Row], place: int, sequence: int) -> Wrong:
    if place < len(leaves) and leaves[place][0] < sequence - 1:
        return Wrong.at(leaves[place][0] + 1, "it is missing, but not its leaf")
    return Wrong.at(sequence, "it is not in the log (one of before the log is added when the ledger is started)")


def _entry_of(row: Row, postings: Sequence[Row], logged: bytes) -> Entry:
    try:
        for line, made in enumerate(postings, start=1):
            if made[1] != line:
                raise Wrong.at(row[0], f"its posting {line} is missing: the next one is {made[1]}")
        (
            sequence,
            transaction_id,
            kind,
            venue,
            strategy_id,
            market_time,
            received_at,
            posted_at,
            message_id,
            correlation_id,
            digest,
            request_type,
            request,
        ) = row
        fields = {
            "correlation_id": correlation_id,
            "digest": digest.hex(),
            "kind": kind,
            "leaf_version": 1,
            "market_time": market_time,
            "message_id": message_id,
            "posted_at": posted_at,
            "postings": [
                {"amount": amount, "asset": asset, "destination": destination, "source": source}
                for _, _, source, destination, asset, amount in postings
            ],
            "received_at": received_at,
            "request": orjson.loads(request),
            "request_type": request_type,
            "sequence": sequence,
            "strategy_id": strategy_id,
            "transaction_id": transaction_id,
            "venue": venue,
        }
        return entry_of(fields, (market_time, posted_at), bytes(logged))
    except _UNREADABLE as error:
        raise Wrong.at(row[0], f"it cannot be read: {error!r}") from error


def _differences(small: SmallTables, checking: Verification) -> Iterator[Wrong]:
    """What is stored beside the entries, compared with what they give."""
    tree = checking.tree
    if len(small.journal_head) != 1:
        yield Wrong("journal head", f"there must be one, there are {len(small.journal_head)}")
    for sequence, posted_at, tree_size, tree_peaks in small.journal_head:
        if (sequence, tree_size) != (tree.size, tree.size):
            yield Wrong("journal head", f"it says {sequence} entries, {tree_size} logged; there are {tree.size}")
        elif tree_peaks != tree.peaks:
            yield Wrong("journal head", "its subtrees are not those of the entries")
        elif tree.size and posted_at != checking.check.posted_at:
            yield Wrong("journal head", "its time is not that of the newest entry")
    yield from _node_differences(small.nodes, tree.nodes)
    yield from _balance_differences(small.balances, checking.check.books.balances)


def _node_differences(rows: Sequence[Row], nodes: Mapping[tuple[int, int], bytes]) -> Iterator[Wrong]:
    stored = {(row[0], row[1]): row[2] for row in rows}
    if len(stored) != len(rows):
        yield Wrong("nodes", "one is there twice")
    for level, place in sorted(stored.keys() | nodes.keys()):
        if stored.get((level, place)) != nodes.get((level, place)):
            yield Wrong("nodes", f"node {place} of level {level} is not that of its entries")
            return


def _balance_differences(rows: Sequence[Row], balances: Mapping[tuple[str, str], int]) -> Iterator[Wrong]:
    told: dict[tuple[str, str], int] = {}
    for account, asset, amount in rows:
        try:
            told[account, asset] = units_of(amount)
        except _UNREADABLE as error:
            yield Wrong("balances", f"{account} holds {amount} {asset}: {error!r}")
            return
    if len(told) != len(rows):
        yield Wrong("balances", "an account is there twice")
    for account, asset in sorted(told.keys() | balances.keys(), key=str):
        said, summed = told.get((account, asset), 0), balances.get((account, asset), 0)
        if said != summed:
            text = f"{account} holds {text_of(said)} {asset}, its postings give {text_of(summed)}"
            yield Wrong("balances", text)

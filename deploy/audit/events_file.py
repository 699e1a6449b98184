"""The journal and its heads from exported events: one CloudEvent as JSON a line (``data`` is the message).

Events of other types are passed over. Order between venues does not matter: entries are put in the order of their
sequence. The same event twice is one event.
"""

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import orjson

from deploy.audit.checked_answers import head_of
from deploy.audit.collecting import searching_rarely
from deploy.audit.records import LEAF_VERSION, Entry, Head, Wrong, entry_of
from deploy.audit.trades import VenueTrades
from deploy.audit.verification import NOTHING_KNOWN, Findings, Trusted, Verification
from shared.core.merkle import HASH_SIZE

ENTRY = "trimtab.transaction.posted"
HEAD = "trimtab.tree_head.signed"

_MAY_WAIT = 100_000
_UNREADABLE = (TypeError, ValueError, AttributeError, KeyError)


def verify_events(
    lines: Iterable[bytes],
    heads: Iterable[Head],
    trusted: Trusted = NOTHING_KNOWN,
    trades: VenueTrades | None = None,
) -> Findings:
    """Check every entry in the lines, and the heads (``heads_in`` another pass over them)."""
    checking = Verification(trusted, trades)
    try:
        checking.take_heads(heads)
    except Wrong as wrong:
        checking.note(wrong)
    try:
        with searching_rarely():
            for entry in _in_order(entries_in(lines)):
                checking.take(entry)
        checking.end()
    except Wrong as wrong:
        checking.note(wrong)
    return checking.findings()


def heads_in(lines: Iterable[bytes]) -> Iterator[Head]:
    """Every head in the lines, once. Raises Wrong for one that cannot be read or says two things."""
    known: dict[int, Head] = {}
    for data in _data_of(lines, HEAD):
        try:
            head = head_of(data)
        except _UNREADABLE as error:
            raise Wrong("heads", f"one cannot be read: {error!r}") from error
        if known.setdefault(head.number, head) != head:
            raise Wrong(f"head {head.number}", "there are two of them")
    yield from known.values()


def entries_in(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Every entry in the lines, in their order. Raises Wrong for one that cannot be read."""
    for data in _data_of(lines, ENTRY):
        fields = dict(data)
        try:
            logged = bytes.fromhex(fields.pop("leaf_hash", ""))
            if type(fields["sequence"]) is not int or fields["sequence"] < 1:
                raise ValueError(f"{fields['sequence']!r} is no sequence")
            if fields.get("leaf_version") != LEAF_VERSION:
                reason = "its event is of before the log and does not tell all of it: check the database instead"
                raise Wrong.at(int(fields["sequence"]), reason)
            times = (datetime.fromisoformat(fields["market_time"]), datetime.fromisoformat(fields["posted_at"]))
            yield entry_of(fields, times, logged)
        except _UNREADABLE as error:
            raise Wrong("entries", f"one cannot be read: {error!r}") from error


def _data_of(lines: Iterable[bytes], wanted: str) -> Iterator[dict[str, Any]]:
    mark = wanted.encode()
    for number, line in enumerate(lines, start=1):
        if mark not in line:
            continue
        try:
            event = orjson.loads(line)
            found = event["type"] == wanted
            data = event["data"] if found else {}
        except _UNREADABLE as error:
            raise Wrong(f"line {number}", f"it is no event: {error!r}") from error
        if found:
            yield data


def _in_order(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries by sequence; what has come too early waits, what comes again is left out. Raises Wrong."""
    expected = 1
    seen = bytearray()
    waiting: list[tuple[int, int, Entry]] = []
    for arrival, entry in enumerate(entries):
        heapq.heappush(waiting, (entry.sequence, arrival, entry))
        while waiting and waiting[0][0] <= expected:
            sequence, _, first = heapq.heappop(waiting)
            if sequence == expected:
                yield first
                seen += first.hash
                expected += 1
            elif not first.hash == first.logged == seen[(sequence - 1) * HASH_SIZE : sequence * HASH_SIZE]:
                raise Wrong.at(sequence, "there are two of it, and they differ")
        if len(waiting) > _MAY_WAIT:
            raise Wrong.at(expected, f"it is missing: {_MAY_WAIT} later ones are there")
    if waiting:
        raise Wrong.at(expected, f"it is missing: the next one is {waiting[0][0]}")

"""The journal and its heads from exported events: one CloudEvent as JSON a line (``data`` is the message).

Events of other types are passed over. Order between venues does not matter: entries are put in the order of their
sequence. The same event twice is one event. An entry that was told by a version of before the log (schema version 1)
has been told again since, whole; what was told first must be a part of that.
"""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
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

_FIRST_VERSION = frozenset(
    ("sequence", "transaction_id", "kind", "venue", "strategy_id", "postings", "market_time", "posted_at")
)
_MAY_WAIT = 100_000
_LEAF_MARK = b'"leaf_version"'
_NOT_WHOLE = "its event is of before the log and does not tell all of it: check the database instead"
_UNREADABLE = (TypeError, ValueError, AttributeError, KeyError)


def verify_events(
    lines: Iterable[bytes],
    heads: Iterable[Head],
    trusted: Trusted = NOTHING_KNOWN,
    trades: VenueTrades | None = None,
    *,
    older: Mapping[int, bytes] | None = None,
) -> Findings:
    """Check every entry in the lines, and the heads and what older versions told (``heads_in``, ``older_in``: other
    passes over the same lines).
    """
    checking = Verification(trusted, trades)
    try:
        checking.take_heads(heads)
    except Wrong as wrong:
        checking.note(wrong)
    try:
        with searching_rarely():
            for entry in _in_order(entries_in(lines, older or {}), older or {}):
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


def older_in(lines: Iterable[bytes]) -> dict[int, bytes]:
    """What events of before the log say, by sequence. Raises Wrong for one that cannot be read or says two things."""
    known: dict[int, bytes] = {}
    for fields in _data_of((line for line in lines if _LEAF_MARK not in line), ENTRY):
        try:
            if fields.keys() != _FIRST_VERSION or type(fields["sequence"]) is not int:
                raise ValueError(f"it is of no version: {sorted(fields)}")
            said = _said_first(fields)
        except _UNREADABLE as error:
            raise Wrong("entries", f"one cannot be read: {error!r}") from error
        if known.setdefault(fields["sequence"], said) != said:
            raise Wrong.at(fields["sequence"], "there are two of it, and they differ")
    return known


def _said_first(fields: Mapping[str, Any]) -> bytes:
    """The hash of what the first version of the event says of an entry."""
    first = {name: fields[name] for name in _FIRST_VERSION}
    return hashlib.sha256(orjson.dumps(first, option=orjson.OPT_SORT_KEYS)).digest()


def entries_in(lines: Iterable[bytes], older: Mapping[int, bytes]) -> Iterator[Entry]:
    """Every entry in the lines, in their order. Raises Wrong for one that cannot be read or is not what was told of it
    before.
    """
    for data in _data_of(lines, ENTRY):
        fields = dict(data)
        try:
            logged = bytes.fromhex(fields.pop("leaf_hash", ""))
            if type(fields["sequence"]) is not int or fields["sequence"] < 1:
                raise ValueError(f"{fields['sequence']!r} is no sequence")
            if "leaf_version" not in fields and fields["sequence"] in older:
                continue
            if fields.get("leaf_version") != LEAF_VERSION:
                raise Wrong.at(int(fields["sequence"]), _NOT_WHOLE)
            before = older.get(fields["sequence"])
            if before is not None and before != _said_first(fields):
                raise Wrong.at(fields["sequence"], "its event of before the log says something else")
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


def _in_order(entries: Iterable[Entry], older: Mapping[int, bytes]) -> Iterator[Entry]:
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
    if expected in older:
        raise Wrong.at(expected, _NOT_WHOLE)
    if waiting:
        raise Wrong.at(expected, f"it is missing: the next one is {waiting[0][0]}")

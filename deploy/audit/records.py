"""What an auditor reads, wherever it comes from: entries of the journal and signed heads of its log."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from shared.core.merkle import leaf_hash

_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z
LEAF_VERSION = 1


class Wrong(Exception):  # noqa: N818 - what it says is the finding
    """Something that is not as it must be; ``place`` names it ("head 3"), ``entry`` is the first wrong entry."""

    def __init__(self, place: str, reason: str, entry: int | None = None) -> None:
        super().__init__(f"{place}: {reason}")
        self.entry = entry

    @classmethod
    def at(cls, sequence: int, reason: str) -> "Wrong":
        """An entry that is wrong or missing."""
        return cls(f"entry {sequence}", reason, sequence)


class Entry(NamedTuple):
    """An entry: its fields by the names of the event, the hash of its leaf as computed here, and as it was logged."""

    sequence: int
    fields: Mapping[str, Any]
    market_time: datetime
    posted_at: datetime
    hash: bytes
    logged: bytes


class Head(NamedTuple):
    """A signed head. Hashes, key and signature are raw bytes."""

    origin: str
    number: int
    size: int
    root: bytes
    signed_at: datetime
    market_time: datetime
    key_id: str
    public_key: bytes
    signature: bytes


def entry_of(fields: Mapping[str, Any], times: tuple[datetime, datetime], logged: bytes) -> Entry:
    """An entry from its fields without the hash, ``times`` of market and posting, and the logged hash.

    Raises ValueError when the fields have no canonical form.
    """
    data = orjson.dumps(fields, option=_CANONICAL)
    return Entry(fields["sequence"], fields, *times, leaf_hash(data), logged)

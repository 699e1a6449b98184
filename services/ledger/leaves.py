"""The leaf of a journal entry: the bytes that stand for it in the Merkle log.

Leaf data, version 1: all that counts of an entry as one JSON object in the canonical form of RFC 8785 (keys sorted, no
blanks, UTF-8). Amounts are plain decimal text without zeros at their end, times UTC as ``2026-01-01T00:00:00.000001Z``
(without a fraction when it is 0), the digest is hexadecimal, ``postings`` are in the order of their lines, ``request``
is the message that led to the entry. It is the event ``TransactionPosted`` without its ``leaf_hash``: whoever has
one has the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from shared.core.double_entry import Transaction
from shared.core.merkle import leaf_hash
from shared.core.money import plain

LEAF_VERSION = 1


@dataclass(frozen=True, slots=True)
class Leaf:
    """``fields`` by name as they are in the event, their canonical ``data``, and its ``hash`` in the log."""

    fields: Mapping[str, Any]
    data: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Times:
    """When it happened at the venue, when Trimtab first knew, when it was posted."""

    market_time: datetime
    received_at: datetime
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Cause:
    """The message that led to an entry; ``digest``: of the content that a repeat must equal, ``request``: its body."""

    message_id: str
    correlation_id: str
    digest: bytes
    request_type: str
    request: Mapping[str, Any]


def leaf_of(sequence: int, transaction: Transaction, times: Times, cause: Cause) -> Leaf:
    """The leaf of an entry."""
    fields = {
        "leaf_version": LEAF_VERSION,
        "sequence": sequence,
        "transaction_id": transaction.transaction_id,
        "kind": str(transaction.kind),
        "venue": transaction.venue,
        "strategy_id": transaction.strategy_id,
        "postings": [
            {
                "source": made.source,
                "destination": made.destination,
                "asset": made.asset,
                "amount": plain(made.amount),
            }
            for made in transaction.postings
        ],
        "market_time": times.market_time,
        "received_at": times.received_at,
        "posted_at": times.posted_at,
        "message_id": cause.message_id,
        "correlation_id": cause.correlation_id,
        "digest": cause.digest.hex(),
        "request_type": cause.request_type,
        "request": cause.request,
    }
    data = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    return Leaf(fields, data, leaf_hash(data))

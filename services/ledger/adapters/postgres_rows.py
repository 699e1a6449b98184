"""Rows of the ``ledger`` schema from and to the values of the books."""

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from services.ledger.announcements import SOURCE, Announcement
from services.ledger.pages import Entry, TransferRecord, TransferState
from services.ledger.requests import Kind, Request
from shared.contracts.books import ReleaseStrategy, WithdrawFromStrategy
from shared.contracts.wire import Meta, headers_of, payload_of
from shared.core.money import ZERO, plain

Row = tuple[Any, ...]

TRANSACTION_COLUMNS = (
    "sequence",
    "transaction_id",
    "kind",
    "venue",
    "strategy_id",
    "market_time",
    "received_at",
    "posted_at",
    "message_id",
    "correlation_id",
    "digest",
    "request_type",
    "request",
)
POSTING_COLUMNS = ("sequence", "line", "source", "destination", "asset", "amount")
OUTBOX_COLUMNS = ("message_id", "subject", "headers", "payload")


def amount_of(value: Decimal) -> Decimal:
    """A NUMERIC(56, 18) without the zeros at its end, which are the column's and not the amount's."""
    return Decimal(plain(value)) if value else ZERO


def amounts_json(amounts: Mapping[str, Decimal]) -> str:
    """Amounts by asset as JSON text, exact."""
    return json.dumps({asset: plain(amount) for asset, amount in sorted(amounts.items())})


def entry_rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """Rows of ``transactions``, in ``TRANSACTION_COLUMNS``."""
    for entry in entries:
        transaction, request = entry.transaction, entry.request
        yield (
            entry.sequence,
            transaction.transaction_id,
            transaction.kind,
            transaction.venue,
            transaction.strategy_id,
            entry.market_time,
            entry.received_at,
            entry.posted_at,
            request.meta.message_id,
            request.meta.correlation_id,
            request.digest,
            request.body.TYPE,
            json.dumps(entry.leaf.fields["request"]),
        )


def posting_rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """Rows of ``postings``, in ``POSTING_COLUMNS``; lines count from 1."""
    for entry in entries:
        for line, made in enumerate(entry.transaction.postings, start=1):
            yield (entry.sequence, line, made.source, made.destination, made.asset, made.amount)


def transfer_row(transfer: TransferRecord) -> Row:
    """A row of ``transfers``, in the order of its columns."""
    request = transfer.request
    return (
        request.transfer_id,
        str(request.kind),
        request.body.venue,
        request.strategy_id,
        request.digest,
        str(transfer.state),
        transfer.reason,
        amounts_json(transfer.amounts),
        request.meta.message_id,
        request.meta.correlation_id,
        request.meta.occurred_at,
        request.body.model_dump_json(),
        transfer.sequence,
        transfer.settled_at,
    )


def waiting_from(row: Mapping[str, Any]) -> TransferRecord:
    """The waiting withdrawal or release in a row of ``transfers``."""
    meta = Meta(row["message_id"], SOURCE, row["received_at"], row["correlation_id"], "")
    command = WithdrawFromStrategy if row["purpose"] == Kind.WITHDRAW else ReleaseStrategy
    return TransferRecord(Request(command.model_validate_json(row["request"]), meta), TransferState.WAITING)


def outbox_row(announcement: Announcement) -> Row:
    """A row of ``outbox``, in ``OUTBOX_COLUMNS``."""
    headers = headers_of(announcement.message, announcement.meta)
    payload = payload_of(announcement.message)
    return (announcement.meta.message_id, announcement.subject, json.dumps(headers), payload)

"""Events of the executor into its outbox, in the caller's transaction, many in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from services.order_executor.adapters.statement import Arguments
from shared.contracts.wire import Message, Meta, headers_of, payload_of

SOURCE = "order_executor"


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event with its subject; ``message_id`` names this fact and no other."""

    subject: str
    message: Message
    message_id: str
    correlation_id: str
    causation_id: str = ""


def adding(arguments: Arguments, events: Sequence[Announcement], when: str = "") -> str:
    """The statement that adds events in order; ``when``: only if that part of the statement around it has rows.

    Ids are never used twice: their facts are made under the strategy's lock.
    """
    columns = [
        arguments(column, kind)
        for column, kind in zip(_columns(events), ("text[]", "text[]", "text[]", "bytea[]"), strict=True)
    ]
    condition = f"WHERE EXISTS (SELECT FROM {when}) " if when else ""
    return (
        "INSERT INTO executor.outbox (message_id, subject, headers, payload) SELECT m, s, h::jsonb, p "  # noqa: S608
        f"FROM unnest({', '.join(columns)}) WITH ORDINALITY e (m, s, h, p, n) {condition}ORDER BY n"
    )


async def add_events(connection: Any, events: Sequence[Announcement]) -> None:
    """Add events in order."""
    if events:
        arguments = Arguments()
        await connection.execute(adding(arguments, events), *arguments.values)


async def change_and_tell(
    connection: Any, change: str, values: Sequence[object], events: Sequence[Announcement]
) -> None:
    """Make a change (one statement) and add the events that tell of it, at least one, in one round trip."""
    arguments = Arguments(values)
    await connection.execute(f"WITH changed AS ({change}) {adding(arguments, events)}", *arguments.values)


def _columns(events: Sequence[Announcement]) -> tuple[list[str], list[str], list[str], list[bytes]]:
    """Message ids, subjects, headers and payloads."""
    now = datetime.now(UTC)
    metas = [Meta(event.message_id, SOURCE, now, event.correlation_id, event.causation_id) for event in events]
    return (
        [event.message_id for event in events],
        [event.subject for event in events],
        [orjson.dumps(headers_of(event.message, meta)).decode() for event, meta in zip(events, metas, strict=True)],
        [payload_of(event.message) for event in events],
    )

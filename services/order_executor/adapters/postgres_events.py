"""Events of the executor into its outbox, in the caller's transaction, many in one statement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

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


async def add_events(connection: Any, events: Sequence[Announcement]) -> None:
    """Add events in order. Ids are never used twice: their facts are made under the strategy's lock."""
    if not events:
        return
    now = datetime.now(UTC)
    rows = [
        (
            event,
            headers_of(event.message, Meta(event.message_id, SOURCE, now, event.correlation_id, event.causation_id)),
        )
        for event in events
    ]
    await connection.execute(
        "INSERT INTO executor.outbox (message_id, subject, headers, payload) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[])",
        [event.message_id for event, _ in rows],
        [event.subject for event, _ in rows],
        [json.dumps(headers) for _, headers in rows],
        [payload_of(event.message) for event, _ in rows],
    )

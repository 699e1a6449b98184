"""What people are told of the streams, through the outbox."""

from collections.abc import Callable
from datetime import datetime

import asyncpg

from services.ledger.announcements import SOURCE
from shared.contracts import subjects
from shared.contracts.lifecycle import NotificationRaised
from shared.contracts.wire import Meta
from shared.core.errors import RetryLater
from shared.messaging.database_postgres import UNAVAILABLE
from shared.messaging.outbox_postgres import enqueue

_CONCERNS = "streams"


class PostgresAlarms:
    """Stores each notification once, under the id it comes with; ``on_told`` is called after each time."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", now: Callable[[], datetime], on_told: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._now = now
        self._on_told = on_told

    async def tell(self, message_id: str, notification: NotificationRaised) -> None:
        """Raises RetryLater when the database does not answer."""
        meta = Meta(message_id, SOURCE, self._now(), message_id, "")
        try:
            async with self._pool.acquire(timeout=5.0) as connection, connection.transaction():
                await enqueue(connection, "ledger", subjects.notifications(_CONCERNS), notification, meta)
        except UNAVAILABLE as error:
            raise RetryLater(f"the outbox cannot be reached: {error!r}") from error
        self._on_told()

"""The kill switch in Postgres: one row per venue, changed together with the events that tell of it."""

from datetime import datetime

import asyncpg

from services.order_executor.adapters.postgres_events import Announcement, add_events
from shared.contracts import subjects
from shared.contracts.halts import HaltCause, HaltChanged
from shared.contracts.lifecycle import NotificationRaised, Severity

_LOCK_TIMEOUT_MS = 300  # a living executor holds the row for a few milliseconds
_COLUMNS = "venue, sequence, halted, cause, reason, changed_at"


class HaltStore:
    """One venue's switch. Every method is one transaction."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", venue: str) -> None:
        self._pool = pool
        self._venue = venue

    async def read(self) -> HaltChanged:
        """The switch as it is; its row is made if there is none yet."""
        query = f"SELECT {_COLUMNS} FROM executor.halts WHERE venue = $1"  # noqa: S608
        row = await self._pool.fetchrow(query, self._venue)
        if row is None:
            await self._pool.execute(
                "INSERT INTO executor.halts (venue) VALUES ($1) ON CONFLICT DO NOTHING", self._venue
            )
            row = await self._pool.fetchrow(query, self._venue)
        return HaltChanged(**dict(row))

    async def change(
        self, *, halted: bool, cause: HaltCause, reason: str, message_id: str, asked_at: datetime | None = None
    ) -> HaltChanged:
        """Set the switch and tell of it; as it is already, or changed later than ``asked_at``, nothing changes."""
        await self.read()
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}")
                    row = await connection.fetchrow(
                        "UPDATE executor.halts SET sequence = sequence + 1, halted = $2, cause = $3, reason = $4, "  # noqa: S608
                        "changed_at = now() WHERE venue = $1 AND halted <> $2 "
                        f"AND ($5::timestamptz IS NULL OR changed_at < $5) RETURNING {_COLUMNS}",
                        self._venue,
                        halted,
                        cause.value,
                        reason,
                        asked_at,
                    )
                    if row is None:
                        break
                    changed = HaltChanged(**dict(row))
                    await add_events(connection, _events(changed, message_id))
                return changed
            except asyncpg.LockNotAvailableError:
                await self._cut_off_who_hangs()
        return await self.read()

    async def _cut_off_who_hangs(self) -> None:
        """End the transactions of executors in which nothing happens: a frozen one must not hold up a halt. Whatever it
        was about to commit never is, and when it comes back it finds its connection gone.
        """
        await self._pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = current_setting('application_name') AND wait_event = 'ClientRead' "
            "AND xact_start IS NOT NULL "  # not its state: that of one who was to send rows is "active"
            "AND pid <> pg_backend_pid() AND state_change < now() - make_interval(secs => $1)",
            _LOCK_TIMEOUT_MS / 1000,
        )


def _events(changed: HaltChanged, message_id: str) -> list[Announcement]:
    name = f"halt.{changed.venue}.{changed.sequence}"
    severity = Severity.INFO
    text = f"{changed.venue}: resumed, orders are sent again"
    if changed.halted:
        severity = Severity.ALERT if changed.cause is HaltCause.GUARDS else Severity.WARNING
        text = f"{changed.venue}: halted, no order is sent until it is resumed ({changed.reason})"
    notification = NotificationRaised(
        strategy_id="",
        strategy_version=0,
        kind="halted" if changed.halted else "resumed",
        severity=severity,
        text=text,
        reason=changed.cause.value,
        inputs={"venue": changed.venue, "reason": changed.reason},
    )
    return [
        Announcement(subjects.halts(changed.venue), changed, name, name, message_id),
        Announcement(subjects.venue_notifications(changed.venue), notification, f"{name}.told", name, message_id),
    ]

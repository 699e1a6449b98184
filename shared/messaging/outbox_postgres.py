"""The outbox: an event is committed with the change it tells of, then relayed to its stream, in order."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from shared.contracts.wire import Message, Meta, headers_of, payload_of
from shared.core.errors import Stop
from shared.messaging.broker import NatsBroker
from shared.messaging.publishing import publish_window

log = logging.getLogger(__name__)

OUTBOX_DDL = """
CREATE TABLE IF NOT EXISTS {schema}.outbox (
    id bigserial PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    subject text NOT NULL,
    headers jsonb NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX IF NOT EXISTS outbox_unpublished ON {schema}.outbox (id) WHERE published_at IS NULL;
"""
"""The table every owner's schema has; ``{schema}`` is to be filled in. Rows are kept: streams are rebuilt from them."""

BATCH = 1024
LANES = 32
WINDOW = 64
POLL_S = 0.2
ACQUIRE_S = 10.0
BATCH_DEADLINE_S = 10.0
LONGEST_PAUSE_S = 5.0


async def enqueue(connection: Any, schema: str, subject: str, message: Message, meta: Meta) -> None:
    """Add an event to the outbox in the connection's transaction; ``meta.message_id`` must name this fact only.

    The same event again changes nothing; raises Stop when the id is taken by a different one. Events of one subject
    are relayed in the order of their ids: lock what the event tells of before calling this.
    """
    payload = payload_of(message)
    row = await connection.fetchval(
        f"INSERT INTO {schema}.outbox (message_id, subject, headers, payload) VALUES ($1, $2, $3::text::jsonb, $4) "  # noqa: S608
        "ON CONFLICT (message_id) DO NOTHING RETURNING id",
        meta.message_id,
        subject,
        orjson.dumps(headers_of(message, meta)).decode(),
        payload,
    )
    if row is not None:
        return
    same = await connection.fetchval(
        f"SELECT subject = $2 AND payload = $3 FROM {schema}.outbox WHERE message_id = $1",  # noqa: S608
        meta.message_id,
        subject,
        payload,
    )
    if not same:
        raise Stop(f"{schema}.outbox: two different events have the id {meta.message_id}")


_LOCK = "hashtextextended($1, 0)"
# The planner takes what waits for a handful of rows, and would gather and sort them. Only walking along the index in
# its order does PostgreSQL leave out, from the second time on, what was published since the last vacuum.
_BEGIN = f"SELECT set_config('enable_bitmapscan', 'off', true), pg_try_advisory_xact_lock({_LOCK}) AS is_locked"


async def lock_outbox(connection: Any, schema: str) -> None:
    """Keep every relay of the schema from working until the end of the connection's transaction."""
    await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", _lock_name(schema))


def _lock_name(schema: str) -> str:
    return f"outbox.{schema}"


def _waiting(schema: str) -> str:
    """The rows to be published next but those of the subjects given."""
    return (
        f"SELECT id, subject, headers::text AS headers, payload FROM {schema}.outbox "  # noqa: S608
        f"WHERE published_at IS NULL AND subject <> ALL($1::text[]) ORDER BY id LIMIT {BATCH}"
    )


@dataclass(frozen=True, slots=True)
class _Stuck:
    """A subject whose newest attempt failed: how often in a row, and when (loop time) it is tried again."""

    failures: int
    until: float


class OutboxRelay:
    """Publishes the rows of one schema's outbox and marks them; any number may run, one works at a time.

    Order: within a subject by id, so a last-value stream never ends with an older value; ``WINDOW`` of them are on
    their way at once, and nothing after one that failed. Subjects go concurrently.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", schema: str, broker: NatsBroker) -> None:
        self._pool = pool
        self._schema = schema
        self._broker = broker
        self._woken = asyncio.Event()
        self._stuck: dict[str, _Stuck] = {}
        self.published = 0

    def wake(self) -> None:
        """Relay now: call after a commit that added events."""
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled; waits out every failure of NATS and Postgres."""
        pause_s = POLL_S
        while True:
            self._woken.clear()
            try:
                more = self._broker.client.is_connected and await self._relay_batch()
                pause_s = POLL_S
            except Exception:
                # Whatever it was, the rows are still there: nothing is lost, so going on is always right.
                log.exception("outbox of %s: not relayed, trying again in %s s", self._schema, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _relay_batch(self) -> bool:
        """Publish up to ``BATCH`` rows; True when there may be more. Raises what the database raises.

        The lock ends with the transaction, and the server ends a transaction that hangs: a frozen relay steps aside.
        """
        async with self._pool.acquire(timeout=ACQUIRE_S) as connection, connection.transaction():
            begun = await connection.fetchrow(_BEGIN, _lock_name(self._schema))
            if not begun["is_locked"]:
                return False
            rows = await connection.fetch(_waiting(self._schema), self._stuck_now())
            if not rows:
                return False
            done = await self._publish(rows)
            if done:
                await connection.execute(
                    f"UPDATE {self._schema}.outbox SET published_at = now() WHERE id = ANY($1::bigint[])",  # noqa: S608
                    done,
                )
        self.published += len(done)
        return len(rows) == BATCH

    def _stuck_now(self) -> list[str]:
        """The subjects that failed lately: left out for a while, so that they do not keep the others waiting."""
        now = asyncio.get_running_loop().time()
        return [subject for subject, stuck in self._stuck.items() if stuck.until > now]

    async def _publish(self, rows: Sequence[asyncpg.Record]) -> list[int]:
        """The ids acknowledged. A subject stops at its first failure, so that its order is kept."""
        lanes: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            lanes.setdefault(row["subject"], []).append(row)
        done: list[int] = []
        room = asyncio.Semaphore(LANES)
        deadline = asyncio.get_running_loop().time() + BATCH_DEADLINE_S
        async with asyncio.TaskGroup() as group:
            for subject, lane in lanes.items():
                group.create_task(self._lane(subject, lane, done, room, deadline))
        return done

    async def _lane(
        self, subject: str, rows: list[asyncpg.Record], done: list[int], room: asyncio.Semaphore, deadline: float
    ) -> None:
        """Publish the rows of one subject: the first alone, then in windows.

        The first one finds out whether the stream takes this subject now. In a window behind one that is refused, one
        might be stored before it.
        """
        loop = asyncio.get_running_loop()
        async with room:
            at, size = 0, 1
            while at < len(rows) and loop.time() <= deadline:
                window = rows[at : at + size]
                # One attempt: the others in this transaction must not wait for the retries of one subject.
                stored, error = await publish_window(
                    self._broker.jetstream, subject, [(row["payload"], orjson.loads(row["headers"])) for row in window]
                )
                done += [row["id"] for row in window[:stored]]
                if error is not None:
                    self._is_stuck(subject, error)
                    return
                at, size = at + len(window), WINDOW
            self._stuck.pop(subject, None)

    def _is_stuck(self, subject: str, error: Exception) -> None:
        failures = self._stuck[subject].failures + 1 if subject in self._stuck else 1
        pause_s = min(POLL_S * 2**failures, LONGEST_PAUSE_S)
        self._stuck[subject] = _Stuck(failures, asyncio.get_running_loop().time() + pause_s)
        log.error("outbox of %s: %s is stuck, again in %.1f s", self._schema, subject, pause_s, exc_info=error)

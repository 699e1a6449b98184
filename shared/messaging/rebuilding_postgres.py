"""Streams made anew from PostgreSQL, after NATS has lost them: the outboxes keep every event they ever relayed.

A stream that misses nothing is left alone. One that does is deleted and created again, empty, and its events are marked
as not relayed; then they go out again by the way they first came, with the ids they had. So whoever dies in between,
the next run finds the same stream missing the same events. Consumers begin at the beginning and meet what they know.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import asyncpg

from shared.contracts import subjects
from shared.contracts.catalogue import CONSUMERS, STREAMS, StreamSpec, auditor_consumers
from shared.contracts.plans import RebalancePlanned
from shared.contracts.wire import Meta, headers_of, payload_of
from shared.messaging.broker import NatsBroker
from shared.messaging.outbox_postgres import OutboxRelay, lock_outbox
from shared.messaging.provisioning import consumer_config, stream_config
from shared.messaging.publishing import publish_stored
from shared.messaging.stream_room import with_room_kept

log = logging.getLogger(__name__)

SCHEMAS = ("registry", "executor", "ledger")
"""Whose outboxes there are."""

NOT_KEPT = ("PRICE_SNAPSHOTS", "INSTRUMENTS", "EVALUATIONS", "DEAD_LETTERS")
"""What no table holds: prices and instruments are published anew by their services, decisions not acted on and copies
of what could not be handled are gone."""

_LOCK_WAIT_S = 60
_PUBLISH_WITHIN_S = 30.0
_LOOK_S = 0.1
_WILDCARDS = {"*": "[^.]+", ">": ".+"}


@dataclass(frozen=True, slots=True)
class StreamFound:
    """A stream as it was found: messages there, and how many it should have; ``rebuilt``: it was made anew."""

    stream: str
    there: int
    expected: int
    rebuilt: bool


async def rebuild_streams(
    pool: "asyncpg.Pool[asyncpg.Record]", broker: NatsBroker, *, everything: bool = False
) -> list[StreamFound]:
    """Make the streams that miss events anew (with ``everything`` the others too), and wait until they are complete.

    The streams must exist: provision first. Raises what the servers raise; run it again then.
    """
    found = []
    for spec in STREAMS:
        if spec.name in NOT_KEPT:
            continue
        source = _Plans(pool) if spec.name == "PLANS" else _Outboxes(pool, spec)
        there = (await broker.jetstream.stream_info(spec.name)).state.messages
        expected = await source.count()
        lost = everything or there < expected
        if lost:
            log.warning("stream %s holds %d of %d messages: made anew", spec.name, there, expected)
            await source.rebuild(broker, spec)
        found.append(StreamFound(spec.name, there, expected, lost))
    await _relay_all(pool, broker)
    return found


async def _recreate(broker: NatsBroker, spec: StreamSpec) -> None:
    """The stream, empty, with its consumers at the beginning and all the room it was given."""
    jetstream = broker.jetstream
    spec = with_room_kept(spec, (await jetstream.stream_info(spec.name)).config)
    await jetstream.delete_stream(spec.name)
    await jetstream.add_stream(stream_config(spec))
    for consumer in (*(one for one in CONSUMERS if one.stream == spec.name), *auditor_consumers(spec)):
        await jetstream.add_consumer(spec.name, config=consumer_config(consumer))


class _Outboxes:
    """The events of one stream in the outboxes."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", spec: StreamSpec) -> None:
        self._pool = pool
        self._spec = spec
        self._pattern = "|".join(pattern_of(subject) for subject in spec.subjects)
        self._age_s = spec.max_age_s or None

    def _wanted(self, schema: str) -> str:
        """SQL: ids of what the stream would hold now; $1 the subjects as a pattern, $2 the stream's age or NULL."""
        id_ = "max(id)" if self._spec.last_value_only else "id"
        grouped = " GROUP BY subject" if self._spec.last_value_only else ""
        return (
            f"SELECT {id_} FROM {schema}.outbox WHERE subject ~ $1 AND published_at IS NOT NULL "  # noqa: S608
            f"AND ($2::int IS NULL OR created_at > now() - make_interval(secs => $2)){grouped}"
        )

    async def count(self) -> int:
        """How many messages the stream should have."""
        counts = [
            await self._pool.fetchval(f"SELECT count(*) FROM ({self._wanted(schema)}) w", self._pattern, self._age_s)  # noqa: S608
            for schema in SCHEMAS
        ]
        return sum(counts)

    async def rebuild(self, broker: NatsBroker, spec: StreamSpec) -> None:
        """Empty the stream and mark its events as not relayed; no relay works meanwhile."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _patiently(connection)
            for schema in SCHEMAS:
                await lock_outbox(connection, schema)
            await _recreate(broker, spec)
            for schema in SCHEMAS:
                await connection.execute(
                    f"UPDATE {schema}.outbox SET published_at = NULL WHERE id IN ({self._wanted(schema)})",  # noqa: S608
                    self._pattern,
                    self._age_s,
                )


class _Plans:
    """The plans that were taken: they come from the evaluators, without an outbox, and are kept by the executor."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def count(self) -> int:
        """How many plans the stream should have at least."""
        return int(await self._pool.fetchval("SELECT count(*) FROM executor.plans"))

    async def rebuild(self, broker: NatsBroker, spec: StreamSpec) -> None:
        """Empty the stream and publish every plan again; the time of the message is that of the decision."""
        await _recreate(broker, spec)
        async with self._pool.acquire() as connection, connection.transaction():
            await _patiently(connection)
            async for row in connection.cursor("SELECT message_id, body FROM executor.plans ORDER BY accepted_at"):
                plan = RebalancePlanned.model_validate_json(row["body"])
                meta = Meta(row["message_id"], "strategy_evaluator", plan.decided_at, plan.plan_id, "")
                await publish_stored(
                    broker.jetstream,
                    subjects.plans(plan.strategy_id),
                    payload_of(plan),
                    headers_of(plan, meta),
                    give_up_after_s=_PUBLISH_WITHIN_S,
                )


async def _patiently(connection: Any) -> None:
    """This transaction may take as long as it needs."""
    await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S}s'")
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


async def _relay_all(pool: "asyncpg.Pool[asyncpg.Record]", broker: NatsBroker) -> None:
    """Relay until nothing is left of what is waiting now, beside the relays of services that run."""
    relays = [asyncio.create_task(OutboxRelay(pool, schema, broker).run()) for schema in SCHEMAS]
    try:
        for schema in SCHEMAS:
            newest = await pool.fetchval(f"SELECT coalesce(max(id), 0) FROM {schema}.outbox")  # noqa: S608
            waiting = f"SELECT EXISTS (SELECT FROM {schema}.outbox WHERE published_at IS NULL AND id <= $1)"  # noqa: S608
            while await pool.fetchval(waiting, newest):  # noqa: ASYNC110 - other processes work on it as well
                await asyncio.sleep(_LOOK_S)
    finally:
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)


def pattern_of(subject: str) -> str:
    """A subject with wildcards as a regular expression of PostgreSQL."""
    made = [_WILDCARDS.get(token, token) for token in subject.split(".")]
    return f"^{'[.]'.join(made)}$"

"""Schema ``registry``: every change of a strategy, its history and its outbox rows in one transaction."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg
from pydantic import TypeAdapter

from services.strategy_registry.records import (
    Advance,
    Counts,
    ExitStage,
    Facts,
    Hold,
    HoldStage,
    OpenRequest,
    StrategyRecord,
    Transfer,
)
from shared.contracts.strategies import StrategyChanged
from shared.contracts.wire import Meta
from shared.core.auto_invest import AutoInvestState
from shared.core.errors import RetryLater
from shared.core.rules import ExitAction
from shared.core.situation import Peak
from shared.core.strategy import StrategyStatus
from shared.messaging.database_postgres import UNAVAILABLE, create_pool
from shared.messaging.outbox_postgres import enqueue

SCHEMA = "registry"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
UNUSED_PREVIEW_KEPT = timedelta(days=1)
COMMAND_REPLY_KEPT = timedelta(days=30)

_COLUMNS = (
    "id, preview_id, venue, version, change, status, document, created_at, active_since, exit_reason, reason, inputs, "
    "exit_stage, funded, funding_refusal, stop_reason, stop_inputs, initial_closed_at, exit_sold, sealed_fills, "
    "released, release_refusal, peak_profit_pct, peak_contributed, stop_action, released_amounts, closing_figures, "
    "exit_prices, "
    "revision, changed_by, requests, transfers, hold_id, hold_stage, hold_sequence, hold_fills, auto_invest, "
    "requests_made, funds_made, withdrawals_made, releases_refused"
)
_NAMES = _COLUMNS.split(", ")
_INSERT = f"INSERT INTO registry.strategies ({_COLUMNS}) VALUES ({', '.join(f'${n + 1}' for n in range(len(_NAMES)))})"  # noqa: S608
_UPDATE = (
    f"UPDATE registry.strategies SET {', '.join(f'{name} = ${n + 1}' for n, name in enumerate(_NAMES))} WHERE id = $1"  # noqa: S608
)

_REQUESTS = TypeAdapter(tuple[OpenRequest, ...])
_TRANSFERS = TypeAdapter(tuple[Transfer, ...])
_AUTO_INVEST = TypeAdapter(AutoInvestState)
_AMOUNTS = TypeAdapter(dict[str, Decimal])


@dataclass(frozen=True, slots=True)
class Preview:
    """A stored preview; ``funding_value`` is the amount's worth in the quote currency when it was made."""

    preview_id: str
    document: dict[str, Any]
    reply: dict[str, Any]
    funding_value: Decimal
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """One row of the history."""

    state: StrategyChanged
    causation_id: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The reply once given to a command, as its type on the wire and its body."""

    type: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReceivedCommand:
    """A command as it is remembered: ``digest`` tells whether the same id came with another content."""

    message_id: str
    digest: str


class CommandReusedError(Exception):
    """A command id that was used for another command."""


async def connect(dsn: str, instance: str) -> Pool:
    """The registry's pool of connections. Raises RetryLater when Postgres does not answer within a minute."""
    return await create_pool(dsn, f"strategy_registry-{instance}", max_size=8)


class Transaction:
    """One transaction on the schema; made by ``RegistryStore.transaction`` only."""

    def __init__(self, connection: Any, now: datetime) -> None:
        self._connection = connection
        self._now = now

    @asynccontextmanager
    async def all_or_nothing(self) -> AsyncIterator[None]:
        """A part of the transaction that an exception undoes alone."""
        async with self._connection.transaction():
            yield

    async def remembered_reply(self, command: ReceivedCommand) -> StoredReply | None:
        """The reply given to this command before, or None: then the command is now ours to answer.

        Waits while another transaction answers the same command. Raises CommandReusedError.
        """
        taken = await self._connection.fetchval(
            "INSERT INTO registry.commands (message_id, digest, received_at) VALUES ($1, $2, $3) "
            "ON CONFLICT (message_id) DO NOTHING RETURNING message_id",
            command.message_id,
            command.digest,
            self._now,
        )
        if taken:
            return None
        reply = await self.given_reply(command)
        if reply is None:
            raise RetryLater("the reply to this command has just been forgotten")
        return reply

    async def remember_reply(self, message_id: str, reply: StoredReply) -> None:
        """Keep the reply of a command that ``remembered_reply`` said is ours."""
        await self._connection.execute(
            "UPDATE registry.commands SET reply_type = $2, reply = $3 WHERE message_id = $1",
            message_id,
            reply.type,
            json.dumps(reply.body),
        )

    async def given_reply(self, command: ReceivedCommand) -> StoredReply | None:
        """The reply given to this command before, if any. Raises CommandReusedError."""
        row = await self._connection.fetchrow(
            "SELECT digest, reply_type, reply FROM registry.commands WHERE message_id = $1", command.message_id
        )
        if row is None:
            return None
        if row["digest"] != command.digest:
            raise CommandReusedError(command.message_id)
        return StoredReply(row["reply_type"], json.loads(row["reply"]))

    async def insert_preview(self, preview: Preview) -> None:
        """Store a preview; the same one twice is one."""
        await self._connection.execute(
            "INSERT INTO registry.previews (id, document, reply, funding_value, created_at, expires_at) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
            preview.preview_id,
            json.dumps(preview.document),
            json.dumps(preview.reply),
            preview.funding_value,
            preview.created_at,
            preview.expires_at,
        )

    async def preview(self, preview_id: str) -> Preview | None:
        """The preview, locked until the transaction ends, so that it is confirmed once."""
        row = await self._connection.fetchrow(
            "SELECT id, document, reply, funding_value, created_at, expires_at FROM registry.previews "
            "WHERE id = $1 FOR UPDATE",
            preview_id,
        )
        return _preview(row) if row else None

    async def strategy(self, strategy_id: str) -> StrategyRecord | None:
        """The strategy, locked until the transaction ends."""
        row = await self._connection.fetchrow(
            f"SELECT {_COLUMNS} FROM registry.strategies WHERE id = $1 FOR UPDATE",  # noqa: S608 - constant names
            strategy_id,
        )
        return _record(row) if row else None

    async def held_strategies(self) -> list[str]:
        """The strategies whose hold is in force, oldest first: a payout may be due."""
        rows = await self._connection.fetch(
            "SELECT id FROM registry.strategies WHERE hold_stage = 'held' ORDER BY created_at"
        )
        return [row["id"] for row in rows]

    async def versions(self, strategy_id: str, before: int, limit: int) -> list[KeptVersion]:
        """Up to ``limit`` versions below ``before`` (0 = from the newest), newest first."""
        rows = await self._connection.fetch(
            "SELECT state, causation_id, recorded_at FROM registry.strategy_versions "
            "WHERE strategy_id = $1 AND ($2 = 0 OR version < $2) ORDER BY version DESC LIMIT $3",
            strategy_id,
            before,
            limit,
        )
        return [
            KeptVersion(StrategyChanged.model_validate_json(row["state"]), row["causation_id"], row["recorded_at"])
            for row in rows
        ]

    async def insert(self, advance: Advance, cause: Meta) -> None:
        """Store a new strategy with its history and what it publishes."""
        await self._connection.execute(_INSERT, *_values(advance.record))
        await self._publish(advance, cause)

    async def update(self, advance: Advance, cause: Meta) -> None:
        """Store a locked strategy's new state with its history and what it publishes."""
        await self._connection.execute(_UPDATE, *_values(advance.record))
        await self._publish(advance, cause)

    async def _publish(self, advance: Advance, cause: Meta) -> None:
        for outgoing in advance.outgoing:
            message = outgoing.message
            if isinstance(message, StrategyChanged):
                await self._connection.execute(
                    "INSERT INTO registry.strategy_versions "
                    "(strategy_id, version, change, status, state, causation_id, recorded_at) "
                    "VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    message.strategy_id,
                    message.version,
                    message.change,
                    message.status.value,
                    message.model_dump_json(),
                    cause.message_id,
                    self._now,
                )
            meta = Meta(
                message_id=outgoing.message_id,
                source="strategy_registry",
                occurred_at=self._now,
                correlation_id=cause.correlation_id,
                causation_id=cause.message_id,
            )
            await enqueue(self._connection, SCHEMA, outgoing.subject, message, meta)

    async def forget_old(self) -> None:
        """Remove previews nobody confirmed and replies nobody will ask for again."""
        await self._connection.execute(
            "DELETE FROM registry.previews AS p WHERE p.expires_at < $1 "
            "AND NOT EXISTS (SELECT 1 FROM registry.strategies AS s WHERE s.preview_id = p.id)",
            self._now - UNUSED_PREVIEW_KEPT,
        )
        await self._connection.execute(
            "DELETE FROM registry.commands WHERE received_at < $1", self._now - COMMAND_REPLY_KEPT
        )


class RegistryStore:
    """The registry's only door to Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self, now: datetime) -> AsyncIterator[Transaction]:
        """A transaction at ``now`` (wall clock): committed at the end, rolled back on any exception.

        Raises RetryLater when Postgres is away or the transaction was chosen as a deadlock's victim. The commit may
        then have happened: every use is idempotent, so trying again is right in both cases.
        """
        try:
            async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                yield Transaction(connection, now)
        except UNAVAILABLE as error:
            raise RetryLater(f"Postgres is away: {error}") from error

    async def ping(self) -> str | None:
        """None when Postgres answers, else what is wrong (for the health page)."""
        try:
            async with self._pool.acquire(timeout=2) as connection:
                await connection.fetchval("SELECT 1", timeout=2)
        except (*UNAVAILABLE, asyncpg.PostgresError) as error:
            return f"Postgres does not answer: {error}"
        return None


def _preview(row: Mapping[str, Any]) -> Preview:
    return Preview(
        preview_id=row["id"],
        document=json.loads(row["document"]),
        reply=json.loads(row["reply"]),
        funding_value=row["funding_value"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _values(record: StrategyRecord) -> tuple[object, ...]:
    facts, peak, hold, counts = record.facts, record.peak, record.hold, record.counts
    return (
        record.strategy_id,
        record.preview_id,
        record.venue,
        record.version,
        record.change,
        record.status.value,
        json.dumps(record.document),
        record.created_at,
        record.active_since,
        record.exit_reason,
        record.reason,
        json.dumps(dict(record.inputs)),
        record.exit_stage.value,
        facts.funded,
        facts.funding_refusal,
        facts.stop_reason,
        json.dumps(dict(facts.stop_inputs)),
        facts.initial_closed_at,
        facts.exit_sold,
        facts.sealed_fills,
        facts.released,
        facts.release_refusal,
        None if peak is None else peak.profit_pct,
        None if peak is None else peak.contributed,
        facts.stop_action.value,
        _AMOUNTS.dump_json(dict(facts.released_amounts)).decode(),
        json.dumps(dict(facts.closing_figures)),
        _AMOUNTS.dump_json(dict(facts.exit_prices)).decode(),
        record.revision,
        record.changed_by,
        _REQUESTS.dump_json(record.requests).decode(),
        _TRANSFERS.dump_json(record.transfers).decode(),
        "" if hold is None else hold.hold_id,
        "" if hold is None else hold.stage.value,
        0 if hold is None else hold.sequence,
        0 if hold is None else hold.fills,
        None if record.auto_invest is None else _AUTO_INVEST.dump_json(record.auto_invest).decode(),
        counts.requests,
        counts.funds,
        counts.withdrawals,
        counts.releases,
    )


def _record(row: Mapping[str, Any]) -> StrategyRecord:
    peak_pct, state = row["peak_profit_pct"], row["auto_invest"]
    return StrategyRecord(
        strategy_id=row["id"],
        preview_id=row["preview_id"],
        venue=row["venue"],
        version=row["version"],
        change=row["change"],
        status=StrategyStatus(row["status"]),
        document=json.loads(row["document"]),
        created_at=row["created_at"],
        active_since=row["active_since"],
        peak=None if peak_pct is None else Peak(peak_pct, row["peak_contributed"]),
        exit_reason=row["exit_reason"],
        reason=row["reason"],
        inputs=json.loads(row["inputs"]),
        exit_stage=ExitStage(row["exit_stage"]),
        facts=_facts(row),
        revision=row["revision"],
        changed_by=row["changed_by"],
        requests=_REQUESTS.validate_json(row["requests"]),
        transfers=_TRANSFERS.validate_json(row["transfers"]),
        hold=_hold(row) if row["hold_id"] else None,
        auto_invest=None if state is None else _AUTO_INVEST.validate_json(state),
        counts=Counts(row["requests_made"], row["funds_made"], row["withdrawals_made"], row["releases_refused"]),
    )


def _facts(row: Mapping[str, Any]) -> Facts:
    columns = {name: row[name] for name in Facts.__slots__}
    read = {
        "stop_inputs": json.loads(row["stop_inputs"]),
        "stop_action": ExitAction(row["stop_action"]),
        "released_amounts": _AMOUNTS.validate_json(row["released_amounts"]),
        "closing_figures": json.loads(row["closing_figures"]),
        "exit_prices": _AMOUNTS.validate_json(row["exit_prices"]),
    }
    return Facts(**{**columns, **read})


def _hold(row: Mapping[str, Any]) -> Hold:
    return Hold(row["hold_id"], HoldStage(row["hold_stage"]), row["hold_sequence"], row["hold_fills"])

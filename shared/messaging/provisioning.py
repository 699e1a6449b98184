"""Makes a NATS server equal to the catalogue: streams and durable consumers. Refuses what would lose data."""

import asyncio
import logging
from typing import Any

import nats
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    ReplayPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from shared.contracts.catalogue import CONSUMERS, STREAMS, ConsumerSpec, StreamSpec, auditor_consumers
from shared.core.errors import RetryLater, Stop
from shared.messaging.publishing import TEMPORARY
from shared.messaging.stream_room import with_room_kept

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 10.0

_FIXED_FIELDS = ("retention", "storage", "deny_delete", "deny_purge")


def stream_config(spec: StreamSpec) -> StreamConfig:
    """The server's configuration of a stream of the catalogue."""
    return StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=1,
        max_consumers=-1,
        max_msgs=-1,
        max_bytes=spec.max_bytes,
        max_age=spec.max_age_s,
        max_msg_size=-1,
        max_msgs_per_subject=1 if spec.last_value_only else -1,
        discard=DiscardPolicy.NEW if spec.discard_new else DiscardPolicy.OLD,
        duplicate_window=spec.duplicate_window_s,
        deny_delete=spec.deny_delete,
        deny_purge=spec.deny_delete,
        allow_direct=True,
    )


def consumer_config(spec: ConsumerSpec) -> ConsumerConfig:
    """The server's configuration of a durable consumer of the catalogue.

    The server delivers without limit (``max_deliver`` -1): it would skip a message silently at its limit, while
    ``shared.messaging.consuming`` counts failures itself and moves the message to the dead letters.
    """
    return ConsumerConfig(
        name=spec.durable,
        durable_name=spec.durable,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=spec.ack_wait_s,
        max_deliver=-1,
        max_ack_pending=spec.max_ack_pending,
        filter_subjects=list(spec.filter_subjects),
        replay_policy=ReplayPolicy.INSTANT,
    )


async def provision(url: str, *, user: str = "", password: str = "") -> None:
    """Create or update every stream and consumer of the catalogue on the server at ``url``.

    Raises Stop when the server holds a stream whose change would lose messages or protection, or refuses us; RetryLater
    when it does not answer.
    """
    credentials: dict[str, Any] = {"user": user, "password": password} if user else {}
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            client = await nats.connect(url, allow_reconnect=False, error_cb=_on_error, **credentials)
    except (*TEMPORARY, nats.errors.Error) as error:
        raise RetryLater(f"NATS cannot be reached: {error!r}") from error
    try:
        jetstream = client.jetstream(timeout=REQUEST_TIMEOUT_S)
        for stream in STREAMS:
            await _equalise_stream(jetstream, stream)
            for position in auditor_consumers(stream):
                await _equalise_consumer(jetstream, position)
        for consumer in CONSUMERS:
            await _equalise_consumer(jetstream, consumer)
    except (*TEMPORARY, nats.errors.ConnectionClosedError) as error:
        raise RetryLater(f"NATS does not answer: {error!r}") from error
    except APIError as error:
        raise Stop(f"NATS refuses: {error}") from error
    finally:
        await client.close()


async def _on_error(error: Exception) -> None:
    log.debug("NATS reports %r", error)


def _plain(value: object) -> object:
    """Enums and the strings the server sends compare equal."""
    return getattr(value, "value", value)


async def _equalise_stream(jetstream: JetStreamContext, spec: StreamSpec) -> None:
    try:
        info = await jetstream.stream_info(spec.name)
    except NotFoundError:
        await jetstream.add_stream(stream_config(spec))
        log.info("stream %s created", spec.name)
        return
    spec = with_room_kept(spec, info.config)
    wanted = stream_config(spec)
    changed = _differences(info.config, wanted)
    if not changed:
        return
    _refuse_loss(spec, info.config, info.state.bytes, changed)
    await jetstream.update_stream(wanted)
    log.info("stream %s updated: %s", spec.name, ", ".join(changed))


def _differences(present: StreamConfig | ConsumerConfig, wanted: StreamConfig | ConsumerConfig) -> list[str]:
    names = _STREAM_FIELDS if isinstance(wanted, StreamConfig) else ("ack_wait", "max_deliver", "max_ack_pending")
    found = [name for name in names if _plain(getattr(present, name)) != _plain(getattr(wanted, name))]
    if (
        isinstance(wanted, StreamConfig)
        and isinstance(present, StreamConfig)
        and set(present.subjects or ()) != set(wanted.subjects or ())
    ):
        found.append("subjects")
    return found


_STREAM_FIELDS = (
    "retention",
    "storage",
    "max_bytes",
    "max_age",
    "max_msgs_per_subject",
    "discard",
    "duplicate_window",
    "deny_delete",
    "deny_purge",
    "allow_direct",
)


def _refuse_loss(spec: StreamSpec, present: StreamConfig, stored_bytes: int, changed: list[str]) -> None:
    """Raise Stop when making the stream equal to the catalogue would lose messages or is impossible on the server."""
    for name in _FIXED_FIELDS:
        if name in changed:
            raise Stop(f"stream {spec.name}: {name} cannot be changed: the stream must be replaced by hand")
    if "subjects" in changed and not set(present.subjects or ()) <= set(spec.subjects):
        lost = ", ".join(sorted(set(present.subjects or ()) - set(spec.subjects)))
        raise Stop(f"stream {spec.name}: would no longer store {lost}")
    if "max_bytes" in changed and stored_bytes > spec.max_bytes:
        raise Stop(f"stream {spec.name}: holds {stored_bytes} bytes, more than the new limit {spec.max_bytes}")
    if "max_age" in changed and spec.max_age_s and (not present.max_age or spec.max_age_s < present.max_age):
        raise Stop(f"stream {spec.name}: max_age {spec.max_age_s} s would delete older messages")
    if "max_msgs_per_subject" in changed and spec.last_value_only:
        raise Stop(f"stream {spec.name}: keeping last values only would delete history")


async def _equalise_consumer(jetstream: JetStreamContext, spec: ConsumerSpec) -> None:
    wanted = consumer_config(spec)
    try:
        info = await jetstream.consumer_info(spec.stream, spec.durable)
    except NotFoundError:
        await jetstream.add_consumer(spec.stream, config=wanted)
        log.info("consumer %s of %s created", spec.durable, spec.stream)
        return
    present = info.config
    if present.deliver_subject or _plain(present.ack_policy) != AckPolicy.EXPLICIT.value:
        raise Stop(f"consumer {spec.durable} of {spec.stream}: not a pull consumer with explicit acks")
    if filters_of(present) != set(spec.filter_subjects):
        raise Stop(
            f"consumer {spec.durable} of {spec.stream}: filter {sorted(filters_of(present))} cannot become "
            f"{sorted(spec.filter_subjects)}: messages behind its position would be skipped"
        )
    changed = _differences(present, wanted)
    if changed:
        await jetstream.add_consumer(spec.stream, config=wanted)
        log.info("consumer %s of %s updated: %s", spec.durable, spec.stream, ", ".join(changed))


def filters_of(config: ConsumerConfig) -> set[str]:
    """The subjects a consumer takes, in whichever of the server's two fields they are."""
    return set(config.filter_subjects or ([config.filter_subject] if config.filter_subject else []))

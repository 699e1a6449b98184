"""How much room the streams have that refuse new events when they are full, and giving them more.

Such a stream forgets nothing: when it is full its events wait in the outbox of whoever tells them, in PostgreSQL, and
go out by themselves once it has room again. A limit that was raised stays raised: provisioning never lowers it.
"""

from dataclasses import dataclass, replace

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import APIError

from shared.contracts.catalogue import STREAMS, StreamSpec
from shared.core.errors import Refused, RetryLater

REFUSING: tuple[str, ...] = tuple(spec.name for spec in STREAMS if spec.discard_new)
"""The streams that refuse new events when they are full."""


@dataclass(frozen=True, slots=True)
class StreamRoom:
    """What a stream holds and may hold, in bytes on the server's disk."""

    stream: str
    messages: int
    held_bytes: int
    limit_bytes: int

    @property
    def percent(self) -> int:
        """How full it is, rounded down."""
        return 100 * self.held_bytes // self.limit_bytes

    @property
    def messages_left(self) -> int | None:
        """How many more it takes when they are as long as those it holds; None while it is empty."""
        if not self.messages:
            return None
        return (self.limit_bytes - self.held_bytes) * self.messages // self.held_bytes


async def room_of(jetstream: JetStreamContext, stream: str) -> StreamRoom:
    """The room of one stream. Raises RetryLater when the server does not tell it."""
    try:
        info = await jetstream.stream_info(stream)
    except (OSError, nats.errors.Error) as error:
        raise RetryLater(f"the stream {stream} cannot be asked about: {error!r}") from error
    return StreamRoom(stream, info.state.messages, info.state.bytes, info.config.max_bytes or 0)


def with_room_kept(spec: StreamSpec, present: StreamConfig) -> StreamSpec:
    """The stream as the catalogue has it, but never with less room than it was given on the server."""
    raised = present.max_bytes or 0
    if spec.discard_new and present.discard == DiscardPolicy.NEW and raised > spec.max_bytes:
        return replace(spec, max_bytes=raised)
    return spec


async def enlarge(jetstream: JetStreamContext, stream: str, limit_bytes: int) -> StreamRoom:
    """Raise the limit of a stream while everything goes on.

    Raises Refused when it would not be raised, or when the server has not that much to give.
    """
    if stream not in REFUSING:
        raise Refused.one("stream", stream, ", ".join(REFUSING), "has no limit at which it refuses events")
    config = (await jetstream.stream_info(stream)).config
    if limit_bytes <= (config.max_bytes or 0):
        raise Refused.one("limit", limit_bytes, f"more than {config.max_bytes} bytes", f"does not enlarge {stream}")
    config.max_bytes = limit_bytes
    try:
        await jetstream.update_stream(config)
    except APIError as error:
        allowed = "what max_file_store of the server leaves for it (deploy/nats/nats-server.conf)"
        raise Refused.one("limit", limit_bytes, allowed, f"is refused by the server: {error.description}") from error
    return await room_of(jetstream, stream)

"""Sending: to a stream, acknowledged, once; or on core NATS, as it comes."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from shared.contracts.wire import Message, Meta, headers_of, payload_of
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker

log = logging.getLogger(__name__)

ATTEMPT_TIMEOUT_S = 2.0
GIVE_UP_AFTER_S = 5.0
PAUSE_S = 0.1

TEMPORARY = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.StaleConnectionError,
    nats.js.errors.NoStreamResponseError,
    nats.js.errors.ServiceUnavailableError,
    nats.js.errors.ServerError,
    asyncio.TimeoutError,
    OSError,
)
"""Failures of the way or the server, not of the message: the same message may be stored later, or has been."""


async def publish_stored(
    jetstream: JetStreamContext, subject: str, body: bytes, headers: dict[str, Any], *, give_up_after_s: float
) -> None:
    """Publish until the server acknowledges that it is stored; the same ``Nats-Msg-Id`` each time stores it once.

    A timeout means unknown, never failed, hence the retries with the same id. Raises RetryLater after
    ``give_up_after_s`` or when the stream is full, APIError when the server refuses the message itself.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + give_up_after_s
    while True:
        try:
            await jetstream.publish(subject, body, timeout=ATTEMPT_TIMEOUT_S, headers=dict(headers))
            return
        except TEMPORARY as error:
            if loop.time() + PAUSE_S >= deadline:
                raise RetryLater(f"{subject}: not acknowledged in {give_up_after_s} s: {error!r}") from error
        await asyncio.sleep(PAUSE_S)


async def publish_window(
    jetstream: JetStreamContext, subject: str, messages: Sequence[tuple[bytes, dict[str, Any]]]
) -> tuple[int, Exception | None]:
    """Publish (body, headers) of one subject without waiting in between; how many of the first are stored, and why no
    more.

    They are handed to the connection in one piece: when it breaks, the server has the first so many of them and none
    after. What is not acknowledged may be stored all the same; publish it again with the same ``Nats-Msg-Id``.
    """
    acknowledgements = []
    stored, refused = 0, None
    try:
        for body, headers in messages:
            # Does not yield to the event loop: nothing of another connection's life can come in between.
            acknowledgements.append(await jetstream.publish_async(subject, body, headers=dict(headers)))
    except Exception as error:  # noqa: BLE001 - told to the caller, after what was sent before it
        refused = error
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
            for acknowledgement in acknowledgements:
                await acknowledgement
                stored += 1
    except Exception as error:  # noqa: BLE001 - told to the caller with what was stored before it
        return stored, error
    finally:
        for acknowledgement in acknowledgements[stored:]:
            if not acknowledgement.cancel() and not acknowledgement.cancelled():
                acknowledgement.exception()  # looked at, so that nobody complains that it was not
    return stored, refused


class Publisher:
    """Publishes for one service, whose name ``source`` every message carries."""

    def __init__(self, broker: NatsBroker, source: str) -> None:
        self._broker = broker
        self._source = source
        self.unsent = 0

    @property
    def reconnections(self) -> int:
        """Connections after the first: the server behind a new one may have lost what it stored."""
        return self._broker.reconnections

    async def publish(
        self,
        subject: str,
        message: Message,
        *,
        message_id: str,
        correlation_id: str,
        causation_id: str = "",
        occurred_at: datetime | None = None,
    ) -> None:
        """Store ``message`` in the stream of ``subject``, once per ``message_id`` (within the stream's window).

        Raises RetryLater when nothing is acknowledged within about 5 s: it may or may not be stored, call again with
        the same id.
        """
        moment = occurred_at if occurred_at is not None else datetime.now(UTC)
        meta = Meta(message_id, self._source, moment, correlation_id, causation_id)
        await publish_stored(
            self._broker.jetstream,
            subject,
            payload_of(message),
            headers_of(message, meta),
            give_up_after_s=GIVE_UP_AFTER_S,
        )

    async def send(self, subject: str, data: bytes) -> None:
        """Send on core NATS, without any guarantee; dropped (and counted in ``unsent``) while disconnected.

        Dropping is right here: what is sent this way is only worth anything now, and must not pile up for later.
        """
        client = self._broker.client
        if not client.is_connected:
            self.unsent += 1
            return
        try:
            await client.publish(subject, data)
        except TEMPORARY:
            self.unsent += 1

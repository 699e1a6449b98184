"""The connection to NATS: reconnects for ever, notices a frozen server, and ends the process when it cannot go on."""

import asyncio
import contextlib
import logging
import re
from typing import Any, cast

import nats.errors
from faststream import AckPolicy
from faststream.nats import NatsBroker as FastStreamBroker
from nats.aio.client import Client
from nats.errors import SlowConsumerError
from nats.js import JetStreamContext

from shared.contracts.access import inbox_of
from shared.messaging.ending import EXIT_BROKER_CLOSED, EndProcess, end_process
from shared.messaging.fetching import fetch_what_is_there
from shared.messaging.headers import read_headers_fast
from shared.messaging.watching import Watch

log = logging.getLogger(__name__)

PING_INTERVAL_S = 5
OUTSTANDING_PINGS = 2
CONNECT_TIMEOUT_S = 5
RECONNECT_WAIT_S = 0.25
DRAIN_TIMEOUT_S = 5
GRACEFUL_TIMEOUT_S = 10.0
JETSTREAM_TIMEOUT_S = 5.0

_REFUSED = re.compile("authorization|maximum connections", re.IGNORECASE)


class NatsBroker(FastStreamBroker):
    """FastStream's broker with what it lacks: a watch over its consumers, counted drops, an end when it is closed.

    ``watch`` looks after what ``consume`` and ``Follower`` include in it; ``reconnections`` counts the connections
    after the first; ``dropped`` the messages each subscription (by its subject) lost because it was too slow; ``inbox``
    begins every subject it gets replies on.
    """

    def __init__(self, url: str, options: dict[str, Any], end: EndProcess, *, inbox: str = "_INBOX") -> None:
        super().__init__(
            url,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            ack_policy=AckPolicy.MANUAL,
            apply_types=False,
            logger=_quiet_logger(),
            log_level=logging.DEBUG,
            graceful_timeout=GRACEFUL_TIMEOUT_S,
            js_options={"timeout": JETSTREAM_TIMEOUT_S},
            inbox_prefix=inbox,
            **options,
        )
        self.end = end
        self.inbox = inbox
        self.watch = Watch()
        self.reconnections = 0
        self.dropped: dict[str, int] = {}
        self._stopping = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def client(self) -> Client:
        """The nats-py connection. Raises when the broker is not started."""
        return cast("Client", self.config.connection_state.connection)

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream on that connection. Raises when the broker is not started."""
        return cast("JetStreamContext", self.config.connection_state.stream)

    async def start(self) -> None:
        """Connect (waits until the server answers), start the consumers and the watch over them."""
        self._stopping = False
        await self.connect()
        fetch_what_is_there(self.jetstream)
        await super().start()
        read_headers_fast(self.client)
        self._watching = asyncio.create_task(self.watch.run(self.jetstream), name="broker watch")

    async def stop(self, *args: Any) -> None:
        """Let the handlers in flight finish (at most ``GRACEFUL_TIMEOUT_S``), then disconnect."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        client = self._connection
        try:
            await super().stop(*args)
        except (nats.errors.Error, OSError) as error:
            # Draining needs the server; without it there is nothing to drain to.
            log.warning("disconnected without draining: %r", error)
        if client is not None and not client.is_closed:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.close()
        self._connection = None
        self.config.disconnect()

    def troubles(self) -> list[str]:
        """What the newest look of the watch found wrong; empty when all is well."""
        return self.watch.troubles()

    def _log_connection_broken(self, error_cb: Any = None) -> Any:
        """Replaces FastStream's, which raises inside nats-py and logs a traceback for every dropped message."""
        return error_cb

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            pattern = error.sub.subject
            self.dropped[pattern] = self.dropped.get(pattern, 0) + 1
            return
        if not self.config.connection_state and _REFUSED.search(str(error)):
            # Waiting for a server is right, waiting for one that refuses us is not.
            raise error
        # Every attempt to reconnect fails with an OSError until the server is back: said once, at the disconnection.
        log.log(logging.DEBUG if isinstance(error, OSError) else logging.WARNING, "NATS reports %r", error)

    async def _on_disconnected(self) -> None:
        if not self._stopping:
            log.warning("disconnected from NATS")

    async def _on_reconnected(self) -> None:
        self.reconnections += 1
        log.warning("connected to NATS again")

    async def _on_closed(self) -> None:
        # A closed connection never comes back, and FastStream's pull loop would spin on it without ever yielding to
        # the event loop: only a new process helps.
        if not self._stopping:
            self.end(EXIT_BROKER_CLOSED, "the NATS connection was closed for good")


def _quiet_logger() -> logging.Logger:
    """A logger for FastStream: its own one writes past our log, and tells of every message and every task's end."""
    logger = logging.getLogger(f"{__name__}.faststream")
    logger.setLevel(logging.WARNING)
    return logger


def make_broker(
    url: str,
    name: str,
    *,
    user: str = "",
    password: str = "",
    end: EndProcess = end_process,
) -> NatsBroker:
    """A broker that is not connected yet; ``name`` shows in the server's monitoring.

    ``end(exit_code, reason)`` is called when only a new process helps (connection closed for good, consumer deleted).
    """
    options: dict[str, Any] = {
        "name": name,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_WAIT_S,
        "ping_interval": PING_INTERVAL_S,
        "drain_timeout": DRAIN_TIMEOUT_S,
        "max_outstanding_pings": OUTSTANDING_PINGS,
    }
    if user:
        from faststream.security import SASLPlaintext

        options["security"] = SASLPlaintext(username=user, password=password)
        return NatsBroker(url, options, end, inbox=inbox_of(user))
    return NatsBroker(url, options, end)

"""Views: last values, then live, from a stream; and core subscriptions. Nothing durable, made anew at any trouble."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.decoding import Undecodable, decode
from shared.messaging.ending import EXIT_FAILED
from shared.messaging.publishing import TEMPORARY

log = logging.getLogger(__name__)

Start = Literal["last_per_subject", "new", "all"]
Handle = Callable[[str, Message, Meta], Awaitable[None] | None]
Take = Callable[[Mapping[str, str], bytes], bool]

BATCH = 512
PULL_EXPIRES_S = 5.0
HEARTBEAT_S = 1.0
SILENCE_LIMIT_S = 3.5
INACTIVE_THRESHOLD_S = 30.0
REQUEST_TIMEOUT_S = 5.0
DELETE_TIMEOUT_S = 0.5
LONGEST_PAUSE_S = 2.0
STALE_AFTER_S = 10.0
HANDLER_TIMEOUT_S = 10.0

_NS = 1_000_000_000
_V1_TOKENS = 9  # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
_V2_SHIFT = 2  # the newer form has domain and account hash before the stream


class _Lost(Exception):  # noqa: N818 - internal signal
    """The consumer of a follower must be made anew."""


class _HandlerFailed(Exception):  # noqa: N818 - internal signal
    """The handler raised ``error``: whatever it is, it is not trouble of the connection."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


@dataclass(slots=True)
class _Place:
    """How far a follower is in its stream, and which stream (by its creation) that was."""

    created: datetime | None = None
    sequence: int | None = None


class Follower:
    """Feeds ``handle(subject, message, meta)`` with last values first, then with everything new, in stream order.

    ``handle`` must be idempotent: after trouble it may see messages again (never older ones than before without the
    newer ones following). What it raises ends ``run`` (and so the process); unreadable messages are counted and logged.
    ``start``: "last_per_subject", "all" or "new"; with ``start_time`` everything stored since.
    ``take(headers, body)``, if given, is asked first: it does with a message what ``decode`` and ``handle`` would do
    and returns True, or does nothing and returns False, which leaves it to them. For streams of millions.
    """

    def __init__(
        self,
        broker: NatsBroker,
        stream: str,
        subjects: Sequence[str],
        handle: Handle,
        *,
        start: Start = "last_per_subject",
        start_time: datetime | None = None,
        take: Take | None = None,
    ) -> None:
        self.label = f"follower of {stream} {','.join(subjects)}"
        self.caught_up = asyncio.Event()
        self.unreadable = 0
        self.handled = 0
        self.recreated = 0
        self._broker = broker
        self._stream = stream
        self._subjects = tuple(subjects)
        self._handle = handle
        self._start = start
        self._start_time = start_time
        self._take = take
        self._place = _Place()
        self._heard_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Follow until cancelled. Raises what ``handle`` raises."""
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        self._broker.watch.include(self)
        pause_s = 0.05
        try:
            while True:
                began = loop.time()
                try:
                    await self._follow()
                except _HandlerFailed as failed:
                    raise failed.error from None
                except (*TEMPORARY, nats.errors.Error, _Lost) as error:
                    log.warning("%s: starts anew: %r", self.label, error)
                self.recreated += 1
                pause_s = 0.05 if loop.time() - began > LONGEST_PAUSE_S else min(2 * pause_s, LONGEST_PAUSE_S)
                await asyncio.sleep(pause_s)
        finally:
            self._broker.watch.exclude(self)

    async def trouble(self) -> str | None:
        """None while the consumer delivers or beats."""
        silent_s = asyncio.get_running_loop().time() - self._heard_at
        return f"nothing heard for {silent_s:.0f} s" if silent_s > STALE_AFTER_S else None

    async def _follow(self) -> None:
        """Make a consumer and read from it until something is wrong."""
        jetstream = self._broker.jetstream
        info = await jetstream.stream_info(self._stream)
        if self._start == "new" and self._start_time is None and self._place.sequence is None:
            # "New" begins here, by number: what is published until the consumer exists is not missed.
            self._place = _Place(info.created, info.state.last_seq)
        config = self._configuration(info.created, info.state.last_seq)
        consumer = await jetstream.add_consumer(self._stream, config=config, timeout=REQUEST_TIMEOUT_S)
        self._place.created = info.created
        if not consumer.num_pending:
            self.caught_up.set()
        reading = _Reading(self, consumer.name, consumer.num_pending or 0)
        try:
            await reading.read()
        finally:
            await reading.close()
            await self._let_go(jetstream, consumer.name)
        if reading.failure is not None:
            raise reading.failure

    async def _let_go(self, jetstream: JetStreamContext, consumer: str) -> None:
        """Delete the consumer if that is quickly done; else the server does, after ``INACTIVE_THRESHOLD_S``."""
        with contextlib.suppress(*TEMPORARY, nats.errors.Error):
            async with asyncio.timeout(DELETE_TIMEOUT_S):
                await jetstream.delete_consumer(self._stream, consumer)

    def _configuration(self, created: datetime | None, last_sequence: int) -> ConsumerConfig:
        """Where to start: after the last message handled if it is still that stream, else as asked at first."""
        config = ConsumerConfig(
            name=self._broker.client.new_inbox().rpartition(".")[2],
            ack_policy=AckPolicy.NONE,
            inactive_threshold=INACTIVE_THRESHOLD_S,
            mem_storage=True,
            num_replicas=1,
        )
        # A single subject becomes a part of the call's own subject, where the server can check a right to it.
        if len(self._subjects) == 1:
            config.filter_subject = self._subjects[0]
        else:
            config.filter_subjects = list(self._subjects)
        place = self._place
        sequence = place.sequence if place.created == created else None
        if (
            sequence is not None
            and sequence <= last_sequence
            and (self.caught_up.is_set() or self._start != "last_per_subject")
        ):
            config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = sequence + 1
            return config
        place.sequence = None
        if self._start_time is not None:
            config.deliver_policy = DeliverPolicy.BY_START_TIME
            config.opt_start_time = self._start_time.astimezone(UTC)
        elif self._start == "last_per_subject":
            config.deliver_policy = DeliverPolicy.LAST_PER_SUBJECT
        else:
            # "all", or "new" on a stream that was rebuilt meanwhile: nothing may be missed.
            config.deliver_policy = DeliverPolicy.ALL
        return config


class _Reading:
    """One consumer's life: pull requests out, messages and heartbeats in."""

    def __init__(self, follower: Follower, consumer: str, pending: int) -> None:
        self._follower = follower
        self._client = follower._broker.client
        self._consumer = consumer
        self._initial = pending
        self._delivered = 0
        self._requested = 0
        self._reconnections = follower._broker.reconnections
        self._ended = asyncio.Event()
        self.failure: Exception | None = None
        self._inbox = self._client.new_inbox()
        self._subscription: Subscription | None = None

    async def read(self) -> None:
        """Read until trouble: raises _Lost or a NATS error, or returns with ``failure`` set."""
        loop = asyncio.get_running_loop()
        self._follower._heard_at = loop.time()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)
        await self._request()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S / 2):
                    await self._ended.wait()
            if self._ended.is_set():
                return
            if self._follower._broker.reconnections != self._reconnections:
                # Messages on their way were lost with the connection: an unacknowledged delivery is not repeated.
                raise _Lost("connected anew")
            silent_s = loop.time() - self._follower._heard_at
            if silent_s > SILENCE_LIMIT_S and self._follower._idle.is_set():
                raise _Lost("no heartbeat")

    async def close(self) -> None:
        """Stop listening, once a handler at work has finished: unsubscribing cancels it, nothing may overtake it."""
        self._ended.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                await self._follower._idle.wait()
        if self._subscription is not None:
            with contextlib.suppress(Exception):
                await self._subscription.unsubscribe()

    async def _request(self) -> None:
        count = BATCH - self._requested
        self._requested = BATCH
        body = {
            "batch": count,
            "expires": int(PULL_EXPIRES_S * _NS),
            "idle_heartbeat": int(HEARTBEAT_S * _NS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._follower._stream}.{self._consumer}"
        await self._client.publish(subject, json.dumps(body).encode(), reply=self._inbox)

    async def _on_message(self, msg: Msg) -> None:
        """Runs inside nats-py, which would only log what is raised here: it is kept for ``read`` to raise."""
        if self._ended.is_set():
            return
        try:
            self._follower._heard_at = asyncio.get_running_loop().time()
            if msg.headers is not None and "Status" in msg.headers and not msg.reply:
                await self._on_status(msg.headers["Status"], msg.headers)
            else:
                await self._on_data(msg)
        except Exception as error:  # noqa: BLE001 - raised again by the follower
            self.failure = error
            self._ended.set()

    async def _on_status(self, status: str, headers: dict[str, str]) -> None:
        if status == "100":
            return
        if status in ("404", "408") or (status == "409" and "Nats-Pending-Messages" in headers):
            self._requested = max(0, self._requested - int(headers.get("Nats-Pending-Messages", self._requested)))
            if self._requested <= BATCH // 2:
                await self._request()
            return
        raise _Lost(f"status {status} {headers.get('Description', '')}")

    async def _on_data(self, msg: Msg) -> None:
        tokens = msg.reply.split(".")
        shift = 0 if len(tokens) == _V1_TOKENS else _V2_SHIFT
        self._delivered += 1
        self._requested -= 1
        if int(tokens[6 + shift]) != self._delivered:
            raise _Lost(f"message {self._delivered} of the consumer is missing")
        follower = self._follower
        if not self._is_taken(msg):
            await self._decode_and_handle(msg, tokens[5 + shift])
        follower._place.sequence = int(tokens[5 + shift])
        if self._delivered >= self._initial or tokens[8 + shift] == "0":
            follower.caught_up.set()
        if self._requested <= BATCH // 2:
            await self._request()

    def _is_taken(self, msg: Msg) -> bool:
        follower = self._follower
        try:
            taken = follower._take is not None and follower._take(msg.headers or {}, msg.data)
        except Exception as error:
            raise _HandlerFailed(error) from error
        follower.handled += taken
        return taken

    async def _decode_and_handle(self, msg: Msg, sequence: str) -> None:
        follower = self._follower
        try:
            message, meta = decode(msg.headers, msg.data)
        except Undecodable as error:
            follower.unreadable += 1
            log.warning("%s: skipped message %s: %s", follower.label, sequence, error)
            return
        try:
            outcome = follower._handle(msg.subject, message, meta)
            if outcome is not None:
                await self._finish(outcome)
        except Exception as error:
            raise _HandlerFailed(error) from error
        follower.handled += 1

    async def _finish(self, outcome: Awaitable[None]) -> None:
        self._follower._idle.clear()
        try:
            await outcome
        finally:
            self._follower._idle.set()


async def last_value(broker: NatsBroker, stream: str, subject: str) -> tuple[Message, Meta] | None:
    """The newest message of ``subject``, None when there is none.

    Raises RetryLater when the server does not answer, Undecodable when the value cannot be read.
    """
    try:
        stored = await broker.jetstream.get_last_msg(stream, subject)
    except NotFoundError:
        return None
    except TEMPORARY as error:
        raise RetryLater(f"{stream}: the last value of {subject} cannot be read: {error!r}") from error
    return decode(stored.headers, stored.data or b"")


PENDING_MESSAGES = 8192
PENDING_BYTES = 64 * 1024 * 1024


class Listener:
    """A core subscription: no guarantee, newest wins; what arrives faster than it is handled is dropped and counted.

    ``handle`` raising ValueError, KeyError or TypeError means a broken message: counted and logged. Anything else ends
    the process.
    """

    def __init__(self, broker: NatsBroker, subject: str, handle: Callable[[bytes], Awaitable[None] | None]) -> None:
        self.subject = subject
        self.received = 0
        self.broken = 0
        self._broker = broker
        self._handle = handle
        self._subscription: Subscription | None = None

    @property
    def dropped(self) -> int:
        """Messages dropped because the handler was too slow."""
        return self._broker.dropped.get(self.subject, 0)

    async def start(self) -> None:
        """Subscribe; call after ``broker.start()``."""
        self._subscription = await self._broker.client.subscribe(
            self.subject,
            cb=self._on_message,
            pending_msgs_limit=PENDING_MESSAGES,
            pending_bytes_limit=PENDING_BYTES,
        )

    async def stop(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            with contextlib.suppress(*TEMPORARY, nats.errors.Error):
                await self._subscription.unsubscribe()
            self._subscription = None

    async def _on_message(self, msg: Msg) -> None:
        self.received += 1
        try:
            outcome = self._handle(msg.data)
            if outcome is not None:
                await outcome
        except (ValueError, KeyError, TypeError) as error:
            self.broken += 1
            log.warning("%s: broken message: %r", self.subject, error)
        except Exception as error:
            log.exception("%s: handler failed", self.subject)
            self._broker.end(EXIT_FAILED, f"the listener of {self.subject} failed: {error!r}")


def listen(broker: NatsBroker, subject: str, handle: Callable[[bytes], Awaitable[None] | None]) -> Listener:
    """A listener for ``subject``, not yet started."""
    return Listener(broker, subject, handle)

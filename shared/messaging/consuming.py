"""Durable consumers: every message is handled, tried again, or moved to the dead letters; never lost, never skipped."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsMessage, PullSub
from nats.js.errors import NotFoundError

from shared.contracts import subjects
from shared.contracts.catalogue import ConsumerSpec
from shared.contracts.wire import MESSAGE_ID_HEADER, Message, Meta
from shared.core.errors import RetryLater, Stop
from shared.messaging.broker import NatsBroker
from shared.messaging.decoding import Undecodable, decode
from shared.messaging.ending import EXIT_CONSUMER_LOST, EXIT_STOP
from shared.messaging.provisioning import consumer_config, filters_of
from shared.messaging.publishing import publish_stored

log = logging.getLogger(__name__)

Handler = Callable[[Any, Meta], Awaitable[None]]

FETCH_TIMEOUT_S = 1.0
LONGEST_RETRY_S = 30.0
DEAD_LETTER_TIMEOUT_S = 10.0
REMEMBERED_FAILURES = 10_000
LOOKS_UNTIL_LOST = 3


def consume(
    broker: NatsBroker, spec: ConsumerSpec, handlers: Mapping[type[Message], Handler], *, in_flight: int = 1
) -> None:
    """Handle the messages of a durable consumer of the catalogue. Call before ``broker.start()``.

    A handler that returns: ack. RetryLater: again after ``after_s``, without limit. Stop: the process ends with code 3.
    Any other exception: again after ``retry_after_s`` x 2^n (at most 30 s), and to the dead letters when it has failed
    ``spec.max_deliver`` times in this process. Unknown type or unreadable: to the dead letters at once. Handlers must
    be idempotent: a message whose ack is lost comes again. ``in_flight`` > 1 handles that many at once, in any order.
    """
    if not 1 <= in_flight <= spec.max_ack_pending:
        raise ValueError(f"in_flight must be in 1..{spec.max_ack_pending} (max_ack_pending of {spec.durable})")
    if broker.running:
        raise ValueError(f"{spec.durable}: consume must be called before the broker is started")
    consumption = _Consumption(broker, spec, handlers)
    subscriber = broker.subscriber(
        spec.filter_subjects[0],
        stream=JStream(spec.stream, declare=False),
        durable=spec.durable,
        config=consumer_config(spec),
        pull_sub=PullSub(batch_size=in_flight, timeout=FETCH_TIMEOUT_S),
        inbox_prefix=f"{broker.inbox}.".encode(),
        ack_policy=AckPolicy.MANUAL,
        decoder=_undecoded,
        no_reply=True,
    )
    subscriber(consumption.take)
    broker.watch.include(_ConsumerWatch(broker, spec, subscriber))


async def _undecoded(message: NatsMessage) -> NatsMessage:
    """Hand the raw message on: FastStream's decoding errors would otherwise happen outside our policy."""
    return message


class _Consumption:
    """What happens to each message of one durable consumer."""

    def __init__(self, broker: NatsBroker, spec: ConsumerSpec, handlers: Mapping[type[Message], Handler]) -> None:
        self._broker = broker
        self._spec = spec
        self._handlers = dict(handlers)
        self._failures: dict[int, int] = {}

    async def take(self, message: NatsMessage) -> None:
        """Handle one message and answer for it; raises nothing (FastStream would swallow it)."""
        try:
            await self._take(message)
        except Stop as stop:
            self._broker.end(EXIT_STOP, f"{self._spec.durable}: {stop}")
        except Exception:
            # The answer itself failed (connection lost, dead letters full): unanswered, it comes again by itself.
            log.exception("%s: no answer was given for a message; it will come again", self._spec.durable)

    async def _take(self, message: NatsMessage) -> None:
        sequence = message.raw_message.metadata.sequence.stream
        try:
            body, meta = decode(message.headers, message.raw_message.data)
        except Undecodable as error:
            await self._to_dead_letters(message, sequence, f"unreadable: {error}")
            return
        handler = self._handlers.get(type(body))
        if handler is None:
            await self._to_dead_letters(message, sequence, f"{body.TYPE} is not handled here")
            return
        keepalive = _Keepalive(message, self._spec.ack_wait_s / 2)
        try:
            await handler(body, meta)
        except RetryLater as later:
            log.info(
                "%s: %s (%s) again in %s s: %s", self._spec.durable, body.TYPE, meta.message_id, later.after_s, later
            )
            await message.nack(delay=max(later.after_s, 0.001))
        except Stop:
            raise
        except Exception as error:  # noqa: BLE001 - counted, logged and answered for in _failed
            await self._failed(message, sequence, meta, error)
        else:
            self._failures.pop(sequence, None)
            await message.ack()
        finally:
            keepalive.cancel()

    async def _failed(self, message: NatsMessage, sequence: int, meta: Meta, error: Exception) -> None:
        failures = self._failures.pop(sequence, 0) + 1
        log.error(
            "%s: message %s failed (%d of %d)",
            self._spec.durable,
            meta.message_id,
            failures,
            self._spec.max_deliver,
            exc_info=error,
        )
        if failures >= self._spec.max_deliver:
            await self._to_dead_letters(message, sequence, f"failed {failures} times: {error!r}")
            return
        if len(self._failures) >= REMEMBERED_FAILURES:
            self._failures.pop(next(iter(self._failures)))
        self._failures[sequence] = failures
        await message.nack(delay=min(self._spec.retry_after_s * 2 ** min(failures - 1, 30), LONGEST_RETRY_S))

    async def _to_dead_letters(self, message: NatsMessage, sequence: int, reason: str) -> None:
        """Store a copy, acknowledged, before the original is given up; when that fails the original comes again."""
        spec = self._spec
        log.error("%s: message %d of %s goes to the dead letters: %s", spec.durable, sequence, spec.stream, reason)
        headers = {name: value for name, value in message.headers.items() if not name.lower().startswith("nats-")}
        headers |= {
            "trimtab-error": _header_text(reason),
            "trimtab-subject": message.raw_message.subject,
            "trimtab-sequence": str(sequence),
            MESSAGE_ID_HEADER: f"{spec.stream}.{spec.durable}.{sequence}",
        }
        await publish_stored(
            self._broker.jetstream,
            subjects.dead_letters(spec.stream, spec.durable),
            message.raw_message.data,
            headers,
            give_up_after_s=DEAD_LETTER_TIMEOUT_S,
        )
        self._failures.pop(sequence, None)
        await message.reject()


def _header_text(text: str) -> str:
    """One line of printable ASCII: anything else could break the header block."""
    return " ".join(text.split())[:1000].encode("ascii", "backslashreplace").decode()


class _Keepalive:
    """Tells the server every ``interval_s`` that the handler still works, so that the message is not given again."""

    def __init__(self, message: NatsMessage, interval_s: float) -> None:
        self._message = message
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(interval_s, self._tell)
        self._task: asyncio.Task[None] | None = None

    def _tell(self) -> None:
        self._task = self._loop.create_task(self._in_progress())
        self._timer = self._loop.call_later(self._interval_s, self._tell)

    async def _in_progress(self) -> None:
        try:
            await self._message.in_progress()
        except Exception:
            # Without the signal the message comes again, which every handler bears; the work under way goes on.
            log.warning("in-progress signal not sent", exc_info=True)

    def cancel(self) -> None:
        """The message is answered for."""
        self._timer.cancel()


class _ConsumerWatch:
    """Looks after one durable consumer: it must exist, be as the catalogue says, and be fetched from."""

    def __init__(self, broker: NatsBroker, spec: ConsumerSpec, subscriber: Any) -> None:
        self.label = f"consumer {spec.durable}"
        self._broker = broker
        self._spec = spec
        self._subscriber = subscriber
        self._missing = 0
        self._idle = 0

    async def trouble(self) -> str | None:
        """None when it works. A consumer that is gone, or that nobody fetches from, ends the process.

        FastStream neither recreates a deleted consumer nor tells: it polls in vain, at full speed.
        """
        try:
            info = await self._broker.jetstream.consumer_info(self._spec.stream, self._spec.durable, timeout=2.0)
        except NotFoundError:
            self._missing += 1
            if self._missing >= LOOKS_UNTIL_LOST:
                self._broker.end(EXIT_CONSUMER_LOST, f"{self.label} of {self._spec.stream} is gone")
            return "is missing on the server"
        self._missing = 0
        waiting = info.num_waiting or 0
        idle = bool(info.num_pending) and not info.num_ack_pending and not waiting
        alive = any(not task.done() for task in self._subscriber.tasks)
        self._idle = self._idle + 1 if idle or not alive else 0
        if self._idle >= 2 * LOOKS_UNTIL_LOST:
            self._broker.end(EXIT_CONSUMER_LOST, f"{self.label}: {info.num_pending} messages wait, nobody fetches")
        if self._idle >= LOOKS_UNTIL_LOST:
            return f"{info.num_pending} messages wait and nobody fetches them"
        if filters_of(info.config) != set(self._spec.filter_subjects):
            return "its filter differs from the catalogue"
        if info.config.max_ack_pending != self._spec.max_ack_pending:
            return "its max_ack_pending differs from the catalogue"
        return None

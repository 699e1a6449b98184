"""Commands by request and reply on core NATS: an answer, a refusal, or "again later"; never silence."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import nats.errors
from faststream import AckPolicy
from faststream.nats import NatsMessage

from shared.contracts.strategies import CommandDeferred, CommandRefused, ProblemFound
from shared.contracts.wire import Message, Meta, headers_of, payload_of
from shared.core.errors import Conflict, Problem, Refused, RetryLater, Stop, shown
from shared.messaging.broker import NatsBroker
from shared.messaging.decoding import Undecodable, decode
from shared.messaging.ending import EXIT_STOP
from shared.messaging.publishing import TEMPORARY

log = logging.getLogger(__name__)

CONCURRENT_COMMANDS = 16
DEFER_AFTER_S = 1.0

Answer = Callable[[Any, Meta], Awaitable[Message]]


def serve(broker: NatsBroker, subject: str, queue: str, handlers: Mapping[type[Message], Answer]) -> None:
    """Answer the commands on ``subject``, one instance of ``queue`` each. Call before ``broker.start()``.

    A handler's message is the reply; Refused is answered with CommandRefused (``conflict`` for Conflict), RetryLater
    with CommandDeferred, any other exception is logged and answered with CommandDeferred. Handlers must be idempotent
    by ``meta.message_id``.
    """
    if broker.running:
        raise ValueError(f"{subject}: serve must be called before the broker is started")
    serving = _Serving(broker, queue, handlers)
    subscriber = broker.subscriber(
        subject,
        queue,
        max_workers=CONCURRENT_COMMANDS,
        ack_policy=AckPolicy.MANUAL,
        decoder=_undecoded,
        no_reply=True,
    )
    subscriber(serving.take)


async def _undecoded(message: NatsMessage) -> NatsMessage:
    return message


class _Serving:
    def __init__(self, broker: NatsBroker, source: str, handlers: Mapping[type[Message], Answer]) -> None:
        self._broker = broker
        self._source = source
        self._handlers = dict(handlers)

    async def take(self, message: NatsMessage) -> None:
        """Answer one command; raises nothing."""
        request_id, correlation_id = "", ""
        try:
            command, meta = decode(message.headers, message.raw_message.data)
            request_id, correlation_id = meta.message_id, meta.correlation_id
            reply = await self._answer(command, meta)
        except Undecodable as error:
            problem = ProblemFound(field="message", value="", allowed="a command of the contracts", message=str(error))
            reply = CommandRefused(problems=(problem,))
        except Stop as stop:
            self._broker.end(EXIT_STOP, f"{self._source}: {stop}")
            return
        if not message.raw_message.reply:
            log.warning("%s: a command without a reply address", self._source)
            return
        answer = Meta(f"{request_id}.reply", self._source, datetime.now(UTC), correlation_id, request_id)
        try:
            await self._broker.client.publish(
                message.raw_message.reply, payload_of(reply), headers=headers_of(reply, answer)
            )
        except (*TEMPORARY, nats.errors.Error):
            log.warning("%s: the reply to %s was not sent; it will be asked again", self._source, request_id)

    async def _answer(self, command: Message, meta: Meta) -> Message:
        handler = self._handlers.get(type(command))
        if handler is None:
            raise Undecodable(f"{command.TYPE} is not served here")
        try:
            return await handler(command, meta)
        except Refused as refused:
            return CommandRefused(
                problems=tuple(
                    ProblemFound(field=p.field, value=p.value, allowed=p.allowed, message=p.message)
                    for p in refused.problems
                ),
                conflict=isinstance(refused, Conflict),
            )
        except RetryLater as later:
            return CommandDeferred(message=str(later), after_s=later.after_s)
        except Stop:
            raise
        except Exception:
            # Whoever asked gets an answer whatever happened, and may ask again with the same id; the log has the cause.
            log.exception("%s: %s (%s) failed", self._source, command.TYPE, meta.message_id)
            return CommandDeferred(message="internal error; nothing is known to have changed", after_s=DEFER_AFTER_S)


async def request(broker: NatsBroker, subject: str, command: Message, meta: Meta, *, timeout_s: float = 5.0) -> Message:
    """Send a command and wait for the answer.

    Raises Refused with the problems (Conflict when the command was made for another state); RetryLater when deferred,
    not answered in ``timeout_s`` or nobody serves: the outcome is unknown then, send it again with the same
    ``meta.message_id``.
    """
    try:
        reply = await broker.client.request(
            subject, payload_of(command), timeout=timeout_s, headers=headers_of(command, meta)
        )
    except (*TEMPORARY, nats.errors.Error) as error:
        raise RetryLater(f"{subject}: no answer to {command.TYPE}: {error!r}") from error
    try:
        answer, _ = decode(reply.headers, reply.data)
    except Undecodable as error:
        raise RetryLater(f"{subject}: unreadable answer to {command.TYPE}: {shown(str(error))}") from error
    if isinstance(answer, CommandRefused):
        refusal = Conflict if answer.conflict else Refused
        raise refusal(Problem(p.field, p.value, p.allowed, p.message) for p in answer.problems)
    if isinstance(answer, CommandDeferred):
        raise RetryLater(answer.message, after_s=answer.after_s)
    return answer

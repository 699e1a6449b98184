"""Answering a command once, however often it comes; learning a fact and taking the steps it allows."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime

from services.strategy_registry import life
from services.strategy_registry.adapters.postgres import (
    CommandReusedError,
    ReceivedCommand,
    RegistryStore,
    StoredReply,
    Transaction,
)
from services.strategy_registry.records import Advance, StrategyRecord
from shared.contracts.strategies import CommandRefused, ProblemFound, StrategyChanged, StrategyPreviewed
from shared.contracts.wire import Message, Meta
from shared.core.errors import Conflict, Refused

Work = Callable[[Transaction], Awaitable[Message]]
Step = Callable[[StrategyRecord], Advance]

_REPLIES: dict[str, type[Message]] = {
    reply.TYPE: reply for reply in (StrategyPreviewed, StrategyChanged, CommandRefused)
}
_ACTORS = {"gateway": "user"}


class Answering:
    """Commands and facts, each in one transaction. ``clock`` is wall-clock UTC; ``wake`` hurries what comes after."""

    def __init__(self, store: RegistryStore, clock: Callable[[], datetime], wake: Callable[[], None]) -> None:
        self.store = store
        self.clock = clock
        self._wake = wake

    async def given_reply(self, command: Message, meta: Meta) -> Message | None:
        """The reply this command got before, if any. Raises Refused when its id was used for another command."""
        async with self.store.transaction(self.clock()) as transaction:
            try:
                given = await transaction.given_reply(ReceivedCommand(meta.message_id, _digest(command)))
            except CommandReusedError:
                raise _reused(meta.message_id) from None
        return None if given is None else _REPLIES[given.type].model_validate(given.body)

    async def answered(self, command: Message, meta: Meta, work: Work) -> Message:
        """The reply this command got before, else that of ``work``: it is remembered, and so is a refusal."""
        received = ReceivedCommand(meta.message_id, _digest(command))
        try:
            async with self.store.transaction(self.clock()) as transaction:
                remembered = await transaction.remembered_reply(received)
                if remembered is not None:
                    return _REPLIES[remembered.type].model_validate(remembered.body)
                reply = await _reply_or_refusal(transaction, work)
                stored = StoredReply(reply.TYPE, reply.model_dump(mode="json"))
                await transaction.remember_reply(meta.message_id, stored)
        except CommandReusedError:
            raise _reused(meta.message_id) from None
        self._wake()
        return reply

    async def record(self, strategy_id: str) -> StrategyRecord:
        """The strategy as it is now. Raises Refused when it is not known."""
        async with self.store.transaction(self.clock()) as transaction:
            return await known(transaction, strategy_id)

    async def stepped(self, strategy_id: str, meta: Meta, step: Step) -> StrategyRecord:
        """Take a step, and every one the facts then allow, in a transaction of its own; nothing is remembered.

        For facts, and for commands that say themselves whether they are still to be carried out. Raises Refused when
        the strategy is not known.
        """
        async with self.store.transaction(self.clock()) as transaction:
            record = await known(transaction, strategy_id)
            after = await take_steps(transaction, record, step, meta)
        self._wake()
        return after


async def known(transaction: Transaction, strategy_id: str) -> StrategyRecord:
    """The strategy, locked. Raises Refused when there is none."""
    record = await transaction.strategy(strategy_id)
    if record is None:
        raise Refused.one("strategy_id", strategy_id, "the id of a strategy", "is not known")
    return record


async def take_steps(transaction: Transaction, before: StrategyRecord, step: Step, cause: Meta) -> StrategyRecord:
    """Take a step and those it allows, and store them; nothing is written when nothing is new."""
    made = life.stepped(before, actor(cause), step)
    if made is None:
        return before
    await transaction.update(made, cause)
    return made.record


def actor(cause: Meta) -> str:
    """Who changes something, as StrategyChanged tells it."""
    return _ACTORS.get(cause.source, cause.source)


def refusal_of(refused: Refused) -> CommandRefused:
    """The reply that tells a refusal."""
    problems = (
        ProblemFound(field=one.field, value=one.value, allowed=one.allowed, message=one.message)
        for one in refused.problems
    )
    return CommandRefused(problems=tuple(problems), conflict=isinstance(refused, Conflict))


async def _reply_or_refusal(transaction: Transaction, work: Work) -> Message:
    try:
        async with transaction.all_or_nothing():
            return await work(transaction)
    except Refused as refused:
        return refusal_of(refused)


def _reused(message_id: str) -> Refused:
    allowed = "a new key for every different request"
    return Refused.one("idempotency_key", message_id, allowed, "was used for another request")


def _digest(command: Message) -> str:
    """Names the content of a command. The figures behind a stop are no part of it: a retry may bring newer ones."""
    body = command.model_dump(mode="json", exclude={"inputs"})
    return hashlib.sha256(f"{command.TYPE} {json.dumps(body, sort_keys=True)}".encode()).hexdigest()

"""Questions of auditors to the ledger, by request and reply."""

import uuid
from datetime import UTC, datetime
from typing import TypeVar

from shared.contracts import subjects
from shared.contracts.audit import (
    ConsistencyProved,
    InclusionProved,
    ProveConsistency,
    ProveInclusion,
    ShowTreeHead,
    TreeHeadSigned,
)
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.requests import request

_Answer = TypeVar("_Answer", bound=Message)


class AuditQuestions:
    """Heads and proofs. Every method raises Refused when there is no such thing, RetryLater when nobody answers."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def head(self, *, covering_all: bool) -> TreeHeadSigned:
        """The newest signed head; ``covering_all``: one over every entry, signed now if need be."""
        return await self._ask(ShowTreeHead(covering_all=covering_all), TreeHeadSigned)

    async def inclusion(self, entry: str) -> InclusionProved:
        """The proof that an entry (sequence or transaction id) is in the log."""
        return await self._ask(ProveInclusion(entry=entry), InclusionProved)

    async def consistency(self, first: int, second: int) -> ConsistencyProved:
        """The proof that the log of ``second`` entries (0: of now) begins with that of ``first``."""
        return await self._ask(ProveConsistency(first=first, second=second), ConsistencyProved)

    async def _ask(self, command: Message, answer: type[_Answer]) -> _Answer:
        name = f"api.{uuid.uuid4().hex}"
        meta = Meta(name, "gateway", datetime.now(UTC), name, "")
        reply = await request(self._broker, subjects.AUDIT_COMMANDS, command, meta)
        if not isinstance(reply, answer):
            raise RetryLater("the answer of the ledger was not understood")
        return reply

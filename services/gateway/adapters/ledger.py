"""Commands and questions to the ledger, by request and reply, and what was told of differences to the venues."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

from services.gateway.adapters.newest import KEPT, Newest
from shared.contracts import subjects
from shared.contracts.books import DustSwept, SweepDust
from shared.contracts.reconciliation import AcceptSuspense, SuspenseAccepted
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.requests import request

EVENTS_KEPT = KEPT

_Told = TypeVar("_Told", bound=Message)


class LedgerCommands:
    """Commands to the ledger, and reads of the stream RECONCILIATION."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._newest = Newest(broker, "RECONCILIATION", Message)

    async def accept(self, venue: str, asset: str, amount: Decimal, key: str | None) -> SuspenseAccepted:
        """Give what is in suspense to the wallet; the same key is the same command.

        Raises Refused with what is there now, RetryLater: the outcome is unknown, the same key may be sent again.
        """
        return await self._told(AcceptSuspense(venue=venue, asset=asset, amount=amount), SuspenseAccepted, key)

    async def sweep(self, venue: str, asset: str, amount: Decimal, key: str | None) -> DustSwept:
        """Give dust to the wallet; the same key is the same command.

        Raises Refused with what there is, RetryLater: the outcome is unknown, the same key may be sent again.
        """
        return await self._told(SweepDust(venue=venue, asset=asset, amount=amount), DustSwept, key)

    async def ask(self, question: Message, kind: type[_Told]) -> _Told:
        """The answer to a question of ``shared.contracts.results``. Raises Refused, RetryLater."""
        return await self._told(question, kind, None)

    async def _told(self, question: Message, kind: type[_Told], key: str | None) -> _Told:
        message_id = f"api.{key or uuid.uuid4().hex}"
        meta = Meta(message_id, "gateway", datetime.now(UTC), message_id, "")
        reply = await request(self._broker, subjects.LEDGER_COMMANDS, question, meta)
        if not isinstance(reply, kind):
            raise RetryLater("the answer of the ledger was not understood")
        return reply

    async def newest(self, venue: str, limit: int) -> list[tuple[Message, Meta]]:
        """The newest ``limit`` (at most ``EVENTS_KEPT``) events of a venue, newest first. Raises RetryLater."""
        followed = await self._newest.following(f"reconciliation.{venue}.*")
        return list(reversed(followed.kept))[:limit]

    async def close(self) -> None:
        """Stop following."""
        await self._newest.close()

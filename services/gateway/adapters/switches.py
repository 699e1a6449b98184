"""Commands to the kill switches, one per venue, kept by its executor."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from shared.contracts import subjects
from shared.contracts.halts import HaltChanged, HaltVenue, ResumeVenue
from shared.contracts.wire import Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.requests import request

_TIMEOUT_S = 2.0


class Switches:
    """Each call asks every venue at once. Raises RetryLater naming those that have not answered, Refused."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def halt(self, venues: Sequence[str], reason: str, key: str | None) -> list[HaltChanged]:
        """Send no more orders there."""
        return await self._ask(venues, lambda venue: HaltVenue(venue=venue, reason=reason), key)

    async def resume(self, venues: Sequence[str], key: str | None) -> list[HaltChanged]:
        """Orders may be sent again there."""
        return await self._ask(venues, lambda venue: ResumeVenue(venue=venue), key)

    async def _ask(
        self, venues: Sequence[str], command_for: Callable[[str], HaltVenue | ResumeVenue], key: str | None
    ) -> list[HaltChanged]:
        name = f"api.{key or uuid.uuid4().hex}"
        answers = await asyncio.gather(
            *(self._ask_one(venue, command_for(venue), f"{name}.{venue}") for venue in venues), return_exceptions=True
        )
        done = [answer for answer in answers if isinstance(answer, HaltChanged)]
        missed = []
        for venue, answer in zip(venues, answers, strict=True):
            if isinstance(answer, RetryLater):
                missed.append(f"{venue} ({answer})")
            elif isinstance(answer, BaseException):
                raise answer
        if missed:
            others = f"; done: {', '.join(one.venue for one in done)}" if done else ""
            raise RetryLater(f"not certain at {', '.join(missed)}{others}")
        return done

    async def _ask_one(self, venue: str, command: HaltVenue | ResumeVenue, message_id: str) -> HaltChanged:
        meta = Meta(message_id, "gateway", datetime.now(UTC), message_id, "")
        reply = await request(self._broker, subjects.halt_commands(venue), command, meta, timeout_s=_TIMEOUT_S)
        if not isinstance(reply, HaltChanged):
            raise RetryLater("the executor's answer was not understood")
        return reply

"""Why a strategy did or did not trade: the newest decisions out of the audit stream."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from datetime import datetime

from services.gateway.decision_times import AnswerFor
from shared.contracts import subjects
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.following import Follower

DECISIONS_KEPT = 500
STRATEGIES_KEPT = 64
_TIMEOUT_S = 10.0


class _Followed:
    """The newest decisions of one strategy, read once and then followed."""

    def __init__(self, broker: NatsBroker, strategy_id: str) -> None:
        self.kept: deque[DecisionRecorded] = deque(maxlen=DECISIONS_KEPT)
        self.read = 0
        self._follower = Follower(broker, "EVALUATIONS", [subjects.evaluations(strategy_id)], self._keep, start="all")
        self._reading = asyncio.create_task(self._follower.run())

    @property
    def failed(self) -> bool:
        """Whether it does not follow any more."""
        return self._reading.done()

    async def caught_up(self) -> None:
        """Wait until everything stored has been read. Raises RetryLater."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._follower.caught_up.wait()
        except TimeoutError:
            raise RetryLater("the decisions cannot be read now") from None

    async def close(self) -> None:
        """Stop following."""
        self._reading.cancel()
        await asyncio.wait([self._reading])

    def _keep(self, _subject: str, message: Message, _meta: Meta) -> None:
        if isinstance(message, DecisionRecorded):
            self.kept.append(message)
            self.read += 1


class Decisions:
    """Reads of the stream EVALUATIONS: the strategies asked about last are followed, the others are not kept."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._followed: OrderedDict[str, _Followed] = OrderedDict()

    async def newest(self, strategy_id: str, limit: int) -> list[DecisionRecorded]:
        """The newest ``limit`` (at most ``DECISIONS_KEPT``) of a strategy, newest first. Raises RetryLater."""
        followed = await self._following(strategy_id)
        return list(reversed(followed.kept))[:limit]

    async def at(self, strategy_id: str, at: datetime) -> list[DecisionRecorded]:
        """The decisions that answer for a moment of market time, newest first. Raises RetryLater.

        What is older than the newest ``DECISIONS_KEPT`` is looked up by reading everything that is stored.
        """
        answer = AnswerFor(at)
        followed = await self._following(strategy_id)
        if followed.read == len(followed.kept) or any(one.last_at < at for one in followed.kept):
            for decision in followed.kept:
                answer.take(decision)
        else:
            await self._read_all(strategy_id, answer)
        return answer.answer

    async def _read_all(self, strategy_id: str, answer: AnswerFor) -> None:
        def take(_subject: str, message: Message, _meta: Meta) -> None:
            if isinstance(message, DecisionRecorded):
                answer.take(message)

        follower = Follower(self._broker, "EVALUATIONS", [subjects.evaluations(strategy_id)], take, start="all")
        reading = asyncio.create_task(follower.run())
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await follower.caught_up.wait()
        except TimeoutError:
            raise RetryLater("the decisions cannot be read now") from None
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _following(self, strategy_id: str) -> _Followed:
        followed = self._followed.get(strategy_id)
        if followed is None or followed.failed:
            followed = self._followed[strategy_id] = _Followed(self._broker, strategy_id)
        self._followed.move_to_end(strategy_id)
        if len(self._followed) > STRATEGIES_KEPT:
            _, least_used = self._followed.popitem(last=False)
            await least_used.close()
        await followed.caught_up()
        return followed

    async def close(self) -> None:
        """Stop following."""
        for followed in self._followed.values():
            with contextlib.suppress(Exception):
                await followed.close()
        self._followed.clear()

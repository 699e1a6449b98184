"""Why a strategy did or did not trade: the newest decisions out of the audit stream."""

import asyncio
import contextlib
from collections import OrderedDict, deque

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


class Decisions:
    """Reads of the stream EVALUATIONS: the strategies asked about last are followed, the others are not kept."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._followed: OrderedDict[str, _Followed] = OrderedDict()

    async def newest(self, strategy_id: str, limit: int) -> list[DecisionRecorded]:
        """The newest ``limit`` (at most ``DECISIONS_KEPT``) of a strategy, newest first. Raises RetryLater."""
        followed = self._followed.get(strategy_id)
        if followed is None or followed.failed:
            followed = self._followed[strategy_id] = _Followed(self._broker, strategy_id)
        self._followed.move_to_end(strategy_id)
        if len(self._followed) > STRATEGIES_KEPT:
            _, least_used = self._followed.popitem(last=False)
            await least_used.close()
        await followed.caught_up()
        return list(reversed(followed.kept))[:limit]

    async def close(self) -> None:
        """Stop following."""
        for followed in self._followed.values():
            with contextlib.suppress(Exception):
                await followed.close()
        self._followed.clear()

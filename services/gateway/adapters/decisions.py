"""Why a strategy did or did not trade: the newest decisions out of the audit stream."""

import asyncio
from datetime import datetime

from services.gateway.adapters.newest import KEPT, TIMEOUT_S, Newest
from services.gateway.decision_times import AnswerFor
from shared.contracts import subjects
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.plans import PlanProgressed
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.core.routing import routes_in
from shared.messaging.broker import NatsBroker
from shared.messaging.following import Follower

DECISIONS_KEPT = KEPT
_STREAM = "EVALUATIONS"


class Decisions:
    """Reads of the stream EVALUATIONS: the strategies asked about last are followed, the others are not kept."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._newest = Newest(broker, _STREAM, DecisionRecorded)
        self._plans = Newest(broker, "PLAN_RESULTS", PlanProgressed)

    async def newest(self, strategy_id: str, limit: int) -> list[DecisionRecorded]:
        """The newest ``limit`` (at most ``DECISIONS_KEPT``) of a strategy, newest first. Raises RetryLater."""
        followed = await self._newest.following(subjects.evaluations(strategy_id))
        return [decision for decision, _ in reversed(followed.kept)][:limit]

    async def routes(self, strategy_id: str) -> dict[str, tuple[str, ...]]:
        """The routes on direct pairs that the strategy's newest plans took, by plan. Raises RetryLater."""
        followed = await self._plans.following(subjects.plan_results(strategy_id))
        closed = [told.last_closed for told, _ in followed.kept if told.last_closed is not None]
        return {one.plan_id: routes for one in closed if (routes := routes_in(one.detail))}

    async def at(self, strategy_id: str, at: datetime) -> list[DecisionRecorded]:
        """The decisions that answer for a moment of market time, newest first. Raises RetryLater.

        What is older than the newest ``DECISIONS_KEPT`` is looked up by reading everything that is stored.
        """
        answer = AnswerFor(at)
        followed = await self._newest.following(subjects.evaluations(strategy_id))
        if followed.read == len(followed.kept) or any(one.last_at < at for one, _ in followed.kept):
            for decision, _ in followed.kept:
                answer.take(decision)
        else:
            await self._read_all(strategy_id, answer)
        return answer.answer

    async def _read_all(self, strategy_id: str, answer: AnswerFor) -> None:
        def take(_subject: str, message: Message, _meta: Meta) -> None:
            if isinstance(message, DecisionRecorded):
                answer.take(message)

        follower = Follower(self._broker, _STREAM, [subjects.evaluations(strategy_id)], take, start="all")
        reading = asyncio.create_task(follower.run())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await follower.caught_up.wait()
        except TimeoutError:
            raise RetryLater("the decisions cannot be read now") from None
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def close(self) -> None:
        """Stop following."""
        await self._newest.close()
        await self._plans.close()

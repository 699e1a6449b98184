"""Message handlers: check, store, start the work."""

import logging
from collections.abc import Callable, Iterable

from services.order_executor.adapters.postgres_holds import HoldStore
from services.order_executor.adapters.postgres_plans import PlanStore
from services.order_executor.runner import PlanRunners
from shared.contracts.plans import FreeStrategy, HoldStrategy, RebalancePlanned, SealStrategy
from shared.contracts.wire import Meta
from shared.core.errors import RetryLater
from shared.messaging.database_postgres import UNAVAILABLE

log = logging.getLogger(__name__)


class Handlers:
    """Handlers for one venue account."""

    def __init__(
        self,
        venue: str,
        plans: PlanStore,
        holds: HoldStore,
        runners: PlanRunners,
        wake: Callable[[], None],
        want: Callable[[Iterable[str]], None],
    ) -> None:
        """``wake``: the outbox has something new; ``want``: these assets are traded together."""
        self._venue = venue
        self._plans = plans
        self._holds = holds
        self._runners = runners
        self._wake = wake
        self._want = want

    async def on_plan(self, plan: RebalancePlanned, meta: Meta) -> None:
        """Accept the plan and start on it, or drop it: whoever decided it will look again. Raises RetryLater."""
        if plan.venue != self._venue:
            log.error("plan %s is for the venue %s: dropped", plan.plan_id, plan.venue)
            return
        try:
            outcome = await self._runners.begin(plan, meta)
        except UNAVAILABLE as error:
            raise RetryLater(f"the database does not answer: {error!r}") from error
        log.info("plan %s (%s) of %s: %s", plan.plan_id, plan.reason, plan.strategy_id, outcome)
        if outcome in {"accepted", "begun", "duplicate_open"}:
            self._want(line.asset for line in plan.lines)

    async def on_seal(self, command: SealStrategy, meta: Meta) -> None:
        """Seal the strategy, now or with the end of its open plan. Raises RetryLater."""
        try:
            await self._plans.seal(command.strategy_id, command.venue, meta.message_id)
        except UNAVAILABLE as error:
            raise RetryLater(f"the database does not answer: {error!r}") from error
        self._wake()

    async def on_hold(self, command: HoldStrategy, meta: Meta) -> None:
        """Hold the strategy: no new plan from now on. Raises RetryLater, Refused."""
        try:
            await self._holds.hold(command, meta.message_id)
        except UNAVAILABLE as error:
            raise RetryLater(f"the database does not answer: {error!r}") from error
        self._wake()

    async def on_free(self, command: FreeStrategy, meta: Meta) -> None:
        """End a hold. Raises RetryLater, Refused."""
        try:
            await self._holds.free(command, meta.message_id)
        except UNAVAILABLE as error:
            raise RetryLater(f"the database does not answer: {error!r}") from error
        self._wake()

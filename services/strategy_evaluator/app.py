"""The composition root of an evaluator."""

import asyncio
import gc
import logging
import time
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.strategy_evaluator.adapters.nats_outbound import SOURCE, Outbound
from services.strategy_evaluator.evaluation import Evaluation
from services.strategy_evaluator.handlers import Handlers, HeartbeatHandler, heartbeat
from services.strategy_evaluator.journal import Journal
from services.strategy_evaluator.membership import Members
from services.strategy_evaluator.pace import Clocks, Pace
from services.strategy_evaluator.prices import Patience
from services.strategy_evaluator.settings import Settings
from shared.contracts import subjects
from shared.contracts.progress import encode_progress
from shared.core.errors import Refused, RetryLater
from shared.messaging.broker import make_broker
from shared.messaging.following import Follower, listen
from shared.messaging.health import Health
from shared.messaging.publishing import Publisher
from shared.messaging.runtime import App

log = logging.getLogger(__name__)

_PLAN_PUBLISHERS = 32
_ASKERS = 4
_TIMER_INTERVAL_S = 0.1
_REFUSED_AGAIN_S = 30.0
_LAST_WORDS_S = 3.0
_PROGRESS_LOOK_S = 0.1


class StrategyEvaluatorApp:
    """One evaluator, put together. Nothing is connected before ``start``; nothing durable is owned."""

    name = SOURCE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker = make_broker(
            settings.nats_url, f"{SOURCE}-{settings.instance}", user=settings.nats_user, password=settings.nats_password
        )
        self.health = Health(self._broker)
        # A new id with every start: a restarted evaluator is another member, its predecessor fades away.
        self.members = Members(f"{settings.instance}-{uuid.uuid4().hex[:12]}", settings.member_gone_s)
        self._journal = Journal(
            self.members.own_id, settings.decisions_interval_s, time.monotonic_ns, keeps_all=settings.decisions_all
        )
        self.evaluation = Evaluation(
            self.members,
            self._journal,
            Patience(settings.prices_silence_s, settings.prices_lag_s),
            Pace(settings.plan_repeat_s, settings.plan_spacing_s, confirming_quotes=settings.confirming_quotes),
            Clocks(),
        )
        self._publisher = Publisher(self._broker, SOURCE)
        self._outbound = Outbound(
            self._broker, self._publisher, timedelta(seconds=settings.plan_expiry_s), time.time_ns
        )
        beats = HeartbeatHandler(self.members, self.evaluation.share_out, time.monotonic)
        self._listeners = (
            listen(self._broker, subjects.PRICES_ALL, self.evaluation.take_frame),
            listen(self._broker, subjects.EVALUATOR_HEARTBEATS, beats),
        )
        handlers = Handlers(self.evaluation)
        self._followers = (
            Follower(self._broker, "INSTRUMENTS", [subjects.INSTRUMENTS_ALL], handlers.instruments),
            Follower(self._broker, "PRICE_SNAPSHOTS", [subjects.PRICE_SNAPSHOTS_ALL], handlers.snapshot),
            Follower(self._broker, "HALTS", [subjects.HALTS_ALL], handlers.halt),
            Follower(
                self._broker, "STRATEGIES", [subjects.STRATEGIES_ALL], handlers.strategy, take=handlers.plain_strategy
            ),
            Follower(
                self._broker, "POSITIONS", [subjects.POSITIONS_ALL], handlers.position, take=handlers.plain_position
            ),
            Follower(self._broker, "PLAN_RESULTS", [subjects.PLAN_RESULTS_ALL], handlers.plan_result),
        )

    async def start(self) -> None:
        """Connect and listen; what there is already is loaded in the background, and nothing decided before."""
        await self._broker.start()
        for listener in self._listeners:
            await listener.start()

    async def stop(self) -> None:
        """Tell the others that they can take over at once, and what was only counted so far."""
        for listener in self._listeners:
            await listener.stop()
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._publisher.send(subjects.EVALUATOR_HEARTBEATS, heartbeat(self.members.own_id, leaves=True))
                farewell = replace(self.evaluation.progress(), leaves=True)
                await self._publisher.send(subjects.EVALUATOR_PROGRESS, encode_progress(farewell))
                await self._journal.flush(self._outbound.publish_decision, everything=True)
        except TimeoutError:
            log.warning("the last counted decisions were not published")
        await self._broker.stop()

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """Everything that runs for ever."""
        return (
            *(follower.run() for follower in self._followers),
            self._take_part(),
            self._keep_time(),
            self.evaluation.run_pending(),
            self._journal.run(self._outbound.publish_decision),
            *(self._publish_plans() for _ in range(_PLAN_PUBLISHERS)),
            *(self._ask() for _ in range(_ASKERS)),
            *(self._record_peaks() for _ in range(_ASKERS)),
        )

    async def _take_part(self) -> None:
        """Load everything, hear who else is there, then decide and send heartbeats."""
        with nothing_collected():
            await asyncio.gather(
                *(follower.caught_up.wait() for follower in self._followers),
                asyncio.sleep(1.2 * self._settings.heartbeat_s),
            )
        self.evaluation.enable()
        log.info(
            "decides: %d of %d strategies, members: %s",
            self.evaluation.owned_count(),
            len(self.evaluation.portfolios),
            ", ".join(self.members.ids),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_heartbeats())
            group.create_task(self._tell_progress())

    async def _send_heartbeats(self) -> None:
        while True:
            await self._publisher.send(subjects.EVALUATOR_HEARTBEATS, heartbeat(self.members.own_id))
            await asyncio.sleep(self._settings.heartbeat_s)

    async def _tell_progress(self) -> None:
        """Say how far it is whenever that changes, and with every heartbeat, for those who have just come."""
        told, told_at, moved = None, 0.0, self.evaluation.moved
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PROGRESS_LOOK_S):
                    await moved.wait()
            moved.clear()
            progress, now_s = self.evaluation.progress(), time.monotonic()
            if progress != told or now_s - told_at >= self._settings.heartbeat_s:
                await self._publisher.send(subjects.EVALUATOR_PROGRESS, encode_progress(progress))
                told, told_at = progress, now_s

    async def _keep_time(self) -> None:
        """What happens by the wall clock: rechecks, and members that fell silent."""
        while True:
            self.evaluation.look_at_rechecks()
            if self.members.forget_silent(time.monotonic()):
                log.info("members: %s", ", ".join(self.members.ids))
                self.evaluation.share_out()
            await asyncio.sleep(_TIMER_INTERVAL_S)

    async def _publish_plans(self) -> None:
        while True:
            to_publish = await self.evaluation.plans.get()
            try:
                await self._outbound.publish_plan(to_publish)
            except RetryLater as later:
                log.warning("plan %s is not published: %s", to_publish.plan.draft.plan_id, later)
                self.evaluation.unpublished(to_publish)

    async def _ask(self) -> None:
        while True:
            wanted = await self.evaluation.asking.asks.get()
            try:
                await self._outbound.ask(wanted)
            except RetryLater as later:
                log.warning("%s of %s is not asked for yet: %s", wanted.decision.code, wanted.strategy_id, later)
                self.evaluation.ask_failed(wanted, later.after_s)
            except Refused as refused:
                log.warning("%s of %s was refused: %s", wanted.decision.code, wanted.strategy_id, refused)
                self.evaluation.ask_failed(wanted, _REFUSED_AGAIN_S)

    async def _record_peaks(self) -> None:
        """Tell each peak until the registry has it, even if the price has fallen since."""
        while True:
            wanted = await self.evaluation.asking.peaks.get()
            try:
                await self._outbound.record_peak(wanted)
            except RetryLater as later:
                log.warning("peak of %s is not recorded yet: %s", wanted.strategy_id, later)
                await asyncio.sleep(later.after_s)
                self.evaluation.asking.peaks.put_nowait(wanted)
            except Refused as refused:
                log.warning("peak of %s was refused: %s", wanted.strategy_id, refused)


@contextmanager
def nothing_collected() -> Iterator[None]:
    """No search for cyclic garbage meanwhile, and never again among what there is at the end.

    What is loaded stays: to search millions of objects takes seconds in which no price is heard.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def build_app(settings: Settings) -> App:
    """An evaluator."""
    return StrategyEvaluatorApp(settings)

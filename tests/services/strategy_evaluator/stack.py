"""Evaluators on a real NATS server, and around them: a feed, a registry and an executor of the test's own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import ROUND_DOWN
from typing import Any

from services.strategy_evaluator.app import StrategyEvaluatorApp
from services.strategy_evaluator.settings import Settings
from shared.contracts import subjects
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.frames import encode_frame
from shared.contracts.lifecycle import PauseStrategy, RunAutoInvest
from shared.contracts.plans import RebalancePlanned
from shared.contracts.strategies import StopStrategy, StrategyChanged
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker, make_broker
from shared.messaging.following import Follower
from shared.messaging.publishing import Publisher
from shared.messaging.requests import serve
from tests.services.strategy_evaluator.messages import (
    D,
    closed,
    frame,
    instruments,
    investing,
    position,
    snapshot,
    strategy,
)

SUBJECT_OF: dict[str, Callable[[Any], str]] = {
    "trimtab.strategy.changed": lambda m: subjects.strategies(m.strategy_id),
    "trimtab.position.changed": lambda m: subjects.positions(m.strategy_id),
    "trimtab.plan.progressed": lambda m: subjects.plan_results(m.strategy_id),
    "trimtab.instruments.listed": lambda m: subjects.instruments(m.venue),
    "trimtab.prices.snapshotted": lambda m: subjects.price_snapshots(m.venue),
}


async def until(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {within_s} s: {what}"
        await asyncio.sleep(0.005)


async def end(tasks: list["asyncio.Future[Any]"]) -> None:
    """Cancel until they are done: before Python 3.12 ``asyncio.wait_for`` can swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.5)


@contextlib.asynccontextmanager
async def running(url: str, instance: str, **changes: Any) -> AsyncIterator[StrategyEvaluatorApp]:
    """An evaluator at work; stopped (not killed) at the end."""
    app = StrategyEvaluatorApp(Settings(nats_url=url, instance=instance, heartbeat_s=0.2, member_gone_s=0.8, **changes))
    await app.start()
    tasks = [asyncio.ensure_future(work) for work in app.background()]
    try:
        yield app
    finally:
        failed = [task.exception() for task in tasks if task.done()]
        await end(tasks)
        await app.stop()
        assert failed == []


class Surroundings:
    """Everything the evaluators talk to. Fills every plan it accepts at once, at the plan's own bids, without fees."""

    def __init__(self, url: str) -> None:
        self._broker: NatsBroker = make_broker(url, "surroundings")
        self._publisher = Publisher(self._broker, "tests")
        self.prices: dict[str, str] = {}
        self.sequence = 0
        self.plans: list[RebalancePlanned] = []
        self.accepted: list[RebalancePlanned] = []
        self.decisions: list[DecisionRecorded] = []
        self.stops: list[tuple[StopStrategy, Meta]] = []
        self.pauses: list[PauseStrategy] = []
        self.cycles: list[tuple[RunAutoInvest, Meta]] = []
        self.answers_cycles = True
        self.auto_invest: dict[str, Any] = {}
        self._last_plan: dict[str, str] = {}
        self._message = 0
        commands = {StopStrategy: self._on_stop, PauseStrategy: self._on_pause, RunAutoInvest: self._on_cycle}
        serve(self._broker, subjects.STRATEGY_COMMANDS, "strategy_registry", commands)

    async def __aenter__(self) -> "Surroundings":
        await self._broker.start()
        self._tasks = [
            asyncio.ensure_future(Follower(self._broker, stream, [every], handle, start="all").run())
            for stream, every, handle in (
                ("PLANS", subjects.PLANS_ALL, self._on_plan),
                ("EVALUATIONS", subjects.EVALUATIONS_ALL, self._on_decision),
            )
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._tasks)
        await self._broker.stop()

    async def tell(self, *messages: Message) -> None:
        for message in messages:
            self._message += 1
            await self._publisher.publish(
                SUBJECT_OF[message.TYPE](message), message, message_id=f"t{self._message}", correlation_id="test"
            )

    async def tick(self, prices: dict[str, str]) -> None:
        self.sequence += 1
        self.prices.update(prices)
        await self._publisher.send(
            subjects.prices("paper"),
            encode_frame(frame(self.sequence, prices, time.time_ns(), market_time_ms=self.market_time_ms)),
        )

    async def beat(self) -> None:
        """Heartbeats of the feed, for ever."""
        while True:
            await self.tick({})
            await asyncio.sleep(0.1)

    @property
    def market_time_ms(self) -> int:
        """An hour per frame: no cooldown is ever in the way."""
        return 1_767_225_600_000 + self.sequence * 3_600_000

    async def market_opens(self, prices: dict[str, str]) -> None:
        await self.tell(instruments(*prices))
        self.prices = dict(prices)
        await self.tell(snapshot(self.sequence, prices, time.time_ns()))

    async def add(self, strategy_id: str, holdings: dict[str, str], **changes: Any) -> None:
        await self.tell(strategy(strategy_id, **changes), position(strategy_id, holdings))

    async def _on_plan(self, _subject: str, message: Message, _meta: Meta) -> None:
        assert isinstance(message, RebalancePlanned)
        self.plans.append(message)
        if self._last_plan.get(message.strategy_id, "") != message.previous_plan_id:
            return  # as the executor: made before the last plan was known
        self._last_plan[message.strategy_id] = message.plan_id
        await self.accept(message)

    async def accept(self, message: RebalancePlanned) -> None:
        """Carry a plan out and say so."""
        self.accepted.append(message)
        holdings = {
            line.asset: str(
                (message.total_value * line.target_weight_pct / 100 / line.bid).quantize(D("1e-12"), ROUND_DOWN)
            )
            for line in message.lines
        }
        at = datetime.fromtimestamp(self.market_time_ms / 1000, UTC)
        done = message.position_version  # one fill per plan; what is closed is seen before what is posted
        await self.tell(
            closed(
                message.strategy_id,
                message.plan_id,
                done,
                kind=message.kind,
                market_time=at,
                fills_total=done,
                answers=message.answers,
            ),
            position(message.strategy_id, holdings, done + 1, fills_posted=done),
        )

    def _on_decision(self, _subject: str, message: Message, _meta: Meta) -> None:
        assert isinstance(message, DecisionRecorded)
        self.decisions.append(message)

    async def _on_stop(self, command: StopStrategy, meta: Meta) -> StrategyChanged:
        self.stops.append((command, meta))
        return strategy(command.strategy_id, "exiting", version=9)

    async def _on_pause(self, command: PauseStrategy, _meta: Meta) -> StrategyChanged:
        self.pauses.append(command)
        paused = strategy(command.strategy_id, "paused", version=9)
        await self.tell(paused)
        return paused

    async def _on_cycle(self, command: RunAutoInvest, meta: Meta) -> StrategyChanged:
        """As the registry: the state says that it was heard; or, if it is not to answer, that it cannot now."""
        self.cycles.append((command, meta))
        if not self.answers_cycles:
            raise RetryLater("no price yet", after_s=0.1)
        state = investing(command.cycle, settled_until=command.due_at, last_made_at=command.market_time)
        heard = strategy(command.strategy_id, version=4 + command.cycle, auto_invest=self.auto_invest, invested=state)
        await self.tell(heard)
        return heard

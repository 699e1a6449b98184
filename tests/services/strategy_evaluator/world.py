"""The evaluator without a broker: real messages in, plans, exits and decisions out, clocks of the test's own."""

from typing import Any

from services.strategy_evaluator.asking import Ask, PeakToRecord
from services.strategy_evaluator.evaluation import Evaluation
from services.strategy_evaluator.handlers import Handlers
from services.strategy_evaluator.journal import Journal
from services.strategy_evaluator.membership import Members
from services.strategy_evaluator.outgoing import PlanToPublish
from services.strategy_evaluator.pace import Clocks, Pace
from services.strategy_evaluator.prices import Patience
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.frames import encode_frame
from shared.contracts.wire import Message, Meta
from tests.core.portfolio_samples import AT
from tests.services.strategy_evaluator.messages import NS, frame

PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}
META = Meta("m", "tests", AT, "", "")


class World:
    """An evaluation and what has come out of it so far."""

    def __init__(self, **pace: Any) -> None:
        self.now_ns = 1_700_000_000 * NS
        self.set_back_ns = 0
        self.members = Members("e1", 3.0)
        self.journal = Journal("e1", 60.0, self.steady)
        self.evaluation = Evaluation(
            self.members, self.journal, Patience(), Pace(**pace), Clocks(self.clock, self.steady)
        )
        self.handlers = Handlers(self.evaluation)
        self.sequence = 0
        self.decisions: list[DecisionRecorded] = []

    def clock(self) -> int:
        return self.now_ns - self.set_back_ns

    def steady(self) -> int:
        return self.now_ns

    def tell(self, *messages: Message) -> None:
        take = {
            "trimtab.strategy.changed": self.handlers.strategy,
            "trimtab.position.changed": self.handlers.position,
            "trimtab.plan.progressed": self.handlers.plan_result,
            "trimtab.instruments.listed": self.handlers.instruments,
            "trimtab.halt.changed": self.handlers.halt,
            "trimtab.prices.snapshotted": self.handlers.snapshot,
        }
        for message in messages:
            take[message.TYPE]("subject", message, META)
        self.look()

    def tick(self, prices: dict[str, str], **changes: Any) -> None:
        self.sequence += 1
        self.evaluation.take_frame(encode_frame(frame(self.sequence, prices, self.clock(), **changes)))
        self.look()

    def look(self) -> None:
        self.evaluation.look_at_rechecks()
        self.evaluation.look_at_pending(1_000_000)

    def pass_time(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS)
        self.look()

    def wait(self, seconds: float, market_time_ms: int | None = None) -> None:
        """Time passes while the market stands still, with a heartbeat of the feed at its end."""
        self.now_ns += int(seconds * NS)
        self.tick({}, market_time_ms=market_time_ms)

    def plans(self) -> list[PlanToPublish]:
        return _drain(self.evaluation.plans)

    def asks(self) -> list[Ask]:
        return _drain(self.evaluation.asking.asks)

    def peaks(self) -> list[PeakToRecord]:
        return _drain(self.evaluation.asking.peaks)

    async def codes(self) -> list[str]:
        self.decisions.clear()
        self.now_ns += NS

        async def publish(message: DecisionRecorded, message_id: str) -> None:
            self.decisions.append(message)

        await self.journal.flush(publish)
        return [message.code for message in self.decisions]


def _drain(queue: Any) -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]

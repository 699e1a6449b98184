"""What is told of decisions, and when."""

from dataclasses import replace
from datetime import timedelta

from services.strategy_evaluator.journal import Journal, Noted
from shared.contracts.evaluations import DecisionRecorded
from shared.core.decisions import Figures
from shared.core.strategy import parse_strategy
from tests.core.portfolio_samples import AT, BIGONE, MINUTE

NS = 1_000_000_000
FIGURES = Figures(parse_strategy(BIGONE), further={"k": "v"})


class _Told:
    def __init__(self) -> None:
        self.now_ns = 1_000 * NS
        self.messages: list[tuple[DecisionRecorded, str]] = []
        self.journal = Journal("e1", 60.0, lambda: self.now_ns)

    async def flush(self, *, everything: bool = False) -> list[tuple[str, int, bool]]:
        self.messages.clear()
        await self.journal.flush(self._publish, everything=everything)
        return [(message.code, message.count, message.acted) for message, _ in self.messages]

    async def _publish(self, message: DecisionRecorded, message_id: str) -> None:
        self.messages.append((message, message_id))

    def hold(self, code: str, strategy_id: str = "s1", after: timedelta = timedelta()) -> None:
        self.journal.held(Noted(strategy_id, 4, code, FIGURES, AT + after))


async def test_hold_when_first_is_told_at_once() -> None:
    told = _Told()
    told.hold("within_band")
    assert await told.flush() == [("within_band", 1, False)]
    message = told.messages[0][0]
    assert message.inputs == {"k": "v", "threshold": "5"}
    assert message.evaluator == "e1"


async def test_hold_when_repeated_is_counted_and_told_once_a_minute() -> None:
    told = _Told()
    told.hold("within_band")
    await told.flush()
    for minutes in range(1, 6):
        told.hold("within_band", after=minutes * MINUTE)
    told.now_ns += 59 * NS
    assert await told.flush() == []
    told.now_ns += 1 * NS
    assert await told.flush() == [("within_band", 5, False)]
    message = told.messages[0][0]
    assert (message.first_at, message.last_at) == (AT + MINUTE, AT + 5 * MINUTE)


async def test_hold_when_the_code_changes_is_told_within_a_second() -> None:
    told = _Told()
    told.hold("within_band")
    await told.flush()
    told.hold("within_band")
    told.hold("cooldown")
    assert await told.flush() == []
    told.now_ns += NS
    assert await told.flush() == [("within_band", 1, False), ("cooldown", 1, False)]


async def test_hold_when_the_code_flaps_is_told_once_a_second() -> None:
    told = _Told()
    for _ in range(50):
        told.hold("within_band")
        told.hold("confirming_stop_loss")
    assert await told.flush() == [("within_band", 50, False), ("confirming_stop_loss", 50, False)]
    for _ in range(50):
        told.hold("within_band")
        told.hold("confirming_stop_loss")
    assert await told.flush() == []


async def test_acting_when_holds_are_pending_comes_after_them_with_its_own_id() -> None:
    told = _Told()
    told.hold("within_band")
    await told.flush()
    told.hold("within_band")
    acting = Noted("s1", 4, "threshold_reached:BTC", FIGURES, AT, "pl1.decided", "pl1")
    told.journal.acted(acting)
    assert await told.flush() == [("within_band", 1, False), ("threshold_reached:BTC", 1, True)]
    assert told.messages[1][1] == "pl1.decided"
    assert told.messages[1][0].plan_id == "pl1"
    told.journal.acted(replace(acting, strategy_id="s2"))
    assert await told.flush() == [("threshold_reached:BTC", 1, True)]


async def test_forget_when_something_is_pending_tells_it() -> None:
    told = _Told()
    told.hold("within_band")
    await told.flush()
    told.hold("within_band")
    told.journal.forget("s1")
    told.journal.forget("s1")
    assert await told.flush() == [("within_band", 1, False)]


async def test_everything_when_asked_for_is_told() -> None:
    told = _Told()
    for strategy_id in ("s1", "s2"):
        told.hold("within_band", strategy_id)
    await told.flush()
    told.hold("within_band", "s1")
    assert await told.flush(everything=True) == [("within_band", 1, False)]


async def test_message_ids_when_many_are_told_are_all_different() -> None:
    told = _Told()
    for number in range(100):
        told.hold("within_band", f"s{number}")
    await told.flush()
    assert len({message_id for _, message_id in told.messages}) == 100


async def test_hold_when_everything_is_kept_is_told_by_itself_once_per_market_time() -> None:
    told = _Told()
    told.journal = Journal("e1", 60.0, lambda: told.now_ns, keeps_all=True)
    for minutes in (0, 0, 1, 2):
        told.hold("within_band", after=minutes * MINUTE)
    told.hold("cooldown", after=2 * MINUTE)
    assert told.journal.unsaid == 4
    assert await told.flush() == [("within_band", 1, False)] * 3 + [("cooldown", 1, False)]
    assert [message.last_at for message, _ in told.messages] == [AT, AT + MINUTE, AT + 2 * MINUTE, AT + 2 * MINUTE]
    assert len({message_id for _, message_id in told.messages}) == 4
    assert told.journal.unsaid == 0

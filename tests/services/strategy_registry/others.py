"""The other services as the registry sees them: they take its commands in any order and answer in their own time."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from services.strategy_registry import life, requests
from services.strategy_registry.records import Advance, StrategyRecord
from shared.contracts.books import FundStrategy, ReleaseStrategy, TransferSettled, WithdrawFromStrategy
from shared.contracts.plans import FreeStrategy, HoldStrategy, PlanClosedSummary, PlanProgressed, SealStrategy
from shared.contracts.strategies import RequestStage, StrategyChanged
from shared.contracts.wire import Message
from shared.core.errors import Refused
from shared.core.position import PlanOutcome
from shared.core.rules import ExitAction
from shared.core.situation import RequestKind
from shared.core.strategy import TRANSITIONS, StrategyStatus
from tests.services.strategy_registry.world import MARKET_TIME, VENUE

TO_LEDGER = (FundStrategy, WithdrawFromStrategy, ReleaseStrategy)
PAYMENT = requests.Payment({"USDT": Decimal(1), "BTC": Decimal(50_000)}, "USDT")


@dataclass
class Executor:
    """Takes plans unless it is held or sealed; tells its whole state at each change."""

    strategy_id: str
    sequence: int = 0
    fills: int = 0
    open: tuple[str, str] | None = None  # kind, answers
    last: PlanClosedSummary | None = None
    held_for: str = ""
    seal_wanted: bool = False
    sealed: bool = False
    required: int = 0

    def word(self, change: str) -> PlanProgressed:
        self.sequence += 1
        return PlanProgressed(
            strategy_id=self.strategy_id,
            venue=VENUE,
            sequence=self.sequence,
            change=change,
            open_plan_id="plan" if self.open else None,
            last_closed=self.last,
            fills_total=self.fills,
            sealed=self.sealed,
            held_for="" if self.open else self.held_for,
            position_required=self.required,
        )

    def plan(self, kind: str, answers: str) -> list[PlanProgressed]:
        if self.open or self.held_for or self.sealed or self.seal_wanted:
            return []
        self.open = (kind, answers)
        return [self.word("accepted")]

    def close(self, outcome: PlanOutcome, fills: int) -> list[PlanProgressed]:
        if self.open is None:
            return []
        (kind, answers), self.open = self.open, None
        self.fills += fills
        self.last = PlanClosedSummary(
            plan_id=f"pl{self.sequence}",
            kind=kind,
            reason="",
            outcome=outcome,
            detail="",
            closed_at=MARKET_TIME,
            market_time=MARKET_TIME,
            orders=fills,
            fills=fills,
            answers=answers,
        )
        words = [self.word("closed")]
        if self.seal_wanted and not self.sealed:
            self.sealed = True
            words.append(self.word("sealed"))
        elif self.held_for:
            words.append(self.word("held"))
        return words

    def take(self, command: Message) -> list[PlanProgressed]:
        match command:
            case HoldStrategy(hold_id=hold_id):
                assert not self.held_for, "never two holds"
                self.held_for = hold_id
                return [] if self.open else [self.word("held")]
            case FreeStrategy(hold_id=hold_id, position_version=version):
                self.required = max(self.required, version)
                assert self.held_for == hold_id, "a hold is ended after it was in force, else it never ends"
                self.held_for = ""
                return [self.word("freed")]
            case SealStrategy():
                self.seal_wanted = True
                if self.open or self.sealed:
                    return []
                self.sealed = True
                return [self.word("sealed")]
        raise AssertionError(command)


@dataclass
class Books:
    """The ledger: settles each transfer once, when it gets to it."""

    version: int = 1
    settled: set[str] = field(default_factory=set)
    paid: list[Message] = field(default_factory=list)

    def take(self, command: Any, *, posted: bool, short: bool = False) -> list[TransferSettled]:
        assert command.transfer_id not in self.settled, "ids of transfers are unique"
        self.settled.add(command.transfer_id)
        self.version += posted
        amounts = {}
        if posted and not isinstance(command, ReleaseStrategy):
            amount = command.amount or Decimal(7)
            amounts = {command.asset: amount / 2 if short else amount}
        names = {FundStrategy: "fund", WithdrawFromStrategy: "withdraw", ReleaseStrategy: "release"}
        return [
            TransferSettled(
                transfer_id=command.transfer_id,
                strategy_id=command.strategy_id,
                venue=VENUE,
                purpose=names[type(command)],
                posted=posted,
                reason="" if posted else "the wallet holds less",
                amounts=amounts,
                position_version=self.version if posted else 0,
            )
        ]


class Registry:
    """The pure machine with what it has sent, every promise of it checked at each step."""

    def __init__(self, start: Advance) -> None:
        self.record: StrategyRecord = start.record
        self.sent: list[Message] = []
        self.ids: set[str] = set()
        self.to_ledger: list[Any] = []
        self.to_executor: list[Message] = []
        self.told: list[StrategyChanged] = []
        self.heard: set[str] = set()
        self.done: list[str] = []
        self.is_sealed = False
        self._keep(start)

    def step(self, changed_by: str, step: Any) -> bool:
        """Whether anything changed; a refusal changes nothing."""
        try:
            made = life.stepped(self.record, changed_by, step)
        except Refused:
            return False
        if made is None:
            return False
        self._keep(made)
        return True

    def learn(self, fact: Message) -> None:
        if isinstance(fact, TransferSettled):
            self.heard.add(fact.transfer_id)
            self.step("ledger", lambda record: Advance(life.with_transfer(record, fact)))
        elif isinstance(fact, PlanProgressed):
            self.is_sealed |= fact.sealed
            self.step("order_executor", lambda record: Advance(life.with_progress(record, fact)))

    def pay(self) -> bool:
        return self.step("strategy_registry", lambda record: requests.paid_at(record, PAYMENT))

    def _keep(self, made: Advance) -> None:
        for outgoing in made.outgoing:
            assert outgoing.message_id not in self.ids, "every message is sent once"
            self.ids.add(outgoing.message_id)
            self.sent.append(outgoing.message)
            if isinstance(outgoing.message, StrategyChanged):
                self._told(outgoing.message)
            elif isinstance(outgoing.message, TO_LEDGER):
                self._to_ledger(outgoing.message)
            elif isinstance(outgoing.message, HoldStrategy | FreeStrategy | SealStrategy):
                self.to_executor.append(outgoing.message)
        self.record = made.record
        if self.told:
            last = replace(made.record, changed_by=self.told[-1].changed_by).changed()
            assert last.model_dump(exclude={"released", "exit_action"}) == self.told[-1].model_dump(
                exclude={"released", "exit_action"}
            ), "nothing that is told changes without a version"

    def _told(self, changed: StrategyChanged) -> None:
        if self.told:
            before = self.told[-1]
            assert changed.version == before.version + 1
            assert changed.status is before.status or changed.status in TRANSITIONS[before.status]
            assert changed.revision == before.revision + (changed.change == "edited")
            gone = {one.request_id for one in before.requests} - {one.request_id for one in changed.requests}
            if changed.change == "request_done":
                (request_id,) = gone
                assert request_id not in self.done
                self.done.append(request_id)
            elif changed.change in {"edited", "rebalance_requested"}:
                assert len(gone) <= 1, "a rebalance takes the place of one that waits"
            elif changed.change != "exit_requested":
                refusals = {"money_refused", "cycle_left_out", "auto_invest_stopped"}
                assert not gone or changed.change in refusals
        self.told.append(changed)

    def _to_ledger(self, command: Any) -> None:
        if isinstance(command, ReleaseStrategy):
            asked = {one.transfer_id for one in self.sent if isinstance(one, FundStrategy | WithdrawFromStrategy)}
            assert asked <= self.heard, "money on its way is waited for before the release"
            assert self.is_sealed, "released after the seal only"
        self.to_ledger.append(command)


def evaluator_plan(record: StrategyRecord) -> tuple[str, str] | None:
    """Kind and answers of the plan that an evaluator would ask for, None for none."""
    if record.status is StrategyStatus.BUILDING:
        return "initial", ""
    if record.status is StrategyStatus.EXITING:
        return None if record.facts.stop_action is ExitAction.KEEP else ("exit", "")
    first = record.requests[0] if record.requests else None
    if first is None or first.stage is not RequestStage.OPEN:
        return None
    if record.status is StrategyStatus.PAUSED and first.kind is not RequestKind.WITHDRAW:
        return None
    is_running = record.status in {StrategyStatus.ACTIVE, StrategyStatus.PAUSED}
    return (first.kind.value, first.request_id) if is_running else None

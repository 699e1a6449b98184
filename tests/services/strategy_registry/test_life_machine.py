"""Any life at all: commands at any time, words late, twice and in any order; the promises hold and it comes to rest."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.strategy_registry import cycles, editing, life, requests
from services.strategy_registry.records import MAX_REQUESTS, Advance
from shared.contracts.books import FundStrategy, ReleaseStrategy
from shared.contracts.lifecycle import EditStrategy, PauseStrategy, RunAutoInvest
from shared.contracts.plans import FreeStrategy, HoldStrategy
from shared.contracts.strategies import RequestStage, StopStrategy
from shared.contracts.wire import Message
from shared.core.auto_invest import AutoInvestStatus, Cause
from shared.core.position import PlanOutcome
from shared.core.rules import ExitAction
from shared.core.situation import RequestKind
from shared.core.strategy import StrategyStatus
from tests.services.strategy_registry.others import Books, Executor, Registry, evaluator_plan
from tests.services.strategy_registry.world import document

AT = datetime(2026, 1, 1, tzinfo=UTC)
AUTO_INVEST = {"amount": "50", "schedule": {"every": "1d", "at": "00:00"}, "pause_at_total": "200"}
RUNNING = {StrategyStatus.ACTIVE, StrategyStatus.PAUSED}
TARGETS = [{"BTC": "40", "ETH": "30", "SOL": "30"}, {"BTC": "50", "ETH": "50"}, {"BTC": "60", "ADA": "40"}]
ANSWERS = st.sampled_from(["stop", "skip", "carry_over"])


class Life(RuleBasedStateMachine):
    """The registry's machine between a user, an evaluator, an executor and a ledger."""

    def __init__(self) -> None:
        super().__init__()
        start = life.confirmed("pv1", document(auto_invest=AUTO_INVEST), Decimal(1200), AT, "user")
        self.registry = Registry(start)
        self.executor = Executor(start.record.strategy_id)
        self.books = Books()
        self.undelivered: list[Message] = []
        self.delivered: list[Message] = []
        self.days = 0

    @property
    def id(self) -> str:
        return self.registry.record.strategy_id

    @initialize(active=st.sampled_from([True, True, True, False]))
    def begin(self, active: bool) -> None:
        if active:
            self._settle()
            assert self.registry.record.status is StrategyStatus.ACTIVE

    # The user.

    @precondition(lambda self: self.registry.record.status in RUNNING)
    @rule(amount=st.sampled_from(["10", "25.5"]))
    def add_money(self, amount: str) -> None:
        money = requests.NewMoney("USDT", Decimal(amount), Decimal(amount))
        self.registry.step("user", lambda record: requests.money_added(record, money, AT, {}))

    @precondition(lambda self: self.registry.record.status in RUNNING)
    @rule(percent=st.booleans())
    def withdraw(self, percent: bool) -> None:
        amount, share = (None, Decimal(10)) if percent else (Decimal(20), None)
        self.registry.step("user", lambda record: requests.withdrawal_asked(record, "USDT", amount, share, AT))

    @precondition(lambda self: self.registry.record.status in RUNNING)
    @rule(
        weights=st.sampled_from(TARGETS),
        short=ANSWERS,
        composition=st.sampled_from(["stop", "continue"]),
        with_auto_invest=st.sampled_from(["keep", "change", "remove"]),
        rebalance=st.booleans(),
    )
    def edit(self, weights: Any, short: str, composition: str, with_auto_invest: str, rebalance: bool) -> None:
        changes: dict[str, Any] = {"targets": weights}
        if with_auto_invest == "remove":
            changes["auto_invest"] = None
        elif with_auto_invest == "change":
            changes["auto_invest"] = {**AUTO_INVEST, "short_balance": short, "composition_change": composition}
        revision = self.registry.record.revision
        command = EditStrategy(strategy_id=self.id, revision=revision, changes=changes, rebalance=rebalance)

        def step(record: Any) -> Any:
            return editing.edited(record, editing.edit_of(record, command, 10), rebalance, AT, self.now)

        self.registry.step("user", step)

    @rule(pause=st.booleans())
    def pause_or_resume(self, pause: bool) -> None:
        command = PauseStrategy(strategy_id=self.id, reason="paused_by_user")
        self.registry.step("user", lambda record: life.paused(record, command) if pause else life.resumed(record))

    @rule()
    def rebalance_now(self) -> None:
        self.registry.step("user", lambda record: life.rebalance_requested(record, AT))

    @rule(action=st.sampled_from([ExitAction.SELL, ExitAction.KEEP]), likely=st.integers(0, 9))
    def stop(self, action: ExitAction, likely: int) -> None:
        if likely >= 7 or self.registry.record.status is StrategyStatus.FAILED:
            self._stop(action)

    def _stop(self, action: ExitAction) -> None:
        command = StopStrategy(strategy_id=self.id, reason="stopped_by_user", action=action)
        self.registry.step("user", lambda record: Advance(life.with_stop(record, command)))

    # The evaluator.

    @property
    def now(self) -> datetime:
        return AT + timedelta(days=self.days)

    @rule(cause=st.sampled_from(list(Cause)), made=st.sampled_from([True, True, False]), old=st.booleans())
    def auto_invest(self, cause: Cause, made: bool, old: bool) -> None:
        self.days += 1
        state = self.registry.record.auto_invest
        if state is None:
            return
        command = RunAutoInvest(
            strategy_id=self.id,
            cycle=state.cycle + (0 if old else 1),
            cause=cause,
            due_at=self.now,
            market_time=self.now,
            made=made,
        )
        money = cycles.CycleMoney(Decimal(50), Decimal(1200)) if made else None
        changed = self.registry.step("evaluator", lambda record: requests.cycle_run(record, command, money, AT))
        assert not (changed and (old or state.pending or state.status is not AutoInvestStatus.RUNNING))

    @rule()
    def evaluate(self) -> None:
        wanted = evaluator_plan(self.registry.record)
        if wanted is not None:
            self.undelivered += self.executor.plan(*wanted)

    # The executor and the ledger: they take commands in any order, and answer once.

    @rule(outcome=st.sampled_from(list(PlanOutcome)), fills=st.integers(0, 2))
    def close_plan(self, outcome: PlanOutcome, fills: int) -> None:
        fills = fills if outcome is PlanOutcome.PARTIAL else 0
        self.undelivered += self.executor.close(outcome, fills)

    @precondition(lambda self: self.registry.to_executor)
    @rule(pick=st.integers(0, 99))
    def executor_takes(self, pick: int) -> None:
        waiting = self.registry.to_executor
        self.undelivered += self.executor.take(waiting.pop(pick % len(waiting)))

    @precondition(lambda self: self.registry.to_ledger)
    @rule(pick=st.integers(0, 99), posted=st.sampled_from([True, True, True, False]), short=st.booleans())
    def ledger_takes(self, pick: int, posted: bool, short: bool) -> None:
        waiting = self.registry.to_ledger
        command = waiting.pop(pick % len(waiting))
        is_first = isinstance(command, FundStrategy) and command.amount == 1200
        self.undelivered += self.books.take(command, posted=posted or is_first, short=short)

    @rule()
    def prices_come(self) -> None:
        if self.registry.pay():
            assert self.executor.held_for, "money leaves while plans are held off"
            assert self.executor.open is None

    # The wires.

    @precondition(lambda self: self.undelivered)
    @rule(pick=st.integers(0, 99), count=st.integers(1, 3))
    def deliver(self, pick: int, count: int) -> None:
        for _ in range(min(count, len(self.undelivered))):
            fact = self.undelivered.pop(pick % len(self.undelivered))
            self.delivered.append(fact)
            self.registry.learn(fact)

    @rule()
    def a_while_passes(self) -> None:
        """One of everything, in the usual order: how far lives come without a rule for each step."""
        if (wanted := evaluator_plan(self.registry.record)) is not None:
            self.undelivered += self.executor.plan(*wanted)
        self.undelivered += self.executor.close(PlanOutcome.COMPLETED, 1)
        if self.registry.to_executor:
            self.undelivered += self.executor.take(self.registry.to_executor.pop(0))
        self.prices_come()
        if self.registry.to_ledger:
            self.undelivered += self.books.take(self.registry.to_ledger.pop(0), posted=True)
        if self.undelivered:
            self.deliver(0, 3)

    @precondition(lambda self: self.delivered)
    @rule(pick=st.integers(0, 99))
    def deliver_again(self, pick: int) -> None:
        sent, version = len(self.registry.sent), self.registry.record.version
        self.registry.learn(self.delivered[pick % len(self.delivered)])
        assert (len(self.registry.sent), self.registry.record.version) == (sent, version), "once is enough"

    @invariant()
    def one_hold_at_a_time(self) -> None:
        holds = [one.hold_id for one in self.registry.sent if isinstance(one, HoldStrategy)]
        freed = [one.hold_id for one in self.registry.sent if isinstance(one, FreeStrategy)]
        assert len(holds) == len(set(holds))
        assert len(freed) == len(set(freed))
        assert holds[: len(freed)] == freed
        assert len(holds) - len(freed) <= 1

    @invariant()
    def line_is_short_and_payouts_first_while_paused(self) -> None:
        record = self.registry.record
        payouts = sum(one.kind is RequestKind.WITHDRAW for one in record.requests)
        assert max(payouts, len(record.requests) - payouts) <= MAX_REQUESTS
        if record.status is StrategyStatus.PAUSED:
            kinds = [one.kind.value for one in record.requests]
            assert kinds == sorted(kinds, key=lambda kind: kind != "withdraw")
        working = [one for one in record.requests if one.stage not in {RequestStage.OPEN, RequestStage.FUNDING}]
        assert len(working) <= 1

    def teardown(self) -> None:
        """Everything comes in the end: the strategy is at rest, with or without having been stopped."""
        self._settle()
        record = self.registry.record
        self._at_rest()
        if record.status not in {StrategyStatus.CLOSED, StrategyStatus.REFUSED}:
            self._stop(ExitAction.SELL)
            self._settle()
            self._stop(ExitAction.SELL)  # once more if the release was refused
            self._settle()
        record = self.registry.record
        assert record.status in {StrategyStatus.CLOSED, StrategyStatus.REFUSED}
        assert not record.requests
        assert not record.transfers
        assert record.hold is None or record.status is StrategyStatus.REFUSED
        if record.status is StrategyStatus.CLOSED:
            assert self.executor.sealed
            assert any(isinstance(one, ReleaseStrategy) for one in self.registry.sent)

    def _at_rest(self) -> None:
        record = self.registry.record
        assert not record.transfers
        if record.status in RUNNING:
            assert record.hold is None
            assert not self.executor.held_for
            waiting = [one.kind.value for one in record.requests]
            assert "withdraw" not in waiting
            assert record.status is StrategyStatus.PAUSED or not waiting
            assert record.auto_invest is None or not record.auto_invest.pending

    def _settle(self) -> None:
        for _ in range(400):
            before = (self.registry.record, len(self.executor.held_for), len(self.undelivered), self.executor.sequence)
            while self.registry.to_ledger:
                self.undelivered += self.books.take(self.registry.to_ledger.pop(), posted=True)
            while self.registry.to_executor:
                self.undelivered += self.executor.take(self.registry.to_executor.pop())
            self.undelivered += self.executor.close(PlanOutcome.COMPLETED, 1)
            while self.undelivered:
                fact = self.undelivered.pop()
                self.delivered.append(fact)
                self.registry.learn(fact)
            self.registry.pay()
            if (wanted := evaluator_plan(self.registry.record)) is not None:
                self.undelivered += self.executor.plan(*wanted)
            after = (self.registry.record, len(self.executor.held_for), len(self.undelivered), self.executor.sequence)
            if before == after:
                return
        raise AssertionError(f"never at rest: {self.registry.record}")


def test_life_when_anything_happens_in_any_order_keeps_its_promises_and_comes_to_rest() -> None:
    run_state_machine_as_test(Life, settings=settings(max_examples=120, stateful_step_count=50, deadline=None))

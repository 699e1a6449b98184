"""The state machine alone: whatever the order and however often the facts come, the end is the same."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.strategy_registry import amounts, life, requests
from services.strategy_registry.records import Advance, ExitStage, Outgoing, StrategyRecord
from services.strategy_registry.requests import NewMoney
from shared.contracts.books import FundStrategy, ReleaseStrategy
from shared.contracts.plans import SealStrategy
from shared.contracts.strategies import StopStrategy, StrategyChanged
from shared.core.errors import Refused, RetryLater
from shared.core.identity import transfer_id
from shared.core.position import PlanOutcome
from shared.core.strategy import TRANSITIONS, StrategyStatus
from tests.services.strategy_registry.world import document, progressed, settled

AT = datetime(2026, 1, 1, tzinfo=UTC)
START = life.confirmed("pv1", document(), Decimal(1200), AT)
ID = START.record.strategy_id
Learn = Callable[[StrategyRecord], StrategyRecord]

STOP = StopStrategy(strategy_id=ID, reason="take_profit", inputs={"profit_pct": "15"})
FUNDED = settled(ID, transfer_id(ID, "fund", 0), "fund")
RELEASED = settled(ID, transfer_id(ID, "release", 0), "release")
INITIAL = progressed(ID, 1, "closed", kind="initial", fills=3)
SOLD = progressed(ID, 2, "closed", kind="exit", fills=6)
SEALED = progressed(ID, 3, "sealed", kind="exit", fills=6, sealed=True)

FACTS: dict[str, Learn] = {
    "funded": lambda record: life.with_transfer(record, FUNDED),
    "stop": lambda record: life.with_stop(record, STOP),
    "initial": lambda record: life.with_progress(record, INITIAL),
    "sold": lambda record: life.with_progress(record, SOLD),
    "sealed": lambda record: life.with_progress(record, SEALED),
    "released": lambda record: life.with_transfer(record, RELEASED),
}


def lived(names: list[str]) -> tuple[StrategyRecord, list[Outgoing]]:
    record, outgoing = START.record, list(START.outgoing)
    for name in names:
        advanced = life.advance(FACTS[name](record))
        record = advanced.record
        outgoing += advanced.outgoing
    return record, outgoing


@given(
    st.permutations(list(FACTS)).flatmap(
        lambda order: st.lists(st.sampled_from(list(FACTS)), max_size=8).map(lambda again: order + again)
    )
)
def test_life_when_facts_come_in_any_order_and_again_closes_with_each_command_once(names: list[str]) -> None:
    record, outgoing = lived(names)
    assert record.status is StrategyStatus.CLOSED
    changes = [one.message for one in outgoing if isinstance(one.message, StrategyChanged)]
    assert [one.version for one in changes] == list(range(1, len(changes) + 1))
    for before, after in pairwise(changes):
        assert after.status == before.status or after.status in TRANSITIONS[before.status]
    kinds = [type(one.message) for one in outgoing]
    assert kinds.count(FundStrategy) == 1
    assert kinds.count(ReleaseStrategy) <= 1
    assert kinds.count(SealStrategy) <= 1
    assert len({one.message_id for one in outgoing}) == len(outgoing)


@given(st.lists(st.sampled_from(list(FACTS)), max_size=12))
def test_life_when_some_facts_are_missing_never_closes_without_its_money(names: list[str]) -> None:
    record, outgoing = lived(names)
    if record.status is StrategyStatus.CLOSED:
        assert {"funded", "released"} <= set(names)
    if any(isinstance(one.message, ReleaseStrategy) for one in outgoing):
        assert {"funded", "stop", "sealed"} <= set(names)
    if record.status is StrategyStatus.ACTIVE:
        assert {"funded", "initial"} <= set(names)
        assert "stop" not in names


def test_steps_when_in_the_usual_order_tell_each_change_once() -> None:
    _, outgoing = lived(["funded", "initial", "stop", "sold", "sealed", "released"])
    told = [one.message.change if isinstance(one.message, StrategyChanged) else one.message.TYPE for one in outgoing]
    assert told == [
        "confirmed",
        "trimtab.strategy.fund",
        "funded",
        "activated",
        "exit_requested",
        "trimtab.notification.raised",
        "trimtab.strategy.seal",
        "sealed",
        "trimtab.strategy.release",
        "closed",
        "trimtab.notification.raised",
    ]


def test_stop_when_asked_twice_keeps_the_first_reason() -> None:
    record, _ = lived(["funded", "initial", "stop"])
    again = life.with_stop(record, StopStrategy(strategy_id=ID, reason="stopped_by_user"))
    assert life.advance(again) == Advance(record)
    assert (record.exit_reason, record.inputs) == ("take_profit", {"profit_pct": "15"})


@pytest.mark.parametrize(
    ("outcome", "fills", "bought", "sold"),
    [
        (PlanOutcome.COMPLETED, 3, True, True),
        (PlanOutcome.PARTIAL, 1, True, False),
        (PlanOutcome.PARTIAL, 0, False, False),  # every order was refused, or nothing had a price
        (PlanOutcome.NOTHING_TRADABLE, 0, False, True),
        (PlanOutcome.EXPIRED, 0, False, False),
        (PlanOutcome.STALE, 0, False, False),
    ],
)
def test_plan_when_it_ends_counts_only_if_it_did_its_work(
    outcome: PlanOutcome, fills: int, bought: bool, sold: bool
) -> None:
    initial = progressed(ID, 1, "closed", kind="initial", outcome=outcome, fills=fills)
    after = life.with_progress(START.record, initial)
    assert (after.facts.initial_closed_at is not None) is bought
    after = life.with_progress(START.record, progressed(ID, 1, "closed", kind="exit", outcome=outcome, fills=fills))
    assert after.facts.exit_sold is sold


def test_transfer_when_of_something_else_is_refused() -> None:
    with pytest.raises(Refused, match="is not of this strategy"):
        life.with_transfer(START.record, settled(ID, "trother", "fund"))


def test_stop_when_the_release_was_refused_before_that_was_a_failure_tries_it_again() -> None:
    record, _ = lived(["funded", "initial", "stop", "sold", "sealed"])
    facts = replace(record.facts, released=False, release_refusal="the books do not allow it")
    old = replace(record, facts=facts, exit_stage=ExitStage.BLOCKED, change="release_refused")
    made = life.stepped(old, "user", lambda one: Advance(life.with_stop(one, STOP)))
    assert made is not None
    told = [one.message.change for one in made.outgoing if isinstance(one.message, StrategyChanged)]
    assert told == ["failed", "exit_requested", "sealed"]
    (release,) = [one.message for one in made.outgoing if isinstance(one.message, ReleaseStrategy)]
    assert release.transfer_id == transfer_id(ID, "release", 1)
    late = settled(ID, transfer_id(ID, "release", 0), "release", reason="the books do not allow it")
    assert life.with_transfer(made.record, late) == made.record


def test_money_when_it_settled_since_the_position_was_read_is_read_again() -> None:
    """Else neither the position nor what is on its way would count it towards the limit of 200,000 USDT."""
    record, _ = lived(["funded", "initial"])
    asked = requests.money_added(record, NewMoney("USDT", Decimal(150_000), Decimal(150_000)), AT, {}).record
    before = amounts.funds_settled(asked)
    amounts.require_same_money(asked, before)
    arrived = life.advance(life.with_transfer(asked, settled(ID, transfer_id(ID, "fund", 1), "fund"))).record
    assert amounts.worth_on_its_way(arrived) == 0
    with pytest.raises(RetryLater):
        amounts.require_same_money(arrived, before)
    again = requests.money_added(arrived, NewMoney("USDT", Decimal(10), Decimal(10)), AT, {}).record
    amounts.require_same_money(again, amounts.funds_settled(arrived))

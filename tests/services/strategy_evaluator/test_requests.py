"""What was asked of a strategy: the first of it is carried out, and until it is done the evaluator says so."""

from datetime import timedelta

import pytest

from services.strategy_evaluator.adapters.nats_outbound import planned
from shared.contracts.plans import PlanProgressed
from shared.contracts.strategies import StrategyChanged
from shared.core.position import PlanOutcome
from shared.core.rules import ExitAction
from tests.core.portfolio_samples import AT
from tests.services.strategy_evaluator.messages import (
    AT_MS,
    D,
    asked,
    closed,
    instruments,
    position,
    strategy,
)
from tests.services.strategy_evaluator.world import BALANCED, PRICES, World

DRIFTED = {"ONE": "1200"}
NOW, NEXT = asked("rq1", "rebalance"), asked("rq2", "withdraw")


def _world(told: StrategyChanged, held: dict[str, str] = BALANCED, *progress: PlanProgressed) -> World:
    world = World()
    world.tell(instruments(), told, position("s1", held), *progress)
    world.tick(PRICES, market_time_ms=AT_MS)
    world.evaluation.enable()
    world.look()
    return world


def _planned(world: World) -> list[tuple[str, str]]:
    return [(made.plan.draft.kind, made.plan.draft.answers) for made in world.plans()]


ROWS = [
    ("the first", (NOW, NEXT), [("rebalance", "rq1")]),
    ("the first, another kind", (NEXT, NOW), [("withdraw", "rq2")]),
    ("new money", (asked("rq3", "invest", position_version=1),), [("invest", "rq3")]),
    ("new money that is not in the position yet", (asked("rq3", "invest", position_version=2),), []),
    ("behind money on its way: nothing", (asked("rq3", "invest", "funding"), NOW), []),
    ("before money on its way", (NOW, asked("rq3", "invest", "funding")), [("rebalance", "rq1")]),
    *((f"behind a payout: {stage}", (asked("rq2", "withdraw", stage), NOW), [])
      for stage in ("holding", "paying", "freeing")),
]  # fmt: skip


@pytest.mark.parametrize(("requests", "planned"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_requests_when_several_are_open_the_first_is_worked_on(requests: tuple, planned: list) -> None:  # type: ignore[type-arg]
    world = _world(strategy("s1", requests=requests), DRIFTED)
    assert _planned(world) == planned
    assert world.evaluation.progress().unfinished, "somebody's word is awaited"


def test_rebalance_now_when_done_is_not_planned_again_before_the_registry_says_so() -> None:
    world = _world(strategy("s1", requests=(NOW,)))
    (made,) = world.plans()
    plan = made.plan.draft.plan_id
    world.tell(closed("s1", plan, answers="rq1", fills_total=1, market_time=AT))
    assert world.evaluation.progress().unfinished == {"fills_pending": 1}
    world.tell(position("s1", BALANCED, 2, fills_posted=1))
    world.wait(20, AT_MS)
    assert world.plans() == []
    assert world.evaluation.progress().unfinished == {"awaiting_registry": 1}
    world.tell(strategy("s1", version=5))
    assert world.evaluation.progress().unfinished == {}


@pytest.mark.parametrize("outcome", [PlanOutcome.EXPIRED, PlanOutcome.STALE])
def test_payout_when_its_plan_came_to_nothing_is_planned_again_after_a_second(outcome: PlanOutcome) -> None:
    world = _world(strategy("s1", requests=(NEXT,)))
    (made,) = world.plans()
    world.tell(closed("s1", made.plan.draft.plan_id, answers="rq2", outcome=outcome, market_time=AT))
    assert world.plans() == []
    world.wait(1.1, AT_MS)
    assert _planned(world) == [("withdraw", "rq2")]


def test_payout_when_plans_are_held_off_nothing_is_decided_until_the_position_follows() -> None:
    freed = closed("s1", "pl0", 3, position_required=2)
    world = _world(strategy("s1"), DRIFTED, closed("s1", "pl0", held_for="rq2"))
    assert (world.plans(), world.evaluation.progress().unfinished) == ([], {"money_leaving": 1})
    world.tell(freed)
    assert (world.plans(), world.evaluation.progress().unfinished) == ([], {"awaiting_position": 1})
    world.tell(position("s1", {"ONE": "900"}, 2))
    assert _planned(world) == [("rebalance", "")]


async def test_paused_strategy_when_the_market_falls_does_nothing_and_goes_on_after() -> None:
    world = _world(strategy("s1", stop_loss="-8"))
    world.tell(strategy("s1", "paused", version=5, stop_loss="-8"))
    looks = world.evaluation.looks
    for _ in range(5):
        world.tick({"ONE": "0.5", "BTC": "0.7"})
    assert (world.plans(), world.asks(), world.evaluation.looks) == ([], [], looks)
    assert (await world.codes())[-1] == "paused"
    assert world.evaluation.progress().unfinished == {}
    waiting = asked("rq3", "invest", position_version=1)
    world.tell(strategy("s1", "paused", version=6, requests=(waiting,)))
    assert (world.plans(), world.evaluation.progress().unfinished) == ([], {}), "a person must resume it"
    world.tell(strategy("s1", "paused", version=7, requests=(NEXT, waiting)))
    assert _planned(world) == [("withdraw", "rq2")]
    world.tell(closed("s1", "pl0", answers="rq2", market_time=AT))
    world.tell(strategy("s1", version=8, rebalance={"hold": True}, requests=(waiting,)))
    assert _planned(world) == [("invest", "rq3")]


def test_stop_when_coins_are_kept_is_never_planned() -> None:
    told = strategy("s1", "exiting").model_copy(update={"exit_action": ExitAction.KEEP})
    world = _world(told)
    world.wait(20, AT_MS)
    assert (world.plans(), world.evaluation.progress().unfinished) == ([], {"awaiting_release": 1})


def test_request_when_only_the_market_can_let_it_go_on_is_not_under_way() -> None:
    """In lockstep the next row must come, else it would never end."""
    world = _world(strategy("s1", requests=(NEXT,)))
    (made,) = world.plans()
    refused = closed("s1", made.plan.draft.plan_id, answers="rq2", outcome=PlanOutcome.PARTIAL, market_time=AT)
    summary = refused.last_closed
    assert summary is not None
    world.tell(refused.model_copy(update={"last_closed": summary.model_copy(update={"fills": 0})}))
    assert (world.plans(), world.evaluation.progress().unfinished) == ([], {})
    world.wait(1.1, AT_MS + 5 * 60_000)
    assert _planned(world) == [("withdraw", "rq2")]


def test_plan_when_published_tells_its_request_and_its_ways() -> None:
    world = _world(strategy("s1", requests=(asked("rq3", "invest", position_version=1),)), {**BALANCED, "USDT": "100"})
    (made,) = world.plans()
    message = planned(made, timedelta(seconds=30))
    assert (message.kind, message.answers, message.reason) == ("invest", "rq3", "new_money:USDT")
    assert {line.asset: line.ways.value for line in message.lines} == dict.fromkeys((*BALANCED, "USDT"), "buy")
    assert sum(line.target_weight_pct for line in message.lines) == D(100)


def test_stop_loss_when_being_confirmed_while_money_arrives_waits_for_the_money_first() -> None:
    """In lockstep the next row must not come before: what it is decided on would depend on who was faster."""
    world = _world(strategy("s1", stop_loss="-8"))
    world.tick(dict.fromkeys(PRICES, "0.9"))
    assert world.evaluation.progress().unfinished == {}
    world.tell(strategy("s1", version=5, stop_loss="-8", requests=(asked("rq3", "invest", "funding"),)))
    world.tick(dict.fromkeys(PRICES, "0.9"))
    assert world.evaluation.progress().unfinished == {"money_moving": 1}


def test_plan_when_it_was_dropped_while_held_is_told_again_under_another_message_id_once_freed() -> None:
    """The withdrawal was refused: the position is the same, so the plan is too, and the stream must not swallow it."""
    world = _world(strategy("s1"), DRIFTED)
    (dropped,) = world.plans()
    held = closed("s1", "", 1).model_copy(update={"last_closed": None, "change": "held", "held_for": "rq1"})
    world.tell(held)
    assert world.plans() == []
    world.tell(held.model_copy(update={"sequence": 2, "change": "freed", "held_for": ""}))
    (again,) = world.plans()
    assert again.plan.draft.plan_id == dropped.plan.draft.plan_id
    assert again.message_id != dropped.message_id
    assert again.decision_id == dropped.decision_id, "the decision is told once"
    world.wait(11, AT_MS)
    (repeated,) = world.plans()
    assert repeated.message_id == again.message_id, "nothing new was heard"


async def test_plan_when_it_has_the_id_of_a_dropped_one_is_told_as_a_decision_of_its_own() -> None:
    world = _world(strategy("s1"), DRIFTED)
    (dropped,) = world.plans()
    world.tell(strategy("s1", version=9, requests=(NEXT,)))
    (made,) = world.plans()
    assert made.plan.draft.plan_id == dropped.plan.draft.plan_id
    assert len({made.message_id, dropped.message_id, made.decision_id, dropped.decision_id}) == 4
    codes = await world.codes()
    assert [code.partition(":")[0] for code in codes] == ["threshold_reached", "withdrawal"]

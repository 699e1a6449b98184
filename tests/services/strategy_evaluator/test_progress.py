"""What an evaluator says of how far it is, and what only a replay asks of it."""

from datetime import timedelta

import pytest

from tests.core.portfolio_samples import AT
from tests.services.strategy_evaluator.messages import AT_MS, accepted, closed, instruments, position, strategy
from tests.services.strategy_evaluator.world import BALANCED, PRICES, World


@pytest.fixture
def world() -> World:
    """One balanced, active strategy, loaded and looked at."""
    made = World()
    made.tell(instruments(), strategy("s1"), position("s1", BALANCED), closed("s1", "pl0"))
    made.tick(PRICES)
    made.evaluation.enable()
    made.look()
    return made


async def test_stop_loss_when_the_market_stands_still_is_not_confirmed_by_repeats(world: World) -> None:
    world.tell(strategy("s1", version=5, stop_loss="-10"))
    for _ in range(5):
        world.tick(dict.fromkeys(PRICES, "0.8"), market_time_ms=AT_MS + 60_000)
    assert world.asks() == []
    for minutes in (2, 3):
        world.tick(dict.fromkeys(PRICES, "0.8"), market_time_ms=AT_MS + minutes * 60_000)
    assert len(world.asks()) == 1


def test_progress_when_a_plan_is_decided_is_unfinished_until_its_fills_are_posted(world: World) -> None:
    assert world.evaluation.progress().unfinished == {}
    world.tick({"BTC": "2"})
    seen = world.evaluation.progress().venues["paper"]
    assert (seen.market_time_ms, seen.assets) == (AT_MS + world.sequence * 1000, 3)
    assert world.evaluation.progress().unfinished == {"threshold_reached:BTC": 1}
    plan = world.plans()[0].plan.draft.plan_id
    world.tell(accepted("s1", plan, 2))
    assert world.evaluation.progress().unfinished == {"plan_open": 1}
    world.tell(closed("s1", plan, 3, market_time=AT + timedelta(seconds=world.sequence), fills_total=2))
    assert world.evaluation.progress().unfinished == {"fills_pending": 1}
    world.tell(position("s1", {"ONE": "576", "BTC": "216", "ETH": "432"}, version=9, fills_posted=2))
    assert world.evaluation.progress().unfinished == {}
    assert world.evaluation.progress().acted == 1


async def test_frame_when_every_decision_is_kept_records_the_figures_of_each(world: World) -> None:
    await world.codes()
    looks, world.journal.keeps_all = world.evaluation.looks, True
    for price in ("1.01", "1.02", "1.03"):
        world.tick({"BTC": price, "ETH": price, "ONE": price})
    assert await world.codes() == ["within_band"] * 3
    assert [one.inputs["price.BTC"] for one in world.decisions] == ["1.01", "1.02", "1.03"]
    assert world.evaluation.looks == looks  # recorded without a look: the certificate holds
    assert world.plans() == []

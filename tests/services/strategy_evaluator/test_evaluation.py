"""The evaluator without a broker: real messages in, plans, exits and decisions out, a clock of the test's own."""

from datetime import timedelta

import pytest

from services.strategy_evaluator.membership import hash_of, score
from shared.core.identity import plan_id
from shared.core.position import PlanOutcome
from tests.core.portfolio_samples import AT
from tests.services.strategy_evaluator.messages import (
    AT_MS,
    NS,
    accepted,
    closed,
    instruments,
    position,
    snapshot,
    strategy,
)
from tests.services.strategy_evaluator.world import BALANCED, PRICES, World

S1 = hash_of("s1")


@pytest.fixture
def world() -> World:
    """One balanced, active strategy, loaded and looked at."""
    made = World()
    made.tell(instruments(), strategy("s1"), position("s1", BALANCED))
    made.tick(PRICES)
    made.evaluation.enable()
    made.look()
    return made


async def test_strategy_when_loaded_has_its_first_decision_recorded(world: World) -> None:
    assert await world.codes() == ["within_band"]
    assert world.plans() == []


def test_nothing_when_not_enabled_is_decided() -> None:
    made = World()
    made.tell(instruments(), strategy("s1"), position("s1", {"ONE": "1200"}))
    made.tick(PRICES)
    assert made.plans() == []
    assert made.evaluation.looks == 0


async def test_tick_when_it_reaches_the_threshold_leads_to_one_plan(world: World) -> None:
    world.tick({"ETH": "1.256"})
    assert world.plans() == []
    world.tick({"ETH": "1.2564102564102565"})
    (to_publish,) = world.plans()
    assert to_publish.plan.code == "threshold_reached:ETH"
    assert to_publish.tick_received_ns == world.now_ns
    assert to_publish.plan.draft.plan_id == plan_id("s1", 1, "")
    world.tick({"ETH": "1.3"})
    world.tick({"ETH": "1.4"})
    assert world.plans() == []
    assert (await world.codes())[-1] == "threshold_reached:ETH"
    assert world.decisions[-1].acted
    assert world.decisions[-1].plan_id == to_publish.plan.draft.plan_id


def test_tick_when_far_inside_the_band_costs_no_look(world: World) -> None:
    looks = world.evaluation.looks
    for number in range(100):
        world.tick({"ETH": f"1.0{number:02}", "DOGE": "3"})
    assert world.evaluation.looks == looks


def test_plan_when_nobody_answers_is_repeated_after_ten_seconds_only(world: World) -> None:
    world.tick({"ETH": "2"})
    assert len(world.plans()) == 1
    world.tell(strategy("s1", version=5))  # an event: looked at, the same plan comes out
    assert world.plans() == []
    world.pass_time(9.9)
    assert world.plans() == []
    world.tick({"ETH": "2"})  # prices keep coming
    world.pass_time(0.2)
    assert len(world.plans()) == 1


def test_plan_when_the_clock_was_set_back_meanwhile_is_repeated_all_the_same(world: World) -> None:
    world.tick({"ETH": "2"})
    assert len(world.plans()) == 1
    world.set_back_ns = 3600 * NS
    world.pass_time(9)
    world.tick({"ETH": "2.1"})
    assert world.plans() == []
    world.pass_time(2)
    assert len(world.plans()) == 1


def test_prices_when_the_clock_was_set_back_and_the_feed_is_silent_are_not_traded_on(world: World) -> None:
    world.set_back_ns = 3600 * NS
    world.pass_time(5)
    world.tell(position("s1", {"ONE": "1200"}, 2))
    assert world.plans() == []
    world.tick({})
    assert len(world.plans()) == 1


def test_plan_when_it_could_not_be_published_is_made_again_soon(world: World) -> None:
    world.tick({"ETH": "2"})
    (failed,) = world.plans()
    world.evaluation.unpublished(failed)
    world.look()
    assert world.plans() == []
    world.pass_time(1.1)
    assert len(world.plans()) == 1


async def test_plan_when_open_or_fills_pending_holds_until_the_position_follows(world: World) -> None:
    world.tick({"ETH": "2"})
    (made,) = world.plans()
    plan = made.plan.draft.plan_id
    world.tell(accepted("s1", plan))
    assert (await world.codes())[-1] == "plan_open"
    world.tell(closed("s1", plan, 2, fills_total=2))
    assert (await world.codes())[-1] == "fills_pending"
    world.tell(position("s1", BALANCED, 2, fills_posted=1))
    world.tell(position("s1", {"ETH": "240", "ONE": "640", "BTC": "480"}, 3, fills_posted=2))
    assert world.plans() == []
    assert (await world.codes())[-1] == "within_band"
    world.tick({"ETH": "4"})
    (second,) = world.plans()
    assert second.plan.draft.plan_id == plan_id("s1", 3, plan)
    assert second.plan.draft.fills_seen == 2


def test_messages_when_old_or_repeated_change_nothing(world: World) -> None:
    looks = world.evaluation.looks
    world.tell(strategy("s1", version=4), strategy("s1", version=3, status="exiting"), position("s1", {}, 1))
    assert world.evaluation.looks == looks
    assert world.plans() == []


def test_strategy_when_building_is_bought_at_the_event() -> None:
    world = World()
    world.tell(instruments())
    world.tick(PRICES)
    world.evaluation.enable()
    world.tell(strategy("s1", "building"))
    assert world.plans() == []
    world.tell(position("s1", {"USDT": "1200"}))
    (to_publish,) = world.plans()
    assert (to_publish.plan.draft.kind, to_publish.tick_received_ns) == ("initial", world.now_ns)


@pytest.mark.parametrize("outcome", [PlanOutcome.EXPIRED, PlanOutcome.STALE])
def test_initial_plan_when_it_came_to_nothing_follows_after_a_second(outcome: PlanOutcome) -> None:
    world = World()
    world.tell(instruments(), strategy("s1", "building"), position("s1", {"USDT": "1200"}))
    world.tick(PRICES)
    world.evaluation.enable()
    world.look()
    (first,) = world.plans()
    world.tell(closed("s1", first.plan.draft.plan_id, kind="initial", outcome=outcome))
    assert world.plans() == []
    world.pass_time(1.1)
    (second,) = world.plans()
    assert second.plan.draft.plan_id == plan_id("s1", 1, first.plan.draft.plan_id)


async def test_interval_when_market_time_comes_is_planned_without_any_price_change() -> None:
    world = World()
    world.tell(instruments(), strategy("s1", rebalance={"interval": "1h"}), position("s1", BALANCED))
    world.tick(PRICES)
    world.evaluation.enable()
    world.look()
    assert await world.codes() == ["interval_not_due"]
    world.tick({}, market_time_ms=AT_MS + 3_599_999)
    assert world.plans() == []
    world.tick({}, market_time_ms=AT_MS + 3_600_000)
    (to_publish,) = world.plans()
    assert to_publish.plan.code == "interval_due"


async def test_cooldown_when_over_is_planned_without_any_price_change(world: World) -> None:
    end = AT + timedelta(minutes=30)
    world.tell(closed("s1", "pl0", market_time=end))
    world.tick({"ETH": "2"}, market_time_ms=AT_MS + 31 * 60_000)
    assert world.plans() == []
    assert (await world.codes())[-1] == "cooldown"
    world.tick({}, market_time_ms=AT_MS + 35 * 60_000 - 1)
    assert world.plans() == []
    world.tick({}, market_time_ms=AT_MS + 35 * 60_000)
    assert len(world.plans()) == 1


async def test_stop_loss_when_confirmed_is_asked_for_and_repeated_until_heard(world: World) -> None:
    world.tell(strategy("s1", version=5, stop_loss="-8"))
    down = dict.fromkeys(PRICES, "0.9")
    world.tick(down)
    world.tick({"BTC": "0.9"})  # an unchanged price is a new quote
    assert world.asks() == []
    assert (await world.codes())[-1] == "confirming_stop_loss"
    world.tick({"BTC": "0.9"})
    (wanted,) = world.asks()
    assert wanted.decision.code == "stop_loss"
    world.tick(down)
    assert world.asks() == []
    world.pass_time(6.1)
    world.tick(down)
    (again,) = world.asks()
    assert again.command_id == wanted.command_id
    world.evaluation.ask_failed(again, 0.5)
    world.pass_time(0.6)
    world.tick(down)
    assert len(world.asks()) == 1
    assert (await world.codes()).count("stop_loss") == 1
    world.tell(strategy("s1", "exiting", version=6))
    assert [made.plan.draft.kind for made in world.plans()] == ["exit"]
    world.tick(down)
    assert world.asks() == []


async def test_stop_loss_when_the_registry_was_away_is_asked_for_again_without_a_quote(world: World) -> None:
    world.tell(strategy("s1", version=5, stop_loss="-8"))
    for _ in range(3):
        world.tick(dict.fromkeys(PRICES, "0.9"))
    (wanted,) = world.asks()
    world.evaluation.ask_failed(wanted, 0.5)
    world.tick({})  # a heartbeat: the market stands still
    assert world.asks() == []
    world.pass_time(0.6)
    assert [again.command_id for again in world.asks()] == [wanted.command_id]
    world.pass_time(1)
    world.tick({"BTC": "2"})
    world.pass_time(6)
    assert world.asks() == [], "the level is no longer reached"


@pytest.mark.parametrize("fresh", ["ONE", "BTC", "ETH"])
async def test_exit_when_every_price_is_stale_begins_with_the_first_that_is_fresh(world: World, fresh: str) -> None:
    world.tell(snapshot(1, PRICES, world.now_ns, stale=tuple(PRICES)))
    world.tell(strategy("s1", "exiting", version=5))
    assert (await world.codes())[-1] == "stale_price:BTC"
    assert world.plans() == []
    world.tick({fresh: "1"})
    world.pass_time(1)
    assert [made.plan.draft.kind for made in world.plans()] == ["exit"]


async def test_stale_price_when_it_becomes_fresh_is_acted_on(world: World) -> None:
    world.tell(snapshot(1, PRICES, world.now_ns, stale=("BTC",)))
    world.tick({"ETH": "2"})
    assert (await world.codes())[-1] == "stale_price:BTC"
    assert world.plans() == []
    world.tick({"BTC": "1"})
    assert len(world.plans()) == 1


async def test_prices_when_the_feed_is_silent_are_not_traded_on(world: World) -> None:
    world.pass_time(4)
    world.tell(strategy("s1", version=5), position("s1", {"ONE": "1200"}, 2))
    assert (await world.codes())[-1] == "stale_price:ONE"
    assert world.plans() == []
    world.tick({})  # a heartbeat: the feed is alive, its prices are still the newest
    assert len(world.plans()) == 1


async def test_missing_price_when_it_appears_is_acted_on() -> None:
    world = World()
    world.tell(instruments(), strategy("s1"), position("s1", {"ONE": "1200"}))
    world.tick({"ONE": "1", "BTC": "1"})
    world.evaluation.enable()
    world.look()
    assert await world.codes() == ["missing_price:ETH"]
    world.tick({"ETH": "1"})
    assert len(world.plans()) == 1


def test_market_when_nothing_is_known_of_it_is_waited_for() -> None:
    world = World()
    world.tell(strategy("s1"), position("s1", {"ONE": "1200"}))
    world.evaluation.enable()
    world.look()
    world.tick(PRICES)
    assert world.plans() == []
    world.tell(instruments())
    assert len(world.plans()) == 1


async def test_instruments_when_tradable_again_are_acted_on() -> None:
    world = World()
    world.tell(instruments(tradable=False), strategy("s1"), position("s1", {"ONE": "1200"}))
    world.tick(PRICES)
    world.evaluation.enable()
    world.look()
    assert await world.codes() == ["not_tradable:ONE"]
    world.tell(instruments())
    assert len(world.plans()) == 1


async def test_minimum_when_lowered_is_acted_on() -> None:
    world = World()
    world.tell(instruments(min_notional="5000"), strategy("s1"), position("s1", {"ONE": "1200"}))
    world.tick(PRICES)
    world.evaluation.enable()
    world.look()
    assert await world.codes() == ["below_minimum:ONE"]
    world.tell(instruments(min_notional="5"))
    assert len(world.plans()) == 1


def test_frame_when_lost_is_made_up_for_by_the_snapshot(world: World) -> None:
    world.sequence += 1  # the frame with ETH at 2 never arrives
    world.tell(snapshot(2, {**PRICES, "ETH": "2"}, world.now_ns + 5))
    assert len(world.plans()) == 1


def test_shares_when_another_member_comes_and_goes_move_over_and_back() -> None:
    world = World()
    world.tell(
        instruments(), *(strategy(f"s{n}") for n in range(50)), *(position(f"s{n}", BALANCED) for n in range(50))
    )
    world.tick(PRICES)
    world.evaluation.enable()
    world.look()
    assert world.evaluation.owned_count() == 50
    world.members.heard("e2", 0.0)
    world.evaluation.share_out()
    left = world.evaluation.owned_count()
    assert 10 < left < 40
    world.tick({"ETH": "2"})
    assert len(world.plans()) == left
    world.members.left("e2")
    world.evaluation.share_out()
    world.look()
    assert len(world.plans()) == 50 - left


def test_stop_loss_when_the_strategy_was_elsewhere_in_between_is_counted_anew(world: World) -> None:
    world.tell(strategy("s1", version=5, stop_loss="-8"))
    down = dict.fromkeys(PRICES, "0.9")
    for _ in range(2):
        world.tick(down)
    other = next(name for name in map(str, range(100)) if score(hash_of(name), S1) > score(hash_of("e1"), S1))
    world.members.heard(other, 0.0)
    world.evaluation.share_out()
    assert world.evaluation.owned_count() == 0
    world.tick(PRICES)  # the other sees a market that has recovered
    world.tick(down)
    world.members.left(other)
    world.evaluation.share_out()
    world.look()
    for _ in range(2):
        world.tick(down)
        assert world.asks() == []
    world.tick(down)
    assert len(world.asks()) == 1


def test_strategy_when_closed_is_let_go(world: World) -> None:
    world.tell(strategy("s1", "closed", version=9))
    assert world.evaluation.owned_count() == 0
    world.tick({"ETH": "2"})
    assert world.plans() == []


def test_strategy_when_its_document_cannot_be_read_is_left_alone(world: World) -> None:
    world.tell(strategy("s2", targets={"BTC": "99"}), position("s2", {"BTC": "1"}))
    world.tick({"BTC": "5"})
    assert [made.strategy.strategy_id for made in world.plans()] == ["s1"]


def test_strategy_when_its_newest_version_cannot_be_read_is_not_run_by_the_old_one(world: World) -> None:
    world.tell(strategy("s1", version=5, rebalance={"whim": "1"}))
    world.tick({"BTC": "5"})
    assert world.plans() == []
    world.tell(strategy("s1", version=6))
    assert len(world.plans()) == 1


def test_crash_of_the_market_when_hundreds_fire_at_once_is_worked_off() -> None:
    world = World()
    world.tell(instruments())
    for number in range(300):
        world.tell(strategy(f"s{number}"), position(f"s{number}", BALANCED))
    world.tick(PRICES)
    world.evaluation.enable()
    world.look()
    world.tick({"ETH": "0.2"})
    assert len(world.plans()) == 300

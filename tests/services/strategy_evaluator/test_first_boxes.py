"""Many strategies taken over at once: certificates without a look for the plain ones, and nothing missed by that."""

import random
from typing import Any

import pytest

from services.strategy_evaluator import evaluation
from tests.services.strategy_evaluator.messages import (
    AT_MS,
    FRIDAYS,
    NS,
    asked,
    instruments,
    investing,
    position,
    strategy,
)
from tests.services.strategy_evaluator.world import BALANCED, PRICES, World

MANY = 40
REBALANCES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"interval": "1h"},
    {"interval": "1h", "when": "all"},
    {"cost_guard": "20"},
)
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"take_profit": "1", "stop_loss": "-1"},
    {"take_profit": {"percent": "1", "trailing": "0.5"}, "stop_loss": {"percent": "-1", "trailing": True}},
    {"auto_invest": {"amount": "50", "schedule": {"every": "1h"}}, "invested": investing()},
    {"auto_invest": {"amount": "50", "drawdown": {"loss": "1", "min_interval": "1h"}}, "invested": investing()},
)
HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_MANY", MANY)


def _loaded(count: int = MANY, *, priced: bool = True, keeps_all: bool = False, **changes: Any) -> World:
    """A world with so many balanced strategies that are this evaluator's from now on; none is looked at yet."""
    world = World()
    world.journal.keeps_all = keeps_all
    world.tell(instruments())
    if priced:
        world.tick(PRICES)
    for number in range(count):
        world.tell(strategy(f"s{number}", **changes), position(f"s{number}", BALANCED))
    world.evaluation.enable()
    return world


def _box_all(world: World, at_once: int = 16) -> None:
    while world.evaluation._fresh:
        world.evaluation.box_fresh(at_once)


async def test_plain_strategies_when_many_are_taken_over_are_watched_without_a_look() -> None:
    world = _loaded()
    assert world.evaluation.progress().unfinished == {"looks": MANY}
    assert not world.evaluation.is_idle()
    _box_all(world)
    assert (world.evaluation.boxed, world.evaluation.looks) == (MANY, 0)
    assert world.evaluation.is_idle()
    assert await world.codes() == []
    world.tick({"ETH": "1.01"})
    assert world.evaluation.looks == 0
    world.tick({"ETH": "1.2564102564102565"})
    assert {each.plan.code for each in world.plans()} == {"threshold_reached:ETH"}
    assert world.evaluation.looks == MANY


def test_plain_strategies_when_fewer_than_many_are_taken_over_are_looked_at() -> None:
    world = _loaded(MANY - 1)
    world.look()
    assert (world.evaluation.boxed, world.evaluation.looks) == (0, MANY - 1)


@pytest.mark.parametrize("seed", range(4))
def test_ticks_when_boxes_came_without_looks_lead_to_the_same_plans(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an evaluator says that looked at each of them at first, tick by tick."""
    rng = random.Random(seed)
    documents = []
    for _ in range(300):
        rest, threshold = rng.randint(10, 40), str(rng.randint(10, 90) / 10)
        documents.append(
            (
                {"ONE": str(rest), "BTC": "20", "ETH": str(80 - rest)},
                rng.choice(RULES) | {"rebalance": rng.choice(REBALANCES) | {"threshold": threshold}},
                {name: str(int(weight) * (100 + rng.randint(-6, 6))) for name, weight in
                 (("ONE", rest), ("BTC", 20), ("ETH", 80 - rest))} | ({"USDT": "40"} if rng.random() < 0.3 else {}),
            )
        )  # fmt: skip
    ticks = []
    price = {"ONE": 1.0, "BTC": 1.0, "ETH": 1.0}
    for _ in range(60):
        name = rng.choice(list(price))
        price[name] *= rng.uniform(0.97, 1.03)
        ticks.append({name: f"{price[name]:.8f}"})

    def run(many: int) -> tuple[World, list[set[str]]]:
        monkeypatch.setattr(evaluation, "_MANY", many)
        world = World()
        world.tell(instruments())
        world.tick(PRICES)
        for number, (targets, rules, held) in enumerate(documents):
            world.tell(strategy(f"s{number}", targets=targets, **rules), position(f"s{number}", held))
        world.evaluation.enable()
        _box_all(world)
        world.look()
        told = [{each.strategy.strategy_id for each in world.plans()}]
        for number, tick in enumerate(ticks, 1):
            world.tick(tick, market_time_ms=AT_MS + number * HOUR_MS // 20)
            planned = {f"{each.strategy.strategy_id} {each.plan.code}" for each in world.plans()}
            told.append(planned | {f"{each.strategy_id} {each.decision.code}" for each in world.asks()})
        return world, told

    exact, expected = run(1_000_000)
    boxed, found = run(MANY)
    assert exact.evaluation.boxed == 0
    assert boxed.evaluation.boxed > 40
    assert found == expected
    assert sum(map(len, expected[1:])) > 60
    assert boxed.evaluation.looks < exact.evaluation.looks


@pytest.mark.parametrize(
    "changes",
    [
        {"take_profit": "10", "requests": (asked("r1", "rebalance"),)},
        {"status": "paused"},
        {"targets": {"ONE": "50", "BTC": "25", "ETH": "25"}},  # off by 10: to be rebalanced at once
        {"targets": {"ONE": "35", "BTC": "35", "ETH": "30"}},  # off by exactly 5
    ],
)
def test_strategies_when_not_plain_or_at_a_bound_are_looked_at(changes: dict[str, Any]) -> None:
    world = _loaded(**changes)
    _box_all(world)
    world.look()
    assert (world.evaluation.boxed, world.evaluation.looks) == (0, MANY)
    assert len(world.plans()) == (MANY if changes.keys() & {"targets", "requests"} else 0)


@pytest.mark.parametrize(
    ("changes", "prices", "code"),
    [
        ({"rebalance": {"threshold": {"relative": "15"}}}, {"ETH": "1.24"}, "threshold_reached:ETH"),
        ({"rebalance": {"hold": True}, "take_profit": "10"}, {"ONE": "1.25"}, "confirming_take_profit"),
        ({"rebalance": {"hold": True}, "stop_loss": "-10"}, {"ONE": "0.74"}, "confirming_stop_loss"),
        ({"rebalance": {"interval": "7d"}}, {}, "interval_due"),
        ({"auto_invest": {**FRIDAYS, "grace": "7d"}, "invested": investing()}, {}, "auto_invest_due"),
    ],
)
async def test_rules_when_they_fire_after_a_box_without_a_look_are_acted_on(
    changes: dict[str, Any], prices: dict[str, str], code: str
) -> None:
    world = _loaded(**changes)
    _box_all(world)
    assert (world.evaluation.boxed, world.evaluation.looks) == (MANY, 0)
    world.tick({"BTC": "1.001"}, market_time_ms=AT_MS + HOUR_MS)
    assert world.evaluation.looks == 0
    world.tick(prices, market_time_ms=AT_MS + WEEK_MS)
    assert world.evaluation.looks == MANY
    assert set(await world.codes()) == {code}


def test_strategies_when_nothing_can_happen_to_them_are_watched_by_no_price() -> None:
    world = _loaded(rebalance={"hold": True})
    _box_all(world)
    assert (world.evaluation.boxed, world.evaluation.is_idle()) == (MANY, True)
    world.tick({"ETH": "1000"})
    world.tell(position("s3", BALANCED, version=2))
    assert world.evaluation.looks == 1


def test_strategies_when_there_are_no_prices_yet_are_looked_at_once_there_are() -> None:
    world = _loaded(priced=False)
    _box_all(world)
    world.look()
    assert world.evaluation.progress().unfinished == {"no_market": MANY}
    world.tick(PRICES)
    assert world.evaluation.progress().unfinished == {}
    world.tick({"ETH": "1.3"})
    assert len(world.plans()) == MANY


async def test_every_decision_when_all_are_kept_is_a_look() -> None:
    world = _loaded(keeps_all=True)
    world.look()
    assert (world.evaluation.boxed, world.evaluation.looks) == (0, MANY)
    assert len(await world.codes()) == MANY


async def test_strategy_when_an_event_comes_before_its_box_is_looked_at() -> None:
    world = _loaded()
    world.tell(position("s3", {"ONE": "1200"}, version=2))
    assert [each.strategy.strategy_id for each in world.plans()] == ["s3"]
    _box_all(world)
    world.look()
    assert (world.evaluation.boxed, world.evaluation.looks) == (MANY - 1, 1)
    assert await world.codes() == ["threshold_reached:ONE"]


def test_strategies_when_they_go_elsewhere_before_their_box_are_let_go() -> None:
    world = _loaded()
    world.members.heard("e2", world.now_ns / NS)
    world.evaluation.share_out()
    mine = world.evaluation.owned_count()
    assert 0 < mine < MANY
    _box_all(world)
    assert world.evaluation.boxed == mine
    world.members.left("e2")
    world.evaluation.share_out()
    world.look()
    assert world.evaluation.boxed + world.evaluation.looks == MANY
    world.tick({"ETH": "1.3"})
    assert len(world.plans()) == MANY


def test_frame_when_it_comes_between_taking_over_and_the_box_counts() -> None:
    """The box is made at the prices of its own moment: what moved before is seen then, what moves after breaks it."""
    world = _loaded()
    world.evaluation.box_fresh(MANY // 2)
    world.tick({"ETH": "1.3"})
    assert len(world.plans()) == MANY // 2
    _box_all(world)
    world.look()
    assert len(world.plans()) == MANY // 2
    assert world.evaluation.boxed == MANY // 2

"""A trailing take-profit: the peak is told to the registry, and only what the registry has recorded counts."""

from decimal import Decimal

import pytest

from shared.contracts.strategies import PeakRecorded, StrategyChanged
from shared.core.situation import Peak
from shared.core.strategy import StrategyStatus
from tests.services.strategy_evaluator.messages import instruments, position, snapshot, strategy
from tests.services.strategy_evaluator.world import BALANCED, PRICES, World

LEVEL = {"percent": "15", "trailing": "3", "confirm": "2"}


def _strategy(version: int, peak: str | None = None) -> StrategyChanged:
    told = strategy("s1", version=version, rebalance={"hold": True}, take_profit=LEVEL)
    recorded = None if peak is None else PeakRecorded(profit_pct=Decimal(peak), contributed=Decimal(1200))
    return told.model_copy(update={"peak": recorded})


def _world(peak: str | None = None) -> World:
    world = World()
    world.tell(instruments(), _strategy(4, peak), position("s1", BALANCED))
    world.tell(snapshot(0, PRICES, world.now_ns))
    world.evaluation.enable()
    world.look()
    return world


def _all_at(price: str) -> dict[str, str]:
    return dict.fromkeys(PRICES, price)


def test_peak_when_confirmed_is_told_once_and_again_when_it_rises() -> None:
    world = _world()
    world.tick(_all_at("1.18"))
    assert world.peaks() == []
    world.tick(_all_at("1.17"))
    (told,) = world.peaks()
    assert (told.strategy_id, told.peak) == ("s1", Peak(Decimal("16.8"), Decimal(1200)))
    world.tick(_all_at("1.17"))
    assert world.peaks() == [], "it is on its way"
    world.tell(_strategy(5, "16.8"))
    for _ in range(2):
        world.tick(_all_at("1.2"))
    (higher,) = world.peaks()
    assert higher.peak.profit_pct == Decimal("19.8")
    assert higher.command_id != told.command_id


def test_exit_when_fallen_from_a_recorded_peak_is_asked_for_by_an_evaluator_that_never_saw_it() -> None:
    world = _world("18")
    world.tick(_all_at("1.15"))
    assert world.asks() == []
    world.tick(_all_at("1.149"))
    (wanted,) = world.asks()
    assert wanted.decision.code == "take_profit"
    assert wanted.decision.figures.as_text()["peak_pct"] == "18"


@pytest.mark.parametrize("prices", [("1.2", "1.1"), ("1.2", "1.14", "1.2", "1.14")])
def test_exit_when_the_peak_was_not_confirmed_is_not_asked_for(prices: tuple[str, ...]) -> None:
    world = _world()
    for price in prices:
        world.tick(_all_at(price))
    assert (world.peaks(), world.asks()) == ([], [])


def test_take_profit_when_the_peak_rises_with_every_quote_is_confirmed_all_the_same() -> None:
    levels = {"take_profit": {"percent": "10", "confirm": "3"}, "stop_loss": {"percent": "-8", "trailing": True}}
    told = strategy("s1", version=4, rebalance={"hold": True}, **levels)
    world = World(confirming_quotes=1)
    world.tell(instruments(), told, position("s1", BALANCED))
    world.tell(snapshot(0, PRICES, world.now_ns))
    world.evaluation.enable()
    world.look()
    for number, price in enumerate(("1.12", "1.14", "1.16")):
        world.tick(_all_at(price))
        recorded = [PeakRecorded(profit_pct=one.peak.profit_pct, contributed=Decimal(1200)) for one in world.peaks()]
        assert len(recorded) == 1
        world.tell(told.model_copy(update={"version": 5 + number, "change": "peak_raised", "peak": recorded[0]}))
        assert {one.decision.code for one in world.asks()} == ({"take_profit"} if number == 2 else set())


@pytest.mark.parametrize("changes", [{"status": StrategyStatus.PAUSED}, {"document": None}], ids=["paused", "edited"])
def test_take_profit_when_status_or_definition_changed_is_confirmed_anew(changes: dict[str, object]) -> None:
    told = strategy("s1", version=4, rebalance={"hold": True}, take_profit={"percent": "10", "confirm": "2"})
    edited = strategy("s1", version=5, rebalance={"hold": True}, take_profit={"percent": "11", "confirm": "2"})
    between = edited if "document" in changes else told.model_copy(update={"version": 5, **changes})
    world = World()
    world.tell(instruments(), told, position("s1", BALANCED))
    world.tell(snapshot(0, PRICES, world.now_ns))
    world.evaluation.enable()
    world.look()
    world.tick(_all_at("1.2"))
    world.tell(between, between.model_copy(update={"version": 6, "status": StrategyStatus.ACTIVE}))
    world.tick(_all_at("1.2"))
    assert world.asks() == []
    world.tick(_all_at("1.2"))
    assert len(world.asks()) == 1

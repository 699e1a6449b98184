"""Cycles of Auto-Invest: asked for until the registry's state says so, each once, whoever looks."""

from datetime import datetime, timedelta
from typing import Any

from services.strategy_evaluator.adapters.nats_outbound import command_of
from shared.contracts.lifecycle import RunAutoInvest
from tests.core.portfolio_samples import AT
from tests.services.strategy_evaluator.messages import (
    FRIDAYS,
    asked,
    instruments,
    investing,
    position,
    strategy,
)
from tests.services.strategy_evaluator.world import BALANCED, PRICES, World

FRIDAY = AT + timedelta(days=1, hours=14)
AT_A_LOSS = {"amount": "50", "drawdown": {"loss": "5", "min_interval": "7d", "confirm": "2"}}


def _world(auto_invest: dict[str, Any], **state: Any) -> World:
    world = World()
    told = strategy("s1", rebalance={"hold": True}, auto_invest=auto_invest, invested=investing(**state))
    world.tell(instruments(), told, position("s1", BALANCED))
    world.tick(PRICES, market_time_ms=_ms(AT))
    world.evaluation.enable()
    world.look()
    return world


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _heard(cycle: int, version: int, **changes: Any) -> Any:
    requests = changes.pop("requests", ())
    state = investing(cycle, settled_until=FRIDAY, **changes)
    return strategy(
        "s1", version=version, rebalance={"hold": True}, auto_invest=FRIDAYS, invested=state, requests=requests
    )


async def test_schedule_when_its_date_comes_is_asked_for_without_any_price_change_until_it_is_heard() -> None:
    world = _world(FRIDAYS)
    world.tick({}, market_time_ms=_ms(FRIDAY) - 1)
    assert world.asks() == []
    world.tick({}, market_time_ms=_ms(FRIDAY))
    (ask,) = world.asks()
    command = command_of(ask)
    assert isinstance(command, RunAutoInvest)
    assert (command.strategy_id, command.cycle, command.cause.value, command.made) == ("s1", 1, "schedule", True)
    assert (command.due_at, command.market_time) == (FRIDAY, FRIDAY)
    assert ask.command_id.startswith("ai")
    assert world.evaluation.progress().unfinished == {"auto_invest_due": 1}
    world.tick({"ONE": "1.01"}, market_time_ms=_ms(FRIDAY) + 1000)
    assert world.asks() == [], "it is on its way"
    world.wait(6.1)
    (again,) = world.asks()
    assert again.command_id == ask.command_id
    world.evaluation.ask_failed(again, 0.5)
    world.wait(0.6)
    assert len(world.asks()) == 1
    assert (await world.codes()).count("auto_invest_due") == 1


def test_drawdown_when_a_quote_comes_as_its_interval_ends_counts_it() -> None:
    """While the interval ran no price could break the certificate: time does, and a quote is seen with it."""
    world = _world(AT_A_LOSS, cycle=1, last_made_at=AT)
    week = _ms(AT + timedelta(days=7))
    world.tick(dict.fromkeys(PRICES, "0.9"), market_time_ms=week - 1)
    world.tick(dict.fromkeys(PRICES, "0.91"), market_time_ms=week)
    assert world.asks() == [], "one of two"
    world.tick(dict.fromkeys(PRICES, "0.9"), market_time_ms=week + 1)
    (ask,) = world.asks()
    assert ask.decision.code == "auto_invest_drawdown"


def test_drawdown_when_its_interval_ends_without_a_quote_counts_none() -> None:
    world = _world(AT_A_LOSS, cycle=1, last_made_at=AT)
    week = _ms(AT + timedelta(days=7))
    world.tick(dict.fromkeys(PRICES, "0.9"), market_time_ms=week - 1)
    for later in range(3):
        world.tick({}, market_time_ms=week + later)
    world.tick(dict.fromkeys(PRICES, "0.91"), market_time_ms=week + 3)
    assert world.asks() == []


def test_cycle_when_its_money_is_a_coin_is_worth_what_led_to_it() -> None:
    world = _world({**FRIDAYS, "asset": "ETH"})
    world.tick({"ETH": "2"}, market_time_ms=_ms(FRIDAY))
    (ask,) = world.asks()
    command = command_of(ask)
    assert isinstance(command, RunAutoInvest)
    assert (command.made, command.price) == (True, ask.decision.price)
    assert command.price is not None
    assert 1.99 < command.price <= 2


def test_cycle_when_heard_is_unfinished_until_its_money_is_spent() -> None:
    world = _world(FRIDAYS)
    world.tick({}, market_time_ms=_ms(FRIDAY))
    assert len(world.asks()) == 1
    world.tell(_heard(1, 5, pending=True, requests=(asked("rq1", "invest", "funding"),)))
    assert world.evaluation.progress().unfinished == {"money_arriving": 1}
    world.tell(position("s1", {**BALANCED, "USDT": "100"}, 2, contributed="1300"))
    assert (world.plans(), world.asks()) == ([], []), "the money is there, but nobody said what it is for"
    world.tell(_heard(1, 6, last_made_at=FRIDAY, requests=(asked("rq1", "invest", position_version=2),)))
    (made,) = world.plans()
    assert (made.plan.draft.kind, made.plan.draft.answers) == ("invest", "rq1")
    assert world.evaluation.progress().unfinished == {"new_money:USDT": 1}
    world.tell(_heard(1, 7, last_made_at=FRIDAY))
    assert (world.asks(), world.evaluation.progress().unfinished) == ([], {})
    world.tick({}, market_time_ms=_ms(FRIDAY + timedelta(days=7)))
    assert [command_of(ask).cycle for ask in world.asks()] == [2]  # type: ignore[attr-defined]


def test_cycle_when_it_was_left_out_is_not_asked_for_again() -> None:
    world = _world(FRIDAYS)
    world.tick({}, market_time_ms=_ms(FRIDAY + timedelta(days=1)))
    (ask,) = world.asks()
    command = command_of(ask)
    assert isinstance(command, RunAutoInvest)
    assert (command.made, command.due_at) == (False, FRIDAY)
    world.tell(_heard(1, 5))
    world.wait(20)
    assert (world.asks(), world.evaluation.progress().unfinished) == ([], {})


def test_cycle_when_another_evaluator_takes_over_is_asked_for_under_the_same_id() -> None:
    asks = []
    for _ in range(2):
        world = _world(FRIDAYS)
        world.tick({}, market_time_ms=_ms(FRIDAY))
        asks += world.asks()
    assert len({ask.command_id for ask in asks}) == 1


def test_drawdown_when_confirmed_is_asked_for_once_its_interval_has_passed() -> None:
    world = _world(AT_A_LOSS, last_made_at=AT, cycle=1)
    down = dict.fromkeys(PRICES, "0.9")
    for seconds in range(3):
        world.tick(down, market_time_ms=_ms(AT) + seconds * 1000)
    assert world.asks() == []
    world.tick({}, market_time_ms=_ms(AT + timedelta(days=7)))
    assert (world.asks(), world.evaluation.progress().unfinished) == ([], {}), "the next quote counts"
    world.tick({"BTC": "0.9"}, market_time_ms=_ms(AT + timedelta(days=7)) + 1)
    assert world.asks() == []
    world.tick({"BTC": "0.9"}, market_time_ms=_ms(AT + timedelta(days=7)) + 2)
    (ask,) = world.asks()
    command = command_of(ask)
    assert isinstance(command, RunAutoInvest)
    assert (command.cause.value, command.cycle) == ("drawdown", 2)
    assert command.inputs["profit_pct"] == "-10"


def test_drawdown_when_the_price_recovers_meanwhile_is_not_asked_for_again() -> None:
    world = _world(AT_A_LOSS)
    for _ in range(2):
        world.tick(dict.fromkeys(PRICES, "0.94"))
    assert len(world.asks()) == 1
    world.tick(PRICES)
    world.wait(10)
    assert (world.asks(), world.evaluation.progress().unfinished) == ([], {})


def test_strategies_that_ended_leave_nothing_to_ask_for() -> None:
    world = _world(FRIDAYS)
    world.tick({}, market_time_ms=_ms(FRIDAY))
    world.tell(strategy("s1", "closed", version=9))
    for failed in world.asks():
        world.evaluation.ask_failed(failed, 0.1)
    world.pass_time(10)
    assert world.asks() == []

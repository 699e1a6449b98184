"""Whole evaluators on a real NATS server."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from deploy.provision import provision_streams
from services.strategy_evaluator.app import StrategyEvaluatorApp
from services.strategy_evaluator.handlers import heartbeat
from shared.contracts import subjects
from shared.messaging.broker import make_broker
from shared.messaging.publishing import Publisher
from tests.servers import EmbeddedNats
from tests.services.strategy_evaluator.messages import asked, investing, position, strategy
from tests.services.strategy_evaluator.stack import Surroundings, end, running, until

pytestmark = pytest.mark.servers

PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}


@pytest.fixture
async def world(fresh_nats: EmbeddedNats) -> AsyncIterator[Surroundings]:
    await provision_streams(fresh_nats.url)
    async with Surroundings(fresh_nats.url) as made:
        beating = asyncio.ensure_future(made.beat())
        yield made
        await end([beating])


async def test_plan_when_the_threshold_is_reached_is_published_with_all_the_executor_needs(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    await world.market_opens(PRICES)
    await world.add("s1", BALANCED)
    async with running(fresh_nats.url, "1"):
        await until(lambda: [d.code for d in world.decisions] == ["within_band"], "the first decision")
        before_ns = time.time_ns()
        await world.tick({"ETH": "1.3"})
        await until(lambda: len(world.accepted) == 1, "a plan")
        await until(lambda: len(world.decisions) >= 3, "its decision, and the next one")
    plan = world.accepted[0]
    assert (plan.kind, plan.reason, plan.venue, plan.quote) == ("rebalance", "threshold_reached:ETH", "paper", "USDT")
    assert (plan.position_version, plan.fills_seen, plan.previous_plan_id) == (1, 0, "")
    assert [(line.asset, line.quantity, line.target_weight_pct) for line in plan.lines] == [
        ("ONE", 480, 40),
        ("BTC", 360, 30),
        ("ETH", 360, 30),
    ]
    assert plan.total_value == sum(line.value for line in plan.lines) == 1308
    assert before_ns <= plan.tick_received_ns <= plan.decided_at.timestamp() * 1e9
    assert (plan.expires_at - plan.decided_at).total_seconds() == 30
    acting = [decision for decision in world.decisions if decision.acted]
    assert [(decision.code, decision.plan_id) for decision in acting] == [("threshold_reached:ETH", plan.plan_id)]
    assert acting[0].inputs["weight.ETH"].startswith("35.77")


async def test_stop_loss_when_confirmed_is_requested_from_the_registry(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    await world.market_opens(PRICES)
    await world.add("s1", BALANCED, stop_loss="-8")
    async with running(fresh_nats.url, "1"):
        await until(lambda: len(world.decisions) == 1, "the first decision")
        for _ in range(3):
            await world.tick(dict.fromkeys(PRICES, "0.9"))
        await until(lambda: len(world.stops) == 1, "the request")
        await until(lambda: any(d.acted for d in world.decisions), "its decision")
    command, meta = world.stops[0]
    assert (command.strategy_id, command.reason) == ("s1", "stop_loss")
    assert command.inputs["profit_pct"] == "-10"
    assert meta.message_id.startswith("st")


async def test_take_profit_when_it_pauses_is_asked_for_as_a_pause(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    await world.market_opens(PRICES)
    level = {"percent": "10", "confirm": "2", "action": "pause"}
    await world.add("s1", BALANCED, take_profit=level)
    async with running(fresh_nats.url, "1") as app:
        await until(lambda: len(world.decisions) == 1, "the first decision")
        for _ in range(2):
            await world.tick(dict.fromkeys(PRICES, "1.2"))
        await until(lambda: len(world.pauses) == 1, "the request")
        await until(lambda: not app.evaluation.progress().unfinished, "paused")
        await world.tick({"ONE": "9"})
        await until(lambda: app.evaluation.sequence_of("paper") >= world.sequence, "the next row")
        assert app.evaluation.is_idle()
    assert (world.pauses[0].reason, world.pauses[0].inputs["take_profit_action"]) == ("take_profit", "pause")
    assert (world.stops, world.plans) == ([], [])


async def test_new_money_when_it_has_arrived_is_spent_by_a_plan_that_answers(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    await world.market_opens(PRICES)
    request = asked("rq1", "invest", position_version=1)
    await world.tell(strategy("s1", requests=(request,)), position("s1", {**BALANCED, "USDT": "100"}))
    async with running(fresh_nats.url, "1") as app:
        await until(lambda: len(world.accepted) == 1, "the plan")
        await until(lambda: "awaiting_registry" in app.evaluation.progress().unfinished, "its end")
        await world.tell(strategy("s1", version=5))
        await until(lambda: not app.evaluation.progress().unfinished, "the request's end")
    (plan,) = world.plans
    assert (plan.kind, plan.answers, plan.reason) == ("invest", "rq1", "new_money:USDT")
    assert {line.ways.value for line in plan.lines} == {"buy"}


async def test_cycles_when_due_are_asked_for_once_each_by_whoever_is_there(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    """Two evaluators, one of which leaves; the registry cannot answer at first. Every frame is an hour."""
    world.auto_invest = {"amount": "50", "schedule": {"every": "12h"}}
    world.answers_cycles = False
    await world.market_opens(PRICES)
    await world.tell(strategy("s1", auto_invest=world.auto_invest, invested=investing()), position("s1", BALANCED))
    async with running(fresh_nats.url, "1"):
        async with running(fresh_nats.url, "2"):
            await until(lambda: len(world.cycles) >= 2, "asked for again")
            assert {command.cycle for command, _ in world.cycles} == {1}
            assert len({meta.message_id for _, meta in world.cycles}) == 1
            world.answers_cycles = True
            await until(lambda: world.cycles[-1][0].cycle >= 2, "the next cycle")
        await until(lambda: world.cycles[-1][0].cycle >= 4, "cycles after one has left")
    heard = [command for command, _ in world.cycles]
    assert all(later.cycle - one.cycle in (0, 1) for one, later in pairwise(heard))
    due = {command.cycle: command.due_at for command in heard if command.cycle > 1}
    assert all(later > one for one, later in pairwise(due.values()))
    assert (world.plans, world.stops) == ([], [])


async def test_accepted_plans_when_shared_by_any_number_of_evaluators_are_the_same() -> None:
    chains = [await _chains_of_plans(evaluators) for evaluators in (1, 2, 4, 8)]
    assert sum(map(len, chains[0].values())) > 40
    assert all(one == chains[0] for one in chains)


async def _chains_of_plans(evaluators: int) -> dict[str, list[str]]:
    """The accepted plans of 12 strategies over jumpy prices; each row waits until the last one has been dealt with."""
    rng, prices = random.Random(7), dict(PRICES)
    async with contextlib.AsyncExitStack() as stack:
        nats = EmbeddedNats()
        stack.callback(nats.stop)
        await provision_streams(nats.url)
        world = await stack.enter_async_context(Surroundings(nats.url))
        await world.market_opens(prices)
        for number in range(12):
            await world.add(f"s{number}", BALANCED, rebalance={"threshold": str(1 + number % 6)})
        apps = [await stack.enter_async_context(running(nats.url, f"e{n}")) for n in range(evaluators)]
        beating = asyncio.ensure_future(world.beat())
        stack.push_async_callback(end, [beating])
        await until(lambda: _shared_by(apps, 12), "shares settled")
        await until(lambda: len({d.strategy_id for d in world.decisions}) == 12, "first decisions")
        for _ in range(60):
            asset = rng.choice(list(prices))
            prices[asset] = f"{float(prices[asset]) * rng.choice([0.9, 0.97, 1.02, 1.1]):.8f}"
            await world.tick({asset: prices[asset]})
            await until(lambda: _settled(world, apps), "the row dealt with")
        chains: dict[str, list[str]] = {}
        for plan in world.accepted:
            chains.setdefault(plan.strategy_id, []).append(plan.plan_id)
        return chains


def _shared_by(apps: list[StrategyEvaluatorApp], strategies: int) -> bool:
    everybody = sorted(app.members.own_id for app in apps)
    shares = [app.evaluation.owned_count() for app in apps]
    return all(app.members.ids == everybody for app in apps) and sum(shares) == strategies


def _settled(world: Surroundings, apps: list[StrategyEvaluatorApp]) -> bool:
    """Every evaluator has the last frame and the newest positions, and nothing left to do."""
    newest = {plan.strategy_id: plan for plan in world.accepted}
    for app in apps:
        if not app.evaluation.is_idle() or app.evaluation.sequence_of("paper") < world.sequence:
            return False
        for portfolio in app.evaluation.portfolios:
            plan = newest.get(portfolio.strategy_id)
            version = 0 if portfolio.position is None else portfolio.position.version
            emitted = portfolio.emission.message_id.partition(".")[0]
            if portfolio.owned and emitted not in {"", plan.plan_id if plan else ""}:
                return False
            if plan and (version, portfolio.progress.last_closed_plan_id) != (plan.position_version + 1, plan.plan_id):
                return False
    return True


async def test_strategies_when_their_evaluator_leaves_or_falls_silent_are_taken_over(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    await world.market_opens(PRICES)
    for number in range(12):
        await world.add(f"s{number}", BALANCED)
    async with running(fresh_nats.url, "1") as first:
        async with running(fresh_nats.url, "2") as second:
            await until(lambda: _shared_by([first, second], 12), "shares settled")
            assert 0 < first.evaluation.owned_count() < 12
        await until(lambda: first.evaluation.owned_count() == 12, "taken over after a farewell", 0.7)
        broker = make_broker(fresh_nats.url, "ghost")
        await broker.start()
        await Publisher(broker, "tests").send(subjects.EVALUATOR_HEARTBEATS, heartbeat("ghost"))
        await until(lambda: first.evaluation.owned_count() < 12, "shared with a member that then falls silent")
        await until(lambda: first.evaluation.owned_count() == 12, "taken over after its silence", 3.0)
        await broker.stop()
        await world.tick({"ETH": "2"})
        await until(lambda: len({plan.strategy_id for plan in world.accepted}) == 12, "a plan for each")


async def test_evaluator_when_nats_is_killed_and_comes_back_goes_on(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    await world.market_opens(PRICES)
    await world.add("s1", BALANCED)
    async with running(fresh_nats.url, "1") as app:
        await until(lambda: len(world.decisions) == 1, "the first decision")
        fresh_nats.kill()
        fresh_nats.restart()
        before = app.evaluation.sequence_of("paper")
        await until(lambda: app.evaluation.sequence_of("paper") > before, "frames again", 20.0)
        await world.tick({"ETH": "2"})
        await until(lambda: len(world.accepted) == 1, "a plan", 20.0)


async def test_evaluator_when_restarted_neither_forgets_nor_repeats(
    world: Surroundings, fresh_nats: EmbeddedNats
) -> None:
    await world.market_opens(PRICES)
    await world.add("s1", {"ONE": "1200"})
    for _ in range(3):
        async with running(fresh_nats.url, "1") as app:
            await until(lambda app=app: app.evaluation.looks > 0, "a look")
            await until(lambda: len(world.accepted) == 1, "the plan")
            await until(lambda app=app: app.evaluation.is_idle(), "idle")
    assert len(world.plans) == 1

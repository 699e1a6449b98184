"""However many evaluators there are, and whatever happens to any of them: every strategy is somebody's within 5 s."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from deploy.provision import provision_streams
from shared.contracts.plans import RebalancePlanned
from tests.servers import EmbeddedNats
from tests.services.strategy_evaluator.evaluator_processes import Processes, processes
from tests.services.strategy_evaluator.stack import Surroundings, end, until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

SETTLED_WITHIN_S = 5.0
STRATEGIES = [f"s{number}" for number in range(240)]
ALL = ("e1", "e2", "e3", "e4")
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}


class Timed(Surroundings):
    """Surroundings that know when each plan was accepted."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.accepted_at: dict[str, float] = {}

    async def accept(self, plan: RebalancePlanned) -> None:
        self.accepted_at[plan.strategy_id] = time.monotonic()
        await super().accept(plan)

    async def all_fire(self, eth: str) -> None:
        """A price at which every strategy is outside its band, wherever it was bought."""
        self.accepted_at.clear()
        await self.tick({"ETH": eth})


@pytest.fixture
async def world(fresh_nats: EmbeddedNats) -> AsyncIterator[Timed]:
    await provision_streams(fresh_nats.url)
    made = Timed(fresh_nats.url)
    async with made:
        await made.market_opens(PRICES)
        for strategy in STRATEGIES:
            await made.add(strategy, BALANCED)
        beating = asyncio.ensure_future(made.beat())
        yield made
        await end([beating])


@pytest.fixture
async def evaluators(world: Timed, fresh_nats: EmbeddedNats) -> AsyncIterator[Processes]:
    """Four, which know of each other."""
    async with processes(fresh_nats.url) as made:
        for instance in ALL:
            await made.start(instance)
        await until(lambda: made.agreed(*ALL), "they know of each other", 60)
        yield made


async def _taken_over(world: Timed, evaluators: Processes, gone: str, began: float) -> tuple[float, float]:
    """Seconds from ``began`` to the first and the last plan of the strategies that were the gone one's."""
    orphans = [one for one in STRATEGIES if evaluators.owner_of(one, *ALL) == gone]
    assert len(orphans) > 20
    await until(lambda: len(world.accepted_at) == len(STRATEGIES), "a plan for every strategy", 30)
    others = [at for one, at in world.accepted_at.items() if one not in orphans]
    times = [world.accepted_at[one] for one in orphans]
    assert min(others) < min(times), "the strategies of those who are alive wait for nobody"
    return min(times) - began, max(times) - began


async def test_strategies_when_their_evaluator_is_killed_are_planned_for_by_the_others_within_5_s(
    world: Timed, evaluators: Processes
) -> None:
    evaluators.kill("e2")
    killed_at = time.monotonic()
    await world.all_fire("1.3")
    first_s, last_s = await _taken_over(world, evaluators, "e2", killed_at)
    assert first_s > 1.5  # nobody can know before: it had been heard a second ago at most, and is given three
    assert last_s < SETTLED_WITHIN_S
    assert Counter(plan.strategy_id for plan in world.accepted) == Counter(STRATEGIES)
    await until(lambda: evaluators.agreed("e1", "e3", "e4"), "the others have forgotten it")


async def test_strategies_when_their_evaluator_is_frozen_are_taken_over_and_its_late_plans_change_nothing(
    world: Timed, evaluators: Processes
) -> None:
    await evaluators.freeze("e2")
    frozen_at = time.monotonic()
    await world.all_fire("1.3")
    first_s, last_s = await _taken_over(world, evaluators, "e2", frozen_at)
    assert first_s > 1.5
    assert last_s < SETTLED_WITHIN_S
    await world.all_fire("2")
    await until(lambda: len(world.accepted_at) == len(STRATEGIES), "a second plan for every strategy")
    evaluators.revive("e2")
    revived_at = time.monotonic()
    # It has slept through two plans for each of its strategies, and reads of all that happened since in any order.
    await until(lambda: evaluators.agreed(*ALL), "it takes part again")
    assert time.monotonic() - revived_at < SETTLED_WITHIN_S
    await world.all_fire("4")
    await until(lambda: len(world.accepted_at) == len(STRATEGIES), "a third plan for every strategy")
    await until(lambda: all(evaluators.heard[one][0].unfinished == {} for one in ALL), "nothing is under way")
    assert Counter(plan.strategy_id for plan in world.accepted) == Counter(STRATEGIES * 3)
    chains = {one: [plan for plan in world.accepted if plan.strategy_id == one] for one in STRATEGIES}
    for chain in chains.values():
        assert [plan.position_version for plan in chain] == [1, 2, 3]
        assert [plan.previous_plan_id for plan in chain] == ["", chain[0].plan_id, chain[1].plan_id]


async def test_shares_when_evaluators_come_and_go_are_settled_within_5_s(world: Timed, evaluators: Processes) -> None:
    await evaluators.start("e5")
    await until(lambda: "e5" in evaluators.heard, "the fifth speaks", 60)
    heard_at = time.monotonic()
    five = (*ALL, "e5")
    await until(lambda: evaluators.agreed(*five), "all five know of each other")
    assert time.monotonic() - heard_at < SETTLED_WITHIN_S
    assert min(Counter(evaluators.owner_of(one, *five) for one in STRATEGIES).values()) > 20
    evaluators.leave("e1")
    left_at = time.monotonic()
    await until(lambda: evaluators.agreed(*five[1:]), "those who stay have shared its strategies")
    assert time.monotonic() - left_at < SETTLED_WITHIN_S
    await world.all_fire("1.3")
    await until(lambda: len(world.accepted_at) == len(STRATEGIES), "a plan for every strategy")
    owners = {one: evaluators.owner_of(one, *five[1:]) for one in STRATEGIES}
    await until(lambda: sum(decision.acted for decision in world.decisions) >= len(STRATEGIES), "their decisions")
    acted = {one.strategy_id: one.evaluator.partition("-")[0] for one in world.decisions if one.acted}
    assert acted == owners

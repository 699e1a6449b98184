"""Holds on a real PostgreSQL: no plan while money is taken out, then only plans that know of it."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio

from services.order_executor.adapters.postgres_holds import HoldStore
from services.order_executor.adapters.postgres_plans import PlanStore
from services.order_executor.steps import Close
from shared.contracts.plans import FreeStrategy, HoldStrategy, PlanProgressed, RebalancePlanned
from shared.contracts.wire import Meta
from shared.core.errors import Refused
from shared.core.identity import plan_id
from shared.core.position import PlanOutcome
from tests.services.order_executor.test_steps import NOW, line, record

pytestmark = pytest.mark.servers

META = Meta("m", "tests", NOW, "c", "")
LINES = (line("BTC", "0", "1000", "100"), line("USDT", "1000", "1", "0"))


class Strategy:
    """One strategy in the executor's database: what is asked of it, and what it says."""

    def __init__(self, pool: Any) -> None:
        self.pool, self.plans, self._holds = pool, PlanStore(pool), HoldStore(pool)
        self.last_closed = ""

    async def offer(self, version: int = 1, *, expires_in_s: float = 30, answers: str = "") -> str:
        """What becomes of the plan that follows the last closed one, made from this position version."""
        plan, now = record(*LINES).plan, datetime.now(UTC)
        changes = {
            "plan_id": plan_id("s1", version, self.last_closed),
            "position_version": version,
            "previous_plan_id": self.last_closed,
            "expires_at": now + timedelta(seconds=expires_in_s),
            "answers": answers,
        }
        plan = RebalancePlanned.model_validate({**plan.model_dump(), **changes})
        return (await self.plans.accept(plan, META, now)).outcome

    async def close(self) -> None:
        (self.last_closed,) = await self.plans.open_plan_ids()
        assert await self.plans.close(
            await self.plans.load(self.last_closed), Close(PlanOutcome.PARTIAL, "", None), NOW
        )

    async def hold(self, hold_id: str = "w1") -> None:
        await self._holds.hold(HoldStrategy(strategy_id="s1", venue="paper", hold_id=hold_id), "m")

    async def free(self, version: int, hold_id: str = "w1") -> None:
        command = FreeStrategy(strategy_id="s1", venue="paper", hold_id=hold_id, position_version=version)
        await self._holds.free(command, "m")

    async def said(self) -> list[PlanProgressed]:
        rows = await self.pool.fetch("SELECT payload FROM executor.outbox ORDER BY id")
        found = [PlanProgressed.model_validate(orjson.loads(row["payload"])) for row in rows]
        assert [each.sequence for each in found] == list(range(1, len(found) + 1))
        return found

    async def changes(self) -> list[str]:
        return [each.change for each in await self.said()]


@pytest_asyncio.fixture
async def strategy(postgres_dsn: str) -> AsyncIterator[Strategy]:
    pool = await asyncpg.create_pool(postgres_dsn, min_size=1, max_size=2)
    yield Strategy(pool)
    await pool.close()


async def test_hold_when_nothing_is_known_of_the_strategy_is_told_and_refuses_plans(strategy: Strategy) -> None:
    await strategy.hold()
    assert await strategy.offer() == "held"
    assert await strategy.offer(expires_in_s=-1) == "held", "nor is a plan taken that comes too late"
    await strategy.hold()
    (told,) = await strategy.said()
    assert (told.change, told.held_for, told.open_plan_id, told.sealed) == ("held", "w1", None, False)


async def test_hold_when_a_plan_is_open_is_in_force_at_once_and_told_with_its_end(strategy: Strategy) -> None:
    assert await strategy.offer() == "accepted"
    await strategy.hold()
    await strategy.hold()
    assert await strategy.offer() == "duplicate_open", "the plan under way goes on"
    assert await strategy.offer(2) == "held"
    assert await strategy.changes() == ["accepted"]
    await strategy.close()
    assert [(each.change, each.held_for) for each in await strategy.said()] == [
        ("accepted", ""),
        ("closed", ""),
        ("held", "w1"),
    ]
    assert await strategy.offer(2) == "held"
    await strategy.free(2)
    assert await strategy.offer(1) == "stale"
    assert await strategy.offer(2) == "accepted"


async def test_free_when_the_hold_is_in_force_takes_plans_of_the_version_or_a_newer_one_only(
    strategy: Strategy,
) -> None:
    await strategy.hold()
    await strategy.free(7)
    told = (await strategy.said())[-1]
    assert (told.change, told.held_for, told.position_required) == ("freed", "", 7)
    assert [await strategy.offer(6), await strategy.offer(8)] == ["stale", "accepted"]


async def test_free_when_the_transfer_was_refused_keeps_what_is_required(strategy: Strategy) -> None:
    await strategy.hold()
    await strategy.free(7)
    await strategy.hold("w2")
    await strategy.free(0, "w2")
    assert [each.position_required for each in await strategy.said()] == [0, 7, 7, 7]
    assert [await strategy.offer(6), await strategy.offer(7)] == ["stale", "accepted"]


async def test_free_when_repeated_tells_nothing_more_unless_it_requires_more(strategy: Strategy) -> None:
    await strategy.hold()
    for version in (3, 3, 2):
        await strategy.free(version)
    assert await strategy.changes() == ["held", "freed"]
    await strategy.free(4)
    told = (await strategy.said())[-1]
    assert (told.change, told.position_required) == ("freed", 4)


async def test_free_when_nothing_is_known_of_the_strategy_requires_and_forbids_its_hold(strategy: Strategy) -> None:
    await strategy.free(5)
    await strategy.hold()
    assert await strategy.changes() == ["freed"]
    assert [await strategy.offer(4), await strategy.offer(5)] == ["stale", "accepted"]


async def test_free_when_a_plan_is_open_names_it(strategy: Strategy) -> None:
    await strategy.offer()
    await strategy.hold()
    await strategy.free(5)
    told = (await strategy.said())[-1]
    assert (told.change, told.held_for, told.open_plan_id) == ("freed", "", plan_id("s1", 1, ""))
    await strategy.close()
    assert await strategy.changes() == ["accepted", "freed", "closed"], "the hold was over before it could be told"


async def test_free_when_another_hold_is_in_force_does_not_end_that_one(strategy: Strategy) -> None:
    await strategy.hold("w1")
    await strategy.hold("w2")
    await strategy.hold("w1")
    await strategy.free(9, "w1")
    told = (await strategy.said())[-1]
    assert (told.change, told.held_for, told.position_required) == ("freed", "w2", 9)
    assert await strategy.offer(9) == "held"
    await strategy.free(9, "w2")
    assert await strategy.offer(9) == "accepted"


async def test_hold_when_it_comes_again_long_after_it_was_freed_does_not_hold(strategy: Strategy) -> None:
    for number in range(40):
        await strategy.hold(f"w{number}")
        await strategy.free(number, f"w{number}")
    before = len(await strategy.said())
    for number in range(40):
        await strategy.hold(f"w{number}")
        await strategy.free(number, f"w{number}")
    assert len(await strategy.said()) == before
    assert await strategy.offer(39) == "accepted"


async def test_seal_when_held_is_told_and_stays_whatever_comes_after_it(strategy: Strategy) -> None:
    await strategy.hold()
    await strategy.plans.seal("s1", "paper", "m")
    await strategy.free(3)
    assert [(each.change, each.sealed) for each in await strategy.said()] == [
        ("held", False),
        ("sealed", True),
        ("freed", True),
    ]
    assert await strategy.offer(3) == "sealed"


async def test_close_when_hold_and_seal_wait_tells_both(strategy: Strategy) -> None:
    await strategy.offer()
    await strategy.plans.seal("s1", "paper", "m")
    await strategy.hold()
    await strategy.close()
    assert await strategy.changes() == ["accepted", "closed", "held", "sealed"]
    told = (await strategy.said())[-1]
    assert (told.held_for, told.sealed) == ("w1", True)


@pytest.mark.parametrize("expires_in_s", [30, -1])
async def test_close_when_the_plan_answers_a_request_says_so(strategy: Strategy, expires_in_s: float) -> None:
    outcome = await strategy.offer(answers="rq1", expires_in_s=expires_in_s)
    if outcome == "accepted":
        await strategy.close()
    told = (await strategy.said())[-1].last_closed
    assert told is not None
    assert (told.answers, told.outcome.value) == ("rq1", "partial" if outcome == "accepted" else "expired")


@pytest.mark.parametrize("version", [-1, 1])
async def test_command_when_senseless_is_refused(strategy: Strategy, version: int) -> None:
    with pytest.raises(Refused):
        await strategy.free(version, "w1" if version < 0 else "")
    with pytest.raises(Refused):
        await strategy.hold("")
    assert await strategy.said() == []


@pytest.mark.parametrize("seed", range(5))
async def test_commands_when_any_of_the_past_comes_again_at_any_time_change_nothing(
    strategy: Strategy, seed: int
) -> None:
    """Withdrawals one after the other, as the registry asks for them, with plans between them and repeats of it all."""
    dice = random.Random(seed)
    past: list[tuple[str, int]] = []
    required = 0

    async def repeat_some() -> None:
        for name, version in dice.sample(past, min(len(past), dice.randint(0, 4))):
            if version < 0:
                await strategy.hold(name)
            else:
                await strategy.free(version, name)

    for number in range(12):
        name, is_open = f"w{number}", dice.random() < 0.5
        if is_open:
            assert await strategy.offer(required + 1) == "accepted"
        await strategy.hold(name)
        past.append((name, -1))
        await repeat_some()
        if is_open:
            assert (await strategy.said())[-1].held_for == ""
            await strategy.close()
        assert (await strategy.said())[-1].held_for == name
        await repeat_some()
        assert await strategy.offer(required + 100) == "held"
        version = dice.choice([0, required + dice.randint(0, 3)])
        await strategy.free(version, name)
        past.append((name, version))
        required = max(required, version)
        await repeat_some()
        told = (await strategy.said())[-1]
        assert (told.held_for, told.position_required) == ("", required)
    assert (await strategy.changes()).count("held") == 12
    assert (await strategy.changes()).count("freed") == 12

"""Plays stages in worlds, undisturbed and with a death at each point they pass, and compares the end states."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.deaths.fail_points import FailPoint
from tests.chaos.deaths.lives import Life
from tests.chaos.deaths.stages import Outcome, Stage, differs
from tests.chaos.deaths.world import World

PLAYED_WITHIN_S = 60.0
COMES_ROUND_S = 1.5
"""What is passed again and again (a lease renewed, a row polled) is passed within this time."""


@dataclass
class Reference:
    """A stage as it goes when nobody dies."""

    stage: Stage
    outcome: Outcome
    passed: dict[int, int] = field(default_factory=dict)
    breaths: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Death:
    """A death to be died: at a point, in a stage, at the n-th passing. ``like``: all points it stands for; ``attempt``:
    how often the point was waited for in vain before, in this stage or another.
    """

    number: int
    reference: Reference
    passing: int = 1
    like: tuple[int, ...] = ()
    attempt: int = 0


class Player:
    """Plays stages in one world, one at a time; the service that dies is ``victim``."""

    def __init__(self, world: World, victim: str) -> None:
        self.world = world
        self.victim = victim
        self.played = 0

    async def rehearse(self, stage: Stage) -> Reference:
        """The stage undisturbed: its outcome, and the points it passes."""
        marks = self.world.marks[self.victim]
        try:
            outcome, _ = await self._play(stage, None, f"{stage.key}-reference")
        except Exception as error:
            raise AssertionError(f"{stage.name} undisturbed: {error!r}") from error
        await asyncio.sleep(COMES_ROUND_S)
        passed = {number: count for number, count in enumerate(marks.counts()) if count}
        return Reference(stage, outcome, passed, marks.breaths())

    async def die(self, death: Death) -> bool:
        """Play the stage with the death in it; False when the point was not passed. Raises AssertionError when the end
        is another one than without it, or the books are not what the venue says.
        """
        self.played += 1
        stage, point = death.reference.stage, self._point(death)
        strategy_id = f"{stage.key}-{death.number}-{death.passing}-{death.attempt}"
        try:
            outcome, has_died = await self._play(stage, death, strategy_id)
        except Exception as error:
            raise AssertionError(f"death in {stage.name} at {point}: {error!r}") from error
        difference = differs(death.reference.outcome, outcome)
        assert not difference, f"death in {stage.name} at {point}: {difference}"
        return has_died

    def _point(self, death: Death) -> FailPoint:
        return self.world.points[self.victim][death.number]

    async def _play(self, stage: Stage, death: Death | None, strategy_id: str) -> tuple[Outcome, bool]:
        world, marks = self.world, self.world.marks[self.victim]
        if stage.prepare is not None:
            await stage.prepare(world, strategy_id)
        if stage.is_birth:
            await world.lives[self.victim].kill()
        marks.clear()
        if death is not None:
            marks.die_at(death.number, death.passing)
        if stage.is_birth:
            await world.live(self.victim, lease_left_s=stage.lease_left_s)
        playing = asyncio.create_task(stage.play(world, strategy_id))
        try:
            async with asyncio.timeout(PLAYED_WITHIN_S):
                deaths = await self._until_played(playing, stage)
                if death is not None and not deaths:
                    deaths = await self._until_it_comes_round()
            marks.live()
            if deaths:
                await stage.play(world, strategy_id)
            outcome = await stage.outcome(world, strategy_id)
            contradiction = await world.contradiction(strategy_id)
            assert not contradiction, contradiction
            if stage.tidy is not None:
                await stage.tidy(world)
            return outcome, bool(deaths)
        finally:
            playing.cancel()
            marks.live()

    async def _until_played(self, playing: "asyncio.Task[None]", stage: Stage) -> int:
        """Give the victim a new life whenever it has died, until the play is over; returns how often it died."""
        deaths = 0
        while not playing.done():
            dying = asyncio.ensure_future(self._life.death())
            await asyncio.wait({playing, dying}, return_when=asyncio.FIRST_COMPLETED)
            if dying.done() and not playing.done():
                deaths += await self._again(dying.result(), stage)
            dying.cancel()
        playing.result()
        if self._life.is_over:
            deaths += await self._again(await self._life.death(), stage)
        return deaths

    async def _again(self, code: int, stage: Stage) -> int:
        assert code in {-9, *stage.may_end_with}, f"the process ended with code {code}"
        await self.world.live(self.victim)
        return 1 if code == -9 else 0

    async def _until_it_comes_round(self) -> int:
        try:
            async with asyncio.timeout(COMES_ROUND_S):
                code = await self._life.death()
        except TimeoutError:
            return 0
        assert code == -9, f"the process ended with code {code}"
        await self.world.live(self.victim)
        return 1

    @property
    def _life(self) -> Life:
        return self.world.lives[self.victim]


def deaths_of(references: Sequence[Reference], *, each: bool) -> list[Death]:
    """A death for every point any stage passes, in the first stage that does: one per breath, or at ``each`` point."""
    stage_of = {number: reference for reference in reversed(references) for number in reference.passed}
    if each:
        return [Death(number, reference, 1, (number,)) for number, reference in sorted(stage_of.items())]
    found = []
    for group in _breaths(references, stage_of):
        found.append(Death(group[-1], stage_of[group[-1]], 1, tuple(group)))
    return found


def _breaths(references: Sequence[Reference], numbers: Iterable[int]) -> list[list[int]]:
    """The points in groups that are one breath in every stage that passes any of them."""
    follower: dict[int, int] = {}
    for number in numbers:
        followers = {r.breaths.get(number, -1) for r in references if number in r.passed}
        if len(followers) == 1 and -1 not in followers:
            (other,) = followers
            if all(r.breaths.get(number) == other for r in references if other in r.passed):
                follower[number] = other
    firsts = [number for number in sorted(numbers) if number not in set(follower.values())]
    groups = []
    for first in firsts:
        group = [first]
        while group[-1] in follower:
            group.append(follower[group[-1]])
        groups.append(group)
    return groups


def seconds_of_work() -> float:
    """Processor time of this process and its children so far, for the report."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system

"""What a life is asked to do while it dies: each play is for a strategy of its own and may be begun again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.chaos.deaths.world import World
from tests.services.order_executor.rig import eventually

Outcome = dict[str, Any]
PATIENCE_S = 60.0
LOTS_APART = 5
"""What is bought in one phase and what is bought in two, because a death came between, is measured twice."""


@dataclass(frozen=True)
class Held:
    """What a strategy holds at the end: ``amounts`` by asset, ``lots`` they are counted in, and the ``rounds`` it came
    to that in. ``without_room``: what it would hold if its purchases had kept no room, which hangs on the rounds.
    """

    amounts: dict[str, Decimal]
    without_room: dict[str, Decimal]
    lots: dict[str, Decimal]
    rounds: tuple[object, ...]

    def apart_from(self, other: "Held") -> str:
        """Which assets are more than ``LOTS_APART`` apart: as they are after the same rounds, else without room."""
        is_alike = self.rounds == other.rounds
        one, two = (held.amounts if is_alike else held.without_room for held in (self, other))
        apart = [
            f"{asset}: {one.get(asset, Decimal(0))}, not {two.get(asset, Decimal(0))}"
            for asset in sorted({*one, *two})
            if abs(one.get(asset, Decimal(0)) - two.get(asset, Decimal(0))) > LOTS_APART * self.lots[asset]
        ]
        return ", ".join(apart) + ("" if is_alike or not apart else " (without room)")


@dataclass(frozen=True)
class Stage:
    """``play`` goes on until nothing is left to be done; ``outcome`` must be the same whoever died on the way.

    ``prepare`` comes before and is not died in. ``is_birth``: its points are passed while a life begins; the account is
    then free after ``lease_left_s``. ``may_end_with``: exit codes, beside that of a kill, which the play itself causes.
    """

    key: str
    name: str
    play: Callable[[World, str], Awaitable[None]]
    outcome: Callable[[World, str], Awaitable[Outcome]]
    prepare: Callable[[World, str], Awaitable[None]] | None = None
    tidy: Callable[[World], Awaitable[None]] | None = None
    is_birth: bool = False
    lease_left_s: float = -1.0
    may_end_with: frozenset[int] = frozenset()


async def until(world: World, query: str, *arguments: object) -> None:
    """Wait for a row."""
    await eventually(lambda: world.rows(query, *arguments), PATIENCE_S)


def differs(expected: Outcome, outcome: Outcome) -> str:
    """What is not as it should be; "" when nothing."""
    for name in sorted({*expected, *outcome}):
        wanted, found = expected.get(name), outcome.get(name)
        if isinstance(wanted, Held) and isinstance(found, Held):
            if apart := found.apart_from(wanted):
                return f"{name}: {apart}; the rounds are {found.rounds}"
        elif wanted != found:
            return f"{name} is {found}, not {wanted}"
    return ""

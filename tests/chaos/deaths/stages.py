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
ROOM_APART = Decimal("0.0045")
"""A purchase keeps room for the price to move: 5 bps in a plan's first cycle, up to 50 in later ones. How many cycles
a plan takes is a matter of timing; a fill lost or booked twice is far more than what that changes.
"""


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
    """What is not as it should be; "" when nothing. Of ``(amount, lot)`` so much may be ``..._APART``."""
    for name in sorted({*expected, *outcome}):
        wanted, found = expected.get(name), outcome.get(name)
        if wanted == found:
            continue
        if isinstance(wanted, dict) and isinstance(found, dict) and wanted.keys() == found.keys():
            apart = [key for key in wanted if _lots_apart(wanted[key], found[key]) > LOTS_APART]
            if not apart:
                continue
        return f"{name} is {found}, not {wanted}"
    return ""


def _lots_apart(one: tuple[Decimal, Decimal], other: tuple[Decimal, Decimal]) -> Decimal:
    room = ROOM_APART * min(one[0], other[0])
    return max(abs(one[0] - other[0]) - room, Decimal(0)) / one[1]

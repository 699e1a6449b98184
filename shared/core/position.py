"""What a strategy holds, as the ledger last posted it, and where its plans stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Position:
    """A full snapshot of one strategy's money.

    ``version`` rises by one with every ledger transaction that touches the strategy. ``fills_posted`` counts the fills
    among them: a decision may only be made when it equals the executor's own count, else a fill is still on its way.
    ``contributed`` is money put in minus money taken out, in the quote currency (USDT).
    """

    strategy_id: str
    version: int
    fills_posted: int
    holdings: Mapping[str, Decimal]
    contributed: Decimal


class PlanOutcome(StrEnum):
    """How a plan ended."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    NOTHING_TRADABLE = "nothing_tradable"
    EXPIRED = "expired"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class PlanProgress:
    """The executor's word on one strategy's plans: at most one is open.

    ``fills_total`` counts every fill the executor has booked for the strategy. ``sealed``: it takes no more plans.
    ``last_closed_at`` is market time, ``last_fills`` the number of fills of the last closed plan. ``held``: it takes no
    plans for now, money is being taken out. ``position_required``: it takes only plans made from this position version
    or a newer one.
    """

    strategy_id: str
    open_plan_id: str | None = None
    last_closed_plan_id: str = ""
    last_outcome: PlanOutcome | None = None
    last_closed_at: datetime | None = None
    fills_total: int = 0
    sealed: bool = False
    last_fills: int = 0
    held: bool = False
    position_required: int = 0


def has_purchased(outcome: PlanOutcome | None, fills: int) -> bool:
    """Whether an initial plan that ended so was the first purchase; one whose every order came to nothing was not."""
    return outcome is PlanOutcome.COMPLETED or (outcome is PlanOutcome.PARTIAL and fills > 0)

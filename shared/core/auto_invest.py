"""Auto-Invest as data: how much goes in, when, and what happens when it cannot. Pure.

A cycle puts ``amount`` of ``asset`` from the spot wallet into the strategy. Cycles fall due by the schedule, by a loss,
or by both, each on its own. When one is due the evaluator decides, what becomes of it the registry.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

from shared.core.money import ZERO

DEFAULT_GRACE = timedelta(days=1)
MAX_TOTAL_USDT = Decimal(200_000)
"""Nothing more is invested once the money put in would reach more than this."""


class Period(StrEnum):
    """What a schedule counts in."""

    WEEKLY = "weekly"
    MONTHLY = "monthly"
    DAYS = "days"
    HOURS = "hours"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Dates in an IANA time ``zone``. ``at``: local time of day (not for HOURS).

    WEEKLY: on ``weekday`` (0 = Monday). MONTHLY: on ``day`` 1-31, the last of a shorter month. DAYS, HOURS: every
    ``every`` of them, counted from the moment the strategy became active.
    """

    period: Period
    at: time = time(0)
    zone: str = "UTC"
    weekday: int = 0
    day: int = 1
    every: int = 1


@dataclass(frozen=True, slots=True)
class Drawdown:
    """A cycle when the loss is at least ``loss_pct`` percent (> 0) of the money put in, and ``min_interval`` has passed
    since the last cycle of either kind. ``confirm``: consecutive new quotes; None = as the evaluator is set.
    """

    loss_pct: Decimal
    min_interval: timedelta
    confirm: int | None = None


class Answer(StrEnum):
    """What to do when a cycle cannot be carried out.

    STOP Auto-Invest (as BigONE does), leave this cycle out, put its money on top of the next, or go on regardless.
    """

    STOP = "stop"
    SKIP = "skip"
    CARRY_OVER = "carry_over"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class AutoInvest:
    """One strategy's Auto-Invest: ``amount`` of ``asset`` per cycle.

    ``pause_at_total``: once so much (quote currency) has been invested by it, it pauses. ``grace``: how late a cycle
    may still be made (market time).

    ``short_balance`` and ``over_limit``: stop, skip or carry_over; ``composition_change``: stop or continue.
    """

    amount: Decimal
    asset: str
    schedule: Schedule | None = None
    drawdown: Drawdown | None = None
    pause_at_total: Decimal | None = None
    short_balance: Answer = Answer.STOP
    over_limit: Answer = Answer.STOP
    composition_change: Answer = Answer.STOP
    grace: timedelta = DEFAULT_GRACE


class AutoInvestStatus(StrEnum):
    """PAUSED: at the set total, a higher one resumes it. STOPPED: with a reason, an edit of it starts it anew."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Cause(StrEnum):
    """What made a cycle due."""

    SCHEDULE = "schedule"
    DRAWDOWN = "drawdown"


@dataclass(frozen=True, slots=True)
class AutoInvestState:
    """How far Auto-Invest has come. ``since`` and ``settled_until`` are market time.

    ``cycle``: cycles decided so far, made or not. ``settled_until``: every scheduled date up to it is settled.
    ``last_made_at``: market time of the last cycle that was made, ``left_out_at``: of the last one that a drawdown made
    due and that was not made. ``invested``: worth (quote currency) of all that was made; ``carried``: amount (of the
    asset) that a cycle left for the next one. ``pending``: a cycle's money is on its way: no other is due meanwhile.
    """

    status: AutoInvestStatus
    since: datetime
    reason: str = ""
    cycle: int = 0
    settled_until: datetime | None = None
    last_made_at: datetime | None = None
    invested: Decimal = ZERO
    carried: Decimal = ZERO
    pending: bool = False
    left_out_at: datetime | None = None

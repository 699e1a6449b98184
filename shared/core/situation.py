"""What a decision is made from: one strategy's situation, and the market at one moment."""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.core.market import Instruments, Quotes
from shared.core.position import PlanProgress, Position
from shared.core.reasons import Reason
from shared.core.strategy import StrategyDefinition, StrategyStatus

INITIAL, REBALANCE, EXIT = "initial", "rebalance", "exit"
"""The kinds of plans."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest profit that counted, in percent of the money that was put in then (quote currency)."""

    profit_pct: Decimal
    contributed: Decimal


@dataclass(frozen=True, slots=True)
class StrategyView:
    """A strategy as its registry last described it. ``active_since``: market time of the first purchase's end.

    ``peak``: of a strategy whose take-profit or stop-loss trails, once there was one.
    """

    strategy_id: str
    version: int
    status: StrategyStatus
    definition: StrategyDefinition
    active_since: datetime | None = None
    exit_reason: str = ""
    peak: Peak | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one strategy; kind and reason are those of ``progress.last_closed_plan_id``."""

    strategy: StrategyView
    position: Position | None
    progress: PlanProgress
    last_closed_kind: str = ""
    last_closed_reason: str = ""


@dataclass(frozen=True, slots=True)
class Market:
    """One venue at market time ``now``. ``stale``: assets whose price must not be traded on."""

    quotes: Quotes
    instruments: Instruments
    quote: str
    now: datetime
    stale: Set[str] = frozenset()

    def can_trade(self, asset: str) -> bool:
        """Whether the asset has an instrument that is not halted; the quote currency needs none."""
        instrument = self.instruments.get(asset)
        return asset == self.quote or (instrument is not None and instrument.tradable)


@dataclass(frozen=True, slots=True)
class ExitConfirmations:
    """How many consecutive new quotes take-profit or stop-loss (``reason``) has held; ``NONE_YET`` when it does not.

    Likewise a new peak: for ``peak_count`` quotes the profit was at or above the step ``peak_pct``.
    """

    reason: Reason | None = None
    count: int = 0
    peak_pct: Decimal | None = None
    peak_count: int = 0


NONE_YET = ExitConfirmations()

"""What a decision is made from: one strategy's situation, and the market at one moment."""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.core.auto_invest import AutoInvestState
from shared.core.market import Instruments, Quotes
from shared.core.position import PlanProgress, Position
from shared.core.reasons import Reason
from shared.core.strategy import StrategyDefinition, StrategyStatus

INITIAL, REBALANCE, EXIT, INVEST, WITHDRAW = "initial", "rebalance", "exit", "invest", "withdraw"
"""The kinds of plans."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest profit that counted, in percent of the money that was put in then (quote currency)."""

    profit_pct: Decimal
    contributed: Decimal


class RequestKind(StrEnum):
    """What a running strategy was asked to do, each carried out by a plan of its own."""

    REBALANCE = "rebalance"
    INVEST = "invest"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to be done, in the order they were asked for. ``position_version``: the first one that includes it.

    INVEST: ``amount`` of ``asset`` has arrived and is to be spent. WITHDRAW: ``amount`` of ``asset``, or ``percent`` of
    the strategy's value in ``asset``, is to be made available.
    """

    request_id: str
    kind: RequestKind
    asset: str = ""
    amount: Decimal | None = None
    percent: Decimal | None = None
    position_version: int = 0


@dataclass(frozen=True, slots=True)
class StrategyView:
    """A strategy as its registry last described it. ``active_since``: market time of the first purchase's end.

    ``peak``: of a strategy whose take-profit or stop-loss trails, once there was one. ``request``: the next thing to be
    done, None for nothing. ``auto_invest``: None without Auto-Invest, or before the strategy was active.
    """

    strategy_id: str
    version: int
    status: StrategyStatus
    definition: StrategyDefinition
    active_since: datetime | None = None
    exit_reason: str = ""
    peak: Peak | None = None
    request: Request | None = None
    auto_invest: AutoInvestState | None = None


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

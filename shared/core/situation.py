"""What a decision is made from: one strategy's situation, and the market at one moment."""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.core.auto_invest import AutoInvestState
from shared.core.market import Instruments, Quotes
from shared.core.position import PlanOutcome, PlanProgress, Position
from shared.core.reasons import Reason
from shared.core.rules import ExitAction
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


def is_done(kind: RequestKind, outcome: PlanOutcome | None, fills: int) -> bool:
    """Whether a request is done by a plan that answered it and ended so; else another plan must follow.

    One in which every order came to nothing has moved no money; who asked for a rebalance can ask again.
    """
    if outcome is PlanOutcome.PARTIAL:
        return fills > 0 or kind is RequestKind.REBALANCE
    return outcome in {PlanOutcome.COMPLETED, PlanOutcome.NOTHING_TRADABLE}


@dataclass(frozen=True, slots=True)
class StrategyView:
    """A strategy as its registry last described it. ``active_since``: market time of the first purchase's end.

    ``peak``: of a strategy whose take-profit or stop-loss trails, once there was one. ``auto_invest``: None without
    Auto-Invest, or before the strategy was active. ``exit_action``: of one that is exiting.

    ``requests_open``: how many things it was asked for are not finished. ``request``: the first of them, None unless a
    plan may be made for it. ``money_arriving``: money of one of them is on its way in. ``money_leaving``: the first is
    being paid out.
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
    exit_action: ExitAction = ExitAction.SELL
    requests_open: int = 0
    money_arriving: bool = False
    money_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one strategy. Kind, reason and the request it answered ("" for none) are those of
    ``progress.last_closed_plan_id``.
    """

    strategy: StrategyView
    position: Position | None
    progress: PlanProgress
    last_closed_kind: str = ""
    last_closed_reason: str = ""
    last_closed_answers: str = ""


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

    Likewise a new peak: for ``peak_count`` quotes the profit was at or above the step ``peak_pct``; and the loss at
    which Auto-Invest adds money, for ``drawdown_count`` quotes. The three are counted independently of each other.
    """

    reason: Reason | None = None
    count: int = 0
    peak_pct: Decimal | None = None
    peak_count: int = 0
    drawdown_count: int = 0


NONE_YET = ExitConfirmations()

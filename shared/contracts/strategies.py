"""Strategies: commands to the registry (request and reply) and the registry's events (full state each time)."""

from enum import StrEnum
from typing import Any, ClassVar

from shared.contracts.wire import Amount, Message, Number, Part, Timestamp
from shared.core.auto_invest import AutoInvestState, AutoInvestStatus
from shared.core.money import ZERO
from shared.core.rules import ExitAction
from shared.core.situation import RequestKind
from shared.core.strategy import StrategyDefinition, StrategyStatus, parse_strategy


class PreviewStrategy(Message):
    """Check a strategy document, store it as a preview, and tell what would be done. Changes nothing else."""

    TYPE: ClassVar[str] = "trimtab.strategy.preview"

    document: dict[str, Any]


class ConfirmStrategy(Message):
    """Start the strategy of a preview: exactly what was reviewed, once however often this is sent."""

    TYPE: ClassVar[str] = "trimtab.strategy.confirm"

    preview_id: str


class StopStrategy(Message):
    """End the strategy and return what it has to the spot wallet. Repeating it changes nothing.

    ``action``: "sell" (everything into the funding asset first) or "keep" (the coins as they are).
    ``reason`` is a reason code ("stopped_by_user", "take_profit", "stop_loss"); ``inputs`` the figures behind it.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.stop"

    strategy_id: str
    reason: str
    inputs: dict[str, str] = {}
    action: ExitAction = ExitAction.SELL


class RecordPeak(Message):
    """Note the highest profit a strategy has had, for a take-profit or stop-loss that trails. A lower one is ignored.

    ``profit_pct``: percent of ``contributed``, the money put in (quote currency) when it was seen.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.record_peak"

    strategy_id: str
    profit_pct: Number
    contributed: Amount


class PeakRecorded(Part):
    """The highest profit that was recorded; see RecordPeak."""

    profit_pct: Number
    contributed: Amount


class RequestStage(StrEnum):
    """How far a request is: its money is on its way in; evaluator and executor are at work on it; plans are being held
    off; the money is being paid out; plans are being let in again.
    """

    FUNDING = "funding"
    OPEN = "open"
    HOLDING = "holding"
    PAYING = "paying"
    FREEING = "freeing"


class RequestMade(Part):
    """One thing a running strategy was asked to do and has not finished; see ``shared.core.situation.Request``.

    ``cause``: "user", "edit", "schedule", "drawdown".
    """

    request_id: str
    kind: RequestKind
    stage: RequestStage
    cause: str
    asked_at: Timestamp
    asset: str = ""
    amount: Amount | None = None
    percent: Number | None = None
    position_version: int = 0


class AutoInvestProgress(Part):
    """How far Auto-Invest has come; see ``shared.core.auto_invest.AutoInvestState``."""

    status: AutoInvestStatus
    since: Timestamp
    reason: str = ""
    cycle: int = 0
    settled_until: Timestamp | None = None
    last_made_at: Timestamp | None = None
    invested: Amount = ZERO
    carried: Amount = ZERO
    pending: bool = False
    left_out_at: Timestamp | None = None

    def state(self) -> AutoInvestState:
        """The same for the core."""
        return AutoInvestState(**{name: getattr(self, name) for name in AutoInvestProgress.model_fields})


class ProblemFound(Part):
    """One problem of an input; see ``shared.core.errors.Problem``."""

    field: str
    value: str
    allowed: str
    message: str


class CommandRefused(Message):
    """The reply to a command that was refused: nothing has changed.

    ``conflict``: it was made for a state that is no longer the strategy's; look at it and decide anew.
    """

    TYPE: ClassVar[str] = "trimtab.command.refused"

    problems: tuple[ProblemFound, ...]
    conflict: bool = False


class CommandDeferred(Message):
    """The reply to a command that cannot be answered now: send it again after ``after_s`` seconds."""

    TYPE: ClassVar[str] = "trimtab.command.deferred"

    message: str
    after_s: float


class OrderForeseen(Part):
    """One order a preview foresees: side "buy" or "sell", quantity in base, value in the quote currency."""

    side: str
    asset: str
    symbol: str
    quantity: Amount
    price: Amount
    value: Amount


class StrategyPreviewed(Message):
    """The reply to PreviewStrategy: what would happen, and until when it may be confirmed."""

    TYPE: ClassVar[str] = "trimtab.strategy.previewed"

    preview_id: str
    expires_at: Timestamp
    document: dict[str, Any]
    warnings: tuple[str, ...]
    minimum_amount: Amount
    value_usdt: Number
    estimated_fees_usdt: Number
    first_orders: tuple[OrderForeseen, ...]


class StrategyChanged(Message):
    """A strategy's full state after a change: an event for auditors, the last value for evaluators.

    ``change`` says what happened ("confirmed", "funded", "funding_refused", "activated", "peak_raised", "edited",
    "paused", "resumed", "rebalance_requested", "money_added", "money_arrived", "money_refused", "withdrawal_requested",
    "request_advanced", "withdrawal_paid", "withdrawal_refused", "request_done", "cycle_made", "cycle_left_out",
    "auto_invest_paused", "auto_invest_stopped", "exit_requested", "sealed", "closed", "failed"); ``version`` rises by
    one with each, ``revision`` with each edit of ``document``. ``changed_by``: "user", "strategy_evaluator",
    "order_executor", "ledger" or "strategy_registry". ``active_since`` is market time: the initial purchase closed
    then. ``peak``: see RecordPeak. ``requests``: what is under way, in order: the first is carried out first.
    ``exit_action``: how it ends once ``exit_reason`` is set; "keep" sells nothing. ``released``: what was returned at
    the end, by asset.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.changed"

    strategy_id: str
    version: int
    change: str
    status: StrategyStatus
    document: dict[str, Any]
    created_at: Timestamp
    active_since: Timestamp | None = None
    peak: PeakRecorded | None = None
    exit_reason: str = ""
    exit_action: ExitAction = ExitAction.SELL
    reason: str = ""
    inputs: dict[str, str] = {}
    revision: int = 1
    changed_by: str = ""
    requests: tuple[RequestMade, ...] = ()
    auto_invest: AutoInvestProgress | None = None
    released: dict[str, Amount] = {}

    def definition(self) -> StrategyDefinition:
        """The definition in ``document``. Raises Refused if it is not valid."""
        return parse_strategy(self.document)

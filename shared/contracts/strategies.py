"""Strategies: commands to the registry (request and reply) and the registry's events (full state each time)."""

from typing import Any, ClassVar

from shared.contracts.wire import Amount, Message, Number, Part, Timestamp
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
    """Sell everything into the funding asset and return it to the spot wallet. Repeating it changes nothing.

    ``reason`` is a reason code ("stopped_by_user", "take_profit", "stop_loss"); ``inputs`` the figures behind it.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.stop"

    strategy_id: str
    reason: str
    inputs: dict[str, str] = {}


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


class ProblemFound(Part):
    """One problem of an input; see ``shared.core.errors.Problem``."""

    field: str
    value: str
    allowed: str
    message: str


class CommandRefused(Message):
    """The reply to a command that was refused: nothing has changed."""

    TYPE: ClassVar[str] = "trimtab.command.refused"

    problems: tuple[ProblemFound, ...]


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

    ``change`` says what happened ("confirmed", "funded", "funding_refused", "activated", "peak_raised",
    "exit_requested", "sealed", "closed"); ``version`` rises by one with each. ``active_since`` is market time: the
    initial purchase closed then. ``peak``: see RecordPeak.
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
    reason: str = ""
    inputs: dict[str, str] = {}

    def definition(self) -> StrategyDefinition:
        """The definition in ``document``. Raises Refused if it is not valid."""
        return parse_strategy(self.document)

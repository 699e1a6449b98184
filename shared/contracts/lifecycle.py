"""What may be asked of a strategy that runs: commands to the registry (request and reply), and what it tells people.

Every command answers with StrategyChanged (the state now) or CommandRefused; the same message id is the same command.
"""

from enum import StrEnum
from typing import Any, ClassVar

from shared.contracts.strategies import StrategyChanged
from shared.contracts.wire import Amount, Message, Number, Part, Timestamp
from shared.core.auto_invest import Cause

EDITABLE_FIELDS = ("name", "targets", "rebalance", "take_profit", "stop_loss", "auto_invest", "orders")
"""What EditStrategy may change."""


class EditStrategy(Message):
    """Change parts of the definition: those of ``EDITABLE_FIELDS``.

    ``changes``: the new value by field, in the form of a strategy file; null takes an optional one away. ``revision``:
    the one the edit was made for; when it is not the newest any more the edit is refused as a conflict. New targets are
    traded towards at once unless ``rebalance`` is false.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.edit"

    strategy_id: str
    revision: int
    changes: dict[str, Any]
    rebalance: bool = True


class AddMoney(Message):
    """Move ``amount`` of ``asset`` ("" = the funding asset) from the spot wallet into the strategy and invest it."""

    TYPE: ClassVar[str] = "trimtab.strategy.add_money"

    strategy_id: str
    amount: Amount
    asset: str = ""


class WithdrawMoney(Message):
    """Take ``amount`` of ``asset`` ("" = the funding asset), or ``percent`` of the value in that asset, out of the
    strategy with the least trading, and return it to the spot wallet. Exactly one of the two.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.withdraw_money"

    strategy_id: str
    amount: Amount | None = None
    percent: Number | None = None
    asset: str = ""


class PauseStrategy(Message):
    """Do nothing by itself any more until it is resumed; a plan under way is finished, withdrawals are still made.

    ``reason``: "paused_by_user", "take_profit", "stop_loss"; ``inputs`` the figures behind it.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.pause"

    strategy_id: str
    reason: str
    inputs: dict[str, str] = {}


class ResumeStrategy(Message):
    """Go on after a pause. Refused while a take-profit or stop-loss that pauses is reached: edit that first."""

    TYPE: ClassVar[str] = "trimtab.strategy.resume"

    strategy_id: str


class RebalanceNow(Message):
    """Bring every asset to its target now, whatever the rule says."""

    TYPE: ClassVar[str] = "trimtab.strategy.rebalance_now"

    strategy_id: str


class RunAutoInvest(Message):
    """A cycle of Auto-Invest is due. ``cycle``: its number, one more than those decided so far; any other is ignored.

    ``due_at``: the newest scheduled date that has come (for a drawdown: the market time). ``made``: False records that
    the date was missed by more than the grace period. ``left_out``: earlier dates that came meanwhile and are not made
    up for. ``inputs``: the figures behind it. ``price``: bid of the money's asset in the quote currency at market time:
    the money counts as put in at this price. None: at the one the registry knows.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.run_auto_invest"

    strategy_id: str
    cycle: int
    cause: Cause
    due_at: Timestamp
    market_time: Timestamp
    made: bool = True
    left_out: tuple[Timestamp, ...] = ()
    inputs: dict[str, str] = {}
    price: Amount | None = None


class ListVersions(Message):
    """Ask for a strategy's history, newest first; ``before``: only versions below it (0 = from the newest)."""

    TYPE: ClassVar[str] = "trimtab.strategy.list_versions"

    strategy_id: str
    before: int = 0
    limit: int = 100


class FieldChanged(Part):
    """One field of the document that a version changed; "" for a side where it is not there; else as JSON text."""

    field: str
    before: str
    after: str


class VersionKept(Part):
    """One version of a strategy: who (``changed_by``), when, and what changed."""

    recorded_at: Timestamp
    causation_id: str
    state: StrategyChanged
    fields: tuple[FieldChanged, ...] = ()


class VersionsListed(Message):
    """The reply to ListVersions. ``following``: the ``before`` of the next page; 0 = there is none."""

    TYPE: ClassVar[str] = "trimtab.strategy.versions_listed"

    strategy_id: str
    versions: tuple[VersionKept, ...]
    following: int = 0


class Severity(StrEnum):
    """How much a notification wants to be read."""

    INFO = "info"
    WARNING = "warning"
    ALERT = "alert"


class NotificationRaised(Message):
    """Something a person should hear of, in words. ``kind``: the change of StrategyChanged that it goes with, or
    "withdrawal_waits": a payout waits for a price.
    """

    TYPE: ClassVar[str] = "trimtab.notification.raised"

    strategy_id: str
    strategy_version: int
    kind: str
    severity: Severity
    text: str
    reason: str = ""
    inputs: dict[str, str] = {}

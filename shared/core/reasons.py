"""The closed list of reasons: every decision, to act or not to act, carries one of these codes.

On the wire a code may name one asset after a colon: ``threshold_reached:BTC``, ``stale_price:ETH``.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a strategy did or did not trade."""

    INITIAL_PURCHASE = "initial_purchase"
    THRESHOLD_REACHED = "threshold_reached"
    INTERVAL_DUE = "interval_due"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    STOPPED_BY_USER = "stopped_by_user"
    REBALANCE_NOW = "rebalance_now"
    NEW_MONEY = "new_money"
    WITHDRAWAL = "withdrawal"
    AUTO_INVEST_DUE = "auto_invest_due"
    AUTO_INVEST_DRAWDOWN = "auto_invest_drawdown"
    AUTO_INVEST_MISSED = "auto_invest_missed"

    WITHIN_BAND = "within_band"
    INTERVAL_NOT_DUE = "interval_not_due"
    BELOW_MIN_DRIFT = "below_min_drift"
    HOLD_MODE = "hold_mode"
    COST_GUARD = "cost_guard"
    COOLDOWN = "cooldown"
    PLAN_OPEN = "plan_open"
    FILLS_PENDING = "fills_pending"
    BELOW_MINIMUM = "below_minimum"
    STALE_PRICE = "stale_price"
    MISSING_PRICE = "missing_price"
    NOT_TRADABLE = "not_tradable"
    AWAITING_FUNDS = "awaiting_funds"
    AWAITING_START_PRICE = "awaiting_start_price"
    AWAITING_ACTIVATION = "awaiting_activation"
    AWAITING_RELEASE = "awaiting_release"
    CONFIRMING_TAKE_PROFIT = "confirming_take_profit"
    CONFIRMING_STOP_LOSS = "confirming_stop_loss"
    CONFIRMING_DRAWDOWN = "confirming_drawdown"
    MONEY_ARRIVING = "money_arriving"
    MONEY_LEAVING = "money_leaving"
    AWAITING_POSITION = "awaiting_position"
    AWAITING_REGISTRY = "awaiting_registry"
    PAUSED = "paused"
    HALTED = "halted"
    SEALED = "sealed"
    NOT_RUNNING = "not_running"


ACTING = frozenset(
    {
        Reason.INITIAL_PURCHASE,
        Reason.THRESHOLD_REACHED,
        Reason.INTERVAL_DUE,
        Reason.TAKE_PROFIT,
        Reason.STOP_LOSS,
        Reason.STOPPED_BY_USER,
        Reason.REBALANCE_NOW,
        Reason.NEW_MONEY,
        Reason.WITHDRAWAL,
        Reason.AUTO_INVEST_DUE,
        Reason.AUTO_INVEST_DRAWDOWN,
        Reason.AUTO_INVEST_MISSED,
    }
)
"""The reasons that lead to a plan, an exit, a pause or a cycle; all others explain why nothing was done."""


ON_THE_WAY = frozenset(
    {
        Reason.PLAN_OPEN,
        Reason.FILLS_PENDING,
        Reason.AWAITING_FUNDS,
        Reason.AWAITING_ACTIVATION,
        Reason.AWAITING_RELEASE,
        Reason.SEALED,
        Reason.MONEY_ARRIVING,
        Reason.MONEY_LEAVING,
        Reason.AWAITING_POSITION,
        Reason.AWAITING_REGISTRY,
    }
)
"""The reasons that another service's next word ends: something is under way. Which of them are seen, and how often, is
a matter of who was faster."""


def code_of(reason: Reason, asset: str = "") -> str:
    """The code on the wire: the reason, with ``:<asset>`` when it is about one asset."""
    return f"{reason.value}:{asset}" if asset else reason.value


def reason_of(code: str) -> tuple[Reason, str]:
    """Reason and asset ("" for none) of a code on the wire. Raises ValueError for a code that is not in the list."""
    name, _, asset = code.partition(":")
    return Reason(name), asset

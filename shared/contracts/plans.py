"""Plans: what the evaluator decided, and how far the executor is with it."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from shared.contracts.wire import Amount, Message, Number, Part, Timestamp
from shared.core.order_styles import DEFAULT_STYLING, OrderStyle, Styling
from shared.core.position import PlanOutcome

_MS = timedelta(milliseconds=1)


class TradedWays(StrEnum):
    """Which orders a plan may make in an asset."""

    BOTH = "both"
    BUY = "buy"
    SELL = "sell"


class PlanLine(Part):
    """One asset of a plan. Values in the quote currency at ``bid``; ``target_weight_pct`` 0 means sell all of it.

    ``ways``: new money is only bought with, money to be taken out only sold for.
    """

    asset: str
    quantity: Amount
    bid: Amount
    ask: Amount
    value: Number
    weight_pct: Number
    target_weight_pct: Number
    ways: TradedWays = TradedWays.BOTH


class OrdersStyled(Part):
    """How the plan's orders are placed, when not by the default; see ``shared.core.order_styles.Styling``."""

    style: OrderStyle
    patience_ms: int = 0
    slice_notional: Amount | None = None
    depth_share_pct: Number | None = None
    every_ms: int = 0

    def styling(self) -> Styling:
        """The same for the core."""
        return Styling(
            style=self.style,
            patience=timedelta(milliseconds=self.patience_ms),
            slice_notional=self.slice_notional,
            depth_share_pct=self.depth_share_pct,
            every=timedelta(milliseconds=self.every_ms),
        )


def styled(styling: Styling) -> OrdersStyled | None:
    """The part of a plan that tells a styling; None for the default."""
    if styling == DEFAULT_STYLING:
        return None
    return OrdersStyled(
        style=styling.style,
        patience_ms=styling.patience // _MS,
        slice_notional=styling.slice_notional,
        depth_share_pct=styling.depth_share_pct,
        every_ms=styling.every // _MS,
    )


class RebalancePlanned(Message):
    """Bring these holdings to these weights. ``plan_id`` = f(strategy, position version, last closed plan).

    ``kind``: "initial", "rebalance", "invest" (new money), "withdraw" (make money available) or "exit" (all into
    ``funding_asset``). ``answers``: id of the request it carries out, "" for none. ``fills_seen``: the fills
    included in the position; the executor takes the plan only if it has booked no other. ``expires_at`` is wall clock:
    a decision that was delayed on its way must not trade. ``tick_received_ns``: the feed's wall clock at the tick that
    led here. ``orders``: how they are placed; a style that takes time has it in ``expires_at``, on top.
    """

    TYPE: ClassVar[str] = "trimtab.rebalance.planned"

    plan_id: str
    strategy_id: str
    strategy_version: int
    venue: str
    kind: str
    reason: str
    inputs: dict[str, str]
    position_version: int
    fills_seen: int
    previous_plan_id: str
    funding_asset: str
    quote: str
    total_value: Number
    lines: tuple[PlanLine, ...]
    market_time: Timestamp
    decided_at: Timestamp
    expires_at: Timestamp
    tick_received_ns: int
    answers: str = ""
    orders: OrdersStyled | None = None

    @property
    def styling(self) -> Styling:
        """How the orders are placed."""
        return DEFAULT_STYLING if self.orders is None else self.orders.styling()

    @property
    def accept_until(self) -> datetime:
        """Until when it may be begun (wall clock): later than that the decision is too old, whatever time it takes."""
        return self.expires_at - self.styling.longest


class PlanClosedSummary(Part):
    """The last plan of a strategy that ended. ``worst_drift_pct``: at the prices it was executed at, in points.

    ``prices``: the bids that an exit was planned at, by asset; empty for every other kind.
    """

    plan_id: str
    kind: str
    reason: str
    outcome: PlanOutcome
    detail: str
    closed_at: Timestamp
    market_time: Timestamp
    orders: int
    fills: int
    worst_drift_pct: Number | None = None
    answers: str = ""
    prices: dict[str, Amount] = {}


class PlanProgressed(Message):
    """The executor's full word on one strategy's plans after a change.

    ``change``: "accepted", "closed", "sealed", "held" or "freed". Last value wins; see
    ``shared.core.position.PlanProgress``. ``sequence`` rises by one with each change. ``held_for``: id of the hold in
    force, "" for none; ``position_required``: see FreeStrategy.
    """

    TYPE: ClassVar[str] = "trimtab.plan.progressed"

    strategy_id: str
    venue: str
    sequence: int
    change: str
    open_plan_id: str | None
    last_closed: PlanClosedSummary | None
    fills_total: int
    sealed: bool
    held_for: str = ""
    position_required: int = 0


class SealStrategy(Message):
    """Take no more plans for this strategy: answered by PlanProgressed with ``sealed`` once no plan is open."""

    TYPE: ClassVar[str] = "trimtab.strategy.seal"

    strategy_id: str
    venue: str


class HoldStrategy(Message):
    """Take no plans for this strategy until it is freed; PlanProgressed with ``held_for`` answers once none is open.

    Money is then taken out without a plan that still counts on it. Repeating it changes nothing.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.hold"

    strategy_id: str
    venue: str
    hold_id: str


class FreeStrategy(Message):
    """End a hold: from now on plans are taken that were made from ``position_version`` or a newer one.

    A hold that is not in force (ended, or another one is) is not ended, but ``position_version`` counts all the same.
    """

    TYPE: ClassVar[str] = "trimtab.strategy.free"

    strategy_id: str
    venue: str
    hold_id: str
    position_version: int

"""Plans: what the evaluator decided, and how far the executor is with it."""

from typing import ClassVar

from shared.contracts.wire import Amount, Message, Number, Part, Timestamp
from shared.core.position import PlanOutcome


class PlanLine(Part):
    """One asset of a plan. Values in the quote currency at ``bid``; ``target_weight_pct`` 0 means sell all of it."""

    asset: str
    quantity: Amount
    bid: Amount
    ask: Amount
    value: Number
    weight_pct: Number
    target_weight_pct: Number


class RebalancePlanned(Message):
    """Bring these holdings to these weights. ``plan_id`` = f(strategy, position version, last closed plan).

    ``kind``: "initial", "rebalance" or "exit" (all into ``funding_asset``). ``fills_seen``: the fills included in the
    position; the executor takes the plan only if it has booked no other. ``expires_at`` is wall clock: a decision that
    was delayed on its way must not trade. ``tick_received_ns``: the feed's wall clock at the tick that led here.
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


class PlanClosedSummary(Part):
    """The last plan of a strategy that ended. ``worst_drift_pct``: at the prices it was executed at, in points."""

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


class PlanProgressed(Message):
    """The executor's full word on one strategy's plans after a change: "accepted", "closed" or "sealed".

    Last value wins; see ``shared.core.position.PlanProgress``. ``sequence`` rises by one with each change.
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


class SealStrategy(Message):
    """Take no more plans for this strategy: answered by PlanProgressed with ``sealed`` once no plan is open."""

    TYPE: ClassVar[str] = "trimtab.strategy.seal"

    strategy_id: str
    venue: str

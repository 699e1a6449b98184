"""Decisions: why a strategy did or did not trade."""

from typing import ClassVar

from shared.contracts.wire import Message, Timestamp


class DecisionRecorded(Message):
    """One decision of an evaluator, or ``count`` equal ones in a row from ``first_at`` to ``last_at`` (market time).

    ``code`` is one of ``shared.core.reasons.Reason`` with an optional ":<asset>"; ``acted`` tells whether it led to a
    plan, an exit, a pause or a cycle of Auto-Invest. ``inputs`` are the figures of the newest one: weights, prices,
    bounds, as text.
    """

    TYPE: ClassVar[str] = "trimtab.decision.recorded"

    strategy_id: str
    strategy_version: int
    evaluator: str
    acted: bool
    code: str
    count: int
    first_at: Timestamp
    last_at: Timestamp
    inputs: dict[str, str]
    plan_id: str = ""

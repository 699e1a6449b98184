"""What the evaluation wants told to others."""

from dataclasses import dataclass

from shared.core.decisions import Plan
from shared.core.situation import StrategyView


@dataclass(frozen=True, slots=True)
class PlanToPublish:
    """A plan, with the wall clock at the decision, and the feed's at the quote that led to it (ours for an event).

    ``sequence``: of the executor's last word on the strategy that was known then.
    """

    strategy: StrategyView
    plan: Plan
    decided_ns: int
    tick_received_ns: int
    sequence: int = -1

    @property
    def message_id(self) -> str:
        """Names the plan, what it is for, and what was known: the executor may drop a plan and later take the same.

        It drops one while money is paid out, for instance. Whatever makes it think otherwise it tells, under another
        sequence; without that the stream would swallow the repetition as one it has.
        """
        return f"{self.decision_id}.{self.sequence}"

    @property
    def decision_id(self) -> str:
        """Names the plan and what it is for: one that was dropped may have had the same id, but another purpose."""
        draft = self.plan.draft
        return ".".join(filter(None, (draft.plan_id, draft.kind, draft.answers)))

"""Which of a strategy's decisions answer for a moment of market time. Pure."""

from datetime import UTC, datetime

from shared.contracts.evaluations import DecisionRecorded
from shared.core.errors import Refused


class AnswerFor:
    """Takes decisions in the order in which they were recorded; ``answer``: those that say what held at ``at``.

    A decision answers for the market times from its first to its last look. Between two looks the newest before
    answers: a strategy is not looked at while none of its rules can fire.
    """

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._during: list[DecisionRecorded] = []
        self._before: list[DecisionRecorded] = []

    def take(self, decision: DecisionRecorded) -> None:
        """One more decision."""
        if decision.first_at <= self._at <= decision.last_at:
            self._during.append(decision)
        elif decision.last_at < self._at:
            newest = self._before[0].last_at if self._before else decision.last_at
            if decision.last_at > newest:
                self._before = []
            if decision.last_at >= newest:
                self._before.append(decision)

    @property
    def answer(self) -> list[DecisionRecorded]:
        """Newest first; empty when nothing had been decided yet."""
        return list(reversed(self._during or self._before))


def moment_in(text: str) -> datetime:
    """A time given as ISO 8601, UTC where it names no zone; a day alone is its first moment. Raises Refused."""
    allowed = "a time as in 2024-01-31, 2024-01-31T14:00 or 2024-01-31T14:00:00+01:00"
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused.one("at", text[:80], allowed, "is not a time") from None

"""What of an evaluator's strategies is under way: from a decision to act until every service has said its last word."""

from collections import Counter

from shared.core.decisions import Decision, Hold
from shared.core.reasons import ON_THE_WAY, Reason
from shared.core.situation import Situation

_UNDER_WAY = ON_THE_WAY | {Reason.STALE_PRICE}
"""Holds that end by themselves: another service's word is awaited, or the feed's next quote."""
_NO_MARKET, _LOOKS, _PEAK, _MONEY = "no_market", "looks", "peak", "money_moving"


class Unfinished:
    """By slot, the kind of what is under way. ``acted`` counts looks that ended in a plan, an exit or a cycle."""

    def __init__(self) -> None:
        self.acted = 0
        self._kinds: dict[int, str] = {}

    def decided(self, slot: int, decision: Decision, situation: Situation) -> None:
        """A look has ended: acting begins something, a hold ends it unless somebody's word is awaited.

        A request that only the market can let go on (a cooldown, a price) or a person (a pause) is not under way.
        """
        strategy = situation.strategy
        if not isinstance(decision, Hold):
            self.acted += 1
            self._kinds[slot] = decision.code
        elif decision.reason in _UNDER_WAY:
            self._kinds[slot] = decision.code
        elif decision.peak is not None:
            self._kinds[slot] = _PEAK  # until the registry has recorded it
        elif strategy.money_arriving or strategy.money_leaving:
            self._kinds[slot] = _MONEY
        else:
            self._kinds.pop(slot, None)

    def waits_for_market(self, slot: int) -> None:
        """Nothing could be decided: the venue's instruments or prices are not known."""
        self._kinds[slot] = _NO_MARKET

    def forget(self, slot: int) -> None:
        """The strategy has ended or is looked after elsewhere."""
        self._kinds.pop(slot, None)

    def by_kind(self, looks_waiting: int) -> dict[str, int]:
        """How many of each kind, sorted, with the looks that wait; empty when nothing is under way."""
        counts = dict(sorted(Counter(self._kinds.values()).items()))
        return counts | ({_LOOKS: looks_waiting} if looks_waiting else {})

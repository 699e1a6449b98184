"""Market time: the latest event time the venue has told, never going back. Pure."""

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(slots=True)
class MarketClock:
    """``now_ms`` is 0 until the venue has told a time; ``advanced_ns`` is the wall clock when it last moved on.

    One wrong time in the far future would stop a clock that never goes back, and fire every rule that waits for time.
    So a step of more than ``max_step_ms`` is believed only as the last of ``confirmations`` readings in a row that lie
    within ``max_step_ms`` of each other. The default of 40 days lets monthly history pass at once.
    """

    max_step_ms: int = 40 * DAY_MS
    confirmations: int = 3
    now_ms: int = 0
    advanced_ns: int = 0
    _candidate_ms: int = 0
    _candidates: int = 0

    def read(self, at_ms: int, received_ns: int) -> bool:
        """Take one reading; False if it is refused for now as a step too far."""
        if self.now_ms and at_ms > self.now_ms + self.max_step_ms and not self._confirmed(at_ms):
            return False
        self._candidates = 0
        if at_ms > self.now_ms:
            self.now_ms, self.advanced_ns = at_ms, received_ns
        return True

    def _confirmed(self, at_ms: int) -> bool:
        agrees = self._candidates > 0 and abs(at_ms - self._candidate_ms) <= self.max_step_ms
        self._candidates = self._candidates + 1 if agrees else 1
        self._candidate_ms = at_ms
        return self._candidates >= self.confirmations

"""Market time: the latest event time the venue has told, never going back. Pure."""

from dataclasses import dataclass

DAY_MS = 86_400_000
_MS = 1_000_000


@dataclass(slots=True)
class MarketClock:
    """``now_ms`` is 0 until the venue has told a time; ``advanced_ns`` is the wall clock when it last moved on.

    One wrong time in the future would stop a clock that never goes back, and fire every rule that waits for time. So a
    step of more than ``max_step_ms`` is believed only as the last of ``confirmations`` readings in a row that lie
    within ``max_step_ms`` of each other; the default of 40 days lets monthly history pass at once. A live market, whose
    time is within ``near_ms`` of our own clock, is not ahead of both itself and us by more than ``lead_ms``: such a
    reading has to be repeated for ``confirm_ns`` besides.
    """

    max_step_ms: int = 40 * DAY_MS
    confirmations: int = 3
    near_ms: int = 600_000
    lead_ms: int = 5_000
    confirm_ns: int = 10_000_000_000
    now_ms: int = 0
    advanced_ns: int = 0
    _candidate_ms: int = 0
    _candidates: int = 0
    _candidate_since_ns: int = 0

    def read(self, at_ms: int, received_ns: int) -> bool:
        """Take one reading; False if it is refused for now as a step too far."""
        if self.now_ms and at_ms > self.now_ms and self._is_far(at_ms, received_ns):
            return False
        self._candidates = 0
        if at_ms > self.now_ms:
            self.now_ms, self.advanced_ns = at_ms, received_ns
        return True

    def _is_far(self, at_ms: int, received_ns: int) -> bool:
        wall_ms = received_ns // _MS
        is_ahead = abs(self.now_ms - wall_ms) < self.near_ms and at_ms > max(self.now_ms, wall_ms) + self.lead_ms
        if not is_ahead and at_ms <= self.now_ms + self.max_step_ms:
            return False
        return not self._confirmed(at_ms, received_ns, self.confirm_ns if is_ahead else 0)

    def _confirmed(self, at_ms: int, received_ns: int, wait_ns: int) -> bool:
        if not self._candidates or abs(at_ms - self._candidate_ms) > self.max_step_ms:
            self._candidates, self._candidate_since_ns = 0, received_ns
        self._candidates += 1
        self._candidate_ms = at_ms
        return self._candidates >= self.confirmations and received_ns - self._candidate_since_ns >= wait_ns

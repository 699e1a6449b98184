"""How long to wait before the next attempt. Pure: chance is an argument."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """``first_s``, doubled with each failure up to ``max_s``; half of it is left to chance.

    So that many feeds cut off at one moment do not come back at one moment. With the defaults an unreachable venue
    sees at most 10 attempts in the first half minute; Binance allows 300 connections in 5 minutes per address.
    """

    first_s: float = 0.25
    max_s: float = 30.0

    def delay_s(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row (>= 1), for ``chance`` in [0, 1)."""
        exponent = min(max(failures, 1) - 1, 30)
        longest = min(self.max_s, self.first_s * 2.0**exponent)
        return longest * (0.5 + chance / 2)

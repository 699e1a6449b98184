"""What all calls of a dialect share."""

import time
from dataclasses import dataclass

from services.simulated_exchange.binance.rate_gate import RateGate
from services.simulated_exchange.faults.plan import FaultPlan
from services.simulated_exchange.reads import Reads
from services.simulated_exchange.venue import Venue


@dataclass(frozen=True, slots=True)
class Desk:
    """What all calls share: the venue, what accounts are shown of themselves, the rate gate, injected faults."""

    venue: Venue
    reads: Reads
    gate: RateGate
    faults: FaultPlan

    def clock_ms(self) -> int:
        """The clock that signatures are checked against: the wall clock, skewed where that is a condition."""
        return wall_ms() + self.venue.conditions.clock_skew_ms


def wall_ms() -> int:
    """The wall clock in milliseconds: for signatures, rates and /api/v3/time only."""
    return time.time_ns() // 1_000_000

"""The guards on the send path at work: one tally for the account, asked in the moment of each socket write.

This process is the account's only writer, so what it counts itself is all there is; at start the tally is taken from
the orders in Postgres, and forgets nothing by a restart.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from services.order_executor.halting import HaltSwitch
from services.order_executor.market_view import MarketView
from services.order_executor.records import OrderRecord, PlanRecord
from shared.core.guards import (
    Guard,
    GuardLimits,
    Outgoing,
    Tally,
    Trip,
    Valued,
    after_ended,
    after_phase,
    after_sent,
    judge,
    must_halt,
)
from shared.core.market import Quote
from shared.core.money import ZERO, exact
from shared.core.order_styles import OrderKind
from shared.core.orders import UNSETTLED, OrderState, VenueReport

log = logging.getLogger(__name__)


class SendGuards:
    """Judges the orders of one account. ``trips``: how often each guard has tripped since the start."""

    def __init__(self, limits: GuardLimits, market: MarketView, switch: HaltSwitch) -> None:
        self.limits = limits
        self.tally = Tally()
        self.trips: Counter[Guard] = Counter()
        self.switch = switch
        self._market = market
        self._resting: dict[str, date] = {}
        switch.on_resume = self.forget_trips

    def forget_trips(self) -> None:
        """A person has looked and resumed: the row of trips begins anew."""
        self.tally = after_phase(self.tally, has_tripped=False)

    def phase(self, record: PlanRecord, orders: Sequence[OrderRecord]) -> "GuardedPhase":
        """The guards for the orders of one phase of a plan, about to be committed and sent."""
        return GuardedPhase(self, record, orders, self._market.market_time.date())

    def check(self, order: OrderRecord, phase: "GuardedPhase") -> Trip | None:
        """Judge an order that goes out now, and count it if it may."""
        now_ms = time.monotonic_ns() // 1_000_000
        outgoing = Outgoing(
            side=order.side,
            quantity=order.quantity,
            limit_price=order.limit_price,
            quote=self._quote_of(order),
            traded_before=phase.traded_before(order),
            plan_value=phase.plan_value,
            market_day=phase.market_day,
            valued=self._valued(order),
        )
        trip = judge(self.limits, self.tally, outgoing, now_ms)
        if trip is None:
            self.tally = after_sent(self.tally, outgoing, now_ms)
        else:
            self.trips[trip.guard] += 1
            log.error("order %s of plan %s is withheld: %s", order.client_order_id, order.plan_id, trip)
        return trip

    def _quote_of(self, order: OrderRecord) -> Quote | None:
        if order.is_direct:
            return self._market.look_direct(order.asset, order.quote)
        return self._market.look([order.asset]).quotes.get(order.asset)

    def _valued(self, order: OrderRecord) -> Valued | None:
        if not order.is_direct:
            return None
        return Valued(order.quote_price, self._market.look([order.quote]).quotes.get(order.quote))

    def note_rest(self, order: OrderRecord, market_day: date) -> None:
        """The order rests, or may: it counts in full for that day until it has ended."""
        self._resting[order.client_order_id] = market_day

    def note_end(self, order: OrderRecord) -> None:
        """What did not trade of an order that rested does not count any more, once it has ended."""
        if order.state in UNSETTLED:
            return
        market_day = self._resting.pop(order.client_order_id, None)
        if market_day is not None:
            untraded = order.worth(order.quantity - order.filled_quantity)
            self.tally = after_ended(self.tally, market_day, max(untraded, ZERO))

    def facts(self) -> dict[str, object]:
        """For the health page: whether the venue is halted, and how often each guard has tripped."""
        trips = {guard.value: self.trips[guard] for guard in Guard if self.trips[guard]}
        return {"halted": self.switch.reason, "guards_tripped": trips, "trips_in_a_row": self.tally.trips_in_a_row}


class GuardedPhase:
    """The orders of one phase, sent together: what each may count on of what went before it."""

    def __init__(self, guards: SendGuards, record: PlanRecord, orders: Sequence[OrderRecord], market_day: date) -> None:
        self.market_day = market_day
        self.plan_value = plan_value(record)
        self._guards = guards
        self._plan_id = record.plan.plan_id
        self._traded = _traded_before(record, orders)
        self._tripped: set[str] = set()

    def traded_before(self, order: OrderRecord) -> Decimal:
        """What the plan has traded and may trade by the orders before this one."""
        return self._traded[order.client_order_id]

    def refuse(self, order: OrderRecord) -> str | None:
        """Why the order must not be sent, as its detail will say; None when it may. It is counted as sent then."""
        trip = self._guards.check(order, self)
        if trip is None:
            return None
        self._tripped.add(order.client_order_id)
        return str(trip)

    def ended(self, order: OrderRecord, state: OrderState | None, report: VenueReport | None) -> None:
        """What did not trade does not count for the day; an order of unknown outcome counts in full."""
        if order.client_order_id in self._tripped:
            return
        executed = ZERO if report is None else report.executed_quantity
        if (report is not None and not report.is_open) or state in {OrderState.REJECTED}:
            untraded = order.worth(order.quantity - executed)
            self._guards.tally = after_ended(self._guards.tally, self.market_day, max(untraded, ZERO))
        elif order.kind is OrderKind.MAKER:
            self._guards.note_rest(order, self.market_day)

    def close(self) -> None:
        """All orders of the phase were let through or withheld: too many phases in a row halt the venue."""
        guards = self._guards
        guards.tally = after_phase(guards.tally, has_tripped=bool(self._tripped))
        if must_halt(guards.limits, guards.tally):
            reason = f"guards withheld orders in {guards.tally.trips_in_a_row} phases in a row, last of {self._plan_id}"
            guards.switch.trip(reason, self._plan_id)


@exact
def plan_value(record: PlanRecord) -> Decimal:
    """The portfolio's value by the plan's own lines; what the plan claims in total counts when it is less."""
    by_lines = sum((line.quantity * line.bid for line in record.plan.lines), ZERO)
    return min(by_lines, record.plan.total_value)


@exact
def _traded_before(record: PlanRecord, orders: Sequence[OrderRecord]) -> dict[str, Decimal]:
    """By order: what traded in earlier phases (all of it, where it may still), and the orders before it in its own."""
    traded = ZERO
    for known in record.orders:
        quantity = known.quantity if known.state in UNSETTLED else known.filled_quantity
        traded += known.worth(quantity)
    found = {}
    for order in orders:
        found[order.client_order_id] = traded
        traded += order.worth(order.quantity)
    return found


def tally_of(ages_ms: Sequence[int], by_day: Sequence[tuple[date, Decimal]], trips_in_a_row: int, now_ms: int) -> Tally:
    """The tally as the stored orders tell it; ``now_ms`` on the monotonic clock."""
    seconds = Counter((now_ms - age_ms) // 1000 for age_ms in ages_ms)
    return Tally(tuple(sorted(seconds.items())), tuple(sorted(by_day)), trips_in_a_row)

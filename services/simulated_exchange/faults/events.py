"""Faults around user events: a listener between the venue and a dialect's user streams."""

import asyncio
from collections.abc import Callable, Sequence

from services.simulated_exchange.faults.plan import EventFacts, FaultPlan
from services.simulated_exchange.faults.rules import Kind
from services.simulated_exchange.orders import BalancesChanged, Deposited, OrderReported, VenueEvent
from services.simulated_exchange.venue import Listener

_UserEvent = OrderReported | BalancesChanged | Deposited


class FaultyEvents:
    """Passes events on, but for those that a rule hits. Events of the market pass untouched."""

    def __init__(self, plan: FaultPlan, tell: Listener) -> None:
        self._plan = plan
        self._pass_on = tell
        self._held: dict[int, list[VenueEvent]] = {}

    def tell(self, events: Sequence[VenueEvent]) -> None:
        """Take in what happened."""
        told: list[VenueEvent] = []
        for event in events:
            if isinstance(event, OrderReported | BalancesChanged | Deposited):
                told += self._suffered(event)
            else:
                told.append(event)
        if told:
            self._pass_on(told)

    def _suffered(self, event: _UserEvent) -> list[VenueEvent]:
        """What is to be sent now."""
        account_id, facts = _described(event)
        fault = self._plan.draw(facts)
        kind = fault.rule.kind if fault else None
        if fault is None or kind is Kind.DUPLICATE_EVENT:
            copies = fault.rule.copies if fault else 1
            return [event] * copies + self._held.pop(account_id, [])
        if kind is Kind.LATE_EVENT:
            _later(fault.rule.delay_ms, lambda: self._pass_on([event]))
        elif kind is Kind.REORDER_EVENT:
            self._held.setdefault(account_id, []).append(event)
            _later(fault.rule.delay_ms, lambda: self._release(account_id))
        return []

    def _release(self, account_id: int) -> None:
        held = self._held.pop(account_id, [])
        if held:
            self._pass_on(held)


def _later(delay_ms: int, act: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_ms / 1000, act)


def _described(event: _UserEvent) -> tuple[int, EventFacts]:
    if isinstance(event, OrderReported):
        order = event.order
        return order.account_id, EventFacts(event.change, order.symbol, order.side, order.client_order_id)
    if isinstance(event, BalancesChanged):
        return event.account_id, EventFacts("BALANCES")
    return event.deposit.account_id, EventFacts("DEPOSIT")

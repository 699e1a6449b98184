"""From unknown to known: asks the venue until every order of a plan has ended, or is proven never to have arrived.

An order counts as absent only after its request can no longer be accepted (send deadline plus receive window), what was
accepted must be visible (plus read lag), and then a number of readings in a row by client id, open orders and trades
agree. Nothing is sent again before that, and then only as a new intent with a new id.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from services.order_executor.records import Evidence, OrderRecord, PlanRecord
from shared.core.errors import RetryLater
from shared.core.orders import OrderState
from shared.venues.capabilities import VenueCapabilities
from shared.venues.port import OrderRefused, Search, Venue

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
READING_PAUSE_S = 0.1
_MARKET_TIME_SLACK = timedelta(minutes=1)


class Book(Protocol):
    """Where evidence goes and orders are known from."""

    async def book(self, evidences: Sequence[Evidence]) -> frozenset[str]:
        """Book everything learned, in one transaction."""

    async def known_venue_orders(self, symbol: str, but: str) -> frozenset[str]:
        """Venue order ids of a symbol that belong to other intents."""


def provable_from(order: OrderRecord, capabilities: VenueCapabilities) -> datetime:
    """From when on (wall clock) a reading that does not find the order counts towards its absence."""
    return order.send_deadline + timedelta(milliseconds=capabilities.doubt_ms)


class Resolver:
    """Settles the unsettled orders of a plan."""

    def __init__(self, venue: Venue, book: Book) -> None:
        self._venue = venue
        self._book = book
        self.absences = 0

    async def settle(self, record: PlanRecord, load: Callable[[], Awaitable[PlanRecord]]) -> PlanRecord:
        """Ask until no order of the plan is unsettled but what rests; returns the plan as it is then.

        Orders still "intended" here were perhaps sent by a process that died: they are unknown.
        """
        suspects = [order for order in record.unsettled if order.state is OrderState.INTENDED]
        await self._book.book(
            [Evidence(o.client_order_id, state=OrderState.UNKNOWN, detail="interrupted") for o in suspects]
        )
        readings: dict[str, int] = {}
        pause_s = FIRST_PAUSE_S
        while True:
            record = await load()
            if not record.unclear:
                return record
            await asyncio.sleep(0)
            await self.look(record, record.unclear, readings)
            if any(readings.values()):
                pause_s = READING_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def look(
        self, record: PlanRecord, orders: Sequence[OrderRecord], readings: dict[str, int] | None = None
    ) -> None:
        """Read some orders of the plan once, and book what is found. ``readings``: that did not find it, by order."""
        counts = {} if readings is None else readings
        found = await asyncio.gather(*(self._look(order, record, counts) for order in orders))
        await self._book.book([evidence for evidence in found if evidence is not None])

    async def refused(self, order: OrderRecord, record: PlanRecord, reason: OrderRefused) -> Evidence:
        """What became of an order that the venue says it has refused. Such a word may contradict what was done, so the
        venue is asked once, when it must show what it has taken. Nobody can tell: unknown, as after any lost reply.
        """
        name = order.client_order_id
        if reason.stop or reason.retry_after_s:
            # Said at the venue's door (keys, rates, clock), before orders are looked at; and it may not be asked now.
            return Evidence(name, state=OrderState.REJECTED, detail=str(reason))
        await asyncio.sleep(self._venue.capabilities.read_lag_ms / 1000)
        try:
            found = await self._venue.find_order(await self._search(order, record))
        except Exception as error:  # noqa: BLE001 - a fault of ours too: what nobody has looked for is not known
            return Evidence(name, state=OrderState.UNKNOWN, detail=f"refused ({reason}), not seen: {error!r}"[:500])
        if found is None:
            return Evidence(name, state=OrderState.REJECTED, detail=str(reason))
        log.warning("order %s was refused (%s) and is at the venue: %s", name, reason, found.report)
        return Evidence(name, order=found)

    async def _search(self, order: OrderRecord, record: PlanRecord) -> Search:
        return Search(
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            symbol=order.symbol,
            since=record.plan.market_time - _MARKET_TIME_SLACK,
            known_order_ids=await self._book.known_venue_orders(order.symbol, order.client_order_id),
        )

    async def _look(self, order: OrderRecord, record: PlanRecord, readings: dict[str, int]) -> Evidence | None:
        """One reading of one order, and what may be concluded from it."""
        name = order.client_order_id
        began = datetime.now(UTC)
        search = await self._search(order, record)
        try:
            found = await self._venue.find_order(search)
        except RetryLater as later:
            log.info("order %s cannot be looked up: %s", name, later)
            readings[name] = 0
            await asyncio.sleep(min(later.after_s, LONGEST_PAUSE_S))
            return None
        if found is not None:
            readings[name] = 0
            return Evidence(name, order=found)
        # An order the venue once showed cannot become absent: such a reading contradicts and proves nothing.
        provable = not order.venue_order_id and began >= provable_from(order, self._venue.capabilities)
        readings[name] = readings.get(name, 0) + 1 if provable else 0
        if readings[name] < self._venue.capabilities.absence_reads:
            return None
        self.absences += 1
        log.warning("order %s is absent: never reached the venue (%s)", name, order.detail)
        return Evidence(name, state=OrderState.ABSENT, detail=f"{order.detail}; absent in {readings[name]} readings")

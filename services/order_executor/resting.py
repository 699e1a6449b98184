"""Looks after orders that rest: they stay while they stand at the touch, and are cancelled for any other reason.

A cancellation needs no intent: it moves no money, may be repeated, and what came of it is what the venue shows. Whoever
dies leaves the order behind; the next writer finds another epoch in it, and cancels it before anything else.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.order_executor.lease import Lease
from services.order_executor.market_view import MarketView
from services.order_executor.records import OrderRecord, PlanRecord
from services.order_executor.resolver import Resolver
from services.order_executor.send_guards import SendGuards
from services.order_executor.styling import why_cancelled
from shared.core.errors import RetryLater, Stop
from shared.core.styled_orders import Vicinity
from shared.messaging.database_postgres import UNAVAILABLE
from shared.venues.port import Venue

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
ASK_EVERY_S = 2.0
"""How often a resting order is asked for at the venue: the user stream tells of its fills before, when it works."""

Load = Callable[[], Awaitable[PlanRecord]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides whether an order may rest."""

    venue: Venue
    market: MarketView
    lease: Lease
    guards: SendGuards


class RestingOrders:
    """The resting orders of one account's plans."""

    def __init__(self, around: Surroundings, resolver: Resolver) -> None:
        self._around = around
        self._resolver = resolver
        self._asked_at: dict[str, float] = {}

    async def tend(self, record: PlanRecord, load: Load, ending: str) -> bool:
        """Look once after the orders of a plan that rest; whether any still does. ``ending``: why none may, or "".

        Raises RetryLater when the venue cannot be asked, Stop.
        """
        doomed = [order for order in record.resting if self._why(order, record, ending)]
        if doomed:
            await self._end(record, load)
            return False
        now = time.monotonic()
        if now - self._asked_at.get(record.plan.plan_id, float("-inf")) >= ASK_EVERY_S:
            self._asked_at[record.plan.plan_id] = now
            await self._resolver.look(record, record.resting)
            record = await load()
        return bool(record.resting)

    def note_ends(self, record: PlanRecord) -> None:
        """Have the guards know which orders of the plan rest no more."""
        for order in record.orders:
            self._around.guards.note_end(order)
        if not record.resting:
            self._asked_at.pop(record.plan.plan_id, None)

    def _why(self, order: OrderRecord, record: PlanRecord, ending: str) -> str:
        around = self._around
        halted = around.guards.switch.reason
        seen = around.market.look([order.asset])
        quote = None if seen.unreconciled else seen.quotes.get(order.asset)
        vicinity = Vicinity(
            now=datetime.now(UTC),
            expires_at=record.plan.expires_at,
            quote=quote,
            epoch=around.lease.epoch,
            ending=ending or ("" if halted is None else "halted"),
        )
        why = why_cancelled(order, record, vicinity)
        if why:
            log.info("order %s is cancelled: %s", order.client_order_id, why)
        return why

    async def _end(self, record: PlanRecord, load: Load) -> None:
        """Cancel all that rests of the plan, until the venue shows that it has ended: they are one phase."""
        venue = self._around.venue
        while record.resting:
            doomed = record.resting
            await asyncio.gather(*(venue.cancel_order(o.symbol, o.client_order_id, o.venue_order_id) for o in doomed))
            await self._resolver.look(record, record.resting)
            record = await load()
            if record.resting:
                await asyncio.sleep(LOOK_EVERY_S)
        self.note_ends(record)


async def until_tended(tend: Callable[[], Awaitable[bool]]) -> None:
    """Repeat at the end of the process until nothing rests; a venue that does not answer is asked again.

    Whoever has lost the account leaves its orders to the writer after it.
    """
    while True:
        try:
            if not await tend():
                return
        except Stop as stop:
            log.info("resting orders are left behind: %s", stop)
            return
        except (RetryLater, *UNAVAILABLE) as later:
            log.info("resting orders are not cancelled yet: %r", later)
        await asyncio.sleep(LOOK_EVERY_S)

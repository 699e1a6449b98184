"""Bookings of many plans in one transaction, so that they share its round trips and its write to disk; what is booked
already is not booked again.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.order_executor.records import Evidence, OrderRecord
from shared.core.orders import OrderState

log = logging.getLogger(__name__)

FILLED_KEPT = 4_096


class FilledOrders:
    """Orders that were booked as filled lately, with their trades: every fill is told twice, by the reply and by the
    user stream, and for a filled order the second word changes nothing.
    """

    def __init__(self) -> None:
        self._trades: dict[str, tuple[str, frozenset[str]]] = {}

    def note(self, orders: Iterable[OrderRecord], evidences: Mapping[str, Sequence[Evidence]]) -> None:
        """These orders were stored as they are here, with all trades of the evidence (by client order id)."""
        for order in orders:
            if order.state is OrderState.FILLED:
                name = order.client_order_id
                ids = frozenset(trade for evidence in evidences[name] for trade in trades_of(evidence))
                self._trades[name] = (order.venue_order_id, ids)
        while len(self._trades) > FILLED_KEPT:
            del self._trades[next(iter(self._trades))]

    def has(self, evidence: Evidence) -> bool:
        """Whether this was booked already, all of it."""
        if evidence.order is None or (known := self._trades.get(evidence.client_order_id)) is None:
            return False
        venue_order_id, trades = known
        return evidence.order.venue_order_id in {"", venue_order_id} and trades.issuperset(trades_of(evidence))


def trades_of(evidence: Evidence) -> list[str]:
    """The ids of the trades that it tells of."""
    return [trade.trade_id for trade in evidence.order.trades] if evidence.order is not None else []


class Transaction(Protocol):
    """The booking itself. ``patient`` False: raise rather than wait for somebody else's lock."""

    async def __call__(self, evidences: Sequence[Evidence], *, patient: bool) -> frozenset[str]:
        """Book everything or nothing; the ids of the trades given that are booked now."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One caller's evidence, and where it waits for the ids of its trades."""

    evidences: Sequence[Evidence]
    booked: "asyncio.Future[frozenset[str]]"


class BookingQueue:
    """What is asked while a transaction is under way goes with the next one; nothing else is ever waited for.

    A booking hurts no other: one that fails, or finds a lock that somebody else holds, goes again alone, as do those
    that went with it, and whatever it waits for then keeps nobody else.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._asked: list[_Asked] = []
        self._at_work: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()

    async def book(self, evidences: Sequence[Evidence]) -> frozenset[str]:
        """The ids of the trades booked now, others' may be among them. Raises what the transaction raises.

        A caller that is cancelled meanwhile may find it booked all the same.
        """
        asked = _Asked(evidences, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work(), name="bookings")
        return await asked.booked

    async def _work(self) -> None:
        while self._asked:
            batch, self._asked = self._asked, []
            together = [evidence for asked in batch for evidence in asked.evidences]
            try:
                booked = await self._transaction(together, patient=False)
            except Exception as error:  # noqa: BLE001 - whose it is shows when each goes alone
                log.info("bookings of %d callers go one by one: %r", len(batch), error)
                for asked in batch:
                    task = asyncio.create_task(self._go_alone(asked), name="booking")
                    self._alone.add(task)
                    task.add_done_callback(self._alone.discard)
                continue
            for asked in batch:
                _answer(asked, booked)

    async def _go_alone(self, asked: _Asked) -> None:
        try:
            booked = await self._transaction(asked.evidences, patient=True)
        except Exception as error:  # noqa: BLE001 - the caller's to judge
            if not asked.booked.done():
                asked.booked.set_exception(error)
        else:
            _answer(asked, booked)


def _answer(asked: _Asked, booked: frozenset[str]) -> None:
    if not asked.booked.done():  # else its caller waits no more
        asked.booked.set_result(booked)

"""Fills of orders that were believed to have ended: before a difference is called, the venue is asked for them.

An order counts as absent after agreeing readings and as refused by the venue's own word; a venue may be wrong in both.
What such an order trades nobody waits for, and the user stream tells it to nobody while the executor is down. So money
that is off is first looked for among the trades that are not booked: those of an order whose number we know, and those
of a number that is no order's of ours, which may belong to any order of which no number is known.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.order_executor.records import Evidence
from shared.core.orders import OrderState
from shared.venues.port import Search, Venue, VenueTrade

log = logging.getLogger(__name__)

ENDED = frozenset({OrderState.ABSENT, OrderState.REJECTED, OrderState.UNFILLED, OrderState.PARTIALLY_FILLED})
"""Ends after which more may still have traded: all but filled (no more to trade) and withheld (never sent)."""
_MARKET_TIME_SLACK = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class EndedOrder:
    """An order of ours in one of the states ``ENDED``. ``since``: market time of its plan."""

    client_order_id: str
    venue_order_id: str
    symbol: str
    since: datetime


class Ended(Protocol):
    """Where ended orders are known from."""

    async def ended(self, assets: Collection[str]) -> Sequence[EndedOrder]:
        """Those that have moved, or should have moved, one of the assets; newest first."""

    async def not_booked(self, trade_ids: Sequence[str]) -> frozenset[str]:
        """Those of the trades that are no fill of ours."""

    async def foreign(self, symbol: str, venue_order_ids: Sequence[str]) -> frozenset[str]:
        """Those of the venue's order ids that belong to none of our orders."""


class Books(Protocol):
    """Where evidence goes; see ``resolver.Book``."""

    async def book(self, evidences: Sequence[Evidence]) -> frozenset[str]:
        """Book everything learned, in one transaction."""

    async def known_venue_orders(self, symbol: str, but: str) -> frozenset[str]:
        """Venue order ids of a symbol that belong to other intents."""


class LateProof:
    """Asks the venue for ended orders, and books what it has of them."""

    def __init__(self, venue: Venue, ended: Ended, books: Books) -> None:
        self._venue = venue
        self._ended = ended
        self._books = books

    async def found(self, assets: Collection[str]) -> bool:
        """Whether trades were found, and booked, that explain why these assets are off. Raises RetryLater, Stop."""
        by_symbol: dict[str, list[EndedOrder]] = {}
        for order in await self._ended.ended(assets):
            by_symbol.setdefault(order.symbol, []).append(order)
        evidences = [await self._asked(order) for order in await self._suspects(by_symbol)]
        told = [evidence for evidence in evidences if evidence is not None]
        await self._books.book(told)
        return any(evidence.order is not None and evidence.order.trades for evidence in told)

    async def _suspects(self, by_symbol: Mapping[str, Sequence[EndedOrder]]) -> list[EndedOrder]:
        """The orders that trades which are not booked may belong to."""
        suspects = []
        for symbol, orders in by_symbol.items():
            since = min(order.since for order in orders) - _MARKET_TIME_SLACK
            trades = await self._venue.fetch_trades(symbol, since)
            unbooked = await self._ended.not_booked([trade.trade_id for trade in trades])
            left = [trade for trade in trades if trade.trade_id in unbooked]
            strangers = await self._ended.foreign(symbol, list({trade.venue_order_id for trade in left}))
            suspects += [order for order in orders if any(_may_be_of(trade, order, strangers) for trade in left)]
        return suspects

    async def _asked(self, order: EndedOrder) -> Evidence | None:
        name = order.client_order_id
        found = await self._venue.find_order(
            Search(
                client_order_id=name,
                venue_order_id=order.venue_order_id,
                symbol=order.symbol,
                since=order.since - _MARKET_TIME_SLACK,
                known_order_ids=await self._books.known_venue_orders(order.symbol, name),
            )
        )
        if found is None:
            return None
        log.warning("order %s was believed to have ended, and is at the venue: %s", name, found.report)
        return Evidence(name, order=found, detail="found when the account was compared with the books")


def _may_be_of(trade: VenueTrade, order: EndedOrder, strangers: Collection[str]) -> bool:
    if order.venue_order_id:
        return trade.venue_order_id == order.venue_order_id
    return trade.venue_order_id in strangers and trade.at >= order.since - _MARKET_TIME_SLACK

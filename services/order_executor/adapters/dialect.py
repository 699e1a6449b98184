"""What a venue's folder must fill: how its requests are made and its replies are read. It asks through ``Answers``."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from services.order_executor.adapters.wire import Answers, Call, VenueAccess
from shared.core.errors import RetryLater
from shared.core.market import Instrument
from shared.core.matching import Book
from shared.venues.port import OrderRequest, UserNews, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

LONGEST_WALK = 50
"""Pages of a list that are read at most."""


def pages() -> Iterator[int]:
    """A number for each page of one reading. Raises RetryLater when it is longer than that: a part proves nothing."""
    yield from range(LONGEST_WALK)
    raise RetryLater(f"a list of more than {LONGEST_WALK} pages", after_s=1.0)


@dataclass(frozen=True, slots=True)
class OrderName:
    """An order as it is asked for. ``client_order_id`` as it went out; ``venue_order_id`` "" while not known."""

    symbol: str
    client_order_id: str
    venue_order_id: str = ""


@dataclass(frozen=True, slots=True)
class TradesWanted:
    """Trades in a pair: since a moment of market time, or (``since`` None) those of one order."""

    symbol: str
    since: datetime | None
    venue_order_id: str = ""


class VenueDialect(Protocol):
    """One venue's way of speaking. Readers raise one of ``values.UNREADABLE`` for what makes no sense."""

    def exchange(self) -> Any:
        """ccxt's object for it, ``wire.Metered`` before ccxt's own class."""

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """See ``wire.ReadError``."""

    def order_call(self, request: OrderRequest, now: datetime, /) -> Call:
        """The request that places an order of a kind in its row: our id, exact text. ``now``: the venue's time."""

    def placed(self, request: OrderRequest, body: Any, /) -> VenueOrder:
        """The reply to it. Where it is only an acknowledgement: open, nothing executed, with the venue's id."""

    def cancel_call(self, order: OrderName) -> Call:
        """The request that cancels an order; its venue id is known where the client id cannot be asked for."""

    async def by_client_id(self, answers: Answers, order: OrderName, since: datetime, /) -> VenueOrder | None:
        """One reading by client id, without trades; where that cannot be asked, among the orders since a moment."""

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """One reading by the venue's id, without trades."""

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """The orders that rest in a pair; in any, when it is ""."""

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """All pages, oldest first."""

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """Every pair whose quote ``access`` wants, in any order."""

    async def balances(self, answers: Answers) -> VenueBalances:
        """The whole account, free plus locked, zeros left out."""

    async def deposits(self, answers: Answers, /) -> tuple[VenueDeposit, ...]:
        """Credited deposits, in any order."""


@runtime_checkable
class Deep(Protocol):
    """A venue whose book is read."""

    async def book(self, answers: Answers, symbol: str) -> Book:
        """See the port's ``fetch_book``."""


@runtime_checkable
class Streaming(Protocol):
    """A venue that tells of our orders by itself (``has_user_stream`` in its row)."""

    def news(self, access: VenueAccess, milliseconds: Callable[[], int]) -> AsyncIterator[UserNews]:
        """See the port. ``milliseconds``: the venue's time."""

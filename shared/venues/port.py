"""The venue port: what every adapter of a trading venue must do, in domain terms.

Adapters raise only the errors named here. Quantities and money are exact Decimals from the venue's own text. Times are
aware UTC datetimes; those of trades and deposits are market time, as the venue states it.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from shared.core.errors import TrimtabError
from shared.core.market import Instrument
from shared.core.matching import Book, Side
from shared.core.order_styles import OrderKind
from shared.core.orders import VenueReport
from shared.venues.capabilities import VenueCapabilities


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order: quantity in base on the lot, price in quote on the tick.

    Only kinds in the venue's ``order_kinds`` are asked for. IOC: limit, immediate-or-cancel. MAKER: limit, refused
    unless it rests. MARKET: the price is not sent; a purchase is of the value quantity * price, see
    ``shared.core.styled_orders.value_to_spend``.
    """

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal
    kind: OrderKind = OrderKind.IOC


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One trade of ours. ``trade_id`` is unique at the venue: "<symbol>:<venue's trade id>"."""

    trade_id: str
    venue_order_id: str
    symbol: str
    quantity: Decimal
    price: Decimal
    quote_quantity: Decimal
    fee: Decimal
    fee_asset: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """What the venue knows of one order now. ``trades`` may be fewer than executed: ``report`` tells how many."""

    client_order_id: str
    venue_order_id: str
    symbol: str
    report: VenueReport
    trades: tuple[VenueTrade, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that rests at the venue, whoever placed it."""

    symbol: str
    venue_order_id: str
    client_order_id: str


@dataclass(frozen=True, slots=True)
class VenueDeposit:
    """Money that arrived from outside and is credited."""

    deposit_id: str
    asset: str
    amount: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class VenueBalances:
    """The whole account: free plus locked by asset, and the venue's time of its last change."""

    total: Mapping[str, Decimal]
    at: datetime


@dataclass(frozen=True, slots=True)
class OrderNews:
    """User stream: an order changed."""

    order: VenueOrder


@dataclass(frozen=True, slots=True)
class BalanceNews:
    """User stream: money moved from or to outside."""

    asset: str


UserNews = OrderNews | BalanceNews


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for when an outcome is unknown.

    ``since`` is market time not after the request; ``known_order_ids`` are venue order ids of other intents.
    """

    client_order_id: str
    venue_order_id: str
    symbol: str
    since: datetime
    known_order_ids: frozenset[str] = frozenset()


class OrderRefused(TrimtabError):  # noqa: N818 - says what happened
    """The venue definitively did not take the order. ``stop``: nothing more may be sent until someone acts."""

    def __init__(self, code: str, message: str, *, retry_after_s: float = 0.0, stop: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.retry_after_s = retry_after_s
        self.stop = stop


class OutcomeUnknown(TrimtabError):  # noqa: N818 - says what happened
    """The order may or may not have been taken: timeout, 5xx, reset, unreadable or contradictory reply."""


class NotSent(TrimtabError):  # noqa: N818 - says what happened
    """Nothing has left this process: the guard refused right before the socket write, or the venue must be left alone.

    ``retry_after_s``: when another order may be sent.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Venue(Protocol):
    """One account at one venue. Reads raise RetryLater when the venue cannot be read now, Stop when it shuts us out."""

    capabilities: VenueCapabilities

    async def place_order(self, request: OrderRequest, guard: Callable[[], str | None]) -> VenueOrder:
        """Send the order once. ``guard`` runs right before the socket write: None, or why it must not be sent.

        Raises NotSent, OrderRefused, OutcomeUnknown; never retries by itself.
        """

    async def cancel_order(self, symbol: str, client_order_id: str, venue_order_id: str = "") -> None:
        """Ask once for the end of an order; what became of it is for ``find_order`` to say, whatever the answer.

        An order that has ended is left as it is. Raises RetryLater when it may not have been asked, Stop.
        """

    async def find_order(self, search: Search) -> VenueOrder | None:
        """One reading: by client id, then open orders, then trades. None when all of them agree that it is absent."""

    async def fetch_instruments(self, *, in_any_quote: bool = False) -> tuple[Instrument, ...]:
        """Every pair against the venue's quote currency (or in any quote) with its filters and taker fee, sorted by
        base and quote.
        """

    async def fetch_balances(self) -> VenueBalances:
        """The whole account."""

    async def fetch_deposits(self) -> tuple[VenueDeposit, ...]:
        """Credited deposits, as far back as the venue tells, oldest first."""

    async def fetch_open_orders(self) -> tuple[OpenOrder, ...]:
        """Every order of the account that rests now, in any pair."""

    async def fetch_trades(self, symbol: str, since: datetime) -> tuple[VenueTrade, ...]:
        """Trades of the account in a pair since a moment of market time, as far as the venue tells, oldest first."""

    async def fetch_book(self, symbol: str) -> Book | None:
        """The book of a pair, some hundred levels deep; None where it is not read. Raises RetryLater, Stop."""

    async def silenced(self) -> datetime:
        """Wait until the venue wants to be left alone (too many requests, a ban); until when (wall clock)."""

    def stay_silent(self, until: datetime) -> None:
        """Ask nothing before that: a silence from before this process started."""

    def news(self) -> AsyncIterator[UserNews]:
        """The user stream, once: raises RetryLater when the connection ends; what it missed is never replayed."""

    async def close(self) -> None:
        """Let go of all connections."""

"""The port's ``Venue`` for every dialect: what is the same everywhere, around a dialect's requests and replies."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from services.order_executor.adapters.dialect import Deep, OrderName, Streaming, TradesWanted
from services.order_executor.adapters.table import dialect_of
from services.order_executor.adapters.values import UNREADABLE
from services.order_executor.adapters.wire import VenueAccess, VenueRates, Waits, Wire, prepared
from shared.core.errors import Refused, RetryLater, Stop
from shared.core.market import Instrument
from shared.core.matching import Book
from shared.venues.capabilities import VenueCapabilities
from shared.venues.identity import id_at_venue
from shared.venues.port import (
    NotSent,
    OpenOrder,
    OrderRefused,
    OrderRequest,
    OutcomeUnknown,
    Search,
    UserNews,
    VenueBalances,
    VenueDeposit,
    VenueOrder,
    VenueTrade,
)

__all__ = ["CcxtVenue", "VenueAccess"]

_OWNERS_ASKED = 20
_SUBSCRIBE = "WS userDataStream.subscribe.signature"

T = TypeVar("T")


class CcxtVenue:
    """One account at one venue. Raises Refused when the venue cannot do what ``access`` asks for."""

    def __init__(self, access: VenueAccess, capabilities: VenueCapabilities) -> None:
        self.capabilities = capabilities
        self.rates = VenueRates(capabilities.rates)
        self._access = _allowed(access, capabilities)
        self._dialect = dialect_of(capabilities.dialect)
        exchange = self._dialect.exchange()
        exchange.rates, exchange.capabilities = self.rates, capabilities
        exchange.read_error = self._dialect.read_error
        self._exchange = prepared(exchange, access)
        self._wire = Wire(self._exchange, capabilities, self.rates, access.timeout_ms)
        self._others: dict[str, str] = {}  # client ids of orders that were looked at in vain, by the venue's id

    async def silenced(self) -> datetime:
        """See the port."""
        return await self.rates.silences.get()

    def stay_silent(self, until: datetime) -> None:
        """See the port."""
        self.rates.budget.stay_silent(int(until.timestamp() * 1000))

    async def place_order(self, request: OrderRequest, guard: Callable[[], str | None]) -> VenueOrder:
        """Send it once; see the port. Where the reply only acknowledges it, what became of it is asked for at once."""
        if request.kind not in self.capabilities.order_kinds:
            raise OrderRefused("order_kind", f"{self.capabilities.dialect} is not sent orders of kind {request.kind}")
        wire, named = self._wire, replace(request, client_order_id=self._sent_id(request.client_order_id))
        try:
            await wire.set_clock()
        except RetryLater as later:
            raise NotSent(f"the venue's clock is not known: {later}", retry_after_s=later.after_s) from later
        async with wire.turn():
            signed = wire.sign(self._dialect.order_call(named, wire.now()))
            if wait_s := wire.wait_s(signed):
                raise NotSent(f"nothing may be asked for {wait_s:.1f} s more", retry_after_s=wait_s)
            try:
                # The guard is asked when nothing but the write follows: a request delayed even later, on a slow way, is
                # refused by the venue itself when its receive window has passed.
                body = await wire.send_order(signed, guard)
            except Waits as waits:
                raise NotSent(str(waits), retry_after_s=waits.wait_s) from waits
        try:
            order = self._dialect.placed(named, body)
        except UNREADABLE as error:
            raise OutcomeUnknown(f"unreadable reply: {error!r}"[:200]) from error
        if (order.client_order_id, order.symbol) != (named.client_order_id, named.symbol):
            raise OutcomeUnknown(f"the reply is about {order.client_order_id} {order.symbol}")
        return await self._followed(replace(order, client_order_id=request.client_order_id))

    async def _followed(self, order: VenueOrder) -> VenueOrder:
        """The order as it is now, when its reply said no more than that it was taken. It was: nothing here may fail."""
        if self.capabilities.fills_in_reply or not order.report.is_open:
            return order
        with suppress(RetryLater, Stop, *UNREADABLE):
            name = self._name(order.symbol, order.client_order_id, order.venue_order_id)
            found = await self._dialect.by_venue_id(self._wire, name)
            if found is not None:
                return await self._complete(found, order.client_order_id)
        return order

    async def cancel_order(self, symbol: str, client_order_id: str, venue_order_id: str = "") -> None:
        """See the port."""
        name = self._name(symbol, client_order_id, venue_order_id)
        if not venue_order_id and not self.capabilities.client_ids.queryable:
            resting = await self._read(self._dialect.open_orders(self._wire, symbol))
            ids = [order.venue_order_id for order in resting if order.client_order_id == name.client_order_id]
            if not ids:
                return
            name = replace(name, venue_order_id=ids[0])
        await self._wire.tell(self._dialect.cancel_call(name))

    async def find_order(self, search: Search) -> VenueOrder | None:
        """One reading by client id, then open orders, then trades; see the port."""
        return await self._read(self._found(search))

    async def _found(self, search: Search) -> VenueOrder | None:
        wire, dialect = self._wire, self._dialect
        name = self._name(search.symbol, search.client_order_id, search.venue_order_id)
        found = await dialect.by_client_id(wire, name, search.since)
        if found is None and search.venue_order_id:
            found = await dialect.by_venue_id(wire, name)
        if found is None:
            resting = await dialect.open_orders(wire, search.symbol)
            found = next((order for order in resting if order.client_order_id == name.client_order_id), None)
        if found is None:
            found = await self._by_trades(search, name)
        return None if found is None else await self._complete(found, search.client_order_id)

    async def _by_trades(self, search: Search, name: OrderName) -> VenueOrder | None:
        """Trades since the intent whose orders are not known to be others': one of them may be ours. Raises RetryLater
        when there are more than one reading can look at: what was not looked at proves nothing.
        """
        rows = await self._dialect.trades(self._wire, TradesWanted(search.symbol, search.since))
        known, sent_id = search.known_order_ids, name.client_order_id
        owners = dict.fromkeys(trade.venue_order_id for trade in reversed(rows))
        unknown = [owner for owner in owners if owner not in known and self._others.get(owner, sent_id) == sent_id]
        for order_id in unknown[:_OWNERS_ASKED]:
            order = await self._dialect.by_venue_id(self._wire, OrderName(search.symbol, "", order_id))
            if order is not None and order.client_order_id == sent_id:
                return order
            if order is not None:
                self._others[order_id] = order.client_order_id  # so that the next reading comes further
        if len(unknown) > _OWNERS_ASKED:
            raise RetryLater(f"{search.symbol}: more trades than one reading can look at", after_s=0.25)
        return None

    async def _complete(self, order: VenueOrder, client_order_id: str) -> VenueOrder:
        """The order under our own name, with its trades as far as the venue shows them yet.

        Raises ValueError when it is another one.
        """
        if order.client_order_id != self._sent_id(client_order_id):
            raise ValueError(f"asked for {client_order_id}, got {order.client_order_id}")
        order = replace(order, client_order_id=client_order_id)
        if not order.report.executed_quantity:
            return order
        wanted = TradesWanted(order.symbol, None, order.venue_order_id)
        rows = await self._dialect.trades(self._wire, wanted)
        return replace(order, trades=tuple(row for row in rows if row.venue_order_id == order.venue_order_id))

    async def fetch_instruments(self, *, in_any_quote: bool = False) -> tuple[Instrument, ...]:
        """See the port."""
        access = replace(self._access, quote="") if in_any_quote else self._access
        found = await self._read(self._dialect.instruments(self._wire, access))
        return tuple(sorted(found, key=lambda instrument: (instrument.base, instrument.quote)))

    async def fetch_balances(self) -> VenueBalances:
        """See the port."""
        return await self._read(self._dialect.balances(self._wire))

    async def fetch_deposits(self) -> tuple[VenueDeposit, ...]:
        """See the port."""
        found = await self._read(self._dialect.deposits(self._wire))
        return tuple(sorted(found, key=lambda deposit: (deposit.at, deposit.deposit_id)))

    async def fetch_open_orders(self) -> tuple[OpenOrder, ...]:
        """See the port."""
        rows = await self._read(self._dialect.open_orders(self._wire, ""))
        return tuple(OpenOrder(row.symbol, row.venue_order_id, row.client_order_id) for row in rows)

    async def fetch_trades(self, symbol: str, since: datetime) -> tuple[VenueTrade, ...]:
        """See the port."""
        return await self._read(self._dialect.trades(self._wire, TradesWanted(symbol, since)))

    async def fetch_book(self, symbol: str) -> Book | None:
        """See the port."""
        if not isinstance(self._dialect, Deep):
            return None
        return await self._read(self._dialect.book(self._wire, symbol))

    def news(self) -> AsyncIterator[UserNews]:
        """See the port. Raises Refused where there is no user stream."""
        if not isinstance(self._dialect, Streaming):
            raise Refused.one("venue_dialect", self.capabilities.dialect, "a venue with a user stream", "has none")
        try:
            self.rates.take(_SUBSCRIBE)
        except Waits as waits:
            raise RetryLater(str(waits), after_s=waits.wait_s) from waits
        return self._dialect.news(self._access, self._exchange.nonce)

    async def close(self) -> None:
        """Close ccxt's session."""
        await self._exchange.close()

    async def _read(self, reading: Awaitable[T]) -> T:
        """What a reading gives. Raises RetryLater also for what makes no sense."""
        try:
            return await reading
        except UNREADABLE as error:
            raise RetryLater(f"unreadable reply: {error!r}"[:200]) from error

    def _sent_id(self, client_order_id: str) -> str:
        return id_at_venue(self.capabilities.client_ids, client_order_id)

    def _name(self, symbol: str, client_order_id: str, venue_order_id: str) -> OrderName:
        return OrderName(symbol, self._sent_id(client_order_id), venue_order_id)


def _allowed(access: VenueAccess, capabilities: VenueCapabilities) -> VenueAccess:
    """Refuses what the venue cannot do, before anything is sent."""
    name = capabilities.dialect
    if access.sandbox and not capabilities.has_sandbox:
        raise Refused.one("venue_sandbox", "true", "false", f"{name} has no test environment")
    if capabilities.needs_passphrase and not access.api_passphrase:
        raise Refused.one("venue_api_passphrase", "", "the passphrase of the API key", f"{name} asks for one")
    return access

"""The websocket, version 2 in JSON: tickers, books and trades of pairs, and the viewer's orders and accounts.

Source: open.bigone.com, "Spot WebSocket API". Every message names the request that subscribed to it. A subscription is
answered with a snapshot; what changes comes after it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from services.simulated_exchange.accounts import Account, Balance
from services.simulated_exchange.bigone.calls import pair_name
from services.simulated_exchange.bigone.errors import BigoneError
from services.simulated_exchange.bigone.signing import authorise
from services.simulated_exchange.bigone.trading import order_view
from services.simulated_exchange.binance.connection import Connection, open_socket
from services.simulated_exchange.binance.websocket import converse
from services.simulated_exchange.desk import Desk
from services.simulated_exchange.listing import Listing, PublicTrade
from services.simulated_exchange.markets.files import iso
from services.simulated_exchange.orders import (
    BalancesChanged,
    MarketStoodStill,
    OrderReported,
    RowBecameCurrent,
    VenueEvent,
)
from shared.core.matching import Level
from shared.core.money import plain

FAILED, LOGIN_NEEDED = 45000, 45001
_TICKER, _DEPTH, _TRADES = "MarketsTicker", "MarketDepth", "MarketTrades"
_ORDERS, _ACCOUNTS = "ViewerOrders", "ViewerAccounts"
_SNAPSHOT_TRADES = 50


class _RequestError(Exception):
    """A request that cannot be met."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(eq=False, slots=True)
class _Client:
    """A connection: who it is, and the request behind each of its topics, by (kind, symbol)."""

    connection: Connection
    account: Account | None = None
    topics: dict[tuple[str, str], object] = field(default_factory=dict)

    def send(self, request_id: object, **message: object) -> None:
        self.connection.send(orjson.dumps({"requestId": request_id, **message}))


class Pusher:
    """All connections. Told of the venue's events, it writes to those who subscribed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._clients: dict[_Client, None] = {}

    def routes(self) -> list[web.RouteDef]:
        """The route of the websocket."""
        return [web.get("/ws/v2", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        socket, connection = await open_socket(request, combined=False, protocols=("json",))
        client = _Client(connection)
        self._clients[client] = None
        try:
            await converse(socket, lambda text: self._receive(client, text))
        finally:
            del self._clients[client]
        return socket

    # -- requests -------------------------------------------------------------------------------------------------

    def _receive(self, client: _Client, text: str) -> None:
        request_id: object = None
        try:
            request = _read(text)
            request_id = request.get("requestId")
            name = next((name for name in request if name.endswith("Request")), "")
            values = request.get(name)
            self._perform(client, request_id, name.removesuffix("Request"), values if isinstance(values, dict) else {})
        except _RequestError as error:
            client.send(request_id, error={"code": error.code, "message": str(error)})

    def _perform(self, client: _Client, request_id: object, name: str, values: Mapping[str, Any]) -> None:
        if name == "authenticateCustomer":
            try:
                client.account = authorise(self._desk.venue, str(values.get("token")), self._desk.clock_ms())
            except BigoneError as error:
                raise _RequestError(LOGIN_NEEDED, error.message) from None
            client.send(request_id, success={"ok": True})
        elif name.startswith("unsubscribe"):
            for symbol in self._symbols(name.removeprefix("unsubscribe"), values):
                client.topics.pop((name.removeprefix("unsubscribe"), symbol), None)
            client.send(request_id, success={"ok": True})
        elif name.removeprefix("subscribe") in _SNAPSHOTS and name.startswith("subscribe"):
            kind = name.removeprefix("subscribe")
            symbols = self._symbols(kind, values)
            if kind in {_ORDERS, _ACCOUNTS} and client.account is None:
                raise _RequestError(LOGIN_NEEDED, "authenticate first")
            client.topics |= dict.fromkeys(((kind, symbol) for symbol in symbols), request_id)
            client.send(request_id, **_SNAPSHOTS[kind](self, client, symbols))
        else:
            raise _RequestError(FAILED, f"unknown request {name[:60]!r}")

    def _symbols(self, kind: str, values: Mapping[str, Any]) -> list[str]:
        """Symbols that a request names; [""] where its kind is of no pair."""
        if kind == _ACCOUNTS:
            return [""]
        named = values.get("markets") if kind == _TICKER else [values.get("market")]
        if not isinstance(named, list) or not named:
            raise _RequestError(FAILED, "no market named")
        return [self._symbol(name) for name in named]

    def _symbol(self, name: object) -> str:
        base, _, quote = str(name).partition("-")
        for listing in self._desk.venue.listed():
            if (listing.instrument.base, listing.instrument.quote) == (base, quote):
                return listing.instrument.symbol
        raise _RequestError(FAILED, f"unknown market {str(name)[:40]!r}")

    def _listings(self, symbols: Iterable[str]) -> list[Listing]:
        return [self._desk.venue.listings[symbol] for symbol in symbols]

    def tickers_snapshot(self, _client: _Client, symbols: list[str]) -> dict[str, object]:
        """Tickers of pairs."""
        return {"tickersSnapshot": {"tickers": [_ticker(listing) for listing in self._listings(symbols)]}}

    def depth_snapshot(self, _client: _Client, symbols: list[str]) -> dict[str, object]:
        """The book of a pair."""
        return {"depthSnapshot": {"depth": _depth(self._listings(symbols)[0])}}

    def trades_snapshot(self, _client: _Client, symbols: list[str]) -> dict[str, object]:
        """The latest public trades of a pair, newest first."""
        listing = self._listings(symbols)[0]
        latest = list(listing.recent)[-_SNAPSHOT_TRADES:]
        return {"tradesSnapshot": {"trades": [_trade(listing, trade) for trade in reversed(latest)]}}

    def orders_snapshot(self, client: _Client, symbols: list[str]) -> dict[str, object]:
        """The viewer's open orders of a pair."""
        assert client.account is not None  # noqa: S101 - checked before
        listing = self._listings(symbols)[0]
        mine = self._desk.reads.open_orders(client.account, listing.instrument.symbol)
        return {"ordersSnapshot": {"orders": [_camel(order_view(order, listing)) for order in mine]}}

    def accounts_snapshot(self, client: _Client, _symbols: list[str]) -> dict[str, object]:
        """The viewer's balances."""
        assert client.account is not None  # noqa: S101 - checked before
        held = self._desk.reads.balances(client.account)
        return {"accountsSnapshot": {"accounts": [_account(name, balance) for name, balance in sorted(held.items())]}}

    # -- events ---------------------------------------------------------------------------------------------------

    def tell_markets(self, events: Sequence[VenueEvent]) -> None:
        """Send what events mean for tickers, books and trades."""
        for event in events:
            if isinstance(event, RowBecameCurrent):
                for listing in self._listings(event.symbols):
                    self._tell_listing(listing)
            elif isinstance(event, MarketStoodStill):
                for listing in self._desk.venue.listed():
                    self._publish(_TICKER, listing, lambda at: {"tickerUpdate": {"ticker": _ticker(at)}})

    def _tell_listing(self, listing: Listing) -> None:
        self._publish(_TICKER, listing, lambda at: {"tickerUpdate": {"ticker": _ticker(at)}})
        self._publish(_DEPTH, listing, lambda at: {"depthUpdate": {"depth": _depth(at)}})
        self._publish(_TRADES, listing, lambda at: {"tradeUpdate": {"trade": _trade(at, at.recent[-1])}})

    def _publish(self, kind: str, listing: Listing, message: Callable[[Listing], dict[str, object]]) -> None:
        topic = (kind, listing.instrument.symbol)
        made: dict[str, object] | None = None
        for client in self._clients:
            if topic in client.topics:
                made = made or message(listing)
                client.send(client.topics[topic], **made)

    def tell_viewers(self, events: Sequence[VenueEvent]) -> None:
        """Send what events mean for the accounts concerned."""
        for event in events:
            if isinstance(event, OrderReported):
                order = event.order
                view = _camel(order_view(order, self._desk.venue.listings[order.symbol]))
                self._tell_viewer(order.account_id, (_ORDERS, order.symbol), {"orderUpdate": {"order": view}})
            elif isinstance(event, BalancesChanged):
                for name, balance in event.balances.items():
                    update: dict[str, object] = {"accountUpdate": {"account": _account(name, balance)}}
                    self._tell_viewer(event.account_id, (_ACCOUNTS, ""), update)

    def _tell_viewer(self, account_id: int, topic: tuple[str, str], message: dict[str, object]) -> None:
        for client in self._clients:
            if topic in client.topics and client.account is not None and client.account.account_id == account_id:
                client.send(client.topics[topic], **message)


_SNAPSHOTS: dict[str, Callable[[Pusher, _Client, list[str]], dict[str, object]]] = {
    _TICKER: Pusher.tickers_snapshot,
    _DEPTH: Pusher.depth_snapshot,
    _TRADES: Pusher.trades_snapshot,
    _ORDERS: Pusher.orders_snapshot,
    _ACCOUNTS: Pusher.accounts_snapshot,
}


def _read(text: str) -> dict[str, Any]:
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError:
        request = None
    if not isinstance(request, dict):
        raise _RequestError(FAILED, "a request is a JSON object")
    return request


def _level(level: Level) -> dict[str, object]:
    return {"price": plain(level.price), "amount": plain(level.quantity), "orderCount": 1}


def _ticker(listing: Listing) -> dict[str, object]:
    day = listing.day()
    return {
        "market": pair_name(listing),
        "bid": _level(listing.bid),
        "ask": _level(listing.ask),
        "open": plain(day.open),
        "high": plain(day.high),
        "low": plain(day.low),
        "close": plain(listing.price),
        "volume": plain(day.volume),
        "dailyChange": plain(listing.price - day.open),
    }


def _depth(listing: Listing) -> dict[str, object]:
    book = listing.book()
    return {
        "market": pair_name(listing),
        "bids": [_level(level) for level in book.bids],
        "asks": [_level(level) for level in book.asks],
    }


def _trade(listing: Listing, trade: PublicTrade) -> dict[str, object]:
    return {
        "id": str(trade.trade_id),
        "market": pair_name(listing),
        "price": plain(trade.price),
        "amount": plain(trade.quantity),
        "takerSide": "ASK" if trade.buyer_is_maker else "BID",
        "createdAt": iso(trade.time_ms),
    }


def _account(asset: str, balance: Balance) -> dict[str, object]:
    return {"asset": asset, "balance": plain(balance.free + balance.locked), "lockedBalance": plain(balance.locked)}


def _camel(view: Mapping[str, object]) -> dict[str, object]:
    """An order of REST in the socket's spelling."""
    renamed = {"asset_pair_name": "market"}
    return {renamed.get(name) or _camel_name(name): value for name, value in view.items()}


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)

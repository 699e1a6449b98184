"""A venue on loopback: one account's books, and whatever face is put before them, over real HTTP.

The books know nothing of any venue; a face reads a venue's documented requests and writes its documented replies.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import parse_qsl

from aiohttp import web

from shared.venues.capabilities import FeeAsset

FEE = Decimal("0.001")
TOUCH = {"BTC": ("60000.1", "60010.2"), "ETH": ("2500.03", "2500.41")}
DEPTH = Decimal("0.5")
"""Of what is asked for, so much trades at each of two prices: an order of ours has two trades."""


@dataclass
class Trade:
    """One trade of the account."""

    id: int
    order: "Order"
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    at_ms: int

    @property
    def value(self) -> Decimal:
        return self.quantity * self.price


@dataclass
class Order:
    """One order of the account; ``client_id`` as it came over the wire."""

    id: int
    client_id: str
    base: str
    is_buy: bool
    quantity: Decimal
    price: Decimal
    at_ms: int
    executed: Decimal = Decimal(0)
    is_open: bool = False
    trades: list[Trade] = field(default_factory=list)


class TooLittle(Exception):  # noqa: N818 - says what happened
    """The account cannot pay for it."""


class Books:
    """The account: two prices a side, orders, trades, money. ``ahead_ms``: the venue's clock before ours."""

    def __init__(self, quote: str, fee_asset: FeeAsset) -> None:
        self.quote, self.fee_asset = quote, fee_asset
        self.held: dict[str, Decimal] = {}
        self.orders: list[Order] = []
        self.trades: list[Trade] = []
        self.deposits: list[tuple[str, str, Decimal, int]] = []
        self.ahead_ms = 0

    def now_ms(self) -> int:
        """The venue's time."""
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def deposit(self, name: str, asset: str, quantity: str) -> None:
        """Money from outside."""
        self.held[asset] = self.held.get(asset, Decimal(0)) + Decimal(quantity)
        self.deposits.append((name, asset, Decimal(quantity), self.now_ms()))

    def place(self, client_id: str, base: str, is_buy: bool, quantity: str, price: str) -> Order:
        """Immediate or cancel: half at the touch, half a tick beyond, as far as the limit reaches."""
        order = Order(
            1000 + len(self.orders), client_id, base, is_buy, Decimal(quantity), Decimal(price), self.now_ms()
        )
        pays = self.held.get(self.quote if is_buy else base, Decimal(0))
        if pays < (order.quantity * order.price if is_buy else order.quantity):
            raise TooLittle
        self.orders.append(order)
        touch = Decimal(TOUCH[base][1 if is_buy else 0])
        for at in (touch, touch + (1 if is_buy else -1) * Decimal("0.01")):
            if at <= order.price if is_buy else at >= order.price:
                self._trade(order, order.quantity * DEPTH, at)
        return order

    def _trade(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        fee_asset, fee = self.quote, quantity * price * FEE
        if order.is_buy and self.fee_asset is not FeeAsset.QUOTE:
            fee_asset, fee = order.base, quantity * FEE
        sign = 1 if order.is_buy else -1
        for asset, change in ((order.base, sign * quantity), (self.quote, -sign * quantity * price), (fee_asset, -fee)):
            self.held[asset] = self.held.get(asset, Decimal(0)) + change
        trade = Trade(70_000 + len(self.trades), order, quantity, price, fee, fee_asset, self.now_ms())
        self.trades.append(trade)
        order.trades.append(trade)
        order.executed += quantity

    def rest(self, client_id: str, base: str, quantity: str, price: str) -> Order:
        """An order that stays in the book, as somebody would place it by hand."""
        order = Order(1000 + len(self.orders), client_id, base, True, Decimal(quantity), Decimal(price), self.now_ms())
        order.is_open = True
        self.orders.append(order)
        return order

    def cancel(self, matches: Callable[[Order], bool]) -> bool:
        """End the open orders that match; whether there was one."""
        found = [order for order in self.orders if order.is_open and matches(order)]
        for order in found:
            order.is_open = False
        return bool(found)

    def locked(self, asset: str) -> Decimal:
        """What open orders hold of an asset; they are all buys."""
        is_quote = asset == self.quote
        return sum((o.quantity * o.price for o in self.orders if o.is_open and is_quote), Decimal(0))


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]
    text: str

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class SentOrder:
    """What an order's request says, in the venue's own words."""

    client_id: str
    symbol: str
    side: str
    quantity: object
    price: object
    other: Mapping[str, object]


Reply = tuple[int, Any]


class Face(Protocol):
    """One venue's documented requests and replies before the books."""

    name: str
    quote: str
    fee_asset: FeeAsset
    placing: str
    """The call that places an order."""

    def symbol(self, base: str) -> str:
        """The pair's name in orders."""

    def answer(self, asked: Asked, books: Books) -> Reply:
        """The reply: HTTP status and body."""

    def sent(self, asked: Asked) -> SentOrder:
        """What the request of an order says."""


class LoopbackVenue:
    """The server. ``faults`` become of the next orders, ``errors`` are the next replies to ``failing`` calls."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.books = Books(face.quote, face.fee_asset)
        self.asked: list[Asked] = []
        self.faults: list[str] = []
        self.errors: list[Reply] = []
        self.failing = face.placing
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def orders_sent(self) -> list[SentOrder]:
        """Every order that came over the wire, taken or not."""
        return [self.face.sent(asked) for asked in self.asked if asked.call == self.face.placing]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = await _asked(request)
        self.asked.append(asked)
        if asked.call == self.failing and self.errors:
            return _response(self.errors.pop(0))
        if asked.call != self.face.placing or not self.faults:
            return _response(self.face.answer(asked, self.books))
        return await self._fail(request, asked, self.faults.pop(0))

    async def _fail(self, request: web.Request, asked: Asked, fault: str) -> web.StreamResponse:
        if fault == "5xx_before":
            return web.Response(status=503, text="Service Unavailable")
        reply = _response(self.face.answer(asked, self.books)) if fault != "lost_request" else None
        if fault == "5xx_after":
            return web.Response(status=504, text="Gateway Time-out")
        if fault == "garbage":
            text = str(reply.text if reply is not None else "")
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        await asyncio.sleep(1.0)  # longer than the client waits
        return web.Response(text="")


async def _asked(request: web.Request) -> Asked:
    text = await request.text()
    body: Any = {}
    if text.startswith("{"):
        body = json.loads(text)
    elif text:
        body = dict(parse_qsl(text))
    return Asked(request.method, request.path, dict(request.query), body, dict(request.headers), text)


def _response(reply: Reply) -> web.Response:
    status, body = reply
    text = body if isinstance(body, str) else json.dumps(body)
    return web.Response(status=status, text=text, content_type="application/json")


def iso(at_ms: int) -> str:
    """ISO 8601 with milliseconds, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(number: Decimal) -> str:
    """As venues write amounts."""
    return f"{number:f}"

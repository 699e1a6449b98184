"""Each venue as the conformance suite sees it: an adapter, money, and what came over the wire."""

import base64
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.order_executor.adapters.ccxt_venue import CcxtVenue, VenueAccess
from shared.venues.capabilities import FeeAsset
from shared.venues.dialects import capabilities_of
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange
from tests.venues.faces.bigone import BigoneFace
from tests.venues.faces.bybit import BybitFace
from tests.venues.faces.coinbase import CoinbaseFace
from tests.venues.faces.kraken import KrakenFace
from tests.venues.faces.kucoin import KucoinFace
from tests.venues.faces.okx import OkxFace
from tests.venues.loopback import TOUCH, Face, LoopbackVenue, SentOrder

PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)
SECRETS = {
    "coinbase": ("organizations/o/apiKeys/key", PEM, ""),
    "kraken": ("key", base64.b64encode(b"secret").decode(), ""),
    "kucoin": ("key", "secret", "phrase"),
    "okx": ("key", "secret", "phrase"),
}


def access_to(dialect: str, url: str, quote: str, timeout_ms: int = 2_000) -> VenueAccess:
    """The account of the tests at a venue on loopback."""
    key, secret, passphrase = SECRETS.get(dialect, ("key", "secret", ""))
    return VenueAccess("paper", quote, url, "", key, secret, timeout_ms, passphrase)


def adapter_of(server: LoopbackVenue, timeout_ms: int = 2_000) -> CcxtVenue:
    """The adapter of a venue on loopback."""
    row = capabilities_of(server.face.name)
    # A test asks more in a second than an executor in a minute.
    rates = replace(row.rates, weight_per_minute=100_000, orders_per_10s=10_000)
    access = access_to(row.dialect, server.url, server.face.quote, timeout_ms)
    venue = CcxtVenue(access, replace(row, rates=rates))
    venue._exchange.timeout_on_exit = 0  # ccxt waits a quarter of a second for the ends of TLS
    return venue


class Subject(Protocol):
    """One venue under test."""

    name: str
    quote: str
    fee_asset: FeeAsset
    faults: list[str]

    def venue(self, timeout_ms: int = 2_000) -> CcxtVenue:
        """The adapter, to be closed by whoever asked for it."""

    def symbol(self, base: str) -> str:
        """The pair's name in orders."""

    async def deposit(self, name: str, asset: str, quantity: str) -> None:
        """Money from outside."""

    async def touch(self, base: str) -> tuple[Decimal, Decimal]:
        """Best bid and ask."""

    async def rest(self, client_id: str, base: str, quantity: str, price: str) -> None:
        """An order that stays in the book, placed by hand."""

    async def taken(self) -> list[str]:
        """The client ids of all orders that the venue has taken, as it knows them."""

    async def now(self) -> datetime:
        """Market time."""

    @property
    def orders_sent(self) -> list[SentOrder]:
        """What came over the wire, taken or not."""


class LoopbackSubject:
    """A venue's documented replies on loopback."""

    def __init__(self, server: LoopbackVenue) -> None:
        self.server, self.faults = server, server.faults
        self.name, self.quote, self.fee_asset = server.face.name, server.face.quote, server.face.fee_asset

    def venue(self, timeout_ms: int = 2_000) -> CcxtVenue:
        return adapter_of(self.server, timeout_ms)

    def symbol(self, base: str) -> str:
        return self.server.face.symbol(base)

    async def deposit(self, name: str, asset: str, quantity: str) -> None:
        self.server.books.deposit(name, asset, quantity)

    async def touch(self, base: str) -> tuple[Decimal, Decimal]:
        bid, ask = TOUCH[base]
        return Decimal(bid), Decimal(ask)

    async def rest(self, client_id: str, base: str, quantity: str, price: str) -> None:
        self.server.books.rest(client_id, base, quantity, price)

    async def taken(self) -> list[str]:
        return [order.client_id for order in self.server.books.orders]

    async def now(self) -> datetime:
        return datetime.fromtimestamp(self.server.books.now_ms() / 1000).astimezone()

    @property
    def orders_sent(self) -> list[SentOrder]:
        return self.server.orders_sent


@dataclass
class ExchangeSubject:
    """The simulated exchange, which speaks Binance's dialect, over a way that can be made to fail."""

    exchange: Exchange
    way: FaultyWay
    name: str = "binance"
    quote: str = "USDT"
    fee_asset: FeeAsset = FeeAsset.RECEIVED

    @property
    def faults(self) -> list[str]:
        return self.way.faults

    def venue(self, timeout_ms: int = 2_000) -> CcxtVenue:
        venue = self.exchange.venue(self.way.url, timeout_ms)
        venue._exchange.timeout_on_exit = 0
        return venue

    def symbol(self, base: str) -> str:
        return f"{base}USDT"

    async def deposit(self, name: str, asset: str, quantity: str) -> None:
        await self.exchange.deposit(name, asset, quantity)

    async def touch(self, base: str) -> tuple[Decimal, Decimal]:
        bid, ask = (await self.exchange.quotes())[base]
        return Decimal(bid), Decimal(ask)

    async def rest(self, client_id: str, base: str, quantity: str, price: str) -> None:
        venue = self.exchange.venue()
        order = {
            "symbol": self.symbol(base), "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity,
            "price": price, "newClientOrderId": client_id,
        }  # fmt: skip
        await venue._exchange.private_post_order(order)
        await venue.close()

    async def taken(self) -> list[str]:
        return [order["clientOrderId"] for order in await self.exchange.orders()]

    async def now(self) -> datetime:
        return await self.exchange.market_time()

    @property
    def orders_sent(self) -> list[SentOrder]:
        return [_sent(dict(parse_qsl(text))) for text in self.way.orders_seen]


def _sent(body: dict[str, Any]) -> SentOrder:
    other = {name: body[name] for name in ("type", "timeInForce")}
    return SentOrder(body["newClientOrderId"], body["symbol"], body["side"], body["quantity"], body["price"], other)


FACES: dict[str, type[Face]] = {
    "bigone": BigoneFace,
    "bybit": BybitFace,
    "coinbase": CoinbaseFace,
    "kraken": KrakenFace,
    "kucoin": KucoinFace,
    "okx": OkxFace,
}

"""BigONE's websocket: read by hand, and followed by the price feed's own adapter."""

import asyncio
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from services.price_feed.adapters.bigone.parse import parse
from services.price_feed.venue_events import QuoteReceived, ReplyReceived, Several
from tests.services.simulated_exchange.running import KEY, SECRET, Running, serving


def token(secret: str = SECRET, **claims: Any) -> str:
    """A bearer token made by hand."""
    payload = {"type": "OpenAPIV2", "sub": KEY, "nonce": str(time.time_ns())} | claims
    parts = [urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in ({"alg": "HS256", "typ": "JWT"}, payload)]
    signed = b".".join(parts)
    signature = urlsafe_b64encode(hmac.new(secret.encode(), signed, sha256).digest()).rstrip(b"=")
    return f"Bearer {(signed + b'.' + signature).decode()}"


@pytest.fixture
async def exchange(tmp_path: Path, prices_file: Path) -> AsyncIterator[Running]:
    fields = {"exchange_dialect": "bigone", "exchange_prices_file": str(prices_file)}
    async with serving(tmp_path / "state", **fields) as running:
        await running.deposit("USDT", "100000")
        yield running


class Socket:
    """A client by hand: ``ask`` sends a request and returns its first answer, ``told`` the next message of a kind."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.raw: list[str] = []

    async def ask(self, request_id: str, name: str, **values: Any) -> dict[str, Any]:
        await self._socket.send_json({"requestId": request_id, name: values})
        return await self._next(lambda message: message["requestId"] == request_id)

    async def told(self, kind: str) -> dict[str, Any]:
        return (await self._next(lambda message: kind in message))[kind]

    async def _next(self, wanted: Any) -> Any:
        while True:
            text = await self._socket.receive_str(timeout=10)
            self.raw.append(text)
            message = orjson.loads(text)
            if wanted(message):
                return message


@pytest.fixture
async def socket(exchange: Running) -> AsyncIterator[Socket]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{exchange.ws}/ws/v2", protocols=("json",)) as opened,
    ):
        assert opened.protocol == "json"
        yield Socket(opened)


async def test_tickers_when_subscribed_come_as_the_price_feed_reads_them(exchange: Running, socket: Socket) -> None:
    await socket.ask("1", "subscribeMarketsTickerRequest", markets=["BTC-USDT", "ONE-USDT"])
    snapshot = parse(socket.raw[-1])
    assert isinstance(snapshot, Several)
    assert isinstance(snapshot.events[0], ReplyReceived)
    assert {quote.symbol for quote in snapshot.events if isinstance(quote, QuoteReceived)} == {"BTC-USDT", "ONE-USDT"}
    await exchange.advance()
    assert (await socket.told("tickerUpdate"))["ticker"]["close"] == "10100"
    quote = parse(socket.raw[-1])
    assert isinstance(quote, QuoteReceived)
    assert float(str(quote.bid)) < 10_100 < float(str(quote.ask))
    assert (await socket.ask("2", "unsubscribeMarketsTickerRequest", markets=["BTC-USDT"]))["success"] == {"ok": True}
    await exchange.advance()
    assert (await socket.told("tickerUpdate"))["ticker"]["market"] == "ONE-USDT"


async def test_book_and_trades_when_subscribed_come_with_every_row(exchange: Running, socket: Socket) -> None:
    book = (await socket.ask("1", "subscribeMarketDepthRequest", market="BTC-USDT"))["depthSnapshot"]["depth"]
    assert (book["market"], len(book["bids"]), book["bids"][0].keys()) == (
        "BTC-USDT",
        20,
        {"price", "amount", "orderCount"},
    )
    trades = (await socket.ask("2", "subscribeMarketTradesRequest", market="BTC-USDT"))["tradesSnapshot"]["trades"]
    assert [trade["price"] for trade in trades] == ["10000"]
    await exchange.advance()
    changed = (await socket.told("depthUpdate"))["depth"]
    assert float(changed["bids"][0]["price"]) < 10_100 < float(changed["asks"][0]["price"])
    assert (await socket.told("tradeUpdate"))["trade"]["price"] == "10100"


@pytest.mark.parametrize(
    ("request_name", "values", "code"),
    [
        ("subscribeMarketsTickerRequest", {"markets": ["NIX-USDT"]}, 45000),
        ("subscribeMarketsTickerRequest", {}, 45000),
        ("subscribeMarketDepthRequest", {"market": None}, 45000),
        ("subscribeViewerOrdersRequest", {"market": "BTC-USDT"}, 45001),
        ("authenticateCustomerRequest", {"token": "Bearer x"}, 45001),
        ("makeCoffeeRequest", {}, 45000),
    ],
)
async def test_request_when_it_cannot_be_met_is_answered_with_an_error(
    socket: Socket, request_name: str, values: dict[str, Any], code: int
) -> None:
    assert (await socket.ask("9", request_name, **values))["error"]["code"] == code


async def test_viewer_when_authenticated_hears_of_its_orders_and_balances(exchange: Running, socket: Socket) -> None:
    assert (await socket.ask("1", "authenticateCustomerRequest", token=token()))["success"] == {"ok": True}
    assert (await socket.ask("2", "subscribeViewerOrdersRequest", market="BTC-USDT"))["ordersSnapshot"]["orders"] == []
    accounts = (await socket.ask("3", "subscribeViewerAccountsRequest"))["accountsSnapshot"]["accounts"]
    assert accounts == [{"asset": "USDT", "balance": "100000", "lockedBalance": "0"}]
    order = {"asset_pair_name": "BTC-USDT", "side": "BID", "type": "LIMIT", "amount": "0.1", "price": "9500"}
    async with (
        aiohttp.ClientSession(headers={"Authorization": token()}) as session,
        session.post(f"{exchange.http}/api/v3/viewer/orders", json=order | {"client_order_id": "c-1"}) as response,
    ):
        assert (await response.json())["data"]["state"] == "PENDING"
    told = (await socket.told("orderUpdate"))["order"]
    assert (told["clientOrderId"], told["state"], told["market"]) == ("c-1", "PENDING", "BTC-USDT")
    update = (await socket.told("accountUpdate"))["account"]
    while update["asset"] != "USDT":
        update = (await socket.told("accountUpdate"))["account"]
    assert update == {"asset": "USDT", "balance": "100000", "lockedBalance": "950"}
    await exchange.advance(2)
    assert (await socket.told("orderUpdate"))["order"]["state"] == "FILLED"


async def test_token_when_its_window_has_passed_is_refused(socket: Socket) -> None:
    old = str(time.time_ns() - 10 * 10**9)
    refused = await socket.ask("1", "authenticateCustomerRequest", token=token(nonce=old, recv_window="5"))
    assert refused["error"]["code"] == 45001
    assert "success" in await socket.ask("2", "authenticateCustomerRequest", token=token(nonce=old))


async def test_folder_when_made_for_the_other_dialect_is_refused(tmp_path: Path, prices_file: Path) -> None:
    folder = tmp_path / "one"
    async with serving(folder, exchange_dialect="bigone", exchange_prices_file=str(prices_file)):
        await asyncio.sleep(0)
    with pytest.raises(Exception, match="dialect"):
        async with serving(folder, exchange_prices_file=str(prices_file)):
            pass

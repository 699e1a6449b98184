"""Bybit public websocket v5: where to connect, how to subscribe, what is allowed."""

from collections.abc import Collection, Sequence

import orjson

from services.price_feed.adapters.bybit import parse
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue

LIVE_ROOT = "wss://stream.bybit.com"
_PATH = "/v5/public/spot"

BYBIT_LIMITS = DialectLimits(
    # The arguments of a connection together: at most 21,000 characters.
    symbols_per_connection=200,
    # Spot: at most 10 arguments a request.
    symbols_per_request=10,
    request_interval_s=0.1,
    # No cut after a day is documented; a fresh connection a day costs nothing.
    roll_after_s=23 * 3600.0,
    # "send the ping heartbeat packet every 20 seconds".
    ping_interval_s=15.0,
)
"""Source: bybit-exchange.github.io/docs/v5/ws/connect and .../websocket/public/orderbook. At most 500 connections in 5
minutes and address."""


class BybitDialect:
    """Fills ``Dialect``. ``orderbook.1`` tells every change of best bid and ask, at most every 10 ms."""

    limits = BYBIT_LIMITS
    subprotocol = None

    async def address(self, root: str) -> str:
        """See ``Dialect``."""
        trimmed = (root or LIVE_ROOT).rstrip("/")
        return trimmed if trimmed.endswith(_PATH) else f"{trimmed}{_PATH}"

    def hello(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """``{"req_id":"1","op":"subscribe","args":["orderbook.1.BTCUSDT"]}``."""
        args = [f"orderbook.1.{symbol}" for symbol in symbols]
        operation = "subscribe" if wanted else "unsubscribe"
        return orjson.dumps({"req_id": str(request_id), "op": operation, "args": args}).decode()

    def ping(self, request_id: int) -> str:
        """``{"req_id":"1","op":"ping"}``."""
        return orjson.dumps({"req_id": str(request_id), "op": "ping"}).decode()

    def parse(self, payload: bytes) -> FromVenue:
        """See ``parse.parse``."""
        return parse.parse(payload)

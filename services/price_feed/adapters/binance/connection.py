"""Binance spot market streams: where to connect, how to subscribe, what is allowed."""

from collections.abc import Collection, Sequence

import orjson

from services.price_feed.adapters.binance import parse
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue

LIVE_ROOT = "wss://stream.binance.com:9443"
_STREAMS = ("bookTicker", "miniTicker")

BINANCE_LIMITS = DialectLimits(
    # A connection may carry 1,024 streams: two per symbol, and room to spare.
    symbols_per_connection=500,
    # The request is one message however long; 100 symbols make about 4 kB.
    symbols_per_request=100,
    # At most 5 messages per second from the client, pongs included, or the connection is closed.
    request_interval_s=0.3,
    # A connection is cut after 24 hours.
    roll_after_s=23 * 3600.0,
)
"""Source: binance-spot-api-docs, web-socket-streams.md, "WebSocket Limits"."""


class BinanceDialect:
    """Fills ``Dialect``. bookTicker tells every change of best bid and ask; miniTicker, once a second, the time.

    The server's pings (every 20 s) are answered by the websocket library with the same payload, as the venue asks.
    ``pulse``: the array of all mini tickers is told too, as the pulse.
    """

    limits = BINANCE_LIMITS
    subprotocol = None

    def __init__(self, *, pulse: bool = False) -> None:
        self._pulse = pulse

    def url(self, root: str) -> str:
        """``root`` as in ``wss://stream.binance.com:9443``; a path of one's own is kept."""
        trimmed = root.rstrip("/")
        path = trimmed if trimmed.endswith(("/stream", "/ws")) else f"{trimmed}/stream"
        return f"{path}?streams={parse.ALL_MINI_TICKERS}" if self._pulse else path

    async def address(self, root: str) -> str:
        """See ``Dialect``."""
        return self.url(root or LIVE_ROOT)

    def hello(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def ping(self, request_id: int) -> str:
        """The shortest question there is; the answer shows that the streams' server is there."""
        return orjson.dumps({"method": "GET_PROPERTY", "params": ["combined"], "id": request_id}).decode()

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """``{"method":"SUBSCRIBE","params":["btcusdt@bookTicker","btcusdt@miniTicker"],"id":1}``."""
        method = "SUBSCRIBE" if wanted else "UNSUBSCRIBE"
        params = [f"{symbol.lower()}@{stream}" for symbol in symbols for stream in _STREAMS]
        return orjson.dumps({"method": method, "params": params, "id": request_id}).decode()

    def parse(self, payload: bytes) -> FromVenue:
        """See ``parse.parse``."""
        return parse.parse(payload)

"""OKX public websocket v5: where to connect, how to subscribe, what is allowed."""

from collections.abc import Collection, Sequence

import orjson

from services.price_feed.adapters.okx import parse
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue

LIVE_ROOT = "wss://ws.okx.com:8443"
_PATH = "/ws/v5/public"

OKX_LIMITS = DialectLimits(
    symbols_per_connection=200,
    # All channels of a request together: at most 64 kB.
    symbols_per_request=50,
    # At most 480 requests to subscribe or unsubscribe an hour and connection, and a first burst of as many.
    request_interval_s=0.35,
    # No cut after a day is documented; a fresh connection a day costs nothing.
    roll_after_s=23 * 3600.0,
    # One acknowledgement for each channel.
    answers_each=True,
    # A connection without any message for 30 s is closed.
    ping_interval_s=20.0,
)
"""Source: okx.com/docs-v5, "WebSocket", Connect and Subscribe."""


class OkxDialect:
    """Fills ``Dialect``. The tickers channel tells changes of last price, bid and ask, at most every 100 ms."""

    limits = OKX_LIMITS
    subprotocol = None

    async def address(self, root: str) -> str:
        """See ``Dialect``."""
        trimmed = (root or LIVE_ROOT).rstrip("/")
        return trimmed if trimmed.endswith(_PATH) else f"{trimmed}{_PATH}"

    def hello(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """``{"id":"1","op":"subscribe","args":[{"channel":"tickers","instId":"BTC-USDT"}]}``."""
        args = [{"channel": "tickers", "instId": symbol} for symbol in symbols]
        operation = "subscribe" if wanted else "unsubscribe"
        return orjson.dumps({"id": str(request_id), "op": operation, "args": args}).decode()

    def ping(self, request_id: int) -> str:
        """The word, not JSON."""
        del request_id
        return "ping"

    def parse(self, payload: bytes) -> FromVenue:
        """See ``parse.parse``."""
        return parse.parse(payload)

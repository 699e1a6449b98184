"""BigONE spot websocket: where to connect, how to subscribe, what is allowed."""

from collections.abc import Collection, Sequence

import orjson

from services.price_feed.adapters.bigone import parse
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue

LIVE_ROOT = "wss://api.big.one"
_PATH = "/ws/v2"

BIGONE_LIMITS = DialectLimits(
    # At most 5 connections a user: two of a second hundred symbols still leave room to roll over.
    symbols_per_connection=200,
    # A request answers for all of its symbols; the documents name no limit.
    symbols_per_request=50,
    request_interval_s=0.25,
    # No cut after a day is documented; a fresh connection a day costs nothing.
    roll_after_s=23 * 3600.0,
    # "clients should send a Ping frame or a custom Heartbeat message regularly".
    ping_interval_s=15.0,
    tells_time=False,
)
"""Source: open.bigone.com/docs/spot/pusher."""


class BigoneDialect:
    """Fills ``Dialect``. The tickers' subscription tells best bid and ask of its markets, first in a snapshot."""

    limits = BIGONE_LIMITS
    subprotocol = "json"

    async def address(self, root: str) -> str:
        """See ``Dialect``."""
        trimmed = (root or LIVE_ROOT).rstrip("/")
        return trimmed if trimmed.endswith(_PATH) else f"{trimmed}{_PATH}"

    def hello(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """``{"requestId":"1","subscribeMarketsTickerRequest":{"markets":["BTC-USDT"]}}``."""
        name = "subscribeMarketsTickerRequest" if wanted else "unsubscribeMarketsTickerRequest"
        return orjson.dumps({"requestId": str(request_id), name: {"markets": list(symbols)}}).decode()

    def ping(self, request_id: int) -> None:
        """The websocket's own ping: the documents name a heartbeat message too, but not what it looks like."""

    def parse(self, payload: bytes) -> FromVenue:
        """See ``parse.parse``."""
        return parse.parse(payload)

"""KuCoin spot websocket: how to get in, how to subscribe, what is allowed."""

import asyncio
from collections.abc import Collection, Sequence
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import orjson

from services.price_feed.adapters.kucoin import parse
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue

LIVE_ROOT = "https://api.kucoin.com"
_BULLET_PATH = "/api/v1/bullet-public"
_TIMEOUT_S = 8.0
_LONGEST_REPLY = 65_536

KUCOIN_LIMITS = DialectLimits(
    # At most 400 topics a connection, 100 symbols a subscription.
    symbols_per_connection=300,
    symbols_per_request=100,
    # At most 100 messages in 10 s.
    request_interval_s=0.2,
    # A token, and the connection it opened, ends after 24 hours.
    roll_after_s=23 * 3600.0,
    # The venue names 18 s, and closes what is silent for 60 s.
    ping_interval_s=15.0,
    # "only when the welcome message is received will the connection be available".
    greets=True,
)
"""Source: kucoin.com/docs-new, "WebSocket API", Introduction."""


class KucoinDialect:
    """Fills ``Dialect``. The root is the REST address: it names the websocket's. /market/ticker tells changes of best
    bid and ask at most every 100 ms.
    """

    limits = KUCOIN_LIMITS
    subprotocol = None

    async def address(self, root: str) -> str:
        """Asks for a public token; a new one for each connection."""
        reply = await asyncio.to_thread(_post, (root or LIVE_ROOT).rstrip("/") + _BULLET_PATH)
        bullet = parse.parse_bullet(reply)
        if isinstance(bullet, str):
            raise ConnectionError(f"the venue named no websocket: {bullet}")
        return f"{bullet.endpoint}?{urlencode({'token': bullet.token})}"

    def hello(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """``{"id":"1","type":"subscribe","topic":"/market/ticker:BTC-USDT,ETH-USDT","response":true}``."""
        kind = "subscribe" if wanted else "unsubscribe"
        topic = f"/market/ticker:{','.join(symbols)}"
        return orjson.dumps(
            {"id": str(request_id), "type": kind, "topic": topic, "privateChannel": False, "response": True}
        ).decode()

    def ping(self, request_id: int) -> str:
        """``{"id":"1","type":"ping"}``."""
        return orjson.dumps({"id": str(request_id), "type": "ping"}).decode()

    def parse(self, payload: bytes) -> FromVenue:
        """See ``parse.parse``."""
        return parse.parse(payload)


def _post(url: str) -> bytes:
    """The reply to an empty POST. Raises OSError."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ConnectionError("KuCoin's root has to be the REST address: https://api.kucoin.com")
    is_local = urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
    opener = build_opener(ProxyHandler({})) if is_local else build_opener()
    with opener.open(Request(url, data=b"", method="POST"), timeout=_TIMEOUT_S) as reply:  # noqa: S310 - checked above
        body: bytes = reply.read(_LONGEST_REPLY)
    return body

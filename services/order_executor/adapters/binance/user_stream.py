"""The user stream of Binance's dialect: own orders and balances over the websocket API, subscribed by signature."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import websockets
from websockets.asyncio.client import connect

from services.order_executor.adapters.binance.parse import news_of
from shared.core.errors import RetryLater, Stop
from shared.venues.port import UserNews

LIVE_URL = "wss://ws-api.binance.com:443/ws-api/v3"
_METHOD = "userDataStream.subscribe.signature"
_OPEN_TIMEOUT_S = 5.0
_PING_S = 5.0
_KEY_ERRORS = frozenset({-2014, -2015, -1022, -1002})


def subscription(api_key: str, api_secret: str, timestamp_ms: int) -> dict[str, object]:
    """The request that subscribes; the signature is HMAC-SHA256 over the parameters in the order of their names."""
    parameters = {"apiKey": api_key, "timestamp": str(timestamp_ms)}
    payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
    signature = hmac.new(api_secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    signed: dict[str, object] = {"apiKey": api_key, "timestamp": timestamp_ms, "signature": signature}
    return {"id": "user-data", "method": _METHOD, "params": signed}


class UserStream:
    """One connection; whoever reads it connects again when it ends."""

    def __init__(self, url: str, api_key: str, api_secret: str) -> None:
        self._url = url or LIVE_URL
        self._key = api_key
        self._secret = api_secret

    async def news(self, milliseconds: Callable[[], int]) -> AsyncIterator[UserNews]:
        """Events from now on. Raises RetryLater when the connection fails or ends, Stop when the key is refused."""
        try:
            async with connect(
                self._url,
                open_timeout=_OPEN_TIMEOUT_S,
                ping_interval=_PING_S,
                ping_timeout=2 * _PING_S,
                proxy=None,
            ) as socket:
                await socket.send(orjson.dumps(subscription(self._key, self._secret, milliseconds())).decode())
                async for text in socket:
                    news = _read(orjson.loads(text))
                    if news is not None:
                        yield news
        except (OSError, TimeoutError, websockets.WebSocketException, ValueError, KeyError) as error:
            raise RetryLater(f"user stream: {error!r}"[:200]) from error
        raise RetryLater("user stream: the venue closed it")


def _read(message: Any) -> UserNews | None:
    """An event, None for the answer to the subscription. Raises ValueError for anything else."""
    if not isinstance(message, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a wrong message, not a wrong call
    if "event" in message:
        event = message["event"]
        if event.get("e") == "eventStreamTerminated":
            raise ValueError("the venue ended the subscription")
        return news_of(event)
    if "status" in message and message["status"] != 200:
        error = message.get("error") or {}
        if error.get("code") in _KEY_ERRORS:
            raise Stop(f"user stream: the venue refuses the key: {error.get('code')} {error.get('msg')}")
        raise ValueError(f"subscription refused: {error}")
    return None

"""Signed calls made by hand, so that the checks of signature and time are tested with what ccxt would never send."""

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from tests.services.simulated_exchange.running import KEY, SECRET, Running


def signature(payload: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), payload.encode(), sha256).hexdigest()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def signed(fields: Mapping[str, Any], secret: str = SECRET) -> str:
    """Fields, a timestamp unless given, and the signature, url-encoded."""
    text = urlencode({"timestamp": now_ms()} | dict(fields))
    return f"{text}&signature={signature(text, secret)}"


async def call(
    exchange: Running, method: str, path: str, query: str = "", *, body: str = "", key: str | None = KEY
) -> tuple[int, Any]:
    """Send a request exactly as given; status and JSON of the answer."""
    headers = {"X-MBX-APIKEY": key} if key is not None else {}
    if body:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    url = f"{exchange.http}{path}" + (f"?{query}" if query else "")
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, aiohttp.client.URL(url, encoded=True), data=body or None, headers=headers) as response,
    ):
        return response.status, await response.json()


def ws_request(request_id: int | str, method: str, fields: Mapping[str, Any], *, sign: bool = True) -> str:
    """A websocket API request, signed over its sorted parameters."""
    params = dict(fields)
    if sign:
        params = {"apiKey": KEY, "timestamp": now_ms()} | params
        params["signature"] = signature("&".join(f"{name}={params[name]}" for name in sorted(params)))
    return orjson.dumps({"id": request_id, "method": method, "params": params}).decode()

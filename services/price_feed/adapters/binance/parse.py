"""Binance spot market streams: one websocket message to one event. Pure.

Source: "WebSocket Streams for Binance" (binance-spot-api-docs, web-socket-streams.md). Samples, as they arrive over
``/stream`` (over ``/ws`` the same without the envelope)::

    {"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT",
     "b":"61737.63000000","B":"31.21000000","a":"61737.64000000","A":"40.66000000"}}
    {"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1723161255208,"s":"BTCUSDT","c":"61737.63000000",
     "o":"55026.00000000","h":"62700.00000000","l":"54730.00000000","v":"48000.10000000","q":"2800000000.00000000"}}
    {"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker","E":1723161255208,"s":"BTCUSDT","c":"61737.63000000"}]}
    {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255208,"s":"BTCUSDT","t":3741032411,"p":"61737.63000000",
     "q":"0.00100000","T":1723161255207,"m":true,"M":true}}
    {"e":"serverShutdown","E":1770123456789}
    {"result":null,"id":3}
    {"error":{"code":2,"msg":"Invalid request: unknown variant"},"id":3}
    {"code":0,"msg":"Unknown property","id":3}

bookTicker has no event type and, at the spot venue, no time; ``u`` is the order book's update id. The array of all mini
tickers that changed is sent once a second; the simulated exchange sends it at the end of every row.
"""

from typing import Any

import orjson

from services.price_feed.venue_events import (
    FromVenue,
    Ignored,
    PulseReceived,
    QuoteReceived,
    ReplyReceived,
    ShutdownAnnounced,
    TimeReceived,
    Unreadable,
)

ALL_MINI_TICKERS = "!miniTicker@arr"
_LAST_PRICE_FIELD = {"24hrMiniTicker": "c", "24hrTicker": "c", "trade": "p", "aggTrade": "p"}
_MAX_TIME_MS = 253_402_300_799_999  # 9999-12-31: what a datetime can hold


def parse(payload: bytes | str) -> FromVenue:
    """The event in one message. Never raises: what cannot be read is ``Unreadable``, with the reason."""
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return Unreadable("not_json")
    if type(body) is not dict:
        return Unreadable("not_an_object")
    data = body.get("data", body)
    if type(data) is list and body.get("stream") == ALL_MINI_TICKERS:
        return PulseReceived(ALL_MINI_TICKERS)
    if type(data) is not dict:
        return Unreadable("not_an_object")
    kind = data.get("e")
    if kind is None and "b" in data and "a" in data:
        return _book_ticker(data)
    if kind is None:
        return _reply(data)
    return _event(data, kind)


def _book_ticker(data: dict[str, Any]) -> FromVenue:
    symbol, order, at_ms = data.get("s"), data.get("u", 0), data.get("E", 0)
    if type(symbol) is not str or type(order) is not int or not _is_time(at_ms):
        return Unreadable("book_ticker_fields")
    return QuoteReceived(symbol, data["b"], data["a"], order, at_ms)


def _event(data: dict[str, Any], kind: object) -> FromVenue:
    at_ms = data.get("E", 0)
    if not _is_time(at_ms):
        return Unreadable("event_time")
    if kind == "serverShutdown":
        return ShutdownAnnounced(at_ms)
    symbol = data.get("s")
    field = _LAST_PRICE_FIELD.get(kind) if type(kind) is str else None
    if field is None or type(symbol) is not str or not at_ms:
        return Ignored(kind if type(kind) is str else "unnamed")
    return TimeReceived(symbol, at_ms, data.get(field, ""))


def _reply(data: dict[str, Any]) -> FromVenue:
    if "id" not in data and "error" not in data and "code" not in data:
        return Ignored("unnamed")
    number = data.get("id")
    request_id = number if type(number) is int else -1
    error = data.get("error", data if "code" in data else None)
    if error is None:
        return ReplyReceived(request_id)
    code, text = (error.get("code"), error.get("msg")) if type(error) is dict else ("", error)
    return ReplyReceived(request_id, f"{code}: {text}"[:200])


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_TIME_MS

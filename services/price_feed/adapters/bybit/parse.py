"""Bybit public websocket v5: one message to one event. Pure.

Source: bybit-exchange.github.io/docs/v5, "Orderbook" and "Connect". Samples::

    {"topic":"orderbook.1.BTCUSDT","ts":1709891679000,"type":"snapshot","data":{"s":"BTCUSDT","b":[["27450.00","0.5"]],
     "a":[["27451.00","0.75"]],"u":123456789,"seq":987654321},"cts":1709891678998}
    {"success":true,"ret_msg":"subscribe","conn_id":"cejreaspqfm9se7usbrg-2xh","req_id":"1","op":"subscribe"}
    {"success":false,"ret_msg":"Invalid symbol :[orderbook.1.FOOUSDT]","conn_id":"cejreaspqfm9se7usbrg-2xh",
     "req_id":"1","op":"subscribe"}
    {"success":true,"ret_msg":"pong","conn_id":"cejreaspqfm9se7usbrg-2xh","req_id":"2","op":"ping"}

The first level is told in snapshots only, and again after 3 s without a change, with the same ``u``; a difference is
therefore not what the venue documents. ``u`` begins anew at 1 when the venue's service restarts; the guards follow.
"""

from typing import Any

from services.price_feed.adapters.json_messages import json_object, whole
from services.price_feed.venue_events import FromVenue, Ignored, QuoteReceived, ReplyReceived, Unreadable

_BOOK = "orderbook.1."
_REQUESTS = frozenset({"subscribe", "unsubscribe"})
_MAX_ORDER = 2**63


def parse(payload: bytes | str) -> FromVenue:
    """The event in one message. Never raises: what cannot be read is ``Unreadable``, with the reason."""
    body = json_object(payload)
    if isinstance(body, str):
        return Unreadable(body)
    topic, operation = body.get("topic"), body.get("op")
    if type(topic) is str and topic.startswith(_BOOK):
        return _book(body, topic.removeprefix(_BOOK))
    if type(operation) is str and operation in _REQUESTS:
        error = "" if body.get("success") is True else str(body.get("ret_msg") or "refused")[:200]
        return ReplyReceived(whole(body.get("req_id")), error)
    return Ignored(operation if type(operation) is str else "unnamed")


def _book(body: dict[str, Any], symbol: str) -> FromVenue:
    data, at_ms = body.get("data"), whole(body.get("ts"))
    if body.get("type") != "snapshot" or type(data) is not dict or data.get("s") != symbol:
        return Unreadable("book_fields")
    order = whole(data.get("u"), _MAX_ORDER)
    if at_ms < 1 or order < 0:
        return Unreadable("book_fields")
    return QuoteReceived(symbol, _best(data.get("b")), _best(data.get("a")), order, at_ms)


def _best(levels: object) -> object:
    """The price of the first level; "" of an empty side, which no guard believes."""
    first = levels[0] if type(levels) is list and levels else None
    return first[0] if type(first) is list and first else ""

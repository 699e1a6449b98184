"""Kraken spot websocket v2: one message to one event. Pure.

Source: docs.kraken.com, "Spot WebSocket v2": ticker, heartbeat, ping, status. Samples::

    {"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,
     "ask_qty":3.2,"last":105899.40,"volume":163.28908096,"vwap":105904.3,"low":104711.0,"high":106613.1,
     "change":250.0,"change_pct":0.24,"timestamp":"2025-06-01T09:30:59.123456Z"}]}
    {"channel":"heartbeat"}
    {"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":1,"system":"online","version":"2.0"}]}
    {"method":"subscribe","req_id":1,"result":{"channel":"ticker","symbol":"BTC/USD","snapshot":true},"success":true,
     "time_in":"2025-06-01T09:04:31.742599Z","time_out":"2025-06-01T09:04:31.742648Z"}
    {"error":"Currency pair not supported FOO/USD","method":"subscribe","req_id":1,"success":false,"symbol":"FOO/USD",
     "time_in":"2025-06-01T09:04:31.742599Z","time_out":"2025-06-01T09:04:31.742648Z"}
    {"method":"pong","req_id":42,"time_in":"2025-06-01T09:05:00.123456Z","time_out":"2025-06-01T09:05:00.1235Z"}

Prices are JSON numbers: they are read as the text they were sent as. The ticker's ``timestamp`` is taken as the venue's
clock, not as the quote's own time: the documents do not say what it is the time of. There are no sequence numbers.
"""

from typing import Any

from services.price_feed.adapters.json_messages import exact_json_object, price_text, rfc3339_ms, whole
from services.price_feed.venue_events import (
    FromVenue,
    Ignored,
    One,
    QuoteReceived,
    ReplyReceived,
    Several,
    TimeReceived,
    Unreadable,
)

_REQUESTS = frozenset({"subscribe", "unsubscribe"})


def parse(payload: bytes | str) -> FromVenue:
    """The event in one message. Never raises: what cannot be read is ``Unreadable``, with the reason."""
    body = exact_json_object(payload)
    if isinstance(body, str):
        return Unreadable(body)
    method = body.get("method")
    if method == "pong":
        at_ms = rfc3339_ms(body.get("time_out"))
        return TimeReceived("", at_ms) if at_ms else Ignored("pong")
    if type(method) is str and method in _REQUESTS:
        return _reply(body)
    if body.get("channel") == "ticker":
        return _tickers(body.get("data"))
    if "error" in body:
        return ReplyReceived(whole(body.get("req_id")), str(body["error"])[:200])
    channel = body.get("channel")
    return Ignored(channel if type(channel) is str else "unnamed")


def _reply(body: dict[str, Any]) -> FromVenue:
    result = body.get("result")
    symbol = result.get("symbol") if type(result) is dict else body.get("symbol")
    error = "" if body.get("success") is True else str(body.get("error") or "refused")[:200]
    return ReplyReceived(whole(body.get("req_id")), error, symbol if type(symbol) is str else "")


def _tickers(data: object) -> FromVenue:
    if type(data) is not list:
        return Unreadable("ticker_fields")
    events: list[One] = []
    for ticker in data:
        if type(ticker) is not dict or type(ticker.get("symbol")) is not str or not {"bid", "ask"} <= ticker.keys():
            return Unreadable("ticker_fields")
        at_ms = rfc3339_ms(ticker.get("timestamp"))
        if at_ms:
            events.append(TimeReceived(ticker["symbol"], at_ms, price_text(ticker.get("last", ""))))
        events.append(QuoteReceived(ticker["symbol"], price_text(ticker["bid"]), price_text(ticker["ask"])))
    return Several(tuple(events))

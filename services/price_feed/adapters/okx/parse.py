"""OKX public websocket v5: one message to one event. Pure.

Source: okx.com/docs-v5, "WebSocket" (Connect, Subscribe, Notification) and "Tickers channel". Samples::

    {"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"9999.99",
     "lastSz":"0.1","askPx":"9999.99","askSz":"11","bidPx":"8888.88","bidSz":"5","open24h":"9000","high24h":"10000",
     "low24h":"8888.88","volCcy24h":"2222","vol24h":"2222","sodUtc0":"2222","sodUtc8":"2222","ts":"1597026383085"}]}
    {"id":"1","event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"accb8e21"}
    {"id":"1","event":"error","code":"60018","msg":"Wrong URL or channel:tickers,instId:FOO-USDT doesn't exist.",
     "connId":"a4d3ae55"}
    {"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please
     reconnect.","connId":"a4d3ae55"}
    pong

``ts`` is when the ticker was made. An empty side of the book is "", which no guard believes.
"""

from typing import Any

from services.price_feed.adapters.json_messages import json_object, whole
from services.price_feed.venue_events import (
    FromVenue,
    Ignored,
    One,
    QuoteReceived,
    ReplyReceived,
    Several,
    ShutdownAnnounced,
    TimeReceived,
    Unreadable,
)

_SERVICE_UPGRADE = "64008"
_REQUESTS = frozenset({"subscribe", "unsubscribe", "error"})


def parse(payload: bytes | str) -> FromVenue:
    """The event in one message. Never raises: what cannot be read is ``Unreadable``, with the reason."""
    if payload in {b"pong", "pong"}:
        return Ignored("pong")
    body = json_object(payload)
    if isinstance(body, str):
        return Unreadable(body)
    event, arg = body.get("event"), body.get("arg")
    channel = arg.get("channel") if type(arg) is dict else None
    if event is None and channel == "tickers":
        return _tickers(body.get("data"))
    if event == "notice" and body.get("code") == _SERVICE_UPGRADE:
        return ShutdownAnnounced(0)
    if type(event) is str and event in _REQUESTS:
        return _reply(body, event, arg)
    return Ignored(event if type(event) is str else "unnamed")


def _reply(body: dict[str, Any], event: str, arg: object) -> FromVenue:
    error = f"{body.get('code')}: {body.get('msg')}"[:200] if event == "error" else ""
    symbol = arg.get("instId") if type(arg) is dict else ""
    return ReplyReceived(whole(body.get("id")), error, symbol if type(symbol) is str else "")


def _tickers(data: object) -> FromVenue:
    if type(data) is not list:
        return Unreadable("ticker_fields")
    events: list[One] = []
    for ticker in data:
        at_ms = whole(ticker.get("ts")) if type(ticker) is dict else -1
        if at_ms < 1 or type(ticker.get("instId")) is not str:
            return Unreadable("ticker_fields")
        symbol = ticker["instId"]
        events.append(TimeReceived(symbol, at_ms, ticker.get("last", "")))
        events.append(QuoteReceived(symbol, ticker.get("bidPx"), ticker.get("askPx"), 0, at_ms))
    return Several(tuple(events))

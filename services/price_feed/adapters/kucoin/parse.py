"""KuCoin spot websocket: one message to one event; and the reply that names the websocket's address. Pure.

Source: kucoin.com/docs-new, "Introduction" (websocket) and "Ticker" (/market/ticker). Samples::

    {"id":"hQvf8jkno","type":"welcome"}
    {"id":"1","type":"ack"}
    {"id":"1","type":"error","code":404,"data":"topic /market/ticker:FOO-USDT is not found"}
    {"id":"2","type":"pong","timestamp":1704873323416}
    {"topic":"/market/ticker:BTC-USDT","type":"message","subject":"trade.ticker","data":{"bestAsk":"67218.7",
     "bestAskSize":"1.92","bestBid":"67218.6","bestBidSize":"0.01","price":"67218.6","sequence":"14691455768",
     "size":"0.00004316","time":1729757723612}}

The reply to POST /api/v1/bullet-public::

    {"code":"200000","data":{"token":"2neAiuYvAU61ZDXANAGAsiL4","instanceServers":[{"endpoint":
     "wss://ws-api-spot.kucoin.com/","encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}]}}

``sequence`` rises with each change of the symbol's book. ``time`` is when the ticker was made: in recordings it is
milliseconds old on arrival and differs between any two tickers of different prices.
"""

from typing import Any, NamedTuple

from services.price_feed.adapters.json_messages import json_object, whole
from services.price_feed.venue_events import (
    FromVenue,
    Greeted,
    Ignored,
    QuoteReceived,
    ReplyReceived,
    Several,
    TimeReceived,
    Unreadable,
)

_TICKER = "/market/ticker:"
_GRANTED = "200000"
_MAX_ORDER = 2**63


class Bullet(NamedTuple):
    """Where a public websocket may be opened now, and the token that opens it."""

    endpoint: str
    token: str


def parse_bullet(payload: bytes | str) -> Bullet | str:
    """The address in the reply to POST /api/v1/bullet-public, or what is wrong with it."""
    body = json_object(payload)
    if isinstance(body, str):
        return body
    data = body.get("data")
    if body.get("code") != _GRANTED or type(data) is not dict:
        return f"code {str(body.get('code'))[:20]}"
    servers, token = data.get("instanceServers"), data.get("token")
    first = servers[0] if type(servers) is list and servers else None
    endpoint = first.get("endpoint") if type(first) is dict else None
    if type(endpoint) is not str or not endpoint.startswith(("wss://", "ws://")) or type(token) is not str:
        return "no address"
    return Bullet(endpoint, token)


def parse(payload: bytes | str) -> FromVenue:
    """The event in one message. Never raises: what cannot be read is ``Unreadable``, with the reason."""
    body = json_object(payload)
    if isinstance(body, str):
        return Unreadable(body)
    kind, topic = body.get("type"), body.get("topic")
    if kind == "message" and type(topic) is str and topic.startswith(_TICKER):
        return _ticker(body.get("data"), topic.removeprefix(_TICKER))
    if kind == "ack":
        return ReplyReceived(whole(body.get("id")))
    if kind == "error":
        return ReplyReceived(whole(body.get("id")), f"{body.get('code')}: {body.get('data')}"[:200])
    if kind == "welcome":
        return Greeted("welcome")
    return Ignored(kind if type(kind) is str else "unnamed")


def _ticker(data: Any, symbol: str) -> FromVenue:
    if type(data) is not dict:
        return Unreadable("ticker_fields")
    at_ms, order = whole(data.get("time", data.get("Time"))), whole(data.get("sequence"), _MAX_ORDER)
    if at_ms < 1 or order < 0 or "bestBid" not in data or "bestAsk" not in data:
        return Unreadable("ticker_fields")
    quote = QuoteReceived(symbol, data["bestBid"], data["bestAsk"], order, at_ms)
    return Several((TimeReceived(symbol, at_ms, data.get("price", "")), quote))

"""BigONE spot websocket: one message to one event. Pure.

Source: open.bigone.com/docs/spot/pusher ("Spot WebSocket API"). Samples::

    {"requestId":"1","tickersSnapshot":{"tickers":[{"market":"BTC-USDT","bid":{"price":"67218.6","amount":"0.01",
     "orderCount":1},"ask":{"price":"67218.7","amount":"1.92","orderCount":2},"open":"66000","close":"67218.6",
     "high":"67500","low":"65800","volume":"12.5","dailyChange":"1218.6"}]}}
    {"requestId":"1","tickerUpdate":{"ticker":{"market":"BTC-USDT","bid":{"price":"67218.5","amount":"0.01",
     "orderCount":1},"ask":{"price":"67218.7","amount":"1.92","orderCount":2},"close":"67218.5"}}}
    {"requestId":"1","error":{"code":45000,"message":"GRPC error: xxx"}}
    {"requestId":"2","success":{"ok":true}}

The snapshot is the answer to a subscription. No message carries a time, and tickers carry no number: the market's time
is the wall clock at arrival. Messages may come as binary frames that hold the same text.
"""

from services.price_feed.adapters.json_messages import json_object, whole
from services.price_feed.venue_events import (
    FromVenue,
    Ignored,
    One,
    QuoteReceived,
    ReplyReceived,
    Several,
    Unreadable,
)


def parse(payload: bytes | str) -> FromVenue:
    """The event in one message. Never raises: what cannot be read is ``Unreadable``, with the reason."""
    body = json_object(payload)
    if isinstance(body, str):
        return Unreadable(body)
    request_id = whole(body.get("requestId"))
    if "error" in body:
        error = body["error"]
        told = f"{error.get('code')}: {error.get('message')}" if type(error) is dict else str(error)
        return ReplyReceived(request_id, told[:200])
    if "tickersSnapshot" in body:
        snapshot = body["tickersSnapshot"]
        tickers = snapshot.get("tickers") if type(snapshot) is dict else None
        quotes = _quotes(tickers)
        return Unreadable("ticker_fields") if quotes is None else Several((ReplyReceived(request_id), *quotes))
    if "tickerUpdate" in body:
        update = body["tickerUpdate"]
        quotes = _quotes([update.get("ticker") if type(update) is dict else None])
        return Unreadable("ticker_fields") if quotes is None else quotes[0]
    if "success" in body:
        return ReplyReceived(request_id)
    return Ignored("heartbeat" if "heartbeat" in body else "unnamed")


def _quotes(tickers: object) -> tuple[One, ...] | None:
    if type(tickers) is not list:
        return None
    told: list[One] = []
    for ticker in tickers:
        if type(ticker) is not dict or type(ticker.get("market")) is not str:
            return None
        told.append(QuoteReceived(ticker["market"], _price(ticker.get("bid")), _price(ticker.get("ask"))))
    return tuple(told)


def _price(level: object) -> object:
    """The price of one side; "" of an empty one, which no guard believes."""
    return level.get("price", "") if type(level) is dict else ""

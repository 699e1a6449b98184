"""Coinbase Advanced Trade market data: one message to one event. Pure.

Source: docs.cdp.coinbase.com, "Advanced Trade WebSocket channels": ticker, heartbeats, subscriptions. Samples::

    {"channel":"ticker","client_id":"","timestamp":"2026-04-07T14:30:03.000000Z","sequence_num":12,"events":[
     {"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"68900.50","best_bid":"68900.00",
     "best_bid_quantity":"1.5","best_ask":"68901.00","best_ask_quantity":"0.5"}]}]}
    {"channel":"heartbeats","client_id":"","timestamp":"2026-04-07T14:30:10.000000Z","sequence_num":13,"events":[
     {"current_time":"2026-04-07 14:30:10.000000000+00:00","heartbeat_counter":42}]}
    {"channel":"subscriptions","client_id":"","timestamp":"2026-04-07T14:30:00.000000Z","sequence_num":1,"events":[
     {"subscriptions":{"heartbeats":["heartbeats"],"ticker":["BTC-USD"]}}]}
    {"type":"error","message":"failure to subscribe"}

``sequence_num`` counts all messages of the connection: a gap means that one was lost. Requests carry no number, so an
answer is for the oldest that waits; the answer to the heartbeats' subscription, which names no ticker, is for none.
"""

from typing import Any

from services.price_feed.adapters.json_messages import json_object, rfc3339_ms, whole
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


def parse(payload: bytes | str) -> FromVenue:
    """The event in one message. Never raises: what cannot be read is ``Unreadable``, with the reason."""
    body = json_object(payload)
    if isinstance(body, str):
        return Unreadable(body)
    if body.get("type") == "error":
        return ReplyReceived(-1, str(body.get("message") or "error")[:200])
    channel, events = body.get("channel"), body.get("events")
    if type(channel) is not str:
        return Ignored("unnamed")
    number = whole(body.get("sequence_num"))
    if type(events) is not list or not all(type(event) is dict for event in events):
        return Unreadable("events")
    at_ms = rfc3339_ms(body.get("timestamp"))
    if channel == "ticker":
        tickers = _tickers(events, at_ms)
        return Unreadable("ticker_fields") if tickers is None else Several(tickers, number)
    if channel == "subscriptions":
        return Several(_reply(events), number)
    clock: tuple[One, ...] = (TimeReceived("", at_ms),) if at_ms and channel == "heartbeats" else (Ignored(channel),)
    return Several(clock, number)


def _tickers(events: list[dict[str, Any]], at_ms: int) -> tuple[One, ...] | None:
    told: list[One] = []
    for event in events:
        tickers = event.get("tickers")
        for ticker in tickers if type(tickers) is list else (None,):
            if type(ticker) is not dict or type(ticker.get("product_id")) is not str:
                return None
            symbol = ticker["product_id"]
            if at_ms:
                told.append(TimeReceived(symbol, at_ms, ticker.get("price", "")))
            told.append(QuoteReceived(symbol, ticker.get("best_bid"), ticker.get("best_ask")))
    return tuple(told)


def _reply(events: list[dict[str, Any]]) -> tuple[One, ...]:
    named = [event.get("subscriptions") for event in events]
    if any(type(subscriptions) is dict and "ticker" in subscriptions for subscriptions in named):
        return (ReplyReceived(-1),)
    return (Ignored("subscriptions"),)

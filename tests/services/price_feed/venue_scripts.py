"""What each venue says, as far as its documents tell: for a server on loopback that plays the venue."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.price_feed.adapters.bigone.connection import BigoneDialect
from services.price_feed.adapters.binance.connection import BinanceDialect
from services.price_feed.adapters.bybit.connection import BybitDialect
from services.price_feed.adapters.coinbase.connection import CoinbaseDialect
from services.price_feed.adapters.kraken.connection import KrakenDialect
from services.price_feed.adapters.kucoin.connection import KucoinDialect
from services.price_feed.adapters.okx.connection import OkxDialect
from services.price_feed.adapters.websocket_session import Dialect

AT = "2026-01-01T00:00:{seconds:02d}.{ms:03d}Z"
T_MS = 1_767_225_600_000
FOO = "FOO"
"""The part of a symbol that no venue knows."""


@dataclass
class Talk:
    """One connection: what it is subscribed to, and how many messages it was sent."""

    symbols: set[str] = field(default_factory=set)
    sent: int = 0
    pings: int = 0
    sizes: list[int] = field(default_factory=list)


Answer = Callable[[Talk, str], list[str]]


@dataclass(frozen=True)
class VenueScript:
    """``refused``: a symbol the venue refuses, if it refuses any. ``answer``: the replies to one text. ``quote``: the
    message that tells (talk, symbol, bid, ask, number). ``leaving``: the message that announces a cut.
    """

    name: str
    dialect: Callable[[], Dialect]
    path: str
    symbols: tuple[str, str, str]
    refused: str
    answer: Answer
    quote: Callable[[Talk, str, str, str, int], str]
    greeting: str = ""
    leaving: str = ""
    tells_time: bool = True


def _text(body: Any) -> str:
    return json.dumps(body)


def _time(number: int) -> str:
    return AT.format(seconds=number // 1000 % 60, ms=number % 1000)


def _change(talk: Talk, symbols: Sequence[str], *, wanted: bool) -> None:
    talk.sizes.append(len(symbols))
    talk.symbols = talk.symbols | set(symbols) if wanted else talk.symbols - set(symbols)


def _binance(talk: Talk, text: str) -> list[str]:
    asked = json.loads(text)
    if asked["method"] == "GET_PROPERTY":
        talk.pings += 1
        return [_text({"result": True, "id": asked["id"]})]
    names = {name.partition("@")[0].upper() for name in asked["params"]}
    _change(talk, sorted(names), wanted=asked["method"] == "SUBSCRIBE")
    return [_text({"result": None, "id": asked["id"]})]


def _binance_quote(_talk: Talk, symbol: str, bid: str, ask: str, number: int) -> str:
    data = {"u": number, "s": symbol, "b": bid, "B": "1", "a": ask, "A": "1"}
    return _text({"stream": f"{symbol.lower()}@bookTicker", "data": data})


def _kraken(talk: Talk, text: str) -> list[str]:
    asked = json.loads(text)
    number = asked["req_id"]
    if asked["method"] == "ping":
        talk.pings += 1
        return [_text({"method": "pong", "req_id": number, "time_in": _time(0), "time_out": _time(1)})]
    symbols = asked["params"]["symbol"]
    assert asked["params"]["event_trigger"] == "bbo"
    known = [symbol for symbol in symbols if FOO not in symbol]
    _change(talk, known, wanted=asked["method"] == "subscribe")
    talk.sizes[-1] = len(symbols)
    replies = []
    for symbol in symbols:
        reply: dict[str, Any] = {"method": asked["method"], "req_id": number, "success": symbol in known}
        if symbol in known:
            reply["result"] = {"channel": "ticker", "symbol": symbol}
        else:
            reply |= {"error": f"Currency pair not supported {symbol}", "symbol": symbol}
        replies.append(_text(reply))
    return replies


def _kraken_quote(_talk: Talk, symbol: str, bid: str, ask: str, number: int) -> str:
    # Written by hand: the venue sends prices as JSON numbers, trailing noughts and all.
    told = f'"symbol":"{symbol}","bid":{bid},"bid_qty":1.0,"ask":{ask},"ask_qty":1.0,"last":{bid}'
    return f'{{"channel":"ticker","type":"update","data":[{{{told},"timestamp":"{_time(number)}"}}]}}'


def _numbered(talk: Talk, channel: str, events: list[Any], at: str) -> str:
    talk.sent += 1
    return _text(
        {"channel": channel, "client_id": "", "timestamp": at, "sequence_num": talk.sent - 1, "events": events}
    )


def _coinbase(talk: Talk, text: str) -> list[str]:
    asked = json.loads(text)
    if asked["channel"] == "heartbeats":
        talk.pings += 1
        told: dict[str, list[str]] = {"heartbeats": ["heartbeats"]}
        if talk.symbols:
            told["ticker"] = sorted(talk.symbols)
        return [_numbered(talk, "subscriptions", [{"subscriptions": told}], _time(0))]
    if any(FOO in symbol for symbol in asked["product_ids"]):
        return [_text({"type": "error", "message": "failure to subscribe"})]
    _change(talk, asked["product_ids"], wanted=asked["type"] == "subscribe")
    told = {"heartbeats": ["heartbeats"], "ticker": sorted(talk.symbols)}
    return [_numbered(talk, "subscriptions", [{"subscriptions": told}], _time(0))]


def _coinbase_quote(talk: Talk, symbol: str, bid: str, ask: str, number: int) -> str:
    ticker = {"type": "ticker", "product_id": symbol, "price": bid, "best_bid": bid, "best_ask": ask}
    return _numbered(talk, "ticker", [{"type": "update", "tickers": [ticker]}], _time(number))


def _okx(talk: Talk, text: str) -> list[str]:
    if text == "ping":
        talk.pings += 1
        return ["pong"]
    asked = json.loads(text)
    symbols = [arg["instId"] for arg in asked["args"]]
    assert all(arg["channel"] == "tickers" for arg in asked["args"])
    known = [symbol for symbol in symbols if FOO not in symbol]
    _change(talk, known, wanted=asked["op"] == "subscribe")
    talk.sizes[-1] = len(symbols)
    return [
        _text({"id": asked["id"], "event": asked["op"], "arg": {"channel": "tickers", "instId": symbol}})
        if symbol in known
        else _text({"id": asked["id"], "event": "error", "code": "60018", "msg": f"instId:{symbol} doesn't exist."})
        for symbol in symbols
    ]


def _okx_quote(_talk: Talk, symbol: str, bid: str, ask: str, number: int) -> str:
    ticker = {"instType": "SPOT", "instId": symbol, "last": bid, "bidPx": bid, "askPx": ask, "ts": str(T_MS + number)}
    return _text({"arg": {"channel": "tickers", "instId": symbol}, "data": [ticker]})


def _bybit(talk: Talk, text: str) -> list[str]:
    asked = json.loads(text)
    reply = {"success": True, "ret_msg": asked["op"], "conn_id": "c", "req_id": asked["req_id"], "op": asked["op"]}
    if asked["op"] == "ping":
        talk.pings += 1
        return [_text({**reply, "ret_msg": "pong"})]
    symbols = [topic.removeprefix("orderbook.1.") for topic in asked["args"]]
    assert len(symbols) <= 10
    if any(FOO in symbol for symbol in symbols):
        return [_text({**reply, "success": False, "ret_msg": "Invalid symbol"})]
    _change(talk, symbols, wanted=asked["op"] == "subscribe")
    return [_text(reply)]


def _bybit_quote(_talk: Talk, symbol: str, bid: str, ask: str, number: int) -> str:
    data = {"s": symbol, "b": [[bid, "1"]], "a": [[ask, "1"]], "u": number, "seq": 7 * number}
    return _text({"topic": f"orderbook.1.{symbol}", "ts": T_MS + number, "type": "snapshot", "data": data})


def _kucoin(talk: Talk, text: str) -> list[str]:
    asked = json.loads(text)
    if asked["type"] == "ping":
        talk.pings += 1
        return [_text({"id": asked["id"], "type": "pong"})]
    symbols = asked["topic"].removeprefix("/market/ticker:").split(",")
    if any(FOO in symbol for symbol in symbols):
        return [
            _text({"id": asked["id"], "type": "error", "code": 404, "data": f"topic {asked['topic']} is not found"})
        ]
    _change(talk, symbols, wanted=asked["type"] == "subscribe")
    return [_text({"id": asked["id"], "type": "ack"})]


def _kucoin_quote(_talk: Talk, symbol: str, bid: str, ask: str, number: int) -> str:
    data = {"sequence": str(number), "price": bid, "size": "1", "bestBid": bid, "bestAsk": ask, "time": T_MS + number}
    return _text({"topic": f"/market/ticker:{symbol}", "type": "message", "subject": "trade.ticker", "data": data})


def _bigone_ticker(symbol: str, bid: str, ask: str) -> dict[str, Any]:
    side = {"amount": "1", "orderCount": 1}
    return {"market": symbol, "bid": {"price": bid, **side}, "ask": {"price": ask, **side}, "close": bid}


def _bigone(talk: Talk, text: str) -> list[str]:
    asked = json.loads(text)
    number = asked["requestId"]
    wanted = "subscribeMarketsTickerRequest" in asked
    request = asked["subscribeMarketsTickerRequest" if wanted else "unsubscribeMarketsTickerRequest"]
    if any(FOO in symbol for symbol in request["markets"]):
        return [_text({"requestId": number, "error": {"code": 45000, "message": "GRPC error: no such market"}})]
    _change(talk, request["markets"], wanted=wanted)
    if not wanted:
        return [_text({"requestId": number, "success": {"ok": True}})]
    return [_text({"requestId": number, "tickersSnapshot": {"tickers": []}})]


def _bigone_quote(_talk: Talk, symbol: str, bid: str, ask: str, _number: int) -> str:
    return _text({"requestId": "1", "tickerUpdate": {"ticker": _bigone_ticker(symbol, bid, ask)}})


_DASHED = ("BTC-USDT", "ETH-USDT", "ONE-USDT")
_PLAIN = ("BTCUSDT", "ETHUSDT", "ONEUSDT")
_NOTICE = '{"event":"notice","code":"64008","msg":"The connection will soon be closed.","connId":"a"}'

SCRIPTS: tuple[VenueScript, ...] = (
    VenueScript(
        "binance", BinanceDialect, "/stream", _PLAIN, "", _binance, _binance_quote,
        leaving='{"e":"serverShutdown","E":1770123456789}',
    ),
    VenueScript("bigone", BigoneDialect, "/ws/v2", _DASHED, "FOO-USDT", _bigone, _bigone_quote, tells_time=False),
    VenueScript("bybit", BybitDialect, "/v5/public/spot", _PLAIN, "FOOUSDT", _bybit, _bybit_quote),
    VenueScript(
        "coinbase", CoinbaseDialect, "/", ("BTC-USD", "ETH-USD", "ONE-USD"), "FOO-USD", _coinbase, _coinbase_quote
    ),
    VenueScript(
        "kraken", KrakenDialect, "/v2", ("BTC/USD", "ETH/USD", "ONE/USD"), "FOO/USD", _kraken, _kraken_quote
    ),
    VenueScript(
        "kucoin", KucoinDialect, "/endpoint?token=t0ken", _DASHED, "FOO-USDT", _kucoin, _kucoin_quote,
        greeting='{"id":"hQvf8jkno","type":"welcome"}',
    ),
    VenueScript("okx", OkxDialect, "/ws/v5/public", _DASHED, "FOO-USDT", _okx, _okx_quote, leaving=_NOTICE),
)  # fmt: skip

"""Market streams by name, and the messages each of them sends for a pair (spot documents, "WebSocket streams").

>>> parse_stream("btcusdt@kline_1m")
('BTCUSDT', 'kline_1m')
"""

from collections.abc import Callable
from decimal import Decimal

import orjson

from services.simulated_exchange.binance.market_data import INTERVALS, day_change
from services.simulated_exchange.binance.numbers import text
from services.simulated_exchange.candles import Candle, CandleSeries, candle_start, opened
from services.simulated_exchange.listing import Listing, PublicTrade
from shared.core.matching import Book
from shared.core.money import ZERO

Messages = Callable[[Listing], list[bytes]]

RANKS = ("miniTicker", "ticker", "bookTicker", "trade", "aggTrade", "kline", "depth")
"""Order in which a pair's streams are served when a row becomes current.

The ticker carries the row's market time and the book ticker none (Binance's protocol), so the time goes first.
"""
REPEATED = ("miniTicker", "bookTicker", "depth5", "depth10", "depth20")
"""Streams repeated while the market stands still."""


def parse_stream(name: str) -> tuple[str, str]:
    """(SYMBOL, kind) of a stream name; ("", name) for streams of all pairs and anything unknown.

    Symbols of streams are in small letters; in capitals they name nothing, as at Binance.
    """
    symbol, at, kind = name.partition("@")
    if not at or name.startswith("!") or symbol != symbol.lower():
        return "", name
    return symbol.upper(), kind.removesuffix("@100ms").removesuffix("@1000ms")


def rank(kind: str) -> int:
    """Place of a kind within ``RANKS``."""
    return next((index for index, name in enumerate(RANKS) if kind.startswith(name)), len(RANKS))


def messages_of(kind: str, series: Callable[[Listing], CandleSeries]) -> Messages | None:
    """What a stream kind sends for each new row of its pair; None for an unknown kind."""
    simple: dict[str, Callable[[Listing], bytes]] = {
        "miniTicker": mini_ticker,
        "ticker": ticker,
        "bookTicker": book_ticker,
        "trade": lambda listing: trade(listing, listing.recent[-1]),
        "aggTrade": lambda listing: aggregate_trade(listing, listing.recent[-1]),
        "avgPrice": average_price,
    }
    if kind in simple:
        one = simple[kind]
        return lambda listing: [one(listing)]
    if kind == "depth":
        return DepthDifferences()
    if kind in {"depth5", "depth10", "depth20"}:
        levels = int(kind.removeprefix("depth"))
        return lambda listing: [partial_depth(listing, levels)]
    interval = kind.removeprefix("kline_")
    if interval in INTERVALS and kind != interval:
        return Klines(interval, series)
    return None


def mini_ticker(listing: Listing) -> bytes:
    """24hrMiniTicker, E = market time of the pair's row."""
    day = listing.day()
    return orjson.dumps(
        {
            "e": "24hrMiniTicker",
            "E": listing.time_ms,
            "s": listing.instrument.symbol,
            "c": text(listing.price),
            "o": text(day.open),
            "h": text(day.high),
            "l": text(day.low),
            "v": text(day.volume),
            "q": text(day.quote_volume),
        }
    )


def ticker(listing: Listing) -> bytes:
    """24hrTicker."""
    day = listing.day()
    change, percent, average = day_change(listing)
    return orjson.dumps(
        {
            "e": "24hrTicker",
            "E": listing.time_ms,
            "s": listing.instrument.symbol,
            "p": text(change),
            "P": percent,
            "w": average,
            "x": text(day.open),
            "c": text(listing.price),
            "Q": text(listing.last_quantity),
            "b": text(listing.bid.price),
            "B": text(listing.bid.quantity),
            "a": text(listing.ask.price),
            "A": text(listing.ask.quantity),
            "o": text(day.open),
            "h": text(day.high),
            "l": text(day.low),
            "v": text(day.volume),
            "q": text(day.quote_volume),
            "O": day.open_ms,
            "C": listing.time_ms,
            "F": day.first_id,
            "L": listing.recent[-1].trade_id,
            "n": day.trades,
        }
    )


def book_ticker(listing: Listing) -> bytes:
    """Best bid and ask; carries no time."""
    return orjson.dumps(
        {
            "u": listing.update_id,
            "s": listing.instrument.symbol,
            "b": text(listing.bid.price),
            "B": text(listing.bid.quantity),
            "a": text(listing.ask.price),
            "A": text(listing.ask.quantity),
        }
    )


def trade(listing: Listing, public: PublicTrade) -> bytes:
    """One public trade."""
    return orjson.dumps(
        {
            "e": "trade",
            "E": public.time_ms,
            "s": listing.instrument.symbol,
            "t": public.trade_id,
            "p": text(public.price),
            "q": text(public.quantity),
            "T": public.time_ms,
            "m": public.buyer_is_maker,
            "M": True,
        }
    )


def aggregate_trade(listing: Listing, public: PublicTrade) -> bytes:
    """One public trade as its own aggregate."""
    return orjson.dumps(
        {
            "e": "aggTrade",
            "E": public.time_ms,
            "s": listing.instrument.symbol,
            "a": public.trade_id,
            "p": text(public.price),
            "q": text(public.quantity),
            "f": public.trade_id,
            "l": public.trade_id,
            "T": public.time_ms,
            "m": public.buyer_is_maker,
            "M": True,
        }
    )


def average_price(listing: Listing) -> bytes:
    """avgPrice."""
    return orjson.dumps(
        {
            "e": "avgPrice",
            "E": listing.time_ms,
            "s": listing.instrument.symbol,
            "i": "5m",
            "w": text(listing.price),
            "T": listing.time_ms,
        }
    )


def partial_depth(listing: Listing, levels: int) -> bytes:
    """The best levels of both sides."""
    book = listing.book(levels)
    return orjson.dumps(
        {
            "lastUpdateId": listing.update_id,
            "bids": [[text(level.price), text(level.quantity)] for level in book.bids],
            "asks": [[text(level.price), text(level.quantity)] for level in book.asks],
        }
    )


class DepthDifferences:
    """depthUpdate: levels that changed since the last message; quantity 0 = gone. U follows the last u by one."""

    def __init__(self) -> None:
        self._before: Book | None = None

    def __call__(self, listing: Listing) -> list[bytes]:
        """Messages for the pair's new row."""
        before, after = self._before, listing.book()
        self._before = after
        message = {
            "e": "depthUpdate",
            "E": listing.time_ms,
            "s": listing.instrument.symbol,
            "U": listing.previous_update_id + 1,
            "u": listing.update_id,
            "b": _difference(dict(before.bids) if before else {}, dict(after.bids)),
            "a": _difference(dict(before.asks) if before else {}, dict(after.asks)),
        }
        return [orjson.dumps(message)]


def _difference(before: dict[Decimal, Decimal], after: dict[Decimal, Decimal]) -> list[list[str]]:
    gone = [[text(price), text(ZERO)] for price in before if price not in after]
    new = [[text(price), text(quantity)] for price, quantity in after.items() if before.get(price) != quantity]
    return gone + new


class Klines:
    """kline: the candle so far after each row, and a last time with x = true when the next one begins."""

    def __init__(self, interval: str, series: Callable[[Listing], CandleSeries]) -> None:
        self._interval = interval
        self._series = series
        self._candle: Candle | None = None
        self._time_ms = -1

    def __call__(self, listing: Listing) -> list[bytes]:
        """Messages for the pair's newest row; for a row seen before, the candle as it is."""
        found: list[bytes] = []
        if self._candle is None:
            source = self._series(listing)
            row = source.source.row_at(listing.time_ms)
            self._candle = source.candles(self._interval, row, 1, None, listing.time_ms)[-1]
        elif listing.time_ms > self._time_ms:
            start = candle_start(self._interval, listing.time_ms)
            if start != self._candle.start_ms:
                found.append(self._message(listing, self._candle, closed=True))
                self._candle = opened(self._interval, start, self._candle.close)
            self._candle.add(listing.price, listing.last_quantity)
        self._time_ms = listing.time_ms
        return [*found, self._message(listing, self._candle, closed=False)]

    def _message(self, listing: Listing, candle: Candle, *, closed: bool) -> bytes:
        last_id = listing.recent[-1].trade_id if listing.recent else 0
        symbol = listing.instrument.symbol
        body = {
            "t": candle.start_ms,
            "T": candle.end_ms,
            "s": symbol,
            "i": self._interval,
            "f": last_id - candle.trades + 1,
            "L": last_id,
            "o": text(candle.open),
            "c": text(candle.close),
            "h": text(candle.high),
            "l": text(candle.low),
            "v": text(candle.volume),
            "n": candle.trades,
            "x": closed,
            "q": text(candle.quote_volume),
            "V": text(candle.volume / 2),
            "Q": text(candle.quote_volume / 2),
            "B": "0",
        }
        return orjson.dumps({"e": "kline", "E": listing.time_ms, "s": symbol, "k": body})

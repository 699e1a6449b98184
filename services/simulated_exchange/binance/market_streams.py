"""Fan-out of market data: each message is made once per row and written to every subscriber as the same bytes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.simulated_exchange.binance import topics
from services.simulated_exchange.binance.connection import Connection, text_frame
from services.simulated_exchange.candles import CandleSeries
from services.simulated_exchange.listing import Listing, PublicTrade
from services.simulated_exchange.orders import MarketStoodStill, OrderReported, RowBecameCurrent, VenueEvent
from services.simulated_exchange.venue import Venue

ALL_MINI, ALL_TICKERS, ALL_BOOKS = "!miniTicker@arr", "!ticker@arr", "!bookTicker"
MAX_STREAMS = 1024


@dataclass(slots=True)
class _Topic:
    """One stream: what it sends, and to whom."""

    name: str
    kind: str
    messages: topics.Messages
    subscribers: dict[Connection, None] = field(default_factory=dict)


class MarketStreams:
    """Subscriptions by pair and stream. Told of the venue's events, it writes to every subscriber before returning."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._by_symbol: dict[str, list[_Topic]] = {}
        self._all: dict[str, dict[Connection, None]] = {ALL_MINI: {}, ALL_TICKERS: {}, ALL_BOOKS: {}}

    def subscribe(self, connection: Connection, names: Iterable[str]) -> None:
        """Add streams, and send the present state of each at once.

        Unknown pairs are accepted (they may be listed later), as are unknown kinds (nothing ever comes): so does
        Binance.
        """
        new = [name for name in dict.fromkeys(names) if name not in connection.streams]
        connection.streams.update(dict.fromkeys(new))
        for name in sorted(
            new, key=lambda name: (parsed := topics.parse_stream(name))[0] + f"{topics.rank(parsed[1])}"
        ):
            if name in self._all:
                self._all[name][connection] = None
                continue
            topic = self._topic(name)
            if topic is None:
                continue
            topic.subscribers[connection] = None
            listing = self._venue.listings.get(topics.parse_stream(name)[0])
            if listing and listing.is_listed and listing.recent and topic.kind not in {"trade", "aggTrade", "depth"}:
                self._send(name, topic.messages(listing)[-1:], (connection,))
        connection.flush()

    def unsubscribe(self, connection: Connection, names: Iterable[str]) -> None:
        """Remove streams; unknown ones do not matter."""
        for name in names:
            connection.streams.pop(name, None)
            if name in self._all:
                self._all[name].pop(connection, None)
            symbol, _ = topics.parse_stream(name)
            kept = []
            for topic in self._by_symbol.get(symbol, ()):
                if topic.name == name:
                    topic.subscribers.pop(connection, None)
                if topic.subscribers:
                    kept.append(topic)
            if kept:
                self._by_symbol[symbol] = kept
            else:
                self._by_symbol.pop(symbol, None)

    def drop(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self.unsubscribe(connection, list(connection.streams))

    def tell(self, events: Sequence[VenueEvent]) -> None:
        """Send what events mean for the market streams."""
        for event in events:
            if isinstance(event, RowBecameCurrent):
                self._tell_row([self._venue.listings[symbol] for symbol in event.symbols])
            elif isinstance(event, MarketStoodStill):
                self._repeat()
            elif isinstance(event, OrderReported) and event.trade is not None:
                trade = event.trade
                listing = self._venue.listings[trade.symbol]
                buyer_is_maker = trade.is_maker == (trade.side == "BUY")
                public = PublicTrade(trade.trade_id, trade.price, trade.quantity, trade.time_ms, buyer_is_maker)
                self._tell_trade(listing, public)

    def _topic(self, name: str) -> _Topic | None:
        symbol, kind = topics.parse_stream(name)
        known = self._by_symbol.get(symbol, [])
        for topic in known:
            if topic.name == name:
                return topic
        messages = topics.messages_of(kind, self._series) if symbol else None
        if messages is None:
            return None
        topic = _Topic(name, kind, messages)
        self._by_symbol[symbol] = sorted([*known, topic], key=lambda topic: topics.rank(topic.kind))
        return topic

    def _series(self, listing: Listing) -> CandleSeries:
        venue, symbol = self._venue, listing.instrument.symbol
        return CandleSeries(venue.source, venue.columns[symbol], listing.instrument, listing.level_notional)

    def _tell_row(self, listings: Sequence[Listing]) -> None:
        written: dict[Connection, None] = {}
        for listing in listings:
            for topic in self._by_symbol.get(listing.instrument.symbol, ()):
                self._send(topic.name, topic.messages(listing), topic.subscribers)
                written.update(topic.subscribers)
            self._tell_book_to_all(listing, written)
        self._tell_arrays(listings, written)
        _flush(written)

    def _tell_book_to_all(self, listing: Listing, written: dict[Connection, None]) -> None:
        subscribers = self._all[ALL_BOOKS]
        if subscribers:
            self._send(ALL_BOOKS, [topics.book_ticker(listing)], subscribers)
            written.update(subscribers)

    def _tell_arrays(self, listings: Sequence[Listing], written: dict[Connection, None]) -> None:
        for name, message in ((ALL_MINI, topics.mini_ticker), (ALL_TICKERS, topics.ticker)):
            subscribers = self._all[name]
            if subscribers and listings:
                payload = b"[" + b",".join(message(listing) for listing in listings) + b"]"
                self._send(name, [payload], subscribers)
                written.update(subscribers)

    def _repeat(self) -> None:
        written: dict[Connection, None] = {}
        listings = list(self._venue.listed())
        for listing in listings:
            for topic in self._by_symbol.get(listing.instrument.symbol, ()):
                if topic.kind in topics.REPEATED:
                    self._send(topic.name, topic.messages(listing), topic.subscribers)
                    written.update(topic.subscribers)
            self._tell_book_to_all(listing, written)
        self._tell_arrays(listings, written)
        _flush(written)

    def _tell_trade(self, listing: Listing, public: PublicTrade) -> None:
        written: dict[Connection, None] = {}
        for topic in self._by_symbol.get(listing.instrument.symbol, ()):
            if topic.kind in {"trade", "aggTrade"}:
                message = topics.trade if topic.kind == "trade" else topics.aggregate_trade
                self._send(topic.name, [message(listing, public)], topic.subscribers)
                written.update(topic.subscribers)
        _flush(written)

    def _send(self, name: str, payloads: Sequence[bytes], subscribers: Iterable[Connection]) -> None:
        for payload in payloads:
            raw: bytes | None = None
            combined: bytes | None = None
            for connection in subscribers:
                if connection.combined:
                    combined = combined or text_frame(b'{"stream":"%b","data":%b}' % (name.encode(), payload))
                    connection.queue(combined)
                else:
                    raw = raw or text_frame(payload)
                    connection.queue(raw)


def _place(name: str) -> tuple[str, int]:
    """Order in which streams are served: by pair, then by rank of the kind."""
    symbol, kind = topics.parse_stream(name)
    return symbol, topics.rank(kind)


def _flush(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.flush()

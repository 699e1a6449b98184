"""One venue's prices: events in, frames and snapshots out. Pure: the clock is an argument, nothing is sent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from services.price_feed.conflation import Conflation
from services.price_feed.freshness import Freshness
from services.price_feed.guards import DOUBTFUL, QuoteGuard, Reason, is_plain_price
from services.price_feed.market_clock import MarketClock
from services.price_feed.venue_events import FromVenue, QuoteReceived, TimeReceived, Unreadable
from shared.contracts.frames import FrameQuote, PriceFrame
from shared.contracts.prices import InstrumentListed, PricesSnapshotted, QuoteSeen
from shared.core.market import is_pair_name, pair_name

WireSymbol = Callable[[InstrumentListed], str]


def own_symbol(listed: InstrumentListed) -> str:
    """The name that the venue's orders and its stream have in common."""
    return listed.symbol


@dataclass(slots=True)
class PriceBook:
    """``epoch`` names this run of the feed; frames are numbered within it.

    ``wire_symbol``: what the venue's stream calls an instrument. Which assets are stale is decided by ``freshness``.
    The last quote of a stale asset stays in the snapshot, for valuation.
    """

    venue: str
    epoch: str
    freshness: Freshness
    guard: QuoteGuard = field(default_factory=QuoteGuard)
    wire_symbol: WireSymbol = own_symbol
    clock: MarketClock = field(default_factory=MarketClock)
    conflation: Conflation = field(default_factory=Conflation)
    sequence: int = 0
    accepted: int = 0
    first_quote_due: bool = True
    _assets: dict[str, str] = field(default_factory=dict)
    _sent_time_ms: int = 0

    def list_instruments(
        self, instruments: Iterable[InstrumentListed], crosses: Iterable[InstrumentListed] = ()
    ) -> tuple[str, ...]:
        """Learn which pairs are traded now; the symbols to follow as the venue's stream names them, in order."""
        direct = {self.wire_symbol(each): pair_name(each.base, each.quote) for each in crosses if each.tradable}
        against = {self.wire_symbol(listed): listed.base for listed in instruments if listed.tradable}
        self._assets = direct | against
        self.guard.follow(self._assets)
        return tuple(sorted(self._assets))

    def connected(self) -> None:
        """The venue was connected anew: the first quote from now on deserves a snapshot at once."""
        self.guard.connected()
        self.first_quote_due = True

    def connection(self, symbols: Iterable[str], *, is_alive: bool) -> None:
        """The connection of these symbols ended or fell silent, or talks on."""
        self.freshness.connection([self._assets[each] for each in symbols if each in self._assets], is_alive=is_alive)

    def receive(self, event: FromVenue, received_ns: int) -> None:
        """Take one event of the venue; ``received_ns`` is the wall clock at its arrival."""
        if type(event) is QuoteReceived:
            self._quote(event, received_ns)
        elif type(event) is TimeReceived:
            self._told_time(event, received_ns)
        elif isinstance(event, Unreadable):
            self.guard.count(event.reason)

    def _quote(self, event: QuoteReceived, received_ns: int) -> None:
        symbol, bid, ask, _, at_ms = event
        if at_ms and not (self.guard.knows(symbol) and self._time(at_ms, received_ns)):
            return
        now_ms = self.clock.now_ms
        reason = self.guard.admit(event, now_ms)
        if reason is not None:
            self._refused(symbol, reason, received_ns)
            return
        self.accepted += 1
        quote = FrameQuote(self._assets[symbol], str(bid), str(ask), at_ms or now_ms, received_ns)
        self.freshness.quoted(quote.asset, (quote.bid, quote.ask), now_ms, received_ns)
        self.conflation.put(quote)

    def _refused(self, symbol: str, reason: Reason, received_ns: int) -> None:
        if reason is not Reason.UNKNOWN_SYMBOL:
            self.freshness.heard_of_prices(received_ns)
        if reason in DOUBTFUL:
            self.freshness.doubted(self._assets[symbol], received_ns)

    def _told_time(self, event: TimeReceived, received_ns: int) -> None:
        symbol, at_ms, last = event
        if not symbol:
            self._time(at_ms, received_ns)
            return
        if not self.guard.knows(symbol):
            return
        self.freshness.heard_of_prices(received_ns)
        if self._time(at_ms, received_ns) and self.guard.tick(symbol, at_ms, last) is None and is_plain_price(last):
            self.freshness.traded(self._assets[symbol], str(last), self.clock.now_ms)

    def _time(self, at_ms: int, received_ns: int) -> bool:
        before_ms = self.clock.now_ms
        believed = self.clock.read(at_ms, received_ns)
        if not believed:
            self.guard.count(Reason.TIME_JUMP)
        elif self.clock.now_ms > before_ms:
            self.freshness.clock_moved(received_ns)
        return believed

    @property
    def changed(self) -> bool:
        """Whether there is something that no frame has carried yet. Nothing is sent before the venue told its time."""
        return self.clock.now_ms > self._sent_time_ms or (self.conflation.waiting and self.clock.now_ms > 0)

    def take_frame(self) -> PriceFrame | None:
        """The next frame: what changed since the one before, perhaps nothing (a heartbeat). None without a time."""
        if not self.clock.now_ms:
            return None
        self.sequence += 1
        self._sent_time_ms = self.clock.now_ms
        # A quote that came before the venue first told its time was given none: it is as old as that time now.
        quotes, crosses = _apart([self._timed(quote) for quote in self.conflation.take()])
        return PriceFrame(self.venue, self.epoch, self.sequence, self.clock.now_ms, quotes, crosses)

    def _timed(self, quote: FrameQuote) -> FrameQuote:
        if quote.at_ms:
            return quote
        timed = FrameQuote(quote.asset, quote.bid, quote.ask, self.clock.now_ms, quote.received_ns)
        self.conflation.newest[quote.asset] = timed
        return timed

    def stale(self, now_ns: int) -> dict[str, str]:
        """The assets that must not be traded on at wall clock ``now_ns``, and why (``Staleness``)."""
        return self.freshness.stale(self.conflation.newest, frozenset(self._assets.values()), self.clock.now_ms, now_ns)

    def snapshot(self, now_ns: int) -> PricesSnapshotted | None:
        """Everything as of the last frame taken. None before the first one."""
        if not self.sequence:
            return None
        stale = self.stale(now_ns)
        quotes, crosses = _apart([quote for quote in self.conflation.newest.values() if quote.at_ms])
        return PricesSnapshotted(
            venue=self.venue,
            epoch=self.epoch,
            sequence=self.sequence,
            market_time=_utc(self._sent_time_ms),
            quotes=tuple(_seen(quote) for quote in quotes),
            stale=tuple(stale),
            stale_because=stale,
            refused=dict(self.guard.refused),
            crosses=tuple(_seen(quote) for quote in crosses),
        )


def _apart(known: list[FrameQuote]) -> tuple[tuple[FrameQuote, ...], tuple[FrameQuote, ...]]:
    """Those against the quote currency, and those of direct pairs."""
    crosses = tuple(quote for quote in known if is_pair_name(quote.asset))
    return tuple(quote for quote in known if not is_pair_name(quote.asset)) if crosses else tuple(known), crosses


def _seen(quote: FrameQuote) -> QuoteSeen:
    return QuoteSeen(
        asset=quote.asset,
        bid=Decimal(quote.bid),
        ask=Decimal(quote.ask),
        at=_utc(quote.at_ms),
        received_ns=quote.received_ns,
    )


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)

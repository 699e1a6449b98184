"""One venue's prices: events in, frames and snapshots out. Pure: the clock is an argument, nothing is sent."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from services.price_feed.conflation import Conflation
from services.price_feed.guards import QuoteGuard, Reason
from services.price_feed.market_clock import MarketClock
from services.price_feed.venue_events import FromVenue, QuoteReceived, TimeReceived, Unreadable
from shared.contracts.frames import FrameQuote, PriceFrame
from shared.contracts.prices import InstrumentListed, PricesSnapshotted, QuoteSeen


@dataclass(slots=True)
class PriceBook:
    """``epoch`` names this run of the feed; frames are numbered within it.

    An asset is stale when its newest quote arrived longer than ``stale_after_ns`` ago, when its pair is halted or no
    longer listed, and when prices have moved although the venue's clock had stood still for that long: one of the two
    is wrong. (A market that stands still, prices and clock alike, is not stale while the venue repeats its quotes.)
    The last quote of a stale asset stays in the snapshot, for valuation.
    """

    venue: str
    epoch: str
    stale_after_ns: int
    guard: QuoteGuard = field(default_factory=QuoteGuard)
    clock: MarketClock = field(default_factory=MarketClock)
    conflation: Conflation = field(default_factory=Conflation)
    sequence: int = 0
    accepted: int = 0
    moved_ns: int = 0
    first_quote_due: bool = True
    _assets: dict[str, str] = field(default_factory=dict)
    _sent_time_ms: int = 0

    def list_instruments(self, instruments: Iterable[InstrumentListed]) -> tuple[str, ...]:
        """Learn which pairs are traded now; the symbols to follow, in order."""
        self._assets = {listed.symbol: listed.base for listed in instruments if listed.tradable}
        self.guard.follow(self._assets)
        return tuple(sorted(self._assets))

    def connected(self) -> None:
        """The venue was connected anew: the first quote from now on deserves a snapshot at once."""
        self.guard.connected()
        self.first_quote_due = True

    def receive(self, event: FromVenue, received_ns: int) -> None:
        """Take one event of the venue; ``received_ns`` is the wall clock at its arrival."""
        if type(event) is QuoteReceived:
            self._quote(event, received_ns)
        elif type(event) is TimeReceived:
            if self.guard.tick(event.symbol, event.at_ms, event.last) is None:
                self._time(event.at_ms, received_ns)
        elif type(event) is Unreadable:
            self.guard.count(event.reason)

    def _quote(self, event: QuoteReceived, received_ns: int) -> None:
        symbol, bid, ask, order, at_ms = event
        if at_ms and not self._time(at_ms, received_ns):
            return
        if self.guard.admit(symbol, bid, ask, order, at_ms) is not None:
            return
        self.accepted += 1
        quote = FrameQuote(self._assets[symbol], str(bid), str(ask), at_ms or self.clock.now_ms, received_ns)
        before = self.conflation.newest.get(quote.asset)
        if before is None or before.bid != quote.bid or before.ask != quote.ask:
            self.moved_ns = received_ns
        self.conflation.put(quote)

    def _time(self, at_ms: int, received_ns: int) -> bool:
        believed = self.clock.read(at_ms, received_ns)
        if not believed:
            self.guard.count(Reason.TIME_JUMP)
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
        quotes = tuple(self._timed(quote) for quote in self.conflation.take())
        return PriceFrame(self.venue, self.epoch, self.sequence, self.clock.now_ms, quotes)

    def _timed(self, quote: FrameQuote) -> FrameQuote:
        if quote.at_ms:
            return quote
        timed = FrameQuote(quote.asset, quote.bid, quote.ask, self.clock.now_ms, quote.received_ns)
        self.conflation.newest[quote.asset] = timed
        return timed

    def stale(self, now_ns: int) -> tuple[str, ...]:
        """The assets that must not be traded on at wall clock ``now_ns``."""
        newest = self.conflation.newest
        if self.moved_ns - self.clock.advanced_ns > self.stale_after_ns:
            return tuple(sorted(newest))
        followed = set(self._assets.values())
        return tuple(
            sorted(
                asset
                for asset, quote in newest.items()
                if asset not in followed or not self._fresh(quote.received_ns, now_ns)
            )
        )

    def _fresh(self, since_ns: int, now_ns: int) -> bool:
        # A negative age means that the wall clock was set back: how old the quote is, nobody knows.
        return 0 <= now_ns - since_ns <= self.stale_after_ns

    def snapshot(self, now_ns: int) -> PricesSnapshotted | None:
        """Everything as of the last frame taken. None before the first one."""
        if not self.sequence:
            return None
        return PricesSnapshotted(
            venue=self.venue,
            epoch=self.epoch,
            sequence=self.sequence,
            market_time=_utc(self._sent_time_ms),
            quotes=tuple(_seen(quote) for quote in self.conflation.newest.values() if quote.at_ms),
            stale=self.stale(now_ns),
            refused=dict(self.guard.refused),
        )


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

"""The newest quotes of one venue, put together from frames and snapshots, and what may not be trusted among them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from shared.contracts.frames import FrameQuote, PriceFrame
from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.core.market import Instrument, Quote
from shared.core.money import plain
from shared.core.situation import Market

_NS = 1_000_000_000


class QuoteTable(Mapping[str, Quote]):
    """Quotes by asset, kept as text and made exact only for an asset that somebody decides on."""

    def __init__(self) -> None:
        self._as_text: dict[str, FrameQuote] = {}
        self._exact: dict[str, Quote] = {}

    def put(self, quote: FrameQuote) -> None:
        """The newest quote of an asset."""
        self._as_text[quote.asset] = quote
        self._exact.pop(quote.asset, None)

    def is_repeated_by(self, quote: FrameQuote) -> bool:
        """Whether the newest quote of the asset has the same prices."""
        known = self._as_text.get(quote.asset)
        return known is not None and known.bid == quote.bid and known.ask == quote.ask

    def received_ns(self, asset: str) -> int:
        """When the feed received the newest quote; 0 when there is none."""
        quote = self._as_text.get(asset)
        return 0 if quote is None else quote.received_ns

    def __getitem__(self, asset: str) -> Quote:
        exact = self._exact.get(asset)
        if exact is None:
            exact = self._exact[asset] = self._as_text[asset].quote()
        return exact

    def __iter__(self) -> Iterator[str]:
        return iter(self._as_text)

    def __len__(self) -> int:
        return len(self._as_text)


@dataclass(frozen=True, slots=True)
class Patience:
    """``silence_s``: without frames for so long, all prices are stale. ``lag_s``: older frames are a backlog."""

    silence_s: float = 3.0
    lag_s: float = 10.0


@dataclass(frozen=True, slots=True)
class News:
    """What a frame or snapshot brought: accepted quotes, and whether every price of the venue can be used again.

    ``repeated``: the same prices at the same market time as before, so nothing new has been seen of the market.
    """

    quotes: tuple[FrameQuote, ...] = ()
    freshened: tuple[str, ...] = ()
    revived: bool = False
    repeated: bool = False


class VenuePrices:
    """One venue. A frame lost on the way is healed by the next snapshot, at most a second later.

    A new epoch (the feed was restarted) makes every quote of the old one stale until it is quoted anew.
    """

    def __init__(self, venue: str, patience: Patience) -> None:
        self.venue = venue
        self.quote = ""
        self.instruments: dict[str, Instrument] = {}
        self.quotes = QuoteTable()
        self.stale: set[str] = set()
        self.market_time_ms = 0
        self.gaps = 0
        self.refused = 0
        self._patience = patience
        self._epoch = ""
        self.sequence = -1
        self._numbers: dict[str, int] = {}  # by asset: the frame (or snapshot) of this epoch that brought its quote
        self._heard_ns = 0
        self._lagging = False

    def usable(self, now_ns: int) -> bool:
        """Whether prices arrive, in time. After the wall clock was set back nobody knows, until the next frame."""
        return not self._lagging and 0 <= now_ns - self._heard_ns <= self._patience.silence_s * _NS

    def market(self, now_ns: int) -> Market | None:
        """The venue at this moment; None before its instruments and its time are known. All stale when not usable."""
        if not self.quote or not self.market_time_ms:
            return None
        now = datetime.fromtimestamp(self.market_time_ms / 1000, UTC)
        stale = self.stale if self.usable(now_ns) else set(self.quotes)
        return Market(self.quotes, self.instruments, self.quote, now, stale)

    def take_instruments(self, listed: InstrumentsListed) -> bool:
        """The venue's list; whether it differs from the one before."""
        instruments = {
            each.base: Instrument(
                listed.venue,
                each.symbol,
                each.base,
                each.quote,
                each.lot_step,
                each.min_quantity,
                each.max_quantity,
                each.tick_size,
                each.min_notional,
                each.taker_fee,
                each.tradable and not each.unreconciled,
            )
            for each in listed.instruments
            if each.quote == listed.quote
        }
        changed = instruments != self.instruments or listed.quote != self.quote
        self.instruments, self.quote = instruments, listed.quote
        return changed

    def take_frame(self, frame: PriceFrame, now_ns: int) -> News:
        """Take a frame; a repeated one changes nothing."""
        before_ms = self.market_time_ms
        if frame.epoch != self._epoch:
            self._begin_epoch(frame.epoch)
            self.market_time_ms = frame.market_time_ms  # a new feed's word counts, even if it is an earlier time
        elif frame.sequence <= self.sequence:
            return News()
        elif frame.sequence > self.sequence + 1:
            self.gaps += 1
        self.sequence = frame.sequence
        was_usable = self.usable(now_ns)
        self._heard(frame, now_ns)
        repeated = self._repeats(frame.quotes, before_ms)
        accepted, freshened = self._accept(frame.quotes, frame.sequence)
        return News(accepted, freshened, not was_usable and self.usable(now_ns), repeated)

    def take_snapshot(self, snapshot: PricesSnapshotted, now_ns: int) -> News:
        """Take what a snapshot has that frames did not bring, and its word on what is stale."""
        if snapshot.epoch != self._epoch:
            if self._epoch and self.usable(now_ns):
                return News()  # of a feed that is gone, or of one whose frames are about to tell of its epoch
            self._begin_epoch(snapshot.epoch)
        newer = [
            FrameQuote(seen.asset, plain(seen.bid), plain(seen.ask), int(seen.at.timestamp() * 1000), seen.received_ns)
            for seen in snapshot.quotes
            if self._numbers.get(seen.asset, -1) <= snapshot.sequence
            and self.quotes.received_ns(seen.asset) != seen.received_ns
        ]
        before_ms = self.market_time_ms
        self.market_time_ms = max(before_ms, int(snapshot.market_time.timestamp() * 1000))
        repeated = self._repeats(newer, before_ms)
        accepted, freshened = self._accept(newer, snapshot.sequence)
        return News(accepted, freshened + self._take_staleness(snapshot), repeated=repeated)

    def _repeats(self, quotes: Iterable[FrameQuote], before_ms: int) -> bool:
        return self.market_time_ms == before_ms and all(self.quotes.is_repeated_by(quote) for quote in quotes)

    def _take_staleness(self, snapshot: PricesSnapshotted) -> tuple[str, ...]:
        """Adopt the snapshot's stale assets; returns those that are stale no more."""
        named = set(snapshot.stale)
        freshened = []
        for seen in snapshot.quotes:
            asset = seen.asset
            if self._numbers.get(asset, -1) > snapshot.sequence:
                continue  # quoted since
            self._numbers[asset] = snapshot.sequence
            if asset in named:
                self.stale.add(asset)
            elif asset in self.stale:
                self.stale.discard(asset)
                freshened.append(asset)
        return tuple(freshened)

    def _begin_epoch(self, epoch: str) -> None:
        self._epoch, self.sequence = epoch, -1
        self._numbers.clear()
        self.stale = set(self.quotes)

    def _heard(self, frame: PriceFrame, now_ns: int) -> None:
        self.market_time_ms = max(self.market_time_ms, frame.market_time_ms)
        self._heard_ns = now_ns
        if frame.quotes:  # a heartbeat without quotes does not tell its age
            received_ns = max(quote.received_ns for quote in frame.quotes)
            self._lagging = now_ns - received_ns > self._patience.lag_s * _NS

    def _accept(self, quotes: Iterable[FrameQuote], number: int) -> tuple[tuple[FrameQuote, ...], tuple[str, ...]]:
        accepted, freshened = [], []
        for quote in quotes:
            # The feed has judged every quote already; what no market can tell is not believed even from the feed.
            if not 0.0 < float(quote.bid) <= float(quote.ask) < inf:
                self.refused += 1
                continue
            self.quotes.put(quote)
            self._numbers[quote.asset] = number
            if quote.asset in self.stale:
                self.stale.discard(quote.asset)
                freshened.append(quote.asset)
            accepted.append(quote)
        return tuple(accepted), tuple(freshened)

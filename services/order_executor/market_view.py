"""The newest quotes and instruments of the venue, as far as they may be traded on."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace
from datetime import UTC, datetime

from services.order_executor.steps import Market
from shared.contracts.frames import decode_frame
from shared.contracts.prices import PricesSnapshotted
from shared.contracts.wire import Message, Meta
from shared.core.market import Instrument, Quote, pair_name
from shared.core.routing import DirectPair

_EPOCH = datetime.fromtimestamp(0, UTC)


class MarketView:
    """Fed by price frames (core NATS) and snapshots (last value); asked by the runners.

    The feed is silent when nothing, not even a heartbeat, has come for ``max_age_s``; an asset is stale when the feed
    says so.
    """

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._quotes: dict[str, Quote] = {}  # by asset; of direct pairs by their names
        self._pairs: dict[str, Instrument] = {}
        self._stale: frozenset[str] = frozenset()
        self._instruments: dict[str, Instrument] = {}
        self._unreconciled: frozenset[str] = frozenset()
        self._heard_at = float("-inf")
        self._epoch = ""
        self._changed = asyncio.Event()
        self.market_time = _EPOCH

    def on_frame(self, data: bytes) -> None:
        """Take a frame. Raises ValueError, KeyError or TypeError when it is broken."""
        frame = decode_frame(data)
        if frame.epoch != self._epoch:
            # The feed has started anew, perhaps on another market: what was known may lie in that market's future.
            self._epoch = frame.epoch
            self._quotes.clear()
            self.market_time = _EPOCH
        for row in (*frame.quotes, *frame.crosses):
            self._take(row.asset, row.quote())
        self._hear(datetime.fromtimestamp(frame.market_time_ms / 1000, UTC), changed=bool(frame.quotes))

    def on_snapshot(self, _subject: str, message: Message, meta: Meta) -> None:
        """Take a snapshot. One that has been lying in the stream counts as old as it is."""
        if not isinstance(message, PricesSnapshotted) or self._epoch not in {"", message.epoch}:
            return
        for seen in (*message.quotes, *message.crosses):
            self._take(seen.asset, Quote(seen.bid, seen.ask, seen.at))
        self._stale = frozenset(message.stale)
        age_s = max(0.0, (datetime.now(UTC) - meta.occurred_at).total_seconds())
        self._hear(message.market_time, age_s=age_s, changed=True)

    def set_instruments(self, instruments: Iterable[Instrument]) -> None:
        """The venue's instruments as of now."""
        self._instruments = {instrument.base: instrument for instrument in instruments}

    def set_pairs(self, pairs: Iterable[Instrument]) -> None:
        """The direct pairs that orders may be routed through."""
        self._pairs = {pair_name(pair.base, pair.quote): pair for pair in pairs}

    def set_unreconciled(self, bases: frozenset[str]) -> None:
        """The bases of the pairs that may not be traded because venue and books differ in one of their assets."""
        self._unreconciled = bases

    def look(self, assets: Iterable[str]) -> Market:
        """Quotes and instruments of ``assets``; the tradable ones without a usable quote are in ``stale``."""
        wanted = set(assets)
        usable = {} if self.is_silent else {a: self._quotes[a] for a in wanted if a in self._quotes}
        usable = {asset: quote for asset, quote in usable.items() if asset not in self._stale}
        instruments = {asset: self._instruments[asset] for asset in wanted if asset in self._instruments}
        for asset in self._unreconciled & instruments.keys():
            instruments[asset] = replace(instruments[asset], tradable=False)
        silent = {asset for asset, found in instruments.items() if found.tradable and asset not in usable}
        pairs = tuple(self._direct(usable.keys()))
        return Market(usable, instruments, frozenset(silent), self._unreconciled & instruments.keys(), pairs=pairs)

    def look_direct(self, base: str, quote: str) -> Quote | None:
        """The usable quote of a direct pair, None without."""
        name = pair_name(base, quote)
        return None if self.is_silent or name in self._stale else self._quotes.get(name)

    def _direct(self, assets: Set[str]) -> Iterator[DirectPair]:
        """The tradable direct pairs among these assets that have a usable quote."""
        for pair in self._pairs.values():
            if pair.tradable and pair.base in assets and pair.quote in assets:
                quote = self.look_direct(pair.base, pair.quote)
                if quote is not None:
                    yield DirectPair(pair, quote)

    @property
    def is_silent(self) -> bool:
        """Whether the feed has not been heard for too long."""
        return time.monotonic() - self._heard_at > self._max_age_s

    async def changed(self, timeout_s: float) -> None:
        """Return with the next change of a quote, or after ``timeout_s``."""
        event = self._changed
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return

    def _take(self, asset: str, quote: Quote) -> None:
        """Keep the newest by market time: a snapshot may come after the frames that followed it."""
        known = self._quotes.get(asset)
        is_price = quote.bid.is_finite() and quote.ask.is_finite() and 0 < quote.bid <= quote.ask
        if is_price and (known is None or quote.at >= known.at):
            self._quotes[asset] = quote

    def _hear(self, market_time: datetime, *, age_s: float = 0.0, changed: bool) -> None:
        self._heard_at = max(self._heard_at, time.monotonic() - age_s)
        self.market_time = max(self.market_time, market_time)
        if changed:
            self._changed.set()
            self._changed = asyncio.Event()

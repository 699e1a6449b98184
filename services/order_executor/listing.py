"""Reads the venue's instruments and publishes them when they change.

Of the direct pairs (``shared.core.routing``) only those between assets that a strategy trades together are listed: each
costs the feed a subscription, and everybody its frames.
"""

import asyncio
import logging
from collections.abc import Iterable
from itertools import combinations

from services.order_executor.market_view import MarketView
from shared.contracts import subjects
from shared.contracts.prices import InstrumentListed, InstrumentsListed
from shared.core.errors import RetryLater
from shared.core.market import Instrument
from shared.messaging.publishing import Publisher
from shared.venues.port import Venue

log = logging.getLogger(__name__)

RETRY_S = 0.5


class InstrumentListing:
    """One venue's instruments, as last read."""

    def __init__(
        self, venue: Venue, market: MarketView, name: str, quote: str, *, lists_direct_pairs: bool = False
    ) -> None:
        self._venue = venue
        self._market = market
        self._name = name
        self._quote = quote
        self._lists_direct_pairs = lists_direct_pairs
        self._newest: tuple[Instrument, ...] = ()
        self._direct: tuple[Instrument, ...] = ()
        self._traded_together: set[frozenset[str]] = set()
        self._published: tuple[InstrumentsListed, int] | None = None
        self._unreconciled: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._publications = 0

    def block(self, assets: frozenset[str]) -> None:
        """Have no pair of these assets traded, from now on and by everybody; the quote currency is in every pair."""
        bases = frozenset(i.base for i in self._newest if i.base in assets or i.quote in assets)
        self._market.set_unreconciled(bases)
        if bases != self._unreconciled:
            log.warning("not traded, venue and books differ: %s", ", ".join(sorted(assets)) or "nothing any more")
            self._unreconciled = bases
            self._changed.set()

    def want(self, assets: Iterable[str]) -> None:
        """Have the direct pairs among these assets listed from now on: a strategy trades them together."""
        if not self._lists_direct_pairs:
            return
        before = self._routable()
        self._traded_together.update(frozenset(two) for two in combinations(sorted(set(assets) - {self._quote}), 2))
        routable = self._routable()
        if routable != before:
            self._market.set_pairs(routable)
            self._changed.set()

    def _routable(self) -> tuple[Instrument, ...]:
        return tuple(pair for pair in self._direct if frozenset({pair.base, pair.quote}) in self._traded_together)

    def symbol_of(self, asset: str) -> str:
        """The venue's name of the asset's pair; "" for the quote currency and for what is not listed."""
        return next((listed.symbol for listed in self._newest if listed.base == asset), "")

    async def read(self) -> None:
        """Read them once, as soon as the venue answers."""
        while True:
            try:
                pairs = await self._venue.fetch_instruments(in_any_quote=self._lists_direct_pairs)
                newest = tuple(pair for pair in pairs if pair.quote == self._quote)
            except (RetryLater, ValueError) as error:
                log.info("instruments cannot be read now: %s", error)
            else:
                # A whole venue does not vanish: taken at its word, every holding would be one that nobody can sell.
                if newest:
                    self._newest = newest
                    assets = {pair.base for pair in newest}
                    self._direct = tuple(pair for pair in pairs if pair.base in assets and pair.quote in assets)
                    self._market.set_instruments(newest)
                    self._market.set_pairs(self._routable())
                    return
                log.warning("the venue lists no pair: not believed")
            await asyncio.sleep(RETRY_S)

    async def publish(self, publisher: Publisher, epoch: int) -> None:
        """Publish what was read last, if it differs from what was published on this connection. Raises RetryLater."""
        told = (self._message(), publisher.reconnections)
        if told == self._published:
            return
        message, _ = told
        self._publications += 1
        name = f"instruments.{self._name}.{epoch}.{self._publications}"
        await publisher.publish(subjects.instruments(self._name), message, message_id=name, correlation_id=name)
        self._published = told

    async def run(self, publisher: Publisher, epoch: int, refresh_s: float) -> None:
        """Read and publish again every ``refresh_s`` for ever, and publish at once what ``block`` changes."""
        while True:
            self._changed.clear()
            try:
                await self.publish(publisher, epoch)
            except RetryLater as later:
                log.warning("instruments are not published yet: %s", later)
            try:
                async with asyncio.timeout(refresh_s):
                    await self._changed.wait()
            except TimeoutError:
                await self.read()

    def _message(self) -> InstrumentsListed:
        return InstrumentsListed(
            venue=self._name,
            quote=self._quote,
            instruments=tuple(self._listed(instrument) for instrument in self._newest),
            crosses=tuple(self._listed(pair) for pair in self._routable()),
        )

    def _listed(self, instrument: Instrument) -> InstrumentListed:
        return InstrumentListed(
            symbol=instrument.symbol,
            base=instrument.base,
            quote=instrument.quote,
            lot_step=instrument.lot_step,
            min_quantity=instrument.min_quantity,
            max_quantity=instrument.max_quantity,
            tick_size=instrument.tick_size,
            min_notional=instrument.min_notional,
            taker_fee=instrument.taker_fee,
            tradable=instrument.tradable,
            unreconciled=bool(self._unreconciled & {instrument.base, instrument.quote}),
        )

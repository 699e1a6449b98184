"""Reads the venue's instruments and publishes them when they change."""

import asyncio
import logging

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

    def __init__(self, venue: Venue, market: MarketView, name: str, quote: str) -> None:
        self._venue = venue
        self._market = market
        self._name = name
        self._quote = quote
        self._newest: tuple[Instrument, ...] = ()
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

    def symbol_of(self, asset: str) -> str:
        """The venue's name of the asset's pair; "" for the quote currency and for what is not listed."""
        return next((listed.symbol for listed in self._newest if listed.base == asset), "")

    async def read(self) -> None:
        """Read them once, as soon as the venue answers."""
        while True:
            try:
                newest = await self._venue.fetch_instruments()
            except (RetryLater, ValueError) as error:
                log.info("instruments cannot be read now: %s", error)
            else:
                # A whole venue does not vanish: taken at its word, every holding would be one that nobody can sell.
                if newest:
                    self._newest = newest
                    self._market.set_instruments(newest)
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
            instruments=tuple(
                InstrumentListed(
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
                    unreconciled=instrument.base in self._unreconciled,
                )
                for instrument in self._newest
            ),
        )

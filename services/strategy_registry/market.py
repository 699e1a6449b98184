"""What a venue offers and costs at one moment, as previews, edits and payments need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.core.errors import RetryLater
from shared.core.market import Instrument, Quote


@dataclass(frozen=True, slots=True)
class Market:
    """One venue's instruments and newest quotes, both by base asset; ``stale`` must not be priced on.

    ``now``: market time of the quotes.
    """

    venue: str
    quote: str
    instruments: Mapping[str, Instrument]
    quotes: Mapping[str, Quote]
    stale: frozenset[str]
    now: datetime

    def quote_of(self, asset: str) -> Quote:
        """The usable quote of a listed asset. Raises RetryLater when there is none now."""
        if asset in self.stale or asset not in self.quotes:
            state = "stale" if asset in self.stale else "not known yet"
            raise RetryLater(f"the price of {asset} at {self.venue} is {state}; try again in a few seconds", after_s=2)
        return self.quotes[asset]


def market_of(listed: InstrumentsListed, prices: PricesSnapshotted) -> Market:
    """The market that the two newest snapshots of a venue tell."""
    instruments = {
        one.base: Instrument(
            venue=listed.venue,
            symbol=one.symbol,
            base=one.base,
            quote=one.quote,
            lot_step=one.lot_step,
            min_quantity=one.min_quantity,
            max_quantity=one.max_quantity,
            tick_size=one.tick_size,
            min_notional=one.min_notional,
            taker_fee=one.taker_fee,
            tradable=one.tradable,
        )
        for one in listed.instruments
    }
    quotes = {one.asset: Quote(one.bid, one.ask, one.at) for one in prices.quotes}
    return Market(listed.venue, listed.quote, instruments, quotes, frozenset(prices.stale), prices.market_time)

"""All listed pairs: made from the price source, moved by its rows."""

from collections.abc import Callable, Iterator, Mapping, Set

from services.simulated_exchange.listing import DAY_MS, Listing
from services.simulated_exchange.markets.source import PriceRange, PriceSource
from shared.core.market import Instrument
from shared.core.matching import BookShape

WARM_UP_ROWS = 1500
"""Rows gone through at a start: a day of minutes. With finer rows the 24 h statistics start shorter."""


class Board:
    """Pairs by symbol, with the column of the source that each one's prices come from.

    ``stopped``: pairs that stand still, with the row of the last price they took.
    """

    def __init__(
        self,
        source: PriceSource,
        derive: Callable[[str, Mapping[str, PriceRange]], tuple[Instrument, BookShape]],
        last_trade_ids: Mapping[str, int],
    ) -> None:
        self._source = source
        self.stopped: dict[str, int] = {}
        self.listings: dict[str, Listing] = {}
        self.columns: dict[str, int] = {}
        ranges = source.ranges()
        for column, asset in enumerate(source.assets):
            if asset in ranges:
                instrument, shape = derive(asset, ranges)
                symbol = instrument.symbol
                self.listings[symbol] = Listing(instrument, shape, last_trade_ids.get(symbol, 0))
                self.columns[symbol] = column

    def priced(self) -> Iterator[Listing]:
        """Pairs that have had a price, in the source's order."""
        return (listing for listing in self.listings.values() if listing.is_listed)

    def stop(self, symbols: Set[str], row: int) -> list[Listing]:
        """Have these pairs stand still, those that do not yet from ``row`` on.

        The others move again and take the price they missed last; those that missed one.
        """
        before, self.stopped = self.stopped, {symbol: self.stopped.get(symbol, row) for symbol in sorted(symbols)}
        again = [symbol for symbol in before if symbol not in symbols]
        return [self.listings[symbol] for symbol in again if self._catch_up(symbol, row, before[symbol])]

    def _catch_up(self, symbol: str, row: int, after: int) -> bool:
        """Take in the last price of the rows above ``after`` up to ``row``, if there is one."""
        for earlier in range(row, after, -1):
            price = self._source.price(earlier, self.columns[symbol])
            if price is not None:
                self.listings[symbol].tick(earlier, self._source.time_ms(earlier), price)
                return True
        return False

    def tick(self, row: int) -> list[Listing]:
        """Take in a row's prices, but for pairs that stand still; the pairs that had one."""
        time_ms, ticked = self._source.time_ms(row), []
        for symbol, listing in self.listings.items():
            if row > self.stopped.get(symbol, row):
                continue
            price = self._source.price(row, self.columns[symbol])
            if price is not None:
                listing.tick(row, time_ms, price)
                ticked.append(listing)
        return ticked

    def warm_up(self, row: int) -> int:
        """Rebuild quotes and 24 h statistics by going through the rows that matter; how many prices ``row`` has."""
        source = self._source
        first = max(0, source.row_at(source.time_ms(row) - DAY_MS), row - WARM_UP_ROWS)
        for symbol, listing in self.listings.items():
            # The last price may be older than a day where the source has gaps: it stands until the next.
            if source.rows_total is not None or symbol in self.stopped:
                self._catch_up(symbol, min(first - 1, self.stopped.get(symbol, first)), -1)
            listing.recent.clear()
        ticked: list[Listing] = []
        for current in range(first, row + 1):
            ticked = self.tick(current)
        return len(ticked)

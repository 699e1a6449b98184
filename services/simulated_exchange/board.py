"""All listed pairs: made from the price source, moved by its rows."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from services.simulated_exchange.listing import DAY_MS, Listing
from services.simulated_exchange.markets.instruments import derive_instrument
from services.simulated_exchange.markets.source import PriceSource
from shared.core.matching import BookShape

WARM_UP_ROWS = 1500
"""Rows gone through at a start: a day of minutes. With finer rows the 24 h statistics start shorter."""


class Board:
    """Pairs by symbol, with the column of the source that each one's prices come from."""

    def __init__(
        self,
        source: PriceSource,
        shape: BookShape,
        min_notional: Decimal,
        taker_fee_bps: Decimal,
        last_trade_ids: Mapping[str, int],
    ) -> None:
        self._source = source
        self.listings: dict[str, Listing] = {}
        self.columns: dict[str, int] = {}
        ranges = source.ranges()
        for column, asset in enumerate(source.assets):
            if asset in ranges:
                instrument = derive_instrument(
                    asset, ranges[asset], min_notional=min_notional, taker_fee_bps=taker_fee_bps
                )
                symbol = instrument.symbol
                self.listings[symbol] = Listing(instrument, shape, last_trade_ids.get(symbol, 0))
                self.columns[symbol] = column

    def priced(self) -> Iterator[Listing]:
        """Pairs that have had a price, in the source's order."""
        return (listing for listing in self.listings.values() if listing.is_listed)

    def tick(self, row: int, stands_still: Callable[[str], bool] | None = None) -> list[Listing]:
        """Take in a row's prices, but for pairs that stand still; the pairs that had one."""
        time_ms, ticked = self._source.time_ms(row), []
        for symbol, listing in self.listings.items():
            if stands_still is not None and stands_still(symbol):
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
            for earlier in range(first - 1, -1, -1) if source.rows_total is not None else ():
                price = source.price(earlier, self.columns[symbol])
                if price is not None:
                    listing.tick(earlier, source.time_ms(earlier), price)
                    break
            listing.recent.clear()
        ticked: list[Listing] = []
        for current in range(first, row + 1):
            ticked = self.tick(current)
        return len(ticked)

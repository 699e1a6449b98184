"""Candles (klines) made from the rows of a price source, at the intervals of all dialects.

A row's price closes the candle so far; a candle opens at the price before its first row (its own where there is none),
so consecutive candles join. Volume: one book level per row. Intervals finer than the rows give one candle per row.
One call looks at 30,000 rows at most, so that no question about history keeps orders waiting.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from services.simulated_exchange.markets.source import PriceSource
from shared.core.market import Instrument
from shared.core.money import MONEY_CONTEXT, ZERO, exact

_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000
INTERVALS_MS = {
    "1s": _SECOND, "1m": _MINUTE, "3m": 3 * _MINUTE, "5m": 5 * _MINUTE, "15m": 15 * _MINUTE, "30m": 30 * _MINUTE,
    "1h": _HOUR, "2h": 2 * _HOUR, "3h": 3 * _HOUR, "4h": 4 * _HOUR, "6h": 6 * _HOUR, "8h": 8 * _HOUR, "12h": 12 * _HOUR,
    "1d": _DAY, "3d": 3 * _DAY, "1w": 7 * _DAY, "1M": 0,
}  # fmt: skip
MAX_ROWS = 30_000
_MONDAY = 4 * _DAY  # the epoch began on a Thursday; weeks begin on Monday 1970-01-05


@dataclass(slots=True)
class Candle:
    """One candle; times in market milliseconds, ``end_ms`` is the last millisecond inside."""

    start_ms: int
    end_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int

    def add(self, price: Decimal, quantity: Decimal) -> None:
        """Take in one more row."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume = MONEY_CONTEXT.add(self.volume, quantity)
        self.quote_volume = MONEY_CONTEXT.fma(price, quantity, self.quote_volume)
        self.trades += 1


@dataclass(frozen=True, slots=True)
class CandleSeries:
    """Where candles of one pair come from: a column of the source, and a level's worth of quote per row."""

    source: PriceSource
    column: int
    instrument: Instrument
    level_notional: Decimal

    def candles(self, interval: str, last_row: int, limit: int, start_ms: int | None, end_ms: int) -> list[Candle]:
        """Up to ``limit`` candles that start within [start_ms, end_ms]: the first ones, or without start the last."""
        row = min(last_row, self.source.row_at(candle_end(interval, candle_start(interval, end_ms))))
        if start_ms is not None:
            first = self.source.row_at(start_ms - 1) + 1
            return self._forward(interval, (first, min(row, first + MAX_ROWS)), limit, start_ms)
        first, count, current = row, 0, None
        while first >= 0 and row - first < MAX_ROWS:
            start = candle_start(interval, self.source.time_ms(first))
            if start != current and self.source.price(first, self.column) is not None:
                if count == limit:
                    break
                current, count = start, count + 1
            first -= 1
        return self._forward(interval, (first + 1, row), limit, 0)

    @exact
    def _forward(self, interval: str, rows: tuple[int, int], limit: int, start_ms: int) -> list[Candle]:
        found: list[Candle] = []
        previous: Decimal | None = None
        before = rows[0] - 1
        if before >= 0:
            previous = self._price(before)
        for row in range(rows[0], rows[1] + 1):
            price = self._price(row)
            if price is None:
                continue
            start = candle_start(interval, self.source.time_ms(row))
            if not found or found[-1].start_ms != start:
                if len(found) == limit:
                    break
                if start < start_ms:
                    previous = price
                    continue
                found.append(opened(interval, start, previous if previous is not None else price))
            found[-1].add(price, self._quantity(price))
            previous = price
        return found

    def _price(self, row: int) -> Decimal | None:
        price = self.source.price(row, self.column)
        # quantize, not division: steps are powers of ten, and this runs for every row of a long candle.
        return None if price is None else price.quantize(self.instrument.tick_size, ROUND_HALF_EVEN)

    def _quantity(self, price: Decimal) -> Decimal:
        lot = self.instrument.lot_step
        return max(lot, (self.level_notional / price).quantize(lot, ROUND_DOWN))


def opened(interval: str, start_ms: int, price: Decimal) -> Candle:
    """A candle that has just begun."""
    return Candle(start_ms, candle_end(interval, start_ms), price, price, price, price, ZERO, ZERO, 0)


def candle_start(interval: str, time_ms: int) -> int:
    """Start of the candle that a time belongs to (UTC; weeks on Monday, months on the 1st)."""
    if interval == "1M":
        time = datetime.fromtimestamp(time_ms / 1000, UTC)
        return int(datetime(time.year, time.month, 1, tzinfo=UTC).timestamp()) * 1000
    size = INTERVALS_MS[interval]
    offset = _MONDAY if interval == "1w" else 0
    return time_ms - (time_ms - offset) % size


def candle_end(interval: str, start_ms: int) -> int:
    """Last millisecond of the candle that starts at ``start_ms``."""
    if interval == "1M":
        time = datetime.fromtimestamp(start_ms / 1000, UTC)
        return start_ms + monthrange(time.year, time.month)[1] * _DAY - 1
    return start_ms + INTERVALS_MS[interval] - 1

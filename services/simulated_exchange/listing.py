"""What the venue knows of one listed pair: its quote, the last 24 hours, and its latest public trades.

Every row of the market counts as one public trade at the row's price with one book level's quantity; own fills are
public trades beside it but count in no statistic, so that a paper account does not move its own market.
"""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from shared.core.market import Instrument
from shared.core.matching import Book, BookShape, Level, book_around, price_on_tick
from shared.core.money import MONEY_CONTEXT, ZERO

DAY_MS = 86_400_000
RECENT_TRADES = 1000
WINDOW_TICKS = 5000
"""Most ticks that the 24 h statistics look back on: with rows finer than 17 s they cover less than a day."""
TRADE_IDS_PER_ROW = 1_000_000
"""Trade ids of row r start at (r + 1) * 10^6: unique and rising across restarts without a counter to save."""


class PublicTrade(NamedTuple):
    """A trade as everybody sees it; ``buyer_is_maker`` = the seller crossed the spread."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    time_ms: int
    buyer_is_maker: bool


class DayStats(NamedTuple):
    """The last 24 hours of market time: volumes in base and quote, number of trades."""

    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    quote_volume: Decimal
    open_ms: int
    first_id: int
    trades: int


@dataclass(frozen=True, slots=True)
class _Tick:
    time_ms: int
    price: Decimal
    quantity: Decimal
    value: Decimal
    trade_id: int


class Listing:
    """A pair and its market. Unlisted (``is_listed`` False) until its first price."""

    def __init__(self, instrument: Instrument, shape: BookShape, last_trade_id: int) -> None:
        self.instrument = instrument
        self.last = ZERO
        self.time_ms = 0
        self.update_id = 0
        self.previous_update_id = 0
        self.bid = Level(ZERO, ZERO)
        self.ask = Level(ZERO, ZERO)
        self.last_quantity = ZERO
        self.recent: deque[PublicTrade] = deque(maxlen=RECENT_TRADES)
        self._shape = shape
        self._last_trade_id = last_trade_id
        self._window: deque[_Tick] = deque()
        self._highs: deque[_Tick] = deque()
        self._lows: deque[_Tick] = deque()
        self._volume = ZERO
        self._quote_volume = ZERO
        self._before_window: _Tick | None = None

    @property
    def is_listed(self) -> bool:
        """Whether it has had a price."""
        return self.update_id > 0

    @property
    def price(self) -> Decimal:
        """Mid price: the last row's price on the tick."""
        return self.last

    @property
    def level_notional(self) -> Decimal:
        """Value of one level of its book, in its quote."""
        return self._shape.level_notional

    def tick(self, row: int, time_ms: int, price: Decimal) -> None:
        """A new price: quote, statistics and one public trade. ``row`` is the market's row number."""
        instrument = self.instrument
        self.last = price_on_tick(price, instrument.tick_size)
        self.time_ms = time_ms
        self.previous_update_id, self.update_id = self.update_id, row + 1
        top = book_around(self.last, instrument, self._shape, 1)
        self.bid, self.ask = top.bids[0], top.asks[0]
        up = not self._window or self.last >= self._window[-1].price
        self._last_trade_id = max(self._last_trade_id + 1, (row + 1) * TRADE_IDS_PER_ROW)
        self.last_quantity = self.ask.quantity
        self._remember(_Tick(time_ms, self.last, self.ask.quantity, self.last * self.ask.quantity, self._last_trade_id))
        trade = PublicTrade(self._last_trade_id, self.last, self.ask.quantity, time_ms, buyer_is_maker=not up)
        self.recent.append(trade)

    def next_trade_id(self) -> int:
        """A trade id never given before in this pair."""
        self._last_trade_id += 1
        return self._last_trade_id

    def book(self, levels: int | None = None) -> Book:
        """The book as it stands."""
        return book_around(self.last, self.instrument, self._shape, levels)

    def day(self) -> DayStats:
        """Statistics of the last 24 hours up to the current row."""
        first = self._window[0]
        opening = self._before_window or first
        return DayStats(
            open=opening.price,
            high=max(self._highs[0].price, opening.price),
            low=min(self._lows[0].price, opening.price),
            volume=self._volume,
            quote_volume=self._quote_volume,
            open_ms=self.time_ms - DAY_MS,
            first_id=first.trade_id,
            trades=len(self._window),
        )

    def _remember(self, tick: _Tick) -> None:
        window, highs, lows = self._window, self._highs, self._lows
        window.append(tick)
        while highs and highs[-1].price <= tick.price:
            highs.pop()
        highs.append(tick)
        while lows and lows[-1].price >= tick.price:
            lows.pop()
        lows.append(tick)
        self._volume = MONEY_CONTEXT.add(self._volume, tick.quantity)
        self._quote_volume = MONEY_CONTEXT.add(self._quote_volume, tick.value)
        begin = tick.time_ms - DAY_MS
        while window[0].time_ms <= begin or len(window) > WINDOW_TICKS:
            old = window.popleft()
            self._before_window = old
            self._volume = MONEY_CONTEXT.subtract(self._volume, old.quantity)
            self._quote_volume = MONEY_CONTEXT.subtract(self._quote_volume, old.value)
        oldest = window[0].trade_id
        while highs[0].trade_id < oldest:
            highs.popleft()
        while lows[0].trade_id < oldest:
            lows.popleft()

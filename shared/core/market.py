"""What a venue tells us about a market: quotes and instruments (trading rules)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask of one base asset in the venue's quote currency (USDT), at market time."""

    bid: Decimal
    ask: Decimal
    at: datetime

    @property
    def mid(self) -> Decimal:
        """Half-way between bid and ask."""
        return (self.bid + self.ask) / 2


@dataclass(frozen=True, slots=True)
class Instrument:
    """A tradable pair and its filters (Binance: LOT_SIZE, PRICE_FILTER, NOTIONAL; taker fee as a fraction).

    ``symbol`` is the venue's own name ("BTCUSDT"); ``tradable`` is False while the pair is halted or delisted.
    """

    venue: str
    symbol: str
    base: str
    quote: str
    lot_step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    tick_size: Decimal
    min_notional: Decimal
    taker_fee: Decimal
    tradable: bool = True


Quotes = Mapping[str, Quote]
"""Newest quote by base asset. The quote currency itself is not in it: its price is 1."""

Instruments = Mapping[str, Instrument]
"""Instrument by base asset, all quoted in the venue's quote currency."""

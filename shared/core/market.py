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


def pair_name(base: str, quote: str) -> str:
    """What quotes of a direct pair go by, where those against the quote currency go by their asset: "ETH/BTC"."""
    return f"{base}/{quote}"


def is_pair_name(name: str) -> bool:
    """Whether it is one: no asset is named so."""
    return "/" in name


@dataclass(frozen=True, slots=True)
class Instrument:
    """A tradable pair and its filters (Binance: LOT_SIZE, PRICE_FILTER, NOTIONAL; taker fee as a fraction).

    ``symbol`` is the venue's own name ("BTCUSDT"); ``tradable`` is False while the pair is halted or delisted.
    ``buy_fee_in_quote``: the fee of a purchase is charged on top of its value, not taken from what is bought.
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
    buy_fee_in_quote: bool = False

    @property
    def buying_costs(self) -> Decimal:
        """Money that a purchase takes for each 1 it is worth, beside what it gets less."""
        return 1 + self.taker_fee if self.buy_fee_in_quote else Decimal(1)

    @property
    def buying_keeps(self) -> Decimal:
        """What is left of each 1 that is bought."""
        return Decimal(1) if self.buy_fee_in_quote else 1 - self.taker_fee


Quotes = Mapping[str, Quote]
"""Newest quote by base asset. The quote currency itself is not in it: its price is 1."""

Instruments = Mapping[str, Instrument]
"""Instrument by base asset, all quoted in the venue's quote currency."""

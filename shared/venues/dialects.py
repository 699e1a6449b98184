"""The dialects Trimtab trades in, one row each: the data of a venue is in the file of its name."""

from collections.abc import Mapping
from types import MappingProxyType

from shared.core.errors import Refused
from shared.venues.bigone import BIGONE
from shared.venues.binance import BINANCE, BINANCE_ERRORS, BINANCE_RATES
from shared.venues.bybit import BYBIT
from shared.venues.capabilities import VenueCapabilities
from shared.venues.coinbase import COINBASE
from shared.venues.kraken import KRAKEN
from shared.venues.kucoin import KUCOIN
from shared.venues.okx import OKX

__all__ = ["BINANCE", "BINANCE_ERRORS", "BINANCE_RATES", "DIALECTS", "capabilities_of"]

DIALECTS: Mapping[str, VenueCapabilities] = MappingProxyType(
    {row.dialect: row for row in (BIGONE, BINANCE, BYBIT, COINBASE, KRAKEN, KUCOIN, OKX)}
)


def capabilities_of(dialect: str) -> VenueCapabilities:
    """The row of a dialect. Raises Refused naming the known ones."""
    if dialect not in DIALECTS:
        raise Refused.one("venue_dialect", dialect, ", ".join(sorted(DIALECTS)), "is not a dialect Trimtab speaks")
    return DIALECTS[dialect]

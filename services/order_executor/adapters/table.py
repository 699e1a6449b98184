"""Every venue that orders are sent to: a folder here, a row in the table, its data in ``shared/venues``."""

from collections.abc import Callable, Mapping

from services.order_executor.adapters.bigone.dialect import BigoneDialect
from services.order_executor.adapters.binance.dialect import BinanceDialect
from services.order_executor.adapters.bybit.dialect import BybitDialect
from services.order_executor.adapters.coinbase.dialect import CoinbaseDialect
from services.order_executor.adapters.dialect import VenueDialect
from services.order_executor.adapters.kraken.dialect import KrakenDialect
from services.order_executor.adapters.kucoin.dialect import KucoinDialect
from services.order_executor.adapters.okx.dialect import OkxDialect
from shared.core.errors import Refused

VENUE_DIALECTS: Mapping[str, Callable[[], VenueDialect]] = {
    "bigone": BigoneDialect,
    "binance": BinanceDialect,
    "bybit": BybitDialect,
    "coinbase": CoinbaseDialect,
    "kraken": KrakenDialect,
    "kucoin": KucoinDialect,
    "okx": OkxDialect,
}


def dialect_of(name: str) -> VenueDialect:
    """The dialect of a row. Raises Refused naming the known ones."""
    if name not in VENUE_DIALECTS:
        raise Refused.one("venue_dialect", name, ", ".join(sorted(VENUE_DIALECTS)), "is not a dialect Trimtab speaks")
    return VENUE_DIALECTS[name]()

"""Every venue dialect the feed speaks: a folder here, a row in the table. Any other venue that ccxt knows is polled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.price_feed.adapters.bigone.connection import BigoneDialect
from services.price_feed.adapters.binance.connection import BinanceDialect
from services.price_feed.adapters.bybit.connection import BybitDialect
from services.price_feed.adapters.coinbase.connection import CoinbaseDialect
from services.price_feed.adapters.coinbase.connection import wire_symbol as coinbase_symbol
from services.price_feed.adapters.kraken.connection import KrakenDialect
from services.price_feed.adapters.kraken.connection import wire_symbol as kraken_symbol
from services.price_feed.adapters.kucoin.connection import KucoinDialect
from services.price_feed.adapters.okx.connection import OkxDialect
from services.price_feed.adapters.port import ConnectionTimes, Listener, VenuePrices
from services.price_feed.adapters.websocket_prices import WebsocketPrices
from services.price_feed.adapters.websocket_session import Dialect
from services.price_feed.price_book import WireSymbol, own_symbol
from shared.core.errors import Refused


@dataclass(frozen=True, slots=True)
class Row:
    """A dialect, and what its stream calls an instrument (the name that its orders use, unless said otherwise)."""

    dialect: Callable[[], Dialect]
    wire_symbol: WireSymbol = own_symbol
    with_pulse: Callable[[], Dialect] | None = None


VENUE_DIALECTS: Mapping[str, Row] = {
    "bigone": Row(BigoneDialect),
    "binance": Row(BinanceDialect, with_pulse=lambda: BinanceDialect(pulse=True)),
    "bybit": Row(BybitDialect),
    "coinbase": Row(CoinbaseDialect, coinbase_symbol),
    "kraken": Row(KrakenDialect, kraken_symbol),
    "kucoin": Row(KucoinDialect),
    "okx": Row(OkxDialect),
}


def wire_symbols(dialect: str) -> WireSymbol:
    """What the venue's stream calls an instrument."""
    row = VENUE_DIALECTS.get(dialect)
    return own_symbol if row is None else row.wire_symbol


def open_prices(
    dialect: str, root: str, listener: Listener, times: ConnectionTimes, *, pulse: bool = False
) -> VenuePrices:
    """The price connection of a venue that speaks ``dialect`` at ``root`` ("": the live venue).

    ``pulse``: tell the venue's pulse (``PulseReceived``) too. Raises Refused for a dialect that neither the table nor
    ccxt knows, and for a pulse where there is none.
    """
    row = VENUE_DIALECTS.get(dialect)
    if pulse and (row is None or row.with_pulse is None):
        pulsing = ", ".join(sorted(name for name, each in VENUE_DIALECTS.items() if each.with_pulse))
        raise Refused.one("prices_whole_moments", "true", f"false; true for {pulsing}", "is not told by this venue")
    if row is None:
        return _polled(dialect, root, listener, times)
    make = row.with_pulse if pulse and row.with_pulse else row.dialect
    return WebsocketPrices(make(), root, listener, times)


def _polled(dialect: str, root: str, listener: Listener, times: ConnectionTimes) -> VenuePrices:
    # Imported only where it is used: ccxt takes seconds and a hundred megabytes.
    from services.price_feed.adapters.polling.ccxt_prices import PolledPrices, exchange_of

    exchange = exchange_of(dialect, root)
    if exchange is None:
        known = ", ".join(sorted(VENUE_DIALECTS))
        raise Refused.one("venue_dialect", dialect, f"{known}, or an exchange of ccxt", "is not a dialect of the feed")
    return PolledPrices(exchange, listener, times)

"""Tickers of other spans than the last 24 hours (Binance spot documents, "Trading Day Ticker", "Rolling window")."""

from collections.abc import Callable

from services.simulated_exchange.binance.endpoints import Call, Endpoint
from services.simulated_exchange.binance.errors import BinanceError, missing
from services.simulated_exchange.binance.market_data import candle_series, chosen, day_ticker_view
from services.simulated_exchange.binance.numbers import text
from services.simulated_exchange.listing import Listing

_DAY_WINDOWS = (None, "1d", "24h")


def rolling(call: Call) -> object:
    """GET /api/v3/ticker: the window of a day alone; others are refused (-1130)."""
    if call.parameters.text("windowSize") not in _DAY_WINDOWS:
        raise BinanceError(-1130, "Data sent for parameter 'windowSize' is not valid.")
    return _each(call, day_ticker_view)


def trading_day(call: Call) -> object:
    """GET /api/v3/ticker/tradingDay: since midnight UTC of market time."""
    return _each(call, lambda listing: _today(call, listing))


def _each(call: Call, view: Callable[[Listing], dict[str, object]]) -> object:
    listings, single = chosen(call)
    if call.parameters.symbols() is None:
        raise missing("symbol")
    views = [view(listing) for listing in listings]
    return views[0] if single else views


def _today(call: Call, listing: Listing) -> dict[str, object]:
    (day,) = candle_series(call, listing).candles("1d", call.venue.state.row, 1, None, call.venue.market_ms)
    change = listing.price - day.open
    last_id = listing.recent[-1].trade_id
    return {
        "symbol": listing.instrument.symbol,
        "priceChange": text(change),
        "priceChangePercent": f"{change / day.open * 100:.3f}",
        "weightedAvgPrice": f"{day.quote_volume / day.volume:.8f}",
        "openPrice": text(day.open),
        "highPrice": text(day.high),
        "lowPrice": text(day.low),
        "lastPrice": text(listing.price),
        "volume": text(day.volume),
        "quoteVolume": text(day.quote_volume),
        "openTime": day.start_ms,
        "closeTime": day.end_ms,
        "firstId": last_id - day.trades + 1,
        "lastId": last_id,
        "count": day.trades,
    }


TICKER_ENDPOINTS = (
    Endpoint("GET", "/api/v3/ticker", rolling, "ticker", weight=4),
    Endpoint("GET", "/api/v3/ticker/tradingDay", trading_day, "ticker.tradingDay", weight=4),
)

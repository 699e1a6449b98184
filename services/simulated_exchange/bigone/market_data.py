"""Public data (open.bigone.com: "Asset pairs", "Tickers", "Order book", "Trades", "Candles"). Times are market time."""

from collections.abc import Iterable
from datetime import datetime
from uuid import NAMESPACE_DNS, uuid5

from services.simulated_exchange.bigone.calls import Call, Endpoint, pair_name
from services.simulated_exchange.bigone.errors import malformed
from services.simulated_exchange.candles import Candle, CandleSeries
from services.simulated_exchange.listing import Listing, PublicTrade
from services.simulated_exchange.markets.files import iso
from services.simulated_exchange.markets.instruments import QUOTE
from shared.core.matching import Level
from shared.core.money import plain

_PERIODS = {
    "min1": "1m", "min5": "5m", "min15": "15m", "min30": "30m", "hour1": "1h", "hour3": "3h", "hour4": "4h",
    "hour6": "6h", "hour12": "12h", "day1": "1d", "week1": "1w", "month1": "1M",
}  # fmt: skip
_MAX_QUOTE_VALUE = "10000000"
_SCALE = 12


def ping(call: Call) -> object:
    """GET /ping: the clock that tokens are checked against, in nanoseconds; spelled as the venue does."""
    return {"Timestamp": call.clock_ms * 1_000_000}


def _asset(symbol: str) -> dict[str, str]:
    return {"id": str(uuid5(NAMESPACE_DNS, symbol)), "symbol": symbol, "name": symbol}


def asset_pairs(call: Call) -> object:
    """GET /asset_pairs: pairs appear when they have their first price."""
    return [_pair(listing) for listing in call.desk.venue.listed()]


def _pair(listing: Listing) -> dict[str, object]:
    instrument = listing.instrument
    return {
        "id": str(uuid5(NAMESPACE_DNS, pair_name(listing))),
        "name": pair_name(listing),
        "base_scale": -instrument.lot_step.adjusted(),
        "quote_scale": -instrument.tick_size.adjusted(),
        "base_asset": _asset(instrument.base),
        "quote_asset": _asset(instrument.quote),
        "min_quote_value": plain(instrument.min_notional),
        "max_quote_value": _MAX_QUOTE_VALUE,
    }


def assets(call: Call) -> object:
    """GET /assets: every asset with one gateway; no withdrawals."""
    names = dict.fromkeys([QUOTE, *(listing.instrument.base for listing in call.desk.venue.listed())])
    return [_asset_view(name) for name in names]


def gateway_name(symbol: str) -> str:
    """The chain that an asset comes by."""
    return "Bitcoin" if symbol == "BTC" else "Ethereum"


def _asset_view(symbol: str) -> dict[str, object]:
    gateway = {
        "guid": str(uuid5(NAMESPACE_DNS, f"gateway.{symbol}")),
        "gateway_name": gateway_name(symbol),
        "is_deposit_enabled": True,
        "is_withdrawal_enabled": False,
        "min_deposit_amount": "0.00000001",
        "min_withdrawal_amount": "0",
        "withdrawal_fee": "0",
        "withdrawal_scale": 8,
        "is_memo_required": False,
        "scale": _SCALE,
    }
    return {
        "uuid": str(uuid5(NAMESPACE_DNS, symbol)),
        "symbol": symbol,
        "name": symbol,
        "scale": _SCALE,
        "is_fiat": False,
        "is_transfer_enabled": True,
        "transfer_scale": _SCALE,
        "binding_gateways": [gateway],
    }


def ticker(call: Call) -> object:
    """GET /asset_pairs/{asset_pair_name}/ticker."""
    return _ticker(call.listing())


def tickers(call: Call) -> object:
    """GET /asset_pairs/tickers?pair_names=BTC-USDT,ETH-USDT; of all pairs without names."""
    names = call.text("pair_names")
    listings = [call.listing_of(name) for name in names.split(",")] if names else call.desk.venue.listed()
    return [_ticker(listing) for listing in listings]


def _ticker(listing: Listing) -> dict[str, object]:
    day = listing.day()
    return {
        "asset_pair_name": pair_name(listing),
        "bid": _level(listing.bid),
        "ask": _level(listing.ask),
        "open": plain(day.open),
        "high": plain(day.high),
        "low": plain(day.low),
        "close": plain(listing.price),
        "volume": plain(day.volume),
        "daily_change": plain(listing.price - day.open),
    }


def _level(level: Level) -> dict[str, object]:
    return {"price": plain(level.price), "order_count": 1, "quantity": plain(level.quantity)}


def depth(call: Call) -> object:
    """GET /asset_pairs/{asset_pair_name}/depth: best levels first."""
    listing = call.listing()
    book = listing.book(call.limit(50, 200))
    return {"asset_pair_name": pair_name(listing), "bids": _levels(book.bids), "asks": _levels(book.asks)}


def _levels(levels: Iterable[Level]) -> list[dict[str, object]]:
    return [_level(level) for level in levels]


def trades(call: Call) -> object:
    """GET /asset_pairs/{asset_pair_name}/trades: the latest fifty, newest first."""
    return [public_trade(trade) for trade in reversed(list(call.listing().recent)[-50:])]


def public_trade(trade: PublicTrade) -> dict[str, object]:
    """A trade as everybody sees it."""
    time = iso(trade.time_ms)
    return {
        "id": trade.trade_id,
        "price": plain(trade.price),
        "amount": plain(trade.quantity),
        "taker_side": "ASK" if trade.buyer_is_maker else "BID",
        "inserted_at": time,
        "created_at": time,
    }


def candles(call: Call) -> object:
    """GET /asset_pairs/{asset_pair_name}/candles: those that begin before ``time``, newest first."""
    listing, venue = call.listing(), call.desk.venue
    interval = _PERIODS.get(call.text("period"))
    if interval is None:
        raise malformed("period")
    symbol, end_ms = listing.instrument.symbol, min(_time(call), venue.market_ms)
    series = CandleSeries(venue.source, venue.columns[symbol], listing.instrument, listing.level_notional)
    found = series.candles(interval, venue.state.row, call.limit(100, 500), None, end_ms)
    return [_candle(candle) for candle in reversed(found)]


def _time(call: Call) -> int:
    text = call.text("time")
    if not text:
        return call.desk.venue.market_ms
    try:
        # The candle that begins at this moment is not before it.
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000) - 1
    except ValueError:
        raise malformed("time") from None


def _candle(candle: Candle) -> dict[str, object]:
    return {
        "time": iso(candle.start_ms),
        "open": plain(candle.open),
        "high": plain(candle.high),
        "low": plain(candle.low),
        "close": plain(candle.close),
        "volume": plain(candle.volume),
    }


MARKET_ENDPOINTS = (
    Endpoint("GET", "/ping", ping),
    Endpoint("GET", "/assets", assets),
    Endpoint("GET", "/asset_pairs", asset_pairs),
    Endpoint("GET", "/asset_pairs/tickers", tickers),
    Endpoint("GET", "/asset_pairs/{asset_pair_name}/ticker", ticker),
    Endpoint("GET", "/asset_pairs/{asset_pair_name}/depth", depth),
    Endpoint("GET", "/asset_pairs/{asset_pair_name}/trades", trades),
    Endpoint("GET", "/asset_pairs/{asset_pair_name}/candles", candles),
)

"""Public market data: rules, books, trades, candles and tickers. All times are market time but /api/v3/time."""

from collections.abc import Iterable
from decimal import Decimal

from services.simulated_exchange.binance.endpoints import Call, Endpoint
from services.simulated_exchange.binance.errors import BinanceError, from_refusal
from services.simulated_exchange.binance.numbers import DECIMALS, text
from services.simulated_exchange.candles import INTERVALS_MS, Candle, CandleSeries
from services.simulated_exchange.listing import Listing, PublicTrade
from services.simulated_exchange.orders import VenueRefusal
from services.simulated_exchange.venue import Venue
from shared.core.matching import Level, PriceBand
from shared.core.money import MONEY_CONTEXT

_MAX_PRICE = Decimal(10**14)
INTERVALS = INTERVALS_MS.keys() - {"3h"}
"""Kline intervals; BigONE alone has three hours."""
_ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET"]


def decimals(listing: Listing) -> int:
    """Decimals of quantities and prices of a pair: Binance's 8, or more where its steps need them."""
    instrument = listing.instrument
    finest = min(instrument.lot_step.adjusted(), instrument.tick_size.adjusted())
    return max(DECIMALS, -finest)


def found(call: Call, symbol: str) -> Listing:
    """A listed pair (-1121)."""
    try:
        return call.venue.listing(symbol)
    except VenueRefusal as refusal:
        raise from_refusal(refusal) from None


def once_found(call: Call, symbol: str) -> Listing:
    """A pair that is or was listed: own orders and trades outlive it (-1121)."""
    try:
        return call.venue.once_listed(symbol)
    except VenueRefusal as refusal:
        raise from_refusal(refusal) from None


def chosen(call: Call) -> tuple[list[Listing], bool]:
    """The pairs that ``symbol`` or ``symbols`` name (default all), and whether the answer is a single object."""
    names = call.parameters.symbols()
    if names is None:
        return list(call.venue.listed()), False
    return [found(call, name) for name in names], call.parameters.text("symbol") is not None


def ping(_call: Call) -> object:
    """GET /api/v3/ping."""
    return {}


def time(call: Call) -> object:
    """GET /api/v3/time: the wall clock, against which signatures are checked."""
    return {"serverTime": call.clock_ms}


def exchange_info(call: Call) -> object:
    """GET /api/v3/exchangeInfo: pairs appear when they have their first price."""
    listings, _ = chosen(call)
    return {
        "timezone": "UTC",
        "serverTime": call.clock_ms,
        "rateLimits": call.desk.gate.rules.listed(),
        "exchangeFilters": [],
        "symbols": [_symbol_info(listing, call.venue) for listing in listings],
    }


def _symbol_info(listing: Listing, venue: Venue) -> dict[str, object]:
    instrument, places = listing.instrument, decimals(listing)
    return {
        "symbol": instrument.symbol,
        "status": _status(listing, venue),
        "baseAsset": instrument.base,
        "baseAssetPrecision": places,
        "quoteAsset": instrument.quote,
        "quotePrecision": places,
        "quoteAssetPrecision": places,
        "baseCommissionPrecision": DECIMALS,
        "quoteCommissionPrecision": DECIMALS,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(listing, venue.rules.band),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }


def _status(listing: Listing, venue: Venue) -> str:
    if not venue.is_trading(listing.instrument.symbol):
        return "HALT"
    return "TRADING" if listing.instrument.tradable else "BREAK"


def _filters(listing: Listing, band: PriceBand) -> list[dict[str, object]]:
    instrument = listing.instrument
    tick, lot = text(instrument.tick_size), text(instrument.lot_step)
    most = text(instrument.max_quantity)
    return [
        # The price band below is always the tighter bound.
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": text(_MAX_PRICE), "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": text(instrument.min_quantity), "maxQty": most, "stepSize": lot},
        {"filterType": "MARKET_LOT_SIZE", "minQty": text(Decimal(0)), "maxQty": most, "stepSize": text(Decimal(0))},
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": str(band.bid_up),
            "bidMultiplierDown": str(band.bid_down),
            "askMultiplierUp": str(band.ask_up),
            "askMultiplierDown": str(band.ask_down),
            "avgPriceMins": 0,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": text(instrument.min_notional),
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 0,
        },
    ]


def _levels(levels: Iterable[Level]) -> list[list[str]]:
    return [[text(level.price), text(level.quantity)] for level in levels]


def depth(call: Call) -> object:
    """GET /api/v3/depth."""
    listing = found(call, call.parameters.symbol())
    book = listing.book(call.parameters.limit(100, 5000))
    return {"lastUpdateId": listing.update_id, "bids": _levels(book.bids), "asks": _levels(book.asks)}


def trades(call: Call) -> object:
    """GET /api/v3/trades: the latest public trades, oldest first."""
    listing = found(call, call.parameters.symbol())
    return [
        {
            "id": trade.trade_id,
            "price": text(trade.price),
            "qty": text(trade.quantity),
            "quoteQty": text(MONEY_CONTEXT.multiply(trade.price, trade.quantity)),
            "time": trade.time_ms,
            "isBuyerMaker": trade.buyer_is_maker,
            "isBestMatch": True,
        }
        for trade in list(listing.recent)[-call.parameters.limit(500, 1000) :]
    ]


def aggregate_trades(call: Call) -> object:
    """GET /api/v3/aggTrades: every trade is its own aggregate."""
    parameters = call.parameters
    listing = found(call, parameters.symbol())
    first_id = parameters.integer("fromId") or 0
    start, end = parameters.integer("startTime") or 0, parameters.integer("endTime") or 2**53
    limit = parameters.limit(500, 1000)
    kept = [trade for trade in listing.recent if trade.trade_id >= first_id and start <= trade.time_ms <= end]
    return [_aggregate(trade) for trade in (kept[:limit] if first_id or start else kept[-limit:])]


def _aggregate(trade: PublicTrade) -> dict[str, object]:
    return {
        "a": trade.trade_id,
        "p": text(trade.price),
        "q": text(trade.quantity),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.time_ms,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def candle_series(call: Call, listing: Listing) -> CandleSeries:
    """Where the candles of a pair come from."""
    venue, symbol = call.venue, listing.instrument.symbol
    return CandleSeries(venue.source, venue.columns[symbol], listing.instrument, listing.level_notional)


def klines(call: Call) -> object:
    """GET /api/v3/klines."""
    parameters = call.parameters
    listing = found(call, parameters.symbol())
    interval = parameters.required("interval")
    if interval not in INTERVALS:
        raise BinanceError(-1120, "Invalid interval.")
    now = call.venue.market_ms
    end = parameters.integer("endTime")
    candles = candle_series(call, listing).candles(
        interval,
        call.venue.state.row,
        parameters.limit(500, 1000),
        parameters.integer("startTime"),
        now if end is None else min(now, end),
    )
    return [_kline(candle) for candle in candles]


def _kline(candle: Candle) -> list[object]:
    return [
        candle.start_ms,
        text(candle.open),
        text(candle.high),
        text(candle.low),
        text(candle.close),
        text(candle.volume),
        candle.end_ms,
        text(candle.quote_volume),
        candle.trades,
        text(candle.volume / 2),
        text(candle.quote_volume / 2),
        "0",
    ]


def average_price(call: Call) -> object:
    """GET /api/v3/avgPrice: the last price, whatever its age."""
    listing = found(call, call.parameters.symbol())
    return {"mins": 5, "price": text(listing.price), "closeTime": listing.time_ms}


def day_ticker(call: Call) -> object:
    """GET /api/v3/ticker/24hr."""
    listings, single = chosen(call)
    mini = call.parameters.text("type") == "MINI"
    found_tickers = [day_ticker_view(listing, mini=mini) for listing in listings]
    return found_tickers[0] if single else found_tickers


def day_ticker_view(listing: Listing, *, mini: bool = False) -> dict[str, object]:
    """The last 24 hours of a pair; ``mini``: without change and book."""
    day, last = listing.day(), listing.price
    ticker: dict[str, object] = {
        "symbol": listing.instrument.symbol,
        "openPrice": text(day.open),
        "highPrice": text(day.high),
        "lowPrice": text(day.low),
        "lastPrice": text(last),
        "volume": text(day.volume),
        "quoteVolume": text(day.quote_volume),
        "openTime": day.open_ms,
        "closeTime": listing.time_ms,
        "firstId": day.first_id,
        "lastId": listing.recent[-1].trade_id,
        "count": day.trades,
    }
    if not mini:
        change, percent, average = day_change(listing)
        ticker |= {
            "priceChange": text(change),
            "priceChangePercent": percent,
            "weightedAvgPrice": average,
            "prevClosePrice": text(day.open),
            "lastQty": text(listing.last_quantity),
            "bidPrice": text(listing.bid.price),
            "bidQty": text(listing.bid.quantity),
            "askPrice": text(listing.ask.price),
            "askQty": text(listing.ask.quantity),
        }
    return ticker


def day_change(listing: Listing) -> tuple[Decimal, str, str]:
    """Change over 24 hours, in percent (three decimals), and the volume-weighted average price."""
    day = listing.day()
    change = listing.price - day.open
    return change, f"{change / day.open * 100:.3f}", f"{day.quote_volume / day.volume:.8f}"


def price_ticker(call: Call) -> object:
    """GET /api/v3/ticker/price."""
    listings, single = chosen(call)
    prices = [{"symbol": listing.instrument.symbol, "price": text(listing.price)} for listing in listings]
    return prices[0] if single else prices


def book_ticker(call: Call) -> object:
    """GET /api/v3/ticker/bookTicker."""
    listings, single = chosen(call)
    books = [
        {
            "symbol": listing.instrument.symbol,
            "bidPrice": text(listing.bid.price),
            "bidQty": text(listing.bid.quantity),
            "askPrice": text(listing.ask.price),
            "askQty": text(listing.ask.quantity),
        }
        for listing in listings
    ]
    return books[0] if single else books


MARKET_ENDPOINTS = (
    Endpoint("GET", "/api/v3/ping", ping, "ping"),
    Endpoint("GET", "/api/v3/time", time, "time"),
    Endpoint("GET", "/api/v3/exchangeInfo", exchange_info, "exchangeInfo", weight=20),
    Endpoint("GET", "/api/v3/depth", depth, "depth", weight=5),
    Endpoint("GET", "/api/v3/trades", trades, "trades.recent", weight=25),
    Endpoint("GET", "/api/v3/historicalTrades", trades, "trades.historical", weight=25),
    Endpoint("GET", "/api/v3/aggTrades", aggregate_trades, "trades.aggregate", weight=4),
    Endpoint("GET", "/api/v3/klines", klines, "klines", weight=2),
    Endpoint("GET", "/api/v3/uiKlines", klines, "uiKlines", weight=2),
    Endpoint("GET", "/api/v3/avgPrice", average_price, "avgPrice", weight=2),
    Endpoint("GET", "/api/v3/ticker/24hr", day_ticker, "ticker.24hr", weight=2),
    Endpoint("GET", "/api/v3/ticker/price", price_ticker, "ticker.price", weight=2),
    Endpoint("GET", "/api/v3/ticker/bookTicker", book_ticker, "ticker.book", weight=2),
)

"""Binance's dialect as routes over a venue: the one place that ties its parts together."""

from aiohttp import web

from services.simulated_exchange.binance.account import ACCOUNT_ENDPOINTS
from services.simulated_exchange.binance.cancel_replace import CANCEL_REPLACE_ENDPOINTS
from services.simulated_exchange.binance.key_status import KEY_ENDPOINTS
from services.simulated_exchange.binance.market_data import MARKET_ENDPOINTS
from services.simulated_exchange.binance.market_streams import MarketStreams
from services.simulated_exchange.binance.rest import rest_routes
from services.simulated_exchange.binance.tickers import TICKER_ENDPOINTS
from services.simulated_exchange.binance.trading import TRADING_ENDPOINTS
from services.simulated_exchange.binance.user_streams import UserStreams
from services.simulated_exchange.binance.websocket import stream_routes
from services.simulated_exchange.binance.ws_api import ws_api_routes
from services.simulated_exchange.desk import Desk
from services.simulated_exchange.faults.events import FaultyEvents

ENDPOINTS = (
    *MARKET_ENDPOINTS,
    *TICKER_ENDPOINTS,
    *TRADING_ENDPOINTS,
    *CANCEL_REPLACE_ENDPOINTS,
    *ACCOUNT_ENDPOINTS,
    *KEY_ENDPOINTS,
)


def binance_routes(desk: Desk) -> list[web.RouteDef]:
    """All routes of the dialect; its streams listen to the venue from now on."""
    market, users = MarketStreams(desk.venue), UserStreams(desk.venue)
    # Market data first: a client learns of the row before it learns of its own fills at that row.
    desk.venue.listen(market.tell)
    desk.venue.listen(FaultyEvents(desk.faults, users.tell).tell)
    return [*rest_routes(desk, ENDPOINTS), *stream_routes(market, users), *ws_api_routes(desk, ENDPOINTS, users)]

"""BigONE's dialect as routes over a venue: the one place that ties its parts together."""

from aiohttp import web

from services.simulated_exchange.bigone.account import ACCOUNT_ENDPOINTS
from services.simulated_exchange.bigone.calls import Endpoint, rest_routes
from services.simulated_exchange.bigone.market_data import MARKET_ENDPOINTS
from services.simulated_exchange.bigone.pusher import Pusher
from services.simulated_exchange.bigone.trading import Trading
from services.simulated_exchange.binance.rest import reply
from services.simulated_exchange.desk import Desk
from services.simulated_exchange.faults.events import FaultyEvents


def bigone_routes(desk: Desk, *, buys_by_cost: bool) -> list[web.RouteDef]:
    """All routes of the dialect; its pusher listens to the venue from now on."""
    pusher = Pusher(desk)
    desk.venue.listen(pusher.tell_markets)
    desk.venue.listen(FaultyEvents(desk.faults, pusher.tell_viewers).tell)
    endpoints: tuple[Endpoint, ...] = (*MARKET_ENDPOINTS, *Trading(buys_by_cost=buys_by_cost).endpoints())
    routes = rest_routes(desk, (*endpoints, *ACCOUNT_ENDPOINTS))
    # The path that ccxt makes of its "web exchange" address and this endpoint has two strokes.
    (assets,) = (route for route in routes if route.path == "/api/v3/assets")
    doubled = web.get("/api//v3/assets", assets.handler)
    return [*routes, doubled, web.get("/api/contract/v2/symbols", _no_contracts), *pusher.routes()]


async def _no_contracts(_request: web.Request) -> web.StreamResponse:
    """GET /api/contract/v2/symbols: spot only."""
    return reply([])

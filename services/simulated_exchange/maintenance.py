"""Maintenance: every request of a client is refused, over any dialect."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.simulated_exchange.binance.account import STATUS_PATH
from services.simulated_exchange.binance.errors import UNDER_MAINTENANCE
from services.simulated_exchange.binance.rest import reply
from services.simulated_exchange.venue import Venue

_ALWAYS_ANSWERED = ("/control", "/healthz", STATUS_PATH)


def maintained(venue: Venue) -> Middleware:
    """Middleware: 503 while the venue is under maintenance; sockets that are open stay so."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if venue.conditions.maintenance and not request.path.startswith(_ALWAYS_ANSWERED):
            return reply(UNDER_MAINTENANCE.body(), status=UNDER_MAINTENANCE.status)
        return await handler(request)

    return guard

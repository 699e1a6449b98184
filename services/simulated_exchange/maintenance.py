"""Maintenance: every request of a client is refused, over any dialect."""

from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.simulated_exchange.binance.account import STATUS_PATH
from services.simulated_exchange.binance.rest import reply
from services.simulated_exchange.venue import Venue

_ALWAYS_ANSWERED = ("/control", "/healthz", STATUS_PATH)


def maintained(venue: Venue, body: Mapping[str, object]) -> Middleware:
    """Middleware: 503 with ``body`` while the venue is under maintenance; sockets that are open stay so."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if venue.conditions.maintenance and not request.path.startswith(_ALWAYS_ANSWERED):
            return reply(body, status=503)
        return await handler(request)

    return guard

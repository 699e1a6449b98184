"""The REST side: routes made from the table of endpoints, weights in headers, errors in Binance's form."""

import time
from collections.abc import Sequence
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from services.simulated_exchange.binance.endpoints import Call, Endpoint
from services.simulated_exchange.binance.errors import BinanceError
from services.simulated_exchange.binance.parameters import Parameters
from services.simulated_exchange.binance.rate_gate import RateGate, RateLimitedError, RateRules
from services.simulated_exchange.binance.signing import authorise, rest_payload
from services.simulated_exchange.venue import Venue


def wall_ms() -> int:
    """The wall clock in milliseconds: for signatures and /api/v3/time only."""
    return time.time_ns() // 1_000_000


def rest_routes(venue: Venue, endpoints: Sequence[Endpoint], gate: RateGate) -> list[web.RouteDef]:
    """A route per endpoint."""
    return [web.route(endpoint.method, endpoint.path, _handler(venue, endpoint, gate)) for endpoint in endpoints]


def _handler(venue: Venue, endpoint: Endpoint, gate: RateGate) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        raw_body = await _body(request)
        now = wall_ms()
        address = request.remote or ""
        headers: dict[str, str] = {}
        answer: object
        try:
            gate.admit(address, endpoint.weight, now)
            if endpoint.is_order:
                headers |= gate.admit_order(address, request.headers.get("X-MBX-APIKEY", ""), now)
            answer, status = _answer(venue, endpoint, request, raw_body, now, gate.rules), 200
        except RateLimitedError as limited:
            answer, status = limited.body(), limited.status
            headers |= {"Retry-After": str(limited.retry_after_s)}
        except BinanceError as error:
            answer, status = error.body(), error.status
        used = str(gate.weight_used(address, now))
        headers |= {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
        return reply(answer, status=status, headers=headers)

    return handle


async def _body(request: web.Request) -> str:
    """The raw form body; empty for anything else that may come along."""
    if not request.can_read_body:
        return ""
    raw = await request.read()
    return raw.decode("utf-8", "replace")


def _answer(
    venue: Venue, endpoint: Endpoint, request: web.Request, raw_body: str, now: int, rates: RateRules
) -> object:
    raw_query = request.rel_url.raw_query_string
    # Sent twice, the query wins (Binance spot documents, "General information on endpoints").
    values = dict(parse_qsl(raw_body, keep_blank_values=True)) | dict(parse_qsl(raw_query, keep_blank_values=True))
    parameters = Parameters(values)
    payload = rest_payload(raw_query, raw_body)
    key = request.headers.get("X-MBX-APIKEY")
    account = authorise(venue, endpoint.security, key, parameters, payload, now)
    return endpoint.answer(Call(venue, parameters, now, account, rates))


def reply(answer: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON reply."""
    return web.Response(
        body=orjson.dumps(answer), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )

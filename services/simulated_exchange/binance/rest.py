"""The REST side: routes made from the table of endpoints, weights in headers, errors in Binance's form."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from services.simulated_exchange.binance.endpoints import Call, Endpoint
from services.simulated_exchange.binance.errors import BinanceError
from services.simulated_exchange.binance.parameters import Parameters
from services.simulated_exchange.binance.rate_gate import RateLimitedError
from services.simulated_exchange.binance.signing import authorise, rest_payload
from services.simulated_exchange.desk import Desk, wall_ms


def rest_routes(desk: Desk, endpoints: Sequence[Endpoint]) -> list[web.RouteDef]:
    """A route per endpoint."""
    return [web.route(endpoint.method, endpoint.path, _handler(desk, endpoint)) for endpoint in endpoints]


def _handler(desk: Desk, endpoint: Endpoint) -> Handler:
    gate = desk.gate

    async def handle(request: web.Request) -> web.StreamResponse:
        raw_body = (await request.read()).decode("utf-8", "replace")
        now = wall_ms()
        address = request.remote or ""
        headers: dict[str, str] = {}
        answer: object
        try:
            gate.admit(address, endpoint.weight, now)
            if endpoint.is_order:
                headers |= gate.admit_order(address, request.headers.get("X-MBX-APIKEY", ""), now)
            answer, status = _answer(desk, endpoint, request, raw_body), 200
        except RateLimitedError as limited:
            answer, status = limited.body(), limited.status
            headers |= {"Retry-After": str(limited.retry_after_s)}
        except BinanceError as error:
            answer, status = error.body(), error.status
        used = str(gate.weight_used(address, now))
        headers |= {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
        return reply(answer, status=status, headers=headers)

    return handle


def _answer(desk: Desk, endpoint: Endpoint, request: web.Request, raw_body: str) -> object:
    raw_query = request.rel_url.raw_query_string
    # Sent twice, the query wins (Binance spot documents, "General information on endpoints").
    values = dict(parse_qsl(raw_body, keep_blank_values=True)) | dict(parse_qsl(raw_query, keep_blank_values=True))
    parameters = Parameters(values)
    payload = rest_payload(raw_query, raw_body)
    key = request.headers.get("X-MBX-APIKEY")
    now = desk.clock_ms()
    account = authorise(desk.venue, endpoint.security, key, parameters, payload, now)
    return endpoint.answer(Call(desk, parameters, now, account))


def reply(answer: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON reply."""
    return web.Response(
        body=orjson.dumps(answer), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )

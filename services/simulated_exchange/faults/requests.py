"""Faults around requests over HTTP: one middleware, whatever the dialect."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.simulated_exchange.faults.cutting import cut
from services.simulated_exchange.faults.plan import Fault, FaultPlan, RequestFacts
from services.simulated_exchange.faults.rules import Kind

ErrorBody = Callable[[int, str], Mapping[str, object]]
"""An error in the words of a dialect, from code and message."""

GATEWAY_PAGE = b"<html>\r\n<head><title>Service Unavailable</title></head>\r\n<body></body>\r\n</html>\r\n"
GARBAGE = b'\x1f\x8b{"orderId": nul'
_OWN_PATHS = ("/control", "/healthz")
_SIDES = {"BID": "BUY", "ASK": "SELL"}
HELD_S = 120.0
"""How long a connection is held that gets no answer: longer than any client waits."""


def faulty_requests(plan: FaultPlan, error_body: ErrorBody) -> Middleware:
    """The middleware. Beside control and the process's own end it is the outermost: it acts on finished answers."""

    @web.middleware
    async def inject(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(_OWN_PATHS):
            return await handler(request)
        fault = plan.draw(await _facts(request))
        if fault is None:
            return await handler(request)
        return await _suffer(fault, request, handler, error_body)

    return inject


async def _suffer(fault: Fault, request: web.Request, handler: Handler, error_body: ErrorBody) -> web.StreamResponse:
    rule = fault.rule
    if rule.kind is Kind.LOST_REQUEST:
        return await _no_answer(fault, request)
    if rule.kind is Kind.ERROR_BEFORE:
        return _error(fault, error_body)
    if rule.kind is Kind.LATE_REQUEST:
        await asyncio.sleep(rule.delay_ms / 1000)
        return await handler(request)
    answer = await handler(request)
    if rule.kind is Kind.LOST_REPLY:
        return await _no_answer(fault, request)
    if rule.kind is Kind.LATE_REPLY:
        await asyncio.sleep(rule.delay_ms / 1000)
        return answer
    if rule.kind is Kind.GARBAGE:
        return web.Response(body=GARBAGE, content_type="application/json")
    if rule.kind is Kind.RESET:
        _cut_short(fault, request, answer)
        return answer
    return _error(fault, error_body)


async def _no_answer(fault: Fault, request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None and fault.rule.ending == "hang":
        await asyncio.sleep(HELD_S)
    if transport is not None:
        transport.close()
    return web.Response()


def _error(fault: Fault, error_body: ErrorBody) -> web.Response:
    status, code, message = fault.rule.error()
    wait_s = fault.rule.retry_after_s
    headers = {"Retry-After": str(wait_s)} if wait_s is not None else None
    if code is None:
        return web.Response(body=GATEWAY_PAGE, status=status, headers=headers, content_type="text/html")
    body = orjson.dumps(error_body(code, message))
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _cut_short(fault: Fault, request: web.Request, answer: web.StreamResponse) -> None:
    """Write the first bytes of an answer and reset the connection; what the caller then returns goes nowhere."""
    transport = request.transport
    if transport is None or not isinstance(answer, web.Response):
        return
    body = answer.body if isinstance(answer.body, bytes) else b""
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n"
    head += f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    whole = head.encode() + body
    at = fault.rule.bytes
    cut(transport, whole[: int(fault.draw * len(whole)) if at is None else at])


async def _facts(request: web.Request) -> RequestFacts:
    opens_socket = request.headers.get("Upgrade", "").lower() == "websocket"
    # What has been read stays with the request: its handler finds it there.
    raw = "" if opens_socket else (await request.read()).decode("utf-8", "replace")
    values = _values(raw) | dict(parse_qsl(request.rel_url.raw_query_string))
    return facts_of(request.method, request.path, values, opens_socket=opens_socket)


def facts_of(method: str, path: str, values: Mapping[str, Any], *, opens_socket: bool = False) -> RequestFacts:
    """A call with the symbol, side and client order id that its parameters name, in whichever dialect's words."""
    symbol = str(values.get("symbol") or values.get("asset_pair_name") or "").replace("-", "")
    side = str(values.get("side") or "").upper()
    ids = ("newClientOrderId", "origClientOrderId", "client_order_id")
    client_order_id = next((str(values[name]) for name in ids if values.get(name)), "")
    return RequestFacts(method, path, symbol, _SIDES.get(side, side), client_order_id, opens_socket)


def _values(raw: str) -> dict[str, Any]:
    if raw.startswith("{"):
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return {}
        return body if isinstance(body, dict) else {}
    return dict(parse_qsl(raw))

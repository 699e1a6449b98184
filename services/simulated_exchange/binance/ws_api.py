"""The websocket API, /ws-api/v3: the endpoints of REST as requests, and subscriptions to user data."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from services.simulated_exchange.binance.connection import Connection, open_socket
from services.simulated_exchange.binance.endpoints import Call, Endpoint, Security
from services.simulated_exchange.binance.errors import UNDER_MAINTENANCE, BinanceError
from services.simulated_exchange.binance.parameters import Parameters
from services.simulated_exchange.binance.rate_gate import RateLimitedError
from services.simulated_exchange.binance.signing import authorise, ws_payload
from services.simulated_exchange.binance.user_streams import UserStreams
from services.simulated_exchange.binance.websocket import converse
from services.simulated_exchange.desk import Desk, wall_ms
from services.simulated_exchange.faults.plan import Fault
from services.simulated_exchange.faults.requests import facts_of
from services.simulated_exchange.faults.sockets import suffer

SUBSCRIBE, UNSUBSCRIBE = "userDataStream.subscribe.signature", "userDataStream.unsubscribe"
_SUBSCRIBE_WEIGHT = 2
_UNKNOWN, _UNKNOWN_TEXT = -1000, "An unknown error occurred while processing the request."


class _Number(str):
    """A JSON number as it was written: signatures are over the text, so it must not be normalised."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Api:
    """What all connections share: the desk, endpoints by method name, user streams."""

    desk: Desk
    methods: Mapping[str, Endpoint]
    users: UserStreams


@dataclass(frozen=True, slots=True)
class _Request:
    request_id: object
    method: str
    values: dict[str, str]


class ApiRequests:
    """Requests of one websocket API connection from ``address``."""

    def __init__(self, api: Api, connection: Connection, address: str) -> None:
        self._api = api
        self._connection = connection
        self._address = address
        self._next_subscription = 0

    def receive(self, text: str) -> None:
        """Answer one request; events that it causes may come before its answer."""
        try:
            request = _Request(*_read(text))
        except BinanceError as error:
            self._connection.send(self._refuse(_Request(None, "", {}), error))
            return
        endpoint = self._api.methods.get(request.method)
        facts = facts_of(endpoint.method, endpoint.path, request.values) if endpoint else None
        fault = self._api.desk.faults.draw(facts) if facts else None
        if fault is None:
            self._connection.send(self._answer(request))
            return

        def error_of(fault: Fault) -> bytes:
            status, code, message = fault.rule.error()
            return self._refuse(request, BinanceError(code or _UNKNOWN, message or _UNKNOWN_TEXT, status))

        suffer(fault, self._connection, lambda: self._answer(request), error_of)

    def _answer(self, request: _Request) -> bytes:
        now = wall_ms()
        try:
            result = self._perform(request.method, request.values, now)
        except BinanceError as error:
            return self._refuse(request, error)
        return self._message(request, {"id": request.request_id, "status": 200, "result": result}, now)

    def _refuse(self, request: _Request, error: BinanceError) -> bytes:
        now = wall_ms()
        answer = {"id": request.request_id, "status": error.status, "error": _error(error, now)}
        return self._message(request, answer, now)

    def _message(self, request: _Request, answer: dict[str, object], now: int) -> bytes:
        if request.values.get("returnRateLimits") != "false":
            used = self._api.desk.gate.weight_used(self._address, now)
            answer["rateLimits"] = [self._api.desk.gate.rules.listed()[0] | {"count": used}]
        return orjson.dumps(answer)

    def _perform(self, method: str, values: dict[str, str], now: int) -> object:
        if self._api.desk.venue.conditions.maintenance:
            raise UNDER_MAINTENANCE
        parameters = Parameters(values)
        endpoint = self._api.methods.get(method)
        security = endpoint.security if endpoint else Security.SIGNED
        if endpoint is None and method not in {SUBSCRIBE, UNSUBSCRIBE}:
            raise BinanceError(-1000, f"Unknown method '{method[:64]}'.")
        self._api.desk.gate.admit(self._address, endpoint.weight if endpoint else _SUBSCRIBE_WEIGHT, now)
        if method == UNSUBSCRIBE:
            self._api.users.unsubscribe(self._connection, parameters.integer("subscriptionId"))
            return {}
        key = values.get("apiKey")
        clock = self._api.desk.clock_ms()
        account = authorise(self._api.desk.venue, security, key, parameters, ws_payload(values), clock)
        if endpoint is not None:
            if endpoint.is_order:
                self._api.desk.gate.admit_order(self._address, key or "", now)
            return endpoint.answer(Call(self._api.desk, parameters, clock, account))
        assert account is not None  # noqa: S101 - SIGNED always yields one
        subscription = self._next_subscription
        self._next_subscription += 1
        self._api.users.subscribe(self._connection, account, subscription)
        return {"subscriptionId": subscription}


def ws_api_routes(desk: Desk, endpoints: Sequence[Endpoint], users: UserStreams) -> list[web.RouteDef]:
    """The route of the websocket API."""
    methods = {endpoint.ws_method: endpoint for endpoint in endpoints if endpoint.ws_method}
    api = Api(desk, methods, users)

    async def serve(request: web.Request) -> web.StreamResponse:
        socket, connection = await open_socket(request, combined=False)
        try:
            await converse(socket, ApiRequests(api, connection, request.remote or "").receive)
        finally:
            users.unsubscribe(connection, None)
        return socket

    return [web.get("/ws-api/v3", serve)]


def _error(error: BinanceError, now: int) -> dict[str, object]:
    """The body of an error; one for asking too much says when to come back."""
    if not isinstance(error, RateLimitedError):
        return error.body()
    return error.body() | {"data": {"serverTime": now, "retryAfter": now + 1000 * error.retry_after_s}}


def _read(text: str) -> tuple[object, str, dict[str, str]]:
    """Id, method and parameters (as text) of a request. Raises BinanceError -1135 for anything else."""
    try:
        orjson.loads(text)  # stricter than json: nothing may come in that could not go out again
        request: Any = json.loads(text, parse_int=_Number, parse_float=_Number)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise BinanceError(-1135, "Invalid JSON Request")
    method, params = request.get("method"), request.get("params", {})
    params = {} if params is None else params
    if not isinstance(method, str) or isinstance(method, _Number) or not isinstance(params, dict):
        raise BinanceError(-1135, "Invalid 'method' or 'params' in JSON request")
    raw_id = request.get("id")
    request_id: object = raw_id
    if isinstance(raw_id, _Number):
        request_id = int(raw_id) if re.fullmatch(r"-?[0-9]{1,18}", raw_id) else raw_id
    if isinstance(request_id, bool | _Number) or not isinstance(request_id, int | str | None):
        raise BinanceError(-1135, "Invalid 'id' in JSON request")
    return request_id, method, {str(name): _text(value) for name, value in params.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value).decode()

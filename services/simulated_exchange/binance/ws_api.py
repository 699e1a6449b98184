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
from services.simulated_exchange.binance.errors import BinanceError
from services.simulated_exchange.binance.parameters import Parameters
from services.simulated_exchange.binance.rate_gate import RateGate, RateLimitedError
from services.simulated_exchange.binance.rest import wall_ms
from services.simulated_exchange.binance.signing import authorise, ws_payload
from services.simulated_exchange.binance.user_streams import UserStreams
from services.simulated_exchange.binance.websocket import converse
from services.simulated_exchange.venue import Venue

SUBSCRIBE, UNSUBSCRIBE = "userDataStream.subscribe.signature", "userDataStream.unsubscribe"
_SUBSCRIBE_WEIGHT = 2


class _Number(str):
    """A JSON number as it was written: signatures are over the text, so it must not be normalised."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Api:
    """What all connections share: the venue, endpoints by method name, user streams and the rate gate."""

    venue: Venue
    methods: Mapping[str, Endpoint]
    users: UserStreams
    gate: RateGate


class ApiRequests:
    """Requests of one websocket API connection from ``address``."""

    def __init__(self, api: Api, connection: Connection, address: str) -> None:
        self._api = api
        self._connection = connection
        self._address = address
        self._next_subscription = 0

    def receive(self, text: str) -> None:
        """Answer one request; events that it causes may come before its answer."""
        request_id: object = None
        now = wall_ms()
        values: dict[str, str] = {}
        try:
            request_id, method, values = _read(text)
            result = self._perform(method, values, now)
            answer: dict[str, object] = {"id": request_id, "status": 200, "result": result}
        except BinanceError as error:
            answer = {"id": request_id, "status": error.status, "error": _error(error, now)}
        if values.get("returnRateLimits") != "false":
            used = self._api.gate.weight_used(self._address, now)
            answer["rateLimits"] = [self._api.gate.rules.listed()[0] | {"count": used}]
        self._connection.send(orjson.dumps(answer))

    def _perform(self, method: str, values: dict[str, str], now: int) -> object:
        parameters = Parameters(values)
        endpoint = self._api.methods.get(method)
        security = endpoint.security if endpoint else Security.SIGNED
        if endpoint is None and method not in {SUBSCRIBE, UNSUBSCRIBE}:
            raise BinanceError(-1000, f"Unknown method '{method[:64]}'.")
        self._api.gate.admit(self._address, endpoint.weight if endpoint else _SUBSCRIBE_WEIGHT, now)
        if method == UNSUBSCRIBE:
            self._api.users.unsubscribe(self._connection, parameters.integer("subscriptionId"))
            return {}
        key = values.get("apiKey")
        account = authorise(self._api.venue, security, key, parameters, ws_payload(values), now)
        if endpoint is not None:
            if endpoint.is_order:
                self._api.gate.admit_order(self._address, key or "", now)
            return endpoint.answer(Call(self._api.venue, parameters, now, account, self._api.gate.rules))
        assert account is not None  # noqa: S101 - SIGNED always yields one
        subscription = self._next_subscription
        self._next_subscription += 1
        self._api.users.subscribe(self._connection, account, subscription)
        return {"subscriptionId": subscription}


def ws_api_routes(
    venue: Venue, endpoints: Sequence[Endpoint], users: UserStreams, gate: RateGate
) -> list[web.RouteDef]:
    """The route of the websocket API."""
    methods = {endpoint.ws_method: endpoint for endpoint in endpoints if endpoint.ws_method}
    api = Api(venue, methods, users, gate)

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

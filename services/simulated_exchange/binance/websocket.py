"""Websocket endpoints of market streams: /ws, /ws/<streams or anything>, /stream?streams=a/b, and listen keys."""

from collections.abc import Callable

import orjson
from aiohttp import WSMsgType, web

from services.simulated_exchange.binance.connection import Connection, KeepAlive, open_socket
from services.simulated_exchange.binance.market_streams import MAX_STREAMS, MarketStreams
from services.simulated_exchange.binance.user_streams import UserStreams

Receive = Callable[[str], None]


async def converse(socket: web.WebSocketResponse, receive: Receive) -> None:
    """Hand every text of a client to ``receive`` until it leaves; pings and pongs are looked after."""
    async with KeepAlive(socket) as keep_alive:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                receive(message.data)
            elif message.type in {WSMsgType.PING, WSMsgType.PONG}:
                await keep_alive.control(message.type, message.data)


class StreamRequests:
    """Requests of one client on a stream connection: SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, properties."""

    def __init__(self, connection: Connection, market: MarketStreams, users: UserStreams) -> None:
        self._connection = connection
        self._market = market
        self._users = users

    def subscribe(self, names: list[str]) -> None:
        """Streams and listen keys by name."""
        self._market.subscribe(
            self._connection, [name for name in names if not self._users.subscribe_key(self._connection, name)]
        )

    def receive(self, text: str) -> None:
        """Answer one request."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            self._fail(None, 3, f"Invalid JSON: {error}")
            return
        if not isinstance(request, dict):
            self._fail(None, 2, "Invalid request: request must be an object")
            return
        request_id, method, params = request.get("id"), request.get("method"), request.get("params") or []
        if not isinstance(request_id, int | str | None) or isinstance(request_id, bool):
            self._fail(None, 2, "Invalid request: id must be an integer or a string")
        elif not isinstance(params, list):
            self._fail(request_id, 2, "Invalid request: params must be an array")
        else:
            self._do(request_id, method, params)

    def _do(self, request_id: int | str | None, method: object, params: list[object]) -> None:
        names = [name for name in params if isinstance(name, str)]
        if method in {"SUBSCRIBE", "UNSUBSCRIBE"} and len(names) != len(params):
            self._fail(request_id, 2, "Invalid request: stream names must be strings")
        elif method == "SUBSCRIBE":
            if len(self._connection.streams.keys() | set(names)) > MAX_STREAMS:
                self._fail(request_id, 2, f"Invalid request: at most {MAX_STREAMS} streams")
                return
            self._answer(request_id, None)
            self.subscribe(names)
        elif method == "UNSUBSCRIBE":
            self._market.unsubscribe(self._connection, names)
            self._answer(request_id, None)
        elif method == "LIST_SUBSCRIPTIONS":
            self._answer(request_id, list(self._connection.streams))
        elif method == "SET_PROPERTY" and params[:1] == ["combined"] and isinstance(params[-1], bool):
            self._connection.combined = params[-1]
            self._answer(request_id, None)
        elif method == "GET_PROPERTY" and params == ["combined"]:
            self._answer(request_id, self._connection.combined)
        else:
            self._fail(request_id, 2, f"Invalid request: unknown method or property {str(method)[:40]!r}")

    def _answer(self, request_id: int | str | None, result: object) -> None:
        self._connection.send(orjson.dumps({"result": result, "id": request_id}))

    def _fail(self, request_id: int | str | None, code: int, message: str) -> None:
        self._connection.send(orjson.dumps({"error": {"code": code, "msg": message}, "id": request_id}))


def stream_routes(market: MarketStreams, users: UserStreams) -> list[web.RouteDef]:
    """Routes of the stream endpoints."""

    async def serve(request: web.Request, names: list[str], *, combined: bool) -> web.StreamResponse:
        socket, connection = await open_socket(request, combined=combined)
        requests = StreamRequests(connection, market, users)
        try:
            requests.subscribe(names[:MAX_STREAMS])
            await converse(socket, requests.receive)
        finally:
            market.drop(connection)
            users.unsubscribe(connection, None)
        return socket

    async def raw(request: web.Request) -> web.StreamResponse:
        # Some clients number their connections, as in /ws/2: a name without "@" is a listen key or nothing.
        return await serve(request, _names(request.match_info.get("names", "")), combined=False)

    async def combined(request: web.Request) -> web.StreamResponse:
        return await serve(request, _names(request.query.get("streams", "")), combined=True)

    return [web.get("/ws", raw), web.get("/ws/{names:.*}", raw), web.get("/stream", combined)]


def _names(text: str) -> list[str]:
    return [name for name in text.split("/") if name and not name.isdigit()]

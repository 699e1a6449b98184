"""A venue on loopback that speaks Binance's market streams and does what a test tells it."""

import asyncio
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response


async def eventually(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Return as soon as ``condition`` holds; fail after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        await asyncio.sleep(0.005)


def quote(symbol: str, bid: str, ask: str, number: int = 0) -> str:
    """A bookTicker message."""
    data = {"u": number, "s": symbol, "b": bid, "B": "1", "a": ask, "A": "1"}
    return json.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data})


def clock(symbol: str, at_ms: int, last: str = "") -> str:
    """A miniTicker message."""
    data = {"e": "24hrMiniTicker", "E": at_ms, "s": symbol, "c": last}
    return json.dumps({"stream": f"{symbol.lower()}@miniTicker", "data": data})


class Visitor:
    """One connection to the venue: what it asked for and is subscribed to."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.requests: list[dict[str, object]] = []
        self.streams: set[str] = set()

    async def tell(self, message: str) -> None:
        """Send one message, whatever it is."""
        await self.socket.send(message)

    def cut(self) -> None:
        """Reset the connection without a goodbye."""
        self.socket.transport.abort()


class ScriptedVenue:
    """``visitors`` are all connections so far, ``paths`` what each connection asked for.

    ``refuse_with``: the HTTP status that new connections get (with ``retry_after``); ``mute``: requests are not
    answered; ``error``: requests are answered with this error.
    """

    def __init__(self) -> None:
        self.visitors: list[Visitor] = []
        self.refuse_with: HTTPStatus | None = None
        self.retry_after = ""
        self.mute = False
        self.error: dict[str, object] | None = None
        self.paths: list[str] = []
        self._server: Server | None = None
        self.url = ""

    async def __aenter__(self) -> "ScriptedVenue":
        self._server = await serve(
            self._visit, "127.0.0.1", 0, process_request=self._admit, ping_interval=None, close_timeout=0.2
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def present(self) -> list[Visitor]:
        """The connections that are open now."""
        return [visitor for visitor in self.visitors if visitor.socket.state.name == "OPEN"]

    async def tell(self, message: str) -> None:
        """Send to every open connection that is subscribed to the message's stream."""
        stream = json.loads(message)["stream"]
        for visitor in self.present:
            if stream in visitor.streams:
                await visitor.tell(message)

    def _admit(self, _socket: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        if self.refuse_with is None:
            return None
        response = _socket.respond(self.refuse_with, "no\n")
        if self.retry_after:
            response.headers["Retry-After"] = self.retry_after
        return response

    async def _visit(self, socket: ServerConnection) -> None:
        visitor = Visitor(socket)
        self.visitors.append(visitor)
        async for text in socket:
            request = json.loads(text)
            visitor.requests.append(request)
            if self.mute:
                continue
            if self.error is not None:
                await socket.send(json.dumps({"error": self.error, "id": request["id"]}))
                continue
            change = visitor.streams.update if request["method"] == "SUBSCRIBE" else visitor.streams.difference_update
            change(request["params"])
            await socket.send(json.dumps({"result": None, "id": request["id"]}))

"""Ways that can be closed: to the venue, and to the database."""

import asyncio
from contextlib import suppress

from aiohttp import web

from tests.services.order_executor.faulty_way import FaultyWay

_NO_SUCH_ORDER = '{"code": -2013, "msg": "Order does not exist."}'
_SKEWED = '{"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}'


class Way(FaultyWay):
    """The way to the venue. ``is_dark``: every request is answered with 503. ``forgets_names``: no order is found by
    its client order id. One more fault of orders: "skewed" (the clock is said to be wrong).
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.is_dark = False
        self.forgets_names = False

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if self.is_dark:
            return web.Response(status=503, text="Service Unavailable")
        if self.forgets_names and request.method == "GET" and "origClientOrderId" in request.query_string:
            return web.Response(status=400, text=_NO_SUCH_ORDER, content_type="application/json")
        return await super()._pass(request)

    async def _order(self, request: web.Request, body: bytes, fault: str) -> web.StreamResponse:
        if fault == "skewed":
            return web.Response(status=400, text=_SKEWED, content_type="application/json")
        return await super()._order(request, body, fault)


class Gate:
    """A way to a TCP server on loopback; closed, it cuts what goes through it and lets nobody in."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        self._writers -= {writer, back}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

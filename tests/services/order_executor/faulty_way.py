"""A proxy to the venue that loses, delays, breaks and garbles the requests and replies of orders."""

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp import web

_ERRORS_AFTER = {
    "5xx_after": (504, '{"code": -1007, "msg": "Timeout waiting for response"}'),
    "refused_after": (400, '{"code": -2010, "msg": "Account has insufficient balance."}'),
}


class FaultyWay:
    """HTTP to the venue through a proxy; ``fault`` decides what becomes of the next POSTs of an order.

    Faults: "lost_request", "lost_reply", "late_reply", "late_request", "5xx_before", "5xx_after", "garbage", "reset",
    "refused_after" (done, and a refusal is answered), "busy" (429, for a second).
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.faults: list[str] = []
        self.on_order: Callable[[str], None] = lambda _moment: None
        self.orders_seen: list[str] = []

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        is_order = request.method == "POST" and request.path == "/api/v3/order"
        if not is_order:
            status, text = await self._forward(request, body)
            return web.Response(status=status, text=text, content_type="application/json")
        self.orders_seen.append(body.decode())
        self.on_order("before")
        return await self._order(request, body, self.faults.pop(0) if self.faults else "")

    async def _order(self, request: web.Request, body: bytes, fault: str) -> web.StreamResponse:
        if fault == "lost_request":
            return await self._silence(request)
        if fault == "5xx_before":
            return web.Response(status=503, text="Service Unavailable")
        if fault == "busy":
            return web.Response(status=429, text='{"code": -1003, "msg": "busy"}', headers={"Retry-After": "1"})
        if fault == "late_request":
            asyncio.get_running_loop().create_task(self._forward_late(request, body))
            return await self._silence(request)
        status, text = await self._forward(request, body)
        self.on_order("after")
        if fault == "lost_reply":
            return await self._silence(request)
        if fault == "late_reply":
            await asyncio.sleep(0.6)
        if fault in _ERRORS_AFTER:
            status, text = _ERRORS_AFTER[fault]
            return web.Response(status=status, text=text)
        if fault == "garbage":
            return web.Response(status=200, text=text[: len(text) // 2], content_type="application/json")
        if fault == "reset" and request.transport is not None:  # None: the client has gone already
            request.transport.abort()
        return web.Response(status=status, text=text, content_type="application/json")

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.0)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, str]:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name in {"X-MBX-APIKEY", "Content-Type"}}
        url = self._target + request.raw_path
        async with self._session.request(request.method, url, data=body, headers=headers) as reply:
            return reply.status, await reply.text()

    async def _forward_late(self, request: web.Request, body: bytes) -> None:
        await asyncio.sleep(0.8)
        await self._forward(request, body)

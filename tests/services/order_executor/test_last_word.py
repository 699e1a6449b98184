"""The guard of an order has the last word: it is asked when the request is written, not when it is made."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from services.order_executor.adapters.last_word import AskingRequest, asked_before_writing
from shared.venues.port import NotSent
from tests.services.price_feed.scripted_venue import eventually


class _Slow:
    """A server that answers when it is let."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.arrived.set()
        await self.may_answer.wait()
        return web.Response()


@asynccontextmanager
async def _serving(connections: int) -> AsyncIterator[tuple[_Slow, aiohttp.ClientSession, str]]:
    slow = _Slow()
    application = web.Application()
    application.router.add_route("*", "/{path}", slow.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with _session(connections) as session:
            yield slow, session, f"http://127.0.0.1:{port}"
    finally:
        slow.may_answer.set()
        await runner.cleanup()


def _session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), request_class=AskingRequest)


async def _post(session: aiohttp.ClientSession, url: str, body: str = "a=1") -> int:
    async with session.post(url, data=body) as response:
        return response.status


async def test_request_when_the_guard_changes_its_mind_while_it_waits_for_a_connection_is_not_written() -> None:
    reasons: list[str | None] = [None]

    async def guarded(url: str) -> int:
        with asked_before_writing(lambda: reasons[-1]):
            return await _post(session, url)

    async with _serving(connections=1) as (slow, session, root):
        first = asyncio.create_task(_post(session, f"{root}/first"))
        await slow.arrived.wait()
        second = asyncio.create_task(guarded(f"{root}/second"))
        connector = session.connector
        assert connector is not None
        await eventually(lambda: connector._waiters)
        reasons.append("halted")
        slow.may_answer.set()
        with pytest.raises(NotSent, match="halted"):
            await second
        assert await first == 200
        assert slow.paths == ["/first"]


@pytest.mark.parametrize("body", ["a=1", ""])
async def test_connection_when_the_guard_refuses_is_free_for_the_next_request(body: str) -> None:
    async with _serving(connections=1) as (slow, session, root):
        slow.may_answer.set()
        for _ in range(3):
            with pytest.raises(NotSent, match="no"), asked_before_writing(lambda: "no"):
                await _post(session, f"{root}/never", body)
        assert await _post(session, f"{root}/then") == 200
        assert slow.paths == ["/then"]


@pytest.mark.parametrize("body", ["a=1", ""])
async def test_guard_when_it_agrees_is_asked_once_for_a_request_and_only_in_its_task(body: str) -> None:
    asked = 0

    def agrees() -> None:
        nonlocal asked
        asked += 1

    async with _serving(connections=2) as (slow, session, root):
        slow.may_answer.set()
        with asked_before_writing(agrees):
            assert await _post(session, f"{root}/guarded", body) == 200
        assert await _post(session, f"{root}/free") == 200
    assert asked == 1


@pytest.mark.parametrize("body", ["a=1", ""])
async def test_request_when_the_guard_agrees_is_written_before_anything_else_happens(body: str) -> None:
    """As of a process that is frozen, or busy, right after its guard agreed: the write must not wait for a turn."""
    with socket.create_server(("127.0.0.1", 0)) as venue:
        venue.setblocking(False)
        connections: list[socket.socket] = []
        arrived: list[bytes] = []

        def look() -> None:
            connections.append(venue.accept()[0])
            connections[0].setblocking(False)
            with suppress(BlockingIOError):
                arrived.append(connections[0].recv(65_536))

        def agrees() -> None:
            asyncio.get_running_loop().call_soon(look)

        async with _session(connections=1) as session:
            with asked_before_writing(agrees):
                request = asyncio.create_task(_post(session, f"http://127.0.0.1:{venue.getsockname()[1]}/order", body))
            await eventually(lambda: connections)
            connections[0].close()
            with pytest.raises(aiohttp.ClientError):
                await request
    assert len(arrived) == 1
    assert arrived[0].startswith(b"POST /order")
    assert arrived[0].endswith(body.encode())

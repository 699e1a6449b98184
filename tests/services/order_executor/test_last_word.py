"""The guard of an order has the last word: it is asked when the request is written, not when it is made."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvloop
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

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
async def test_request_when_the_guard_fails_is_not_written_and_says_so(body: str) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    async with _serving(connections=1) as (slow, session, root):
        slow.may_answer.set()
        with pytest.raises(ZeroDivisionError), asked_before_writing(fails):
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


class _Watched(AskingRequest):
    """Looks what has come to the venue right after the write."""

    venue: socket.socket
    arrived: bytes

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        response = await super().send(conn)
        if not self.body:
            self._look()
        return response

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        await super().write_bytes(writer, conn, content_length)
        self._look()

    def _look(self) -> None:
        connection, _ = self.venue.accept()
        with connection:
            connection.setblocking(False)
            type(self).arrived = connection.recv(65_536, socket.MSG_PEEK)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("body", ["a=1", ""])
def test_order_when_its_guard_agrees_has_left_before_anything_else_has_a_turn(
    body: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A process may be frozen, or be very busy, right after the guard agreed."""

    async def order() -> None:
        async with aiohttp.ClientSession(request_class=_Watched) as session:
            with asked_before_writing(lambda: None):
                await _post(session, f"http://127.0.0.1:{_Watched.venue.getsockname()[1]}/order", body)

    with socket.create_server(("127.0.0.1", 0)) as venue, asyncio.Runner(loop_factory=loop_factory) as runner:
        venue.setblocking(False)
        _Watched.venue, _Watched.arrived = venue, b""
        with pytest.raises(aiohttp.ClientError):  # nobody answers
            runner.run(order())
    assert _Watched.arrived.startswith(b"POST /order")
    assert _Watched.arrived.endswith(body.encode())

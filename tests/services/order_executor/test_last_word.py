"""The guard of an order has the last word: it is asked when the connection is there, not when the request is made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from services.order_executor.adapters.last_word import AskingConnector, asked_before_writing
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
        async with aiohttp.ClientSession(connector=AskingConnector(limit=connections)) as session:
            yield slow, session, f"http://127.0.0.1:{port}"
    finally:
        slow.may_answer.set()
        await runner.cleanup()


async def _post(session: aiohttp.ClientSession, url: str) -> int:
    async with session.post(url) as response:
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


async def test_connection_when_the_guard_refuses_is_free_for_the_next_request() -> None:
    async with _serving(connections=1) as (slow, session, root):
        slow.may_answer.set()
        for _ in range(3):
            with pytest.raises(NotSent, match="no"), asked_before_writing(lambda: "no"):
                await _post(session, f"{root}/never")
        assert await _post(session, f"{root}/then") == 200
        assert slow.paths == ["/then"]


async def test_guard_when_it_agrees_is_asked_once_for_a_request_and_only_in_its_task() -> None:
    asked = 0

    def agrees() -> None:
        nonlocal asked
        asked += 1

    async with _serving(connections=2) as (slow, session, root):
        slow.may_answer.set()
        with asked_before_writing(agrees):
            assert await _post(session, f"{root}/guarded") == 200
        assert await _post(session, f"{root}/free") == 200
    assert asked == 1

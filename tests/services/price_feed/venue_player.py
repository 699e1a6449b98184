"""A server that plays any venue, and an ear that remembers what an adapter tells."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from services.price_feed.venue_events import FromVenue, QuoteReceived
from tests.services.price_feed.venue_scripts import Talk, VenueScript


class Venue:
    """The server. ``mute``: answers nothing; ``cut_after_s``: closes what has sent no ping for so long."""

    def __init__(self, script: VenueScript) -> None:
        self.script = script
        self.talks: dict[ServerConnection, Talk] = {}
        self.paths: list[str] = []
        self.subprotocols: list[str | None] = []
        self.mute = False
        self.number = 0
        self._server: Server | None = None
        self.url = ""

    async def __aenter__(self) -> "Venue":
        self._server = await serve(
            self._visit,
            "127.0.0.1",
            0,
            process_request=self._admit,
            subprotocols=["json"],  # type: ignore[list-item] # a NewType of str
            select_subprotocol=_json_if_asked,
            ping_interval=None,
            close_timeout=0.2,
        )
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        return None

    async def _visit(self, socket: ServerConnection) -> None:
        self.talks[socket] = talk = Talk()
        self.subprotocols.append(socket.subprotocol)
        if self.script.greeting:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await socket.recv()
                    return  # a request before the greeting: the connection is closed
            await socket.send(self.script.greeting)
        async for text in socket:
            assert isinstance(text, str)
            if not self.mute:
                for reply in self.script.answer(talk, text):
                    await socket.send(reply)
                    await asyncio.sleep(0.002)  # one by one, as over a network

    @property
    def present(self) -> dict[ServerConnection, Talk]:
        """The connections that are open now."""
        return {socket: talk for socket, talk in self.talks.items() if socket.state.name == "OPEN"}

    @property
    def subscribed(self) -> set[str]:
        """What open connections are subscribed to."""
        return set().union(*(talk.symbols for talk in self.present.values()))

    def talks_so_far(self) -> int:
        """How many connections there have been."""
        return len(self.talks)

    async def tell(self, symbol: str, bid: str, ask: str) -> None:
        """A quote to everybody who wants it."""
        self.number += 1
        for socket, talk in list(self.present.items()):
            if symbol in talk.symbols:
                with suppress(Exception):
                    await socket.send(self.script.quote(talk, symbol, bid, ask, self.number))


def _json_if_asked(_socket: ServerConnection, offered: Any) -> Any:
    return "json" if "json" in offered else None


class Told:
    """What the adapter has told."""

    def __init__(self) -> None:
        self.events: list[FromVenue] = []
        self.connections = 0
        self.alive: list[tuple[frozenset[str], bool]] = []

    def receive(self, event: FromVenue, _received_ns: int) -> None:
        self.events.append(event)

    def connected(self) -> None:
        self.connections += 1

    def connection(self, symbols: Any, is_alive: bool) -> None:
        self.alive.append((frozenset(symbols), is_alive))

    def quotes_so_far(self) -> int:
        """How many."""
        return len(self.quotes)

    @property
    def quotes(self) -> list[tuple[str, object, object]]:
        """Symbol, bid and ask of every quote."""
        return [event[:3] for event in self.events if isinstance(event, QuoteReceived)]

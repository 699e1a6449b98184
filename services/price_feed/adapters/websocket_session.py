"""One open websocket: asks for what is wanted, reads, and notices silence. It ends with the reason it ended for."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from typing import Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from services.price_feed.adapters.port import ConnectionTimes
from services.price_feed.venue_events import (
    FromVenue,
    QuoteReceived,
    Receive,
    ReplyReceived,
    ShutdownAnnounced,
    TimeReceived,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DialectLimits:
    """What a venue allows on one connection: its documents are named where the values are."""

    symbols_per_request: int
    symbols_per_connection: int
    request_interval_s: float
    roll_after_s: float


class Dialect(Protocol):
    """How one venue speaks over a websocket. Stateless."""

    @property
    def limits(self) -> DialectLimits:
        """The venue's limits."""

    def url(self, root: str) -> str:
        """The address to connect to, from the root in the settings."""

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """The message that begins (or ends) the telling of these symbols' prices."""

    def parse(self, payload: bytes) -> FromVenue:
        """One message. Never raises."""


class SessionEnded(Exception):  # noqa: N818 - an end is not always an error
    """The connection is over; the text says why."""


class WebsocketSession:
    """Runs from construction until its end. ``ended`` is done then; ``ready`` once prices come for all that is wanted.

    ``leaving`` is set when the venue has announced that it will close the connection.
    """

    def __init__(self, socket: ClientConnection, dialect: Dialect, receive: Receive, times: ConnectionTimes) -> None:
        self._socket, self._dialect, self._receive, self._times = socket, dialect, receive, times
        self._wanted: frozenset[str] = frozenset()
        self._subscribed: frozenset[str] = frozenset()
        self._wanted_changed = asyncio.Event()
        self._replies: dict[int, asyncio.Future[ReplyReceived]] = {}
        self._requests = 0
        self._settled = False
        self._heard_at = time.monotonic()
        self.ready = asyncio.Event()
        self.leaving = asyncio.Event()
        self.ended: asyncio.Task[str] = asyncio.create_task(self._run())

    def want(self, symbols: frozenset[str]) -> None:
        """Make these the symbols that are told."""
        self._wanted = symbols
        self._wanted_changed.set()

    async def close(self) -> None:
        """End the session in order; safe to call at any time, more than once."""
        self.ended.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.ended

    async def _run(self) -> str:
        parts = [asyncio.create_task(_reason(part)) for part in (self._read(), self._subscribe(), self._watch())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await self._socket.close()

    async def _read(self) -> None:
        parse, receive, recv = self._dialect.parse, self._receive, self._socket.recv
        while True:
            payload = await recv(decode=False)
            received_ns = time.time_ns()
            self._heard_at = time.monotonic()
            event = parse(payload)
            kind = type(event)
            if kind is QuoteReceived or kind is TimeReceived:
                receive(event, received_ns)
                if self._settled and not self.ready.is_set():
                    self.ready.set()
            elif isinstance(event, ReplyReceived):
                self._answer(event)
            elif kind is ShutdownAnnounced:
                self.leaving.set()
            else:
                receive(event, received_ns)

    def _answer(self, reply: ReplyReceived) -> None:
        waiting = self._replies.pop(reply.request_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)
        elif reply.error:
            raise SessionEnded(f"the venue reported an error: {reply.error}")

    async def _subscribe(self) -> None:
        while True:
            await self._wanted_changed.wait()
            self._wanted_changed.clear()
            while self._subscribed != self._wanted:
                await self._ask()
                await asyncio.sleep(self._dialect.limits.request_interval_s)
            self._settled = True

    async def _ask(self) -> None:
        gone = sorted(self._subscribed - self._wanted)
        wanted = not gone
        some = (gone or sorted(self._wanted - self._subscribed))[: self._dialect.limits.symbols_per_request]
        self._requests += 1
        reply: asyncio.Future[ReplyReceived] = asyncio.get_running_loop().create_future()
        self._replies[self._requests] = reply
        await self._socket.send(self._dialect.request(self._requests, some, wanted=wanted))
        try:
            async with asyncio.timeout(self._times.reply_s):
                answer = await reply
        except TimeoutError:
            raise SessionEnded(f"no answer to a subscription within {self._times.reply_s} s") from None
        if answer.error:
            raise SessionEnded(f"a subscription was refused: {answer.error}")
        self._subscribed = self._subscribed | frozenset(some) if wanted else self._subscribed - frozenset(some)

    async def _watch(self) -> None:
        while True:
            quiet_s = time.monotonic() - self._heard_at
            if quiet_s >= self._times.silence_s:
                raise SessionEnded(f"nothing was heard for {self._times.silence_s} s")
            await asyncio.sleep(self._times.silence_s - quiet_s)


async def _reason(part: Awaitable[None]) -> str:
    """Run a part of a session until it ends; the reason in words."""
    try:
        await part
    except SessionEnded as ended:
        return str(ended)
    except (ConnectionClosed, OSError) as closed:
        return f"the connection was closed: {closed}"
    return "the connection was closed"

"""One open websocket: asks for what is wanted, reads, and notices silence. It ends with the reason it ended for."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.venue_events import (
    FromVenue,
    Greeted,
    QuoteReceived,
    ReplyReceived,
    Several,
    ShutdownAnnounced,
    TimeReceived,
    Unreadable,
)

_log = logging.getLogger(__name__)
_PROBES = 2
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class DialectLimits:
    """What a venue allows on one connection, and how it talks: its documents are named where the values are.

    ``answers_each``: a request is answered once for every symbol in it. ``ping_interval_s``: the venue closes a
    connection that sends no ping this often (0: it does not). ``greets``: requests have to wait for its greeting.
    ``tells_time``: False where no message carries a time: then the wall clock at arrival is the market's.
    """

    symbols_per_request: int
    symbols_per_connection: int
    request_interval_s: float
    roll_after_s: float
    answers_each: bool = False
    ping_interval_s: float = 0.0
    greets: bool = False
    tells_time: bool = True


class Dialect(Protocol):
    """How one venue speaks over a websocket. Stateless."""

    @property
    def limits(self) -> DialectLimits:
        """The venue's limits."""

    @property
    def subprotocol(self) -> str | None:
        """The websocket subprotocol to ask for."""

    async def address(self, root: str) -> str:
        """The address to connect to, from the root in the settings ("": the live venue). Raises OSError."""

    def hello(self) -> Sequence[str]:
        """What has to be sent first, whatever is followed."""

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """The message that begins (or ends) the telling of these symbols' prices."""

    def ping(self, request_id: int) -> str | None:
        """The message that the venue answers whether or not there are prices to tell; None: the websocket's own."""

    def parse(self, payload: bytes) -> FromVenue:
        """One message. Never raises."""


class SessionEnded(Exception):  # noqa: N818 - an end is not always an error
    """The connection is over; the text says why."""


@dataclass(slots=True)
class _Request:
    """A request that waits for its answers: how many are due, which symbols were granted, and the first error."""

    due: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    granted: set[str] = field(default_factory=set)
    error: str = ""

    def answer(self, reply: ReplyReceived) -> None:
        """One answer came."""
        self.due -= 1
        if reply.error:
            self.error = self.error or reply.error
        else:
            self.granted.add(reply.symbol)
        if self.due <= 0:
            self.done.set()


class WebsocketSession:
    """Runs from construction until its end. ``ended`` is done then; ``ready`` once prices come for all that is wanted.

    ``leaving`` is set when the venue has announced that it will close the connection. A symbol whose subscription the
    venue refuses is not asked for again until the list of symbols changes; when it refuses all of them, it ends.
    """

    def __init__(self, socket: ClientConnection, dialect: Dialect, listener: Listener, times: ConnectionTimes) -> None:
        self._socket, self._dialect, self._listener, self._times = socket, dialect, listener, times
        self._limits = dialect.limits
        self._wanted: frozenset[str] = frozenset()
        self._subscribed: frozenset[str] = frozenset()
        self._refused: frozenset[str] = frozenset()
        self._one_by_one: frozenset[str] = frozenset()
        self._wanted_changed = asyncio.Event()
        self._greeted = asyncio.Event()
        self._replies: dict[int, _Request] = {}
        self._requests = 0
        self._pings: deque[int] = deque(maxlen=64)
        self._number = -1
        self._settled = False
        self._is_quiet = False
        self._heard_at = self._told_at = self._pinged_at = time.monotonic()
        self.host = ""
        self.ready = asyncio.Event()
        self.leaving = asyncio.Event()
        self.ended: asyncio.Task[str] = asyncio.create_task(self._run())

    def want(self, symbols: frozenset[str]) -> None:
        """Make these the symbols that are told."""
        if symbols != self._wanted:
            self._refused = frozenset()
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
        parse, take, recv = self._dialect.parse, self._take, self._socket.recv
        tells_time = self._limits.tells_time
        while True:
            payload = await recv(decode=False)
            received_ns = time.time_ns()
            self._hear()
            if not tells_time:
                self._listener.receive(TimeReceived("", received_ns // _NS_PER_MS), received_ns)
            event = parse(payload)
            if type(event) is Several:
                self._count(event.number)
                for one in event.events:
                    take(one, received_ns)
            else:
                take(event, received_ns)

    def _hear(self) -> None:
        self._heard_at = time.monotonic()
        if self._is_quiet:
            self._is_quiet = False
            self._listener.alive(self._subscribed, True)

    def _take(self, event: FromVenue, received_ns: int) -> None:
        kind = type(event)
        if kind is QuoteReceived or kind is TimeReceived:
            self._listener.receive(event, received_ns)
            if event[0]:  # of a symbol
                self._told_at = self._heard_at
                if self._settled and not self.ready.is_set():
                    self.ready.set()
        elif isinstance(event, ReplyReceived):
            self._answer(event)
        elif kind is Greeted:
            self._greeted.set()
        elif kind is ShutdownAnnounced:
            self.leaving.set()
        else:
            self._listener.receive(event, received_ns)

    def _count(self, number: int) -> None:
        if number < 0:
            return
        if 0 <= self._number < number - 1:
            raise SessionEnded(f"messages {self._number + 1} to {number - 1} were lost")
        self._number = max(number, self._number)

    def _answer(self, reply: ReplyReceived) -> None:
        number = reply.request_id
        if number in self._pings:
            return  # an answer is a sign of life, whatever it says
        if number < 0 and self._replies:
            number = min(self._replies)
        waiting = self._replies.get(number)
        if waiting is not None:
            waiting.answer(reply)
        elif reply.error:
            raise SessionEnded(f"the venue reported an error: {reply.error}")

    async def _subscribe(self) -> None:
        if self._limits.greets:
            async with _within(self._times.reply_s, "a greeting"):
                await self._greeted.wait()
        for message in self._dialect.hello():
            await self._socket.send(message)
        while True:
            await self._wanted_changed.wait()
            self._wanted_changed.clear()
            while self._subscribed != self._wanted - self._refused:
                await self._ask()
                await asyncio.sleep(self._limits.request_interval_s)
            self._settled = True

    async def _ask(self) -> None:
        gone = sorted(self._subscribed - self._wanted)
        due = gone or sorted(self._wanted - self._subscribed - self._refused)
        some = frozenset(due[:1] if due[0] in self._one_by_one else due[: self._limits.symbols_per_request])
        self._requests += 1
        request = self._replies[self._requests] = _Request(len(some) if self._limits.answers_each else 1)
        await self._socket.send(self._dialect.request(self._requests, sorted(some), wanted=not gone))
        async with _within(self._times.reply_s, "an answer to a subscription"):
            await request.done.wait()
        del self._replies[self._requests]
        if gone:
            self._subscribed -= some
        elif request.error:
            self._not_granted(some, request)
        else:
            self._subscribed |= some

    def _not_granted(self, some: frozenset[str], request: _Request) -> None:
        """Find out which symbol the venue refuses; go on with the others."""
        granted = some & request.granted
        self._subscribed |= granted
        if len(some) > 1 and not granted:
            self._one_by_one |= some
            return
        refused = some - granted
        self._refused |= refused
        _log.warning("the venue does not tell %s: %s", ", ".join(sorted(refused)), request.error)
        for _ in refused:
            self._listener.receive(Unreadable("subscription_refused"), time.time_ns())
        if not self._wanted - self._refused:
            raise SessionEnded(f"every subscription was refused: {request.error}")

    async def _watch(self) -> None:
        """Ask for signs of life, say when there are none, and give up in the end."""
        times = self._times
        probe_s = min(times.quiet_s, times.silence_s) / _PROBES
        while True:
            await asyncio.sleep(probe_s / 4)
            now = time.monotonic()
            quiet_s = now - self._heard_at
            if quiet_s >= times.silence_s:
                raise SessionEnded(f"nothing was heard for {times.silence_s} s")
            if now - self._told_at >= times.idle_s and self._subscribed:
                raise SessionEnded(f"no price was told for {times.idle_s} s")
            if quiet_s >= times.quiet_s and not self._is_quiet:
                self._is_quiet = True
                self._listener.alive(self._subscribed, False)
            since_ping_s = now - self._pinged_at
            is_due = 0 < self._limits.ping_interval_s <= since_ping_s
            if (is_due or (quiet_s >= probe_s and since_ping_s >= probe_s)) and self._settled:
                self._pinged_at = now
                await self._ping()

    async def _ping(self) -> None:
        self._requests += 1
        message = self._dialect.ping(self._requests)
        if message is None:
            asyncio.ensure_future(await self._socket.ping()).add_done_callback(self._ponged)
        else:
            self._pings.append(self._requests)
            await self._socket.send(message)

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._hear()


@contextlib.asynccontextmanager
async def _within(seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise SessionEnded(f"{what} did not come within {seconds} s") from None


async def _reason(part: Awaitable[None]) -> str:
    """Run a part of a session until it ends; the reason in words."""
    try:
        await part
    except SessionEnded as ended:
        return str(ended)
    except (ConnectionClosed, OSError) as closed:
        return f"the connection was closed: {closed}"
    return "the connection was closed"

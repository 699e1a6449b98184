"""Prices over websockets, for any dialect: reconnects with back-off and jitter, rolls over before the venue's cut.

A venue may limit the symbols of one connection, so there are as many links as needed; each link has one connection,
and a second one only while the second takes over from the first.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Collection
from ipaddress import ip_address
from itertools import count
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.adapters.websocket_session import Dialect, WebsocketSession

_log = logging.getLogger(__name__)
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_WAITING_MESSAGES = 1024
_PING_INTERVAL_S = 20.0
_ROLL_RETRY_S = 60.0
_TOO_MANY = frozenset({418, 429})


class WebsocketPrices:
    """Fills ``VenuePrices``. ``root`` is the venue's websocket address; ``chance`` a source of numbers in [0, 1)."""

    def __init__(
        self,
        dialect: Dialect,
        root: str,
        listener: Listener,
        times: ConnectionTimes,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._dialect, self._root, self._listener, self._times, self._chance = dialect, root, listener, times, chance
        self._per_link = dialect.limits.symbols_per_connection
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._links: list[WebsocketLink] = []

    def follow(self, symbols: Collection[str]) -> None:
        """See ``VenuePrices``."""
        self._wanted = frozenset(symbols)
        self._changed.set()

    async def run(self) -> None:
        """See ``VenuePrices``."""
        async with asyncio.TaskGroup() as running:
            while True:
                await self._changed.wait()
                self._changed.clear()
                for link in self._share_out():
                    running.create_task(link.run())

    def _new_link(self) -> "WebsocketLink":
        return WebsocketLink(self._dialect, self._root, self._listener, self._times, self._chance)

    def _share_out(self) -> list["WebsocketLink"]:
        """Give every wanted symbol to one link, moving none that has one; the links that are new."""
        kept = [link.symbols & self._wanted for link in self._links]
        waiting = sorted(self._wanted.difference(*kept))
        known = len(self._links)
        for index in count():
            if not waiting:
                break
            if index == len(kept):
                kept.append(frozenset())
                self._links.append(self._new_link())
            room = self._per_link - len(kept[index])
            kept[index] |= frozenset(waiting[:room])
            waiting = waiting[room:]
        for link, symbols in zip(self._links, kept, strict=True):
            link.follow(symbols)
        return self._links[known:]


class WebsocketLink:
    """One connection that is always there: when it ends, the next one is opened."""

    def __init__(
        self,
        dialect: Dialect,
        root: str,
        listener: Listener,
        times: ConnectionTimes,
        chance: Callable[[], float],
    ) -> None:
        self._dialect, self._root, self._listener = dialect, root, listener
        self._times, self._chance = times, chance
        self._roll_after_s = times.roll_after_s or dialect.limits.roll_after_s
        self._sessions: list[WebsocketSession] = []
        self._wanted = asyncio.Event()
        self.symbols: frozenset[str] = frozenset()

    def follow(self, symbols: frozenset[str]) -> None:
        """Make these the symbols of this link."""
        self.symbols = symbols
        if symbols:
            self._wanted.set()
        else:
            self._wanted.clear()
        for session in self._sessions:
            session.want(symbols)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        try:
            while True:
                await self._wanted.wait()
                began = time.monotonic()
                reason, at_least_s = await self._live()
                failures = 1 if time.monotonic() - began >= self._times.steady_s else failures + 1
                delay_s = max(at_least_s, self._times.back_off.delay_s(failures, self._chance()))
                _log.warning("venue connection ended: %s; the next attempt in %.2f s", reason, delay_s)
                await asyncio.sleep(delay_s)
        finally:
            for session in list(self._sessions):
                await session.close()

    async def _live(self) -> tuple[str, float]:
        """Connect and stay connected; why that ended, and the shortest wait the venue asked for."""
        try:
            session = await self._open()
        except InvalidStatus as refused:
            return f"the venue answered {refused.response.status_code}", _retry_after_s(refused, self._times)
        except (OSError, TimeoutError, InvalidHandshake, EOFError) as failed:
            return f"no connection: {failed or type(failed).__name__}", 0.0
        self._listener.connected()
        _log.info("connected to %s for %d symbols", session.host, len(self.symbols))
        while True:
            if await self._until_due(session):
                session = await self._roll(session)
                continue
            self._sessions.remove(session)
            # Whatever is not quoted anew may have moved meanwhile.
            self._listener.alive(self.symbols, False)
            return session.ended.result(), 0.0

    async def _until_due(self, session: WebsocketSession) -> bool:
        """True when a second connection is due, False when this one has ended."""
        leaving = asyncio.create_task(session.leaving.wait())
        try:
            await asyncio.wait(
                {session.ended, leaving}, timeout=self._roll_after_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            leaving.cancel()
        return not session.ended.done()

    async def _roll(self, old: WebsocketSession) -> WebsocketSession:
        """Let a second connection take over once its prices come; the one to go on with."""
        new = None
        with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, EOFError):
            new = await self._open()
        if new is not None and await _becomes_ready(new, self._times.open_s + self._times.reply_s):
            await self._drop(old)
            _log.info("a second connection to %s has taken over", new.host)
            return new
        if new is not None:
            await self._drop(new)
        if not old.ended.done():
            _log.warning("no second connection to %s: the first one goes on", old.host)
            await asyncio.wait({old.ended}, timeout=min(_ROLL_RETRY_S, self._roll_after_s))
        return old

    async def _open(self) -> WebsocketSession:
        async with asyncio.timeout(self._times.open_s):
            url = await self._dialect.address(self._root)
        subprotocol = self._dialect.subprotocol
        socket = await connect(
            url,
            subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
            compression=None,
            proxy=_proxy(url),
            open_timeout=self._times.open_s,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_PING_INTERVAL_S,
            close_timeout=1.0,
            max_size=_MAX_MESSAGE_BYTES,
            max_queue=_MAX_WAITING_MESSAGES,
        )
        session = WebsocketSession(socket, self._dialect, self._listener, self._times)
        session.host = urlsplit(url).netloc  # not the whole address: it may hold a token
        self._sessions.append(session)
        session.want(self.symbols)
        return session

    async def _drop(self, session: WebsocketSession) -> None:
        self._sessions.remove(session)
        await session.close()


async def _becomes_ready(session: WebsocketSession, timeout_s: float) -> bool:
    ready = asyncio.create_task(session.ready.wait())
    try:
        await asyncio.wait({ready, session.ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
    return session.ready.is_set() and not session.ended.done()


def _retry_after_s(refused: InvalidStatus, times: ConnectionTimes) -> float:
    """What the venue asks for when it counts too many connections: Retry-After in seconds, else the longest wait."""
    if refused.response.status_code not in _TOO_MANY:
        return 0.0
    text = refused.response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else times.back_off.max_s


def _proxy(url: str) -> Literal[True] | None:
    """The environment's proxy, but never for an address on this machine."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return None if ip_address(host).is_loopback else True
    return None if host == "localhost" else True

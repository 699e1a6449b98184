"""The last word before an order leaves: the guard is asked when nothing but the write itself follows.

A request may wait for its connection (a name to be resolved, a handshake) or for its turn in the event loop, and a
process may be frozen meanwhile: what the guard said before that would be of the past.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from shared.venues.port import NotSent

log = logging.getLogger(__name__)

Guard = Callable[[], str | None]
"""None, or why the order must not be sent."""

_asked: ContextVar[Guard | None] = ContextVar("asked", default=None)


@contextmanager
def asked_before_writing(guard: Guard) -> Iterator[None]:
    """Requests of this task ask ``guard`` before they are written."""
    token = _asked.set(guard)
    try:
        yield
    finally:
        _asked.reset(token)


class AskingRequest(aiohttp.ClientRequest):
    """A request that is written only if the guard agrees: asked once, in the same step of the event loop as the write.

    aiohttp keeps the headers back until the body is written, which it does in a task of its own; a request without a
    body is written by ``send``. One that the guard refuses takes its connection with it.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Write it, or start to. Raises NotSent, having written nothing."""
        if not self.body and (reason := _refusal()) is not None:
            raise NotSent(reason)
        _write_through(conn)
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write headers and body; or neither, and whoever awaits the reply gets NotSent, or what the guard raised."""
        refused: Exception | None
        try:
            reason = _refusal() if self.body else None
            refused = None if reason is None else NotSent(reason)
        except Exception as error:
            log.exception("the guard of an order failed: not written")
            refused = error
        if refused is None:
            await super().write_bytes(writer, conn, content_length)
        elif conn.protocol is not None:  # else the connection has gone, and its reader knows
            conn.protocol.set_exception(refused)


def _refusal() -> str | None:
    guard = _asked.get()
    return None if guard is None else guard()


def _write_through(conn: Connection) -> None:
    """uvloop keeps what is written until everything that is ready has had its turn, unless there is no room to keep it.
    Under TLS it still does: then an order leaves at the end of the turn in which its guard agreed.
    """
    if _asked.get() is not None and conn.transport is not None:
        conn.transport.set_write_buffer_limits(high=0)

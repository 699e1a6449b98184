"""The last word before an order leaves: the guard is asked when the connection is there and the write comes next.

A request may wait for its connection (a name to be resolved, a handshake), and a process may be frozen meanwhile: what
the guard said before that would be of the past.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.connector import Connection

from shared.venues.port import NotSent

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


class AskingConnector(aiohttp.TCPConnector):
    """Connections that are handed out only if the guard agrees."""

    async def connect(self, *request: Any, **options: Any) -> Connection:
        """A connection for the request. Raises NotSent, having written nothing."""
        connection = await super().connect(*request, **options)
        guard = _asked.get()
        if guard is not None and (reason := guard()) is not None:
            connection.release()
            raise NotSent(reason)
        return connection

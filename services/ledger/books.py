"""Group commit: many handlers ask, one committer posts what has gathered in one database transaction.

While a group is being committed the next one gathers, so the busier the ledger, the cheaper each entry. Nobody is
answered before the commit that holds his request. A commit whose outcome is unknown is simply repeated: what was posted
is then found as a repeat.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ledger.requests import Request
from shared.core.errors import RetryLater, Stop, TrimtabError

MAX_PAUSE_S = 2.0


class Journal(Protocol):
    """Where entries are kept."""

    async def post(self, requests: Sequence[Request]) -> list[TrimtabError | None]:
        """Settle all of them in one transaction and commit; the outcome of each, None = settled.

        Raises RetryLater when the store cannot be reached or the outcome of the commit is unknown, Stop when going on
        makes no sense, anything else when one of the requests cannot be stored.
        """


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request
    answer: "asyncio.Future[None]"


class Books:
    """The queue before the journal. ``on_posted`` is called after every commit (to wake the relay)."""

    def __init__(self, journal: Journal, *, group_size: int, on_posted: Callable[[], None] = lambda: None) -> None:
        self._journal = journal
        self._group_size = group_size
        self._on_posted = on_posted
        self._queue: deque[_Waiting] = deque()
        self._group: list[_Waiting] = []
        self._stopped = False
        self._arrived = asyncio.Event()
        self._trouble: str | None = None

    async def post(self, request: Request) -> None:
        """Return once the request is durably settled (also when it was before).

        Raises NotCovered when what it moves is not there, Refused when it can never be posted, RetryLater when the
        ledger is stopping.
        """
        if self._stopped:
            raise RetryLater("the ledger is stopping")
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        await waiting.answer

    async def run(self) -> None:
        """Commit groups until cancelled, in order of arrival. Raises Stop when the journal does.

        Whoever still waits at the end is told to come again, so that nothing keeps the process from ending.
        """
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._queue:
                    self._group = [self._queue.popleft() for _ in range(min(self._group_size, len(self._queue)))]
                    await self._commit(self._group)
        finally:
            self._stopped = True
            for waiting in (*self._group, *self._queue):
                _answer(waiting, RetryLater("the ledger is stopping"))

    async def trouble(self) -> str | None:
        """None while commits succeed, else what keeps them from it (for the health check)."""
        return self._trouble

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        pause_s = 0.05
        while True:
            try:
                outcomes = await self._journal.post([waiting.request for waiting in group])
            except RetryLater as unreachable:
                self._trouble = str(unreachable)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            except Stop:
                raise
            except Exception as error:  # noqa: BLE001 - one bad request must not take the others with it
                await self._apart(group, error)
                return
            else:
                break
        self._trouble = None
        for waiting, outcome in zip(group, outcomes, strict=True):
            _answer(waiting, outcome)
        self._on_posted()

    async def _apart(self, group: Sequence[_Waiting], error: Exception) -> None:
        """Nothing of the group was stored: find the request that is to blame by posting them one by one."""
        if len(group) == 1:
            _answer(group[0], error)
            return
        for waiting in group:
            await self._commit([waiting])


def _answer(waiting: _Waiting, outcome: Exception | None) -> None:
    if waiting.answer.done():  # the handler was cancelled meanwhile
        return
    if outcome is None:
        waiting.answer.set_result(None)
    else:
        waiting.answer.set_exception(outcome)

"""The newest messages of subjects out of an audit stream: the subjects asked about last are followed."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from typing import Generic, TypeVar

from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.following import Follower

KEPT = 500
SUBJECTS_KEPT = 64
TIMEOUT_S = 10.0

_M = TypeVar("_M", bound=Message)


class Followed(Generic[_M]):
    """The newest ``KEPT`` messages of one subject, oldest first, read once and then followed; ``read``: of all."""

    def __init__(self, broker: NatsBroker, stream: str, subject: str, kind: type[_M]) -> None:
        self.kept: deque[tuple[_M, Meta]] = deque(maxlen=KEPT)
        self.read = 0
        self._kind = kind
        self._what = stream.lower()
        self._follower = Follower(broker, stream, [subject], self._keep, start="all")
        self._reading = asyncio.create_task(self._follower.run())

    @property
    def failed(self) -> bool:
        """Whether it does not follow any more."""
        return self._reading.done()

    async def caught_up(self) -> None:
        """Wait until everything stored has been read. Raises RetryLater."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._follower.caught_up.wait()
        except TimeoutError:
            raise RetryLater(f"the {self._what} cannot be read now") from None

    async def close(self) -> None:
        """Stop following."""
        self._reading.cancel()
        await asyncio.wait([self._reading])

    def _keep(self, _subject: str, message: Message, meta: Meta) -> None:
        if isinstance(message, self._kind):
            self.kept.append((message, meta))
            self.read += 1


class Newest(Generic[_M]):
    """Reads of one stream by subject (wildcards allowed); ``SUBJECTS_KEPT`` are followed, the others are let go."""

    def __init__(self, broker: NatsBroker, stream: str, kind: type[_M]) -> None:
        self._broker, self._stream, self._kind = broker, stream, kind
        self._followed: OrderedDict[str, Followed[_M]] = OrderedDict()

    async def following(self, subject: str) -> Followed[_M]:
        """The newest messages of a subject, caught up. Raises RetryLater."""
        followed = self._followed.get(subject)
        if followed is None or followed.failed:
            followed = self._followed[subject] = Followed(self._broker, self._stream, subject, self._kind)
        self._followed.move_to_end(subject)
        if len(self._followed) > SUBJECTS_KEPT:
            _, least_used = self._followed.popitem(last=False)
            await least_used.close()
        await followed.caught_up()
        return followed

    async def close(self) -> None:
        """Stop following."""
        for followed in self._followed.values():
            with contextlib.suppress(Exception):
                await followed.close()
        self._followed.clear()

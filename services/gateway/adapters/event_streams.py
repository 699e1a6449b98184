"""Events out of the streams, each with its place, so that a reader can go on where it stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.decoding import Undecodable, decode
from shared.messaging.following import listen

_FALLBACK_S = 1.0
_SETTLING_S = (0.005, 0.02, 0.05, 0.2)
"""A message is seen on its subject a moment before its stream has stored it."""


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """One stream and the subjects in it that are wanted (wildcards allowed)."""

    stream: str
    subject: str


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A message with the stream and sequence it is stored under."""

    stream: str
    sequence: int
    subject: str
    message: Message
    meta: Meta
    stored_at: datetime


class EventStreams:
    """Reads of the streams by sequence. Every method raises RetryLater when the server does not answer."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def last_sequence(self, stream: str) -> int:
        """Sequence of the newest message of a stream, 0 when there never was one."""
        info = await self._asked(lambda: self._broker.jetstream.stream_info(stream))
        if info is None:
            raise RetryLater(f"the stream {stream} does not exist yet")
        return int(info.state.last_seq)

    async def sequence_before(self, stream: str, moment: datetime) -> int:
        """The largest sequence such that every later message was stored at ``moment`` or after it."""
        low, high = 0, await self.last_sequence(stream)
        while low < high:
            middle = (low + high) // 2
            raw = await self._stored(StreamFilter(stream, ">"), middle + 1)
            if raw is None or raw.time >= moment:
                high = middle
            else:
                low = raw.seq
        return low

    async def after(self, wanted: StreamFilter, sequence: int) -> AsyncIterator[StreamEntry | None]:
        """Every wanted event after ``sequence``, in order, then each new one as it comes; never ends by itself.

        Gives None once, where what was stored ends and what is new begins.
        """
        caught_up = False
        news = asyncio.Event()
        listener = listen(self._broker, wanted.subject, lambda _: news.set())
        await listener.start()
        try:
            while True:
                news.clear()
                raw = await self._stored(wanted, sequence + 1)
                if raw is None and not caught_up:
                    caught_up = True
                    yield None
                    continue
                if raw is None:
                    raw = await self._awaited(wanted, sequence, news)
                if raw is None:
                    continue
                sequence = raw.seq
                try:
                    message, meta = decode(raw.headers, raw.data or b"")
                except Undecodable:
                    continue  # Its consumers have put it into the dead letters; here there is nothing to show.
                yield StreamEntry(wanted.stream, raw.seq, raw.subject, message, meta, raw.time)
        finally:
            await listener.stop()

    async def _awaited(self, wanted: StreamFilter, sequence: int, news: asyncio.Event) -> Any | None:
        """The next message once its subject was heard, or whatever is there after a second."""
        try:
            async with asyncio.timeout(_FALLBACK_S):
                await news.wait()
        except TimeoutError:
            return None
        for pause_s in _SETTLING_S:
            raw = await self._stored(wanted, sequence + 1)
            if raw is not None:
                return raw
            await asyncio.sleep(pause_s)
        return None

    async def _stored(self, wanted: StreamFilter, sequence: int) -> Any | None:
        """The first wanted message from ``sequence`` on, or None."""
        stream, subject = wanted.stream, wanted.subject
        read = self._broker.jetstream.get_msg
        return await self._asked(lambda: read(stream, seq=sequence, subject=subject, direct=True, next=True))

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return await ask()
        except Exception as error:
            # Told by name: the library that defines it is imported by ``shared.messaging`` alone.
            if type(error).__name__ == "NotFoundError":
                return None
            raise RetryLater(f"the event streams do not answer: {error!r}") from error

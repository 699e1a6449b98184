"""Tells people of streams that fill up, long before they refuse events."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from shared.contracts.lifecycle import NotificationRaised, Severity
from shared.core.errors import RetryLater
from shared.messaging.stream_room import REFUSING, StreamRoom

log = logging.getLogger(__name__)

KIND = "stream_fills_up"
LEVELS: Mapping[int, Severity] = {70: Severity.WARNING, 85: Severity.ALERT, 95: Severity.ALERT}
"""Percent of its limit at which a stream is spoken of, each once per limit."""
LOOK_INTERVAL_S = 60.0
_GIB = 1024**3

Measure = Callable[[str], Awaitable[StreamRoom]]
Tell = Callable[[str, NotificationRaised], Awaitable[None]]
"""Stores a notification under an id; the same id again changes nothing."""


def alarm_of(room: StreamRoom) -> tuple[str, NotificationRaised] | None:
    """Id and words of what is to be told of a stream; None while it has room. A function of level and limit only."""
    reached = [percent for percent in LEVELS if room.percent >= percent]
    if not reached:
        return None
    level = max(reached)
    limit = f"{room.limit_bytes / _GIB:.3g} GiB"
    notification = NotificationRaised(
        strategy_id="",
        strategy_version=0,
        kind=KIND,
        severity=LEVELS[level],
        text=f"The stream {room.stream} is {level} % full (limit {limit}): give it more room with "
        f"`trimtab streams enlarge {room.stream}`. When it is full its events wait in PostgreSQL; none is lost.",
        reason=KIND,
        inputs={"stream": room.stream, "percent": str(level), "limit_bytes": str(room.limit_bytes)},
    )
    return f"stream-room.{room.stream}.{room.limit_bytes}.{level}", notification


class StreamAlarm:
    """Looks at every stream that refuses events when it is full, once a minute."""

    def __init__(self, measure: Measure, tell: Tell, interval_s: float = LOOK_INTERVAL_S) -> None:
        self._measure = measure
        self._tell = tell
        self._interval_s = interval_s
        self._rooms: dict[str, StreamRoom] = {}

    def figures(self) -> dict[str, int]:
        """How full each stream was at the newest look, in percent (for the health page)."""
        return {name: room.percent for name, room in self._rooms.items()}

    async def run(self) -> None:
        """Look for ever; what cannot be asked or stored now is asked again at the next look."""
        while True:
            for stream in REFUSING:
                try:
                    await self._look(stream)
                except RetryLater as error:
                    log.warning("the room of stream %s is not known: %s", stream, error)
            await asyncio.sleep(self._interval_s)

    async def _look(self, stream: str) -> None:
        room = self._rooms[stream] = await self._measure(stream)
        alarm = alarm_of(room)
        if alarm is not None:
            log.warning("stream %s: %d of %d bytes are used", stream, room.held_bytes, room.limit_bytes)
            await self._tell(*alarm)

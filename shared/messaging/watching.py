"""The watch over a connection: is the server there, do the consumers and followers on it still work?"""

import asyncio
import logging
from typing import Protocol

from nats.js import JetStreamContext

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 2.0
ROUND_TRIP_TIMEOUT_S = 2.0


class Watched(Protocol):
    """What the watch looks after: a durable consumer, a follower."""

    label: str

    async def trouble(self) -> str | None:
        """None when it works, else what is wrong. May end the process when only a new start can heal it."""


class Watch:
    """Looks every 2 s; ``troubles`` tells what the newest look found."""

    def __init__(self) -> None:
        self._watched: list[Watched] = []
        self._troubles: dict[str, str] = {}

    def include(self, watched: Watched) -> None:
        """Look after this too."""
        self._watched.append(watched)

    def exclude(self, watched: Watched) -> None:
        """Look after this no longer."""
        self._watched.remove(watched)
        if all(other.label != watched.label for other in self._watched):
            self._troubles.pop(watched.label, None)

    def troubles(self) -> list[str]:
        """What is wrong, each with the name of what it is wrong with; empty when all is well."""
        return [f"{label}: {trouble}" for label, trouble in self._troubles.items()]

    async def run(self, jetstream: JetStreamContext) -> None:
        """Look until cancelled."""
        while True:
            await self.look(jetstream)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def look(self, jetstream: JetStreamContext) -> None:
        """One look: a round trip to the server, then, if it answers, each consumer and follower."""
        unreachable = await _round_trip(jetstream)
        self._note("nats", unreachable)
        if unreachable is not None:
            return
        for watched in list(self._watched):
            try:
                self._note(watched.label, await watched.trouble())
            except Exception as error:
                self._note(watched.label, f"cannot be asked about: {error!r}")
                log.debug("look at %s failed", watched.label, exc_info=True)

    def _note(self, label: str, trouble: str | None) -> None:
        if trouble is None:
            if self._troubles.pop(label, None) is not None:
                log.warning("healthy again: %s", label)
        elif label not in self._troubles:
            log.warning("unhealthy: %s: %s", label, trouble)
            self._troubles[label] = trouble
        else:
            self._troubles[label] = trouble


async def _round_trip(jetstream: JetStreamContext) -> str | None:
    """None when JetStream answers in time: ``is_connected`` alone stays true for a frozen server.

    Not ``client.flush()``: when that times out, nats-py's read loop breaks at the late answer and the connection is
    deaf until it is found stale.
    """
    try:
        async with asyncio.timeout(ROUND_TRIP_TIMEOUT_S):
            await jetstream.account_info()
    except Exception as error:  # noqa: BLE001 - whatever it is, the server did not answer
        return f"no answer from the server: {error!r}"
    return None

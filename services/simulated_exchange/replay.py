"""The pace of the market: makes rows current when they are due, by the wall clock or by hand.

The pace (paused, rows per second) is part of the venue's durable state: a venue killed while running runs on.
"""

import asyncio
import contextlib
import time

from services.simulated_exchange.venue import Venue
from shared.core.errors import Refused

BURST_S = 0.002
"""Longest work on rows that are late before others get their turn: orders must not wait for a market catching up."""
STILL_AFTER_S = 1.0
"""After this long without a row, current quotes are repeated."""
MAX_ROWS_PER_SECOND = 100_000.0


class Replay:
    """Drives a venue's market. ``run`` is the clock; the other calls change what it does."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Make rows current on time, for ever. A late row follows at once; between bursts others get their turn."""
        due: float | None = None
        told = time.monotonic()
        while True:
            state = self._venue.state
            now = time.monotonic()
            if state.paused or self._venue.ended:
                due = None
                wake = told + STILL_AFTER_S
            else:
                due = due if due is not None else now + 1 / state.rows_per_second
                wake = min(due, told + STILL_AFTER_S)
            if await self._wait(wake - now):
                due = None
                continue
            if due is not None and due <= time.monotonic():
                due = self._burst(due, 1 / state.rows_per_second)
                told = time.monotonic()
                await asyncio.sleep(0)
            elif time.monotonic() >= told + STILL_AFTER_S:
                self._venue.stand_still()
                told = time.monotonic()

    async def advance(self, rows: int) -> int:
        """Make up to ``rows`` further rows current while paused; returns how many there were. Raises Refused."""
        if not self._venue.state.paused:
            raise Refused.one("rows", rows, "only while the market is paused", "the market runs by itself")
        done = 0
        turn = time.monotonic() + BURST_S
        while done < rows and self._venue.advance():
            done += 1
            if time.monotonic() >= turn:
                await asyncio.sleep(0)
                turn = time.monotonic() + BURST_S
        return done

    async def advance_to(self, row: int) -> int:
        """Make rows current up to ``row`` while paused; returns how many there were. Raises Refused."""
        missing = row - self._venue.state.row
        return await self.advance(missing) if missing > 0 else 0

    def set_pace(self, *, paused: bool | None = None, rows_per_second: float | None = None) -> None:
        """Pause, resume or change speed; counts from now."""
        self._venue.set_pace(paused=paused, rows_per_second=rows_per_second)
        self._changed.set()

    def _burst(self, due: float, interval_s: float) -> float:
        """Make rows current that are due, for one burst at most; returns when the next one is due."""
        end = time.monotonic() + BURST_S
        while self._venue.advance():
            due += interval_s
            now = time.monotonic()
            if due > now or now >= end:
                break
        return due

    async def _wait(self, seconds: float) -> bool:
        """Wait for a change of pace; False when the time passed without one."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

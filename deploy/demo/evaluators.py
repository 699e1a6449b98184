"""What the living evaluators say of themselves, and whether they are done with a row of the market."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from shared.contracts.progress import EvaluatorProgress, decode_progress

GONE_AFTER_S = 4.0
"""Longer than the evaluators themselves wait (3 s): when one is forgotten here, its share has been taken over."""
MOST_UNSAID = 2_000
"""Decisions that may wait to be stored before the market waits for them."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a venue's market: its time, and how many assets have had a price up to it."""

    venue: str
    market_time_ms: int
    listed: int


class Evaluators:
    """The newest progress of each. ``news`` is set by every report. ``clock_s``: a monotonic clock."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self.news = asyncio.Event()
        self._clock_s = clock_s
        self._heard: dict[str, tuple[EvaluatorProgress, float]] = {}
        self._acted: dict[str, int] = {}

    @property
    def acted(self) -> int:
        """Plans and exits decided by all evaluators ever heard."""
        return sum(self._acted.values())

    def take(self, data: bytes) -> None:
        """A report. Raises ValueError, KeyError or TypeError when it is broken."""
        progress = decode_progress(data)
        self._acted[progress.member] = progress.acted
        if progress.leaves:
            self._heard.pop(progress.member, None)
        else:
            self._heard[progress.member] = (progress, self._clock_s())
        self.news.set()

    def missing(self, row: Row, *, most_unsaid: int = MOST_UNSAID) -> str:
        """What is still to be done before the market may move on, in words; "" when nothing is.

        All living evaluators must agree on who lives: else a strategy may be nobody's for a moment.
        """
        living = self._living()
        if not living:
            return "no evaluator has been heard"
        ids = {one.member for one in living}
        for one in living:
            seen = one.venues.get(row.venue)
            if set(one.members) != ids:
                return (
                    f"{one.member} knows of the evaluators {', '.join(one.members)}; heard are {', '.join(sorted(ids))}"
                )
            if seen is None or seen.market_time_ms < row.market_time_ms:
                return f"{one.member} has not seen the row yet"
            if seen.assets < row.listed:
                return f"{one.member} has prices of {seen.assets} of {row.listed} listed assets"
            if one.unfinished:
                found = ", ".join(f"{count} x {kind}" for kind, count in one.unfinished.items())
                return f"{one.member} waits for the end of: {found}"
            if one.unsaid > most_unsaid:
                return f"{one.member} has {one.unsaid} decisions that are not stored yet"
        return ""

    def _living(self) -> list[EvaluatorProgress]:
        now_s = self._clock_s()
        self._heard = {name: heard for name, heard in self._heard.items() if now_s - heard[1] <= GONE_AFTER_S}
        return [progress for progress, _ in self._heard.values()]

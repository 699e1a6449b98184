"""Decisions on their way out: each one to act at once, those not to act counted and told when they change.

A decision not to act is published when its code differs from the last published one (at most once a second per
strategy, so that a value hovering at a level does not flood the stream), else once per interval with its count.
A journal that ``keeps_all`` (for replays) publishes each by itself, once per market time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush

from shared.contracts.evaluations import DecisionRecorded
from shared.core.decisions import Figures

_NS = 1_000_000_000
_CHANGE_SPACING_NS = _NS
_LOOK_INTERVAL_S = 0.25
_IN_FLIGHT = 32

PublishDecision = Callable[[DecisionRecorded, str], Awaitable[None]]
"""Publishes a decision under a message id."""


@dataclass(frozen=True, slots=True)
class Noted:
    """One decision, as it was made at market time ``at``. ``unique_id`` names an acting one, which is told once."""

    strategy_id: str
    strategy_version: int
    code: str
    figures: Figures
    at: datetime
    unique_id: str = ""
    plan_id: str = ""


@dataclass(slots=True)
class _Tally:
    """Equal decisions not to act, in a row."""

    newest: Noted
    first_at: datetime
    count: int = 1


@dataclass(slots=True)
class _Record:
    """One strategy's decisions that are not published yet, by code, and the last published one."""

    pending: dict[str, _Tally] = field(default_factory=dict)
    told_code: str = ""
    told_ns: int = 0
    due_ns: int = 0
    kept: tuple[str, int, datetime] | None = None


class Journal:
    """Collects decisions; ``run`` publishes them. What is only counted is lost when the process dies: it looks anew."""

    def __init__(
        self, evaluator_id: str, interval_s: float, clock_ns: Callable[[], int], *, keeps_all: bool = False
    ) -> None:
        self.keeps_all = keeps_all
        self._evaluator_id = evaluator_id
        self._interval_ns = int(interval_s * _NS)
        self._clock_ns = clock_ns
        self._records: dict[str, _Record] = {}
        self._due: list[tuple[int, str]] = []
        self._ready: list[tuple[DecisionRecorded, str]] = []
        self._acting = asyncio.Event()
        self._number = 0
        self._in_flight = 0

    @property
    def unsaid(self) -> int:
        """How many decisions are ready but not stored yet."""
        return len(self._ready) + self._in_flight

    def acted(self, noted: Noted) -> None:
        """A decision that led to a plan or an exit: published at once, after what led up to it."""
        record = self._records.get(noted.strategy_id)
        if record is not None:
            self._take_pending(record)
            record.told_code = noted.code
        self._ready.append((self._message(noted, noted.at, 1, acted=True), noted.unique_id))
        self._acting.set()

    def held(self, noted: Noted) -> None:
        """A decision not to act."""
        record = self._records.get(noted.strategy_id)
        if record is None:
            record = self._records[noted.strategy_id] = _Record()
        if self.keeps_all:
            self._keep(record, noted)
            return
        tally = record.pending.get(noted.code)
        if tally is None:
            record.pending[noted.code] = _Tally(noted, noted.at)
        else:
            tally.newest = noted
            tally.count += 1
        wait_ns = self._interval_ns if noted.code == record.told_code else _CHANGE_SPACING_NS
        due_ns = record.told_ns + wait_ns
        if not record.due_ns or due_ns < record.due_ns:
            record.due_ns = due_ns
            heappush(self._due, (due_ns, noted.strategy_id))

    def _keep(self, record: _Record, noted: Noted) -> None:
        key = (noted.code, noted.strategy_version, noted.at)
        if key == record.kept:
            return
        record.kept = key
        self._number += 1
        self._ready.append((self._message(noted, noted.at, 1, acted=False), f"{self._evaluator_id}.{self._number}"))
        self._acting.set()

    def forget(self, strategy_id: str) -> None:
        """A strategy is looked after elsewhere or has ended: tell what is pending and keep nothing."""
        record = self._records.pop(strategy_id, None)
        if record is not None:
            self._take_pending(record)

    async def run(self, publish: PublishDecision) -> None:
        """Publish what is due, until cancelled."""
        while True:
            await self.flush(publish)
            try:
                async with asyncio.timeout(_LOOK_INTERVAL_S):
                    await self._acting.wait()
            except TimeoutError:
                continue

    async def flush(self, publish: PublishDecision, *, everything: bool = False) -> None:
        """Publish what is due now (or all there is)."""
        self._acting.clear()
        if everything:
            for record in self._records.values():
                self._take_pending(record)
        self._take_due()
        ready, self._ready = self._ready, []
        self._in_flight = len(ready)
        for start in range(0, len(ready), _IN_FLIGHT):
            part = ready[start : start + _IN_FLIGHT]
            await asyncio.gather(*(publish(message, message_id) for message, message_id in part))
            self._in_flight -= len(part)

    def _take_due(self) -> None:
        now_ns = self._clock_ns()
        while self._due and self._due[0][0] <= now_ns:
            due_ns, strategy_id = heappop(self._due)
            record = self._records.get(strategy_id)
            if record is not None and record.due_ns == due_ns:
                self._take_pending(record)

    def _take_pending(self, record: _Record) -> None:
        for tally in record.pending.values():
            self._number += 1
            message = self._message(tally.newest, tally.first_at, tally.count, acted=False)
            self._ready.append((message, f"{self._evaluator_id}.{self._number}"))
            record.told_code = tally.newest.code
        if record.pending:
            record.told_ns = self._clock_ns()
        record.pending = {}
        record.due_ns = 0

    def _message(self, noted: Noted, first_at: datetime, count: int, *, acted: bool) -> DecisionRecorded:
        return DecisionRecorded(
            strategy_id=noted.strategy_id,
            strategy_version=noted.strategy_version,
            evaluator=self._evaluator_id,
            acted=acted,
            code=noted.code,
            count=count,
            first_at=first_at,
            last_at=noted.at,
            inputs=noted.figures.as_text(),
            plan_id=noted.plan_id,
        )

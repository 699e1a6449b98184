"""Follows the journal and keeps the results up to date, a little behind the posting and never in its way."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from services.ledger.adapters.postgres_results import ResultsStore, record_mark
from services.ledger.facts import JournalEntry
from services.ledger.market import Market
from services.ledger.projection import Remembered
from shared.core.errors import RetryLater, Stop
from shared.messaging.database_postgres import UNAVAILABLE

log = logging.getLogger(__name__)

BATCH = 100
LOOK_EVERY_S = 0.5
REST = 3
"""Rests this many times as long as a batch took: catching up leaves most of the process to the posting."""

_END = 2**62
_NEWEST_MARK = "SELECT max(market_time) FROM ledger.marks WHERE venue = $1"
_IS_HOLDING = "SELECT EXISTS (SELECT FROM strategies WHERE venue = $1 AND is_holding)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Projector:
    """Projects in batches, each in one transaction with the checkpoint; whatever dies, the next batch begins there."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", market: Market, *, mark_interval_s: int) -> None:
        self._pool = pool
        self._market = market
        self._interval = timedelta(seconds=mark_interval_s)
        self._memory = Remembered()
        self._posted = asyncio.Event()
        self._trouble: str | None = None

    def wake(self) -> None:
        """Something was posted."""
        self._posted.set()

    async def trouble(self) -> str | None:
        """None while it works, else what keeps it from it (for the health check)."""
        return self._trouble

    async def run(self) -> None:
        """Follow until cancelled. What goes wrong is told by ``trouble`` and tried again: the books go on meanwhile."""
        while True:
            started = time.monotonic()
            try:
                count = await self.step()
                self._trouble = None
            except RetryLater as unreachable:
                count, self._trouble = 0, str(unreachable)
            except Exception as error:
                if self._trouble is None:
                    log.exception("the results cannot be computed")
                count, self._trouble = 0, f"the results cannot be computed: {error!r}"
            if count:
                await asyncio.sleep(REST * (time.monotonic() - started) if count == BATCH else 0)
                continue
            self._posted.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._posted.wait()
            except TimeoutError:
                continue

    async def catch_up(self) -> None:
        """Project all that is posted now. Raises RetryLater, Stop."""
        while await self.step():
            continue

    async def step(self) -> int:
        """Project the next batch and record the prices that are due; returns how many entries that were.

        Raises RetryLater when the database cannot be reached or the outcome is unknown, Stop when it cannot be written.
        """
        try:
            async with self._pool.acquire(timeout=5.0) as connection, connection.transaction():
                return await self._step(await ResultsStore.opened(connection))
        except UNAVAILABLE as error:
            self._memory.forget()
            raise RetryLater(f"the results cannot be reached: {error!r}") from error
        except asyncpg.PostgresError as error:
            raise Stop(f"the results cannot be written: {error!r}") from error
        except BaseException:
            # Cancelled ones, too: the transaction is rolled back, and what is remembered may be ahead of it.
            self._memory.forget()
            raise

    async def _step(self, store: ResultsStore) -> int:
        sequence = await store.checkpoint()
        if sequence != self._memory.sequence:
            self._memory.forget()
            self._memory.sequence = sequence
        entries = await store.entries(sequence, _END, BATCH)
        await self._mark_for(store, entries)
        if entries:
            await store.project(self._memory, entries)
        if len(entries) < BATCH:
            await self._mark_time(store)
        return len(entries)

    async def _mark_for(self, store: ResultsStore, entries: Sequence[JournalEntry]) -> None:
        """Record the newest prices of each venue before its first entry whose worth depends on them."""
        first: dict[str, int] = {}
        for entry in entries:
            if entry.needs_prices:
                first.setdefault(entry.venue, entry.sequence)
        for venue, sequence in first.items():
            heard = self._market.venues.get(venue)
            newest = await store.connection.fetchval(
                "SELECT max(market_time) FROM ledger.marks WHERE venue = $1", venue
            )
            if heard is not None and (newest is None or newest < heard.market_time):
                await record_mark(store.connection, venue, sequence - 1, heard, regular=False)

    async def _mark_time(self, store: ResultsStore) -> None:
        """Record prices and value every strategy where an interval of market time has begun since the last time."""
        for venue, heard in self._market.venues.items():
            last = await store.connection.fetchval(f"{_NEWEST_MARK} AND regular", venue)
            if last is not None and self._interval_of(last) >= self._interval_of(heard.market_time):
                continue
            if await store.connection.fetchval(_IS_HOLDING, venue):
                mark_id = await record_mark(store.connection, venue, self._memory.sequence, heard, regular=True)
                await store.snapshot(self._memory, venue, mark_id)

    def _interval_of(self, market_time: datetime) -> int:
        return (market_time - _EPOCH) // self._interval

"""A long journal checked by all cores: stretches of it apart, each by a process of its own, then put together."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context

from deploy.audit.collecting import searching_rarely
from deploy.audit.entry_check import Stretch, stretch_of
from deploy.audit.postgres_tables import BEFORE_ALL, PostgresTables, opened
from deploy.audit.records import Entry, Wrong
from deploy.audit.tables import Batch, begun, ended, entries_in
from deploy.audit.verification import Findings, Trusted

LONG = 200_000
"""From how many entries on it is worth the seconds that starting the processes takes."""

_STRETCH = 20_000


async def verify_with_all_cores(dsn: str, tables: PostgresTables, trusted: Trusted) -> Findings | None:
    """The findings when all is right; None when it is not: then somebody must look entry by entry."""
    small, last = await tables.small(), await tables.last()
    checking = begun(small, trusted)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        work = [
            loop.run_in_executor(pool, _checked, dsn, tables.snapshot, (at, min(at + _STRETCH, last)), checking.sizes)
            for at in range(0, last, _STRETCH)
        ]
        try:
            for each in work:
                stretch = await each
                if stretch is None:
                    return None
                checking.take_stretch(stretch)
        except (Wrong, ValueError, BrokenExecutor):
            return None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    found = ended(small, checking)
    return None if found.wrong else found


def _checked(dsn: str, snapshot: str, between: tuple[int, int], sizes: frozenset[int]) -> Stretch | None:
    """A stretch, in a process of its own; None when anything in it is wrong."""
    with searching_rarely():
        return asyncio.run(_read_and_check(dsn, snapshot, between, sizes))


async def _read_and_check(dsn: str, snapshot: str, between: tuple[int, int], sizes: frozenset[int]) -> Stretch | None:
    after, last = between
    async with opened(dsn, snapshot) as tables:
        batches = [batch async for batch in tables.batches(after or BEFORE_ALL, last)]
    try:
        return stretch_of(after + 1, _entries(batches), sizes)
    except Wrong:
        return None


def _entries(batches: list[Batch]) -> Iterator[Entry]:
    for batch in batches:
        yield from entries_in(batch)

"""Whether posting and verifying slow down as the books grow: ``python -m tests.benchmarks.ledger_growth [--json]``.

On a PostgreSQL of its own fills are posted as the service does under load, until there are a million. Posting (rate and
p99 of what a caller waits) is the median of five stretches of 10,000 fills at either size; verification the best of
three, by one process. ``growth`` is how many times slower the large books are; as-of queries: ``ledger_queries``.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from dataclasses import dataclass

from deploy.audit.postgres_tables import opened
from deploy.audit.tables import verify_tables
from services.ledger.books import Books
from tests.benchmarks.ledger_posting import STRATEGIES, durable_postgres, growing_fills, post_all, running_books
from tests.services.ledger.messages import Scene, request_of

SMALL = 10_000
_STRETCH = 10_000
_STRETCHES = 5
_CALLERS = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured at one size."""

    posted_per_s: float
    p99_ms: float
    verified_per_s: float


async def verified_per_s(url: str) -> float:
    """Entries a second of processor time, best of three. Raises RuntimeError when something is wrong."""
    rates = []
    for _ in range(3):
        start = time.process_time()
        async with opened(url) as tables:
            found = await verify_tables(tables)
        rates.append(found.entries / (time.process_time() - start))
        if found.wrong:
            raise RuntimeError(f"the history is not right: {found.wrong}")
    return max(rates)


async def speed(url: str, books: Books, first: int) -> Speed:
    """Verify what is there; then post five stretches from fill ``first`` on."""
    verified = await verified_per_s(url)
    rates, waits_ms = [], []
    for at in range(first, first + _STRETCHES * _STRETCH, _STRETCH):
        wall_s, took_ms = await post_all(books, growing_fills(at, _STRETCH), _CALLERS)
        rates.append(_STRETCH / wall_s)
        waits_ms.append(sorted(took_ms)[len(took_ms) * 99 // 100])
    return Speed(statistics.median(rates), statistics.median(waits_ms), verified)


async def measure(url: str, entries: int) -> dict[str, object]:
    """All figures of one run."""
    scene = Scene()
    async with running_books(url) as (books, _):
        await books.post(request_of(scene.deposit(amount="100000000")))
        for number in range(STRATEGIES):
            await books.post(request_of(scene.fund(number + 1, "1000000", f"s{number}")))
        await post_all(books, growing_fills(1, SMALL), _CALLERS)
        small = await speed(url, books, SMALL + 1)
        for first in range(SMALL + _STRETCHES * _STRETCH + 1, entries, _STRETCH):
            await post_all(books, growing_fills(first, _STRETCH), _CALLERS)
        large = await speed(url, books, entries + 1)
    figures: dict[str, object] = {}
    for size, found in ((SMALL, small), (entries, large)):
        figures[f"posted_per_s_at_{size}"] = round(found.posted_per_s)
        figures[f"p99_ms_at_{size}"] = round(found.p99_ms, 1)
        figures[f"verified_per_cpu_s_at_{size}"] = round(found.verified_per_s)
    return figures | {
        "posting_growth": round(small.posted_per_s / large.posted_per_s, 2),
        "p99_growth": round(large.p99_ms / small.p99_ms, 2),
        "verification_growth": round(small.verified_per_s / large.verified_per_s, 2),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000, help="a multiple of 10,000, above 60,000")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    url = os.environ.get("TRIMTAB_TEST_POSTGRES_DSN")
    if url:
        figures = asyncio.run(measure(url, options.entries))
    else:
        with durable_postgres() as own:
            figures = asyncio.run(measure(own, options.entries))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()

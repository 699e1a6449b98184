"""How fast the past is looked up, and whether that grows with the books: ``python -m tests.benchmarks.ledger_queries``.

On a PostgreSQL of its own, once with 10,000 and once with 1,000,000 entries of 20 strategies (generated in the
database, as the projection would have written them): what a strategy and a wallet held at random times, 500 looks each;
and the projection of new entries at either size. Prints milliseconds and the ratio of the two sizes.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_answers import PostgresAnswers
from services.ledger.adapters.postgres_projector import Projector
from services.ledger.market import Market
from shared.contracts.results import ReportHoldings
from shared.contracts.wire import Meta
from shared.messaging.database_postgres import create_pool
from tests.benchmarks.ledger_posting import STRATEGIES, durable_postgres
from tests.services.ledger.messages import START, Scene, request_of

SIZES = (10_000, 1_000_000)
LOOKS = 500
NEW_ENTRIES = 1_000
META = Meta("q", "benchmark", datetime(2026, 1, 1, tzinfo=UTC), "q", "")

# Every entry changes five balances, as a fill does: two of a strategy, two of the venue, one of fees.
_GENERATE = """
INSERT INTO ledger_results.balances (account, asset, at, sequence, amount)
SELECT account, asset, $2::timestamptz + n * interval '1 second', n, n
FROM generate_series($1::bigint, $3::bigint) n
CROSS JOIN LATERAL (VALUES
    ('strategy:paper-s' || n % $4, 'USDT'), ('strategy:paper-s' || n % $4, (ARRAY['BTC', 'ETH', 'SOL'])[1 + n % 3]),
    ('venue:paper', 'USDT'), ('venue:paper', (ARRAY['BTC', 'ETH', 'SOL'])[1 + n % 3]), ('fees:paper', 'USDT'),
    (CASE WHEN n % 50 = 0 THEN 'wallet:paper' END, 'USDT')
) accounts (account, asset) WHERE account IS NOT NULL
"""
_BALANCES = """
INSERT INTO ledger.balances (account, asset, amount)
SELECT DISTINCT account, asset, 1 FROM ledger_results.balances ON CONFLICT DO NOTHING
"""


async def _grow(pool: "asyncpg.Pool[asyncpg.Record]", begin: int, end: int) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SET statement_timeout = 0")
        for first in range(begin, end, 100_000):
            last = min(first + 100_000, end) - 1
            await connection.execute(_GENERATE, first, START, last, STRATEGIES, timeout=300)
        await connection.execute(_BALANCES, timeout=300)
        await connection.execute("VACUUM ANALYZE ledger_results.balances", timeout=300)


async def _timed(look: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    took = []
    for _ in range(LOOKS):
        start = time.perf_counter()
        await look()
        took.append((time.perf_counter() - start) * 1000)
    took.sort()
    return took[LOOKS // 2], took[LOOKS * 99 // 100]


async def measure(url: str) -> dict[str, object]:
    """All figures."""
    pool = await create_pool(url, "ledger-queries", max_size=4)
    journal = PostgresJournal(pool, lambda: datetime.now(UTC))
    scene, dice, market = Scene(), random.Random(1), Market()
    answers, projector = PostgresAnswers(pool, market), Projector(pool, market, mark_interval_s=3600)
    await journal.post([request_of(scene.deposit(amount="100000000"))])
    await journal.post([request_of(scene.fund(n + 1, "1000000", f"s{n}")) for n in range(STRATEGIES)])
    figures: dict[str, object] = {}
    known: dict[str, list[float]] = {}
    begin, posted = 1, 0
    try:
        for size in SIZES:
            await _grow(pool, begin, size)
            begin = size

            def then(of: int = size) -> datetime:
                return START + timedelta(seconds=dice.randint(1, of))

            async def position() -> None:
                name = scene.strategy(f"s{dice.randrange(STRATEGIES)}")
                await answers.holdings(ReportHoldings(strategy_id=name, at=then()), META)

            async def wallets() -> None:
                await answers.holdings(ReportHoldings(at=then()), META)

            for name, look in (("position", position), ("wallets", wallets)):
                p50, p99 = await _timed(look)
                figures[f"{name}_p50_ms_at_{size}"], figures[f"{name}_p99_ms_at_{size}"] = round(p50, 2), round(p99, 2)
                known.setdefault(name, []).append(p50)
            new = [
                scene.fill(posted + n, "BUY", "0.01", "0.4", "0.00001", f"s{n % STRATEGIES}")
                for n in range(NEW_ENTRIES)
            ]
            posted += NEW_ENTRIES
            await journal.post([request_of(fill) for fill in new])
            start = time.perf_counter()
            await projector.catch_up()
            rate = NEW_ENTRIES / (time.perf_counter() - start)
            figures[f"projected_per_s_at_{size}"] = round(rate)
            known.setdefault("projection", []).append(1 / rate)
    finally:
        await pool.close()
    for name, (small, large) in known.items():
        figures[f"{name}_growth"] = round(large / small, 2)
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with durable_postgres() as url:
        figures = asyncio.run(measure(url))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()

"""How many fills per second the ledger posts durably: ``python -m tests.benchmarks.ledger_posting [--json]``.

Books on a PostgreSQL of its own (fsync and synchronous_commit on), fills from 20 strategies, 64 callers that each wait
for the commit of their fill: journal, postings, balances, position and outbox. Beside it, in the same run, bare
multi-row INSERTs of the same transaction and posting rows, as many to a commit, without any constraint but the keys.
Every entry is in the Merkle log when it is committed; heads are signed beside it. Whether the rate falls as the books
grow: ``ledger_growth``.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.embedded.child import child_argv
from deploy.embedded.ports import free_port
from deploy.embedded.postgres_server import cluster_at, dsn, ensure_cluster, postgres_argv
from deploy.embedded.probes import ask_postgres
from deploy.provision import migrate
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.adapters.postgres_heads import PostgresHeads
from services.ledger.books import Books
from services.ledger.heads import Signer
from services.ledger.requests import Request
from shared.messaging.database_postgres import create_pool
from tests.services.ledger.messages import Scene, request_of

STRATEGIES = 20
PASSWORD = "benchmark"  # a server of our own, on loopback, for a minute

_COLUMNS = (
    "sequence, transaction_id, kind, venue, strategy_id, market_time, received_at, posted_at, message_id, "
    "correlation_id, digest, request_type, request"
)
_TYPES = ("bigint", *["text"] * 4, *["timestamptz"] * 3, "text", "text", "bytea", "text", "jsonb")
_POSTING_TYPES = ("bigint", "smallint", "text", "text", "text", "numeric")


@contextmanager
def durable_postgres() -> Iterator[str]:
    """The URL of a migrated database on a server that keeps what it says."""
    with tempfile.TemporaryDirectory(prefix="trimtab-benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        cluster = cluster_at(folder / "data")
        ensure_cluster(cluster, PASSWORD)
        port = free_port()
        with (folder / "log").open("wb") as log:
            argv = child_argv(cluster.child_options(), postgres_argv(cluster, port))
            server = subprocess.Popen(argv, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            asyncio.run(_until_ready(port))
            asyncio.run(migrate(dsn(port, PASSWORD)))
            yield dsn(port, PASSWORD)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(30)


async def _until_ready(port: int) -> None:
    deadline = time.monotonic() + 30
    while not (answer := await ask_postgres(port)).ready:
        if time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL is not ready: {answer.reason}")
        await asyncio.sleep(0.05)


def fills(count: int) -> list[Request]:
    """Buys and then sells of 20 strategies, always covered; no two amounts alike, as in real trades."""
    scene, dice = Scene(), random.Random(1)
    made = []
    for number in range(1, count + 1):
        name, base = f"s{number % STRATEGIES}", dice.choice(("BTC", "ETH", "SOL"))
        side, zeros = ("BUY", "0.0") if number <= count // 2 else ("SELL", "0.000")
        made.append(request_of(scene.fill(number, side, *_amounts(dice, zeros), name, base)))
    return made


def growing_fills(first: int, count: int) -> list[Request]:
    """Fills from number ``first`` on that can go on for ever: each strategy sells again most of what it bought."""
    scene, bases, dice = Scene(), ("BTC", "ETH", "SOL"), random.Random(first)
    made = []
    for number in range(first, first + count):
        turn = (number - 1) // STRATEGIES
        (side, zeros), base = (("BUY", "0.0"), ("SELL", "0.00"))[turn % 2], bases[turn // 2 % 3]
        name = f"s{(number - 1) % STRATEGIES}"
        made.append(request_of(scene.fill(number, side, *_amounts(dice, zeros), name, base)))
    return made


def _amounts(dice: random.Random, zeros: str) -> tuple[str, str, str]:
    """Quantity, worth of about 0.4 and fee of a fill."""
    return (
        f"{zeros}{dice.randrange(10**5, 10**6)}",
        f"0.4{dice.randrange(10**6):06}",
        f"0.0000{dice.randrange(10**4):04}",
    )


@asynccontextmanager
async def running_books(url: str) -> AsyncIterator[tuple[Books, asyncpg.Pool]]:
    """Books that commit, as the service has them."""
    pool = await create_pool(url, "ledger-benchmark", max_size=4)
    books = Books(PostgresJournal(pool, lambda: datetime.now(UTC)), group_size=256)
    heads = PostgresHeads(pool, lambda: datetime.now(UTC), Signer(Ed25519PrivateKey.generate()))
    beside = {asyncio.create_task(books.run()), asyncio.create_task(signing(heads))}
    try:
        yield books, pool
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
        await pool.close()


async def post_all(books: Books, requests: Sequence[Request], callers: int) -> tuple[float, list[float]]:
    """Seconds in all, and milliseconds each caller waited for each fill."""
    waiting = iter(requests)
    took_ms: list[float] = []

    async def caller() -> None:
        for request in waiting:
            start = time.perf_counter()
            await books.post(request)
            took_ms.append((time.perf_counter() - start) * 1000)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - start, took_ms


async def signing(heads: PostgresHeads) -> None:
    """Sign a head a second, for ever: sixty times as often as the service does."""
    while True:
        await heads.covering_all()
        await asyncio.sleep(1)


async def bare_inserts(pool: asyncpg.Pool, per_commit: int) -> float:
    """Seconds for inserting the journal's rows again, into tables that have nothing but their keys."""
    async with pool.acquire() as connection:
        await connection.execute(
            "CREATE SCHEMA bare; CREATE TABLE bare.transactions (LIKE ledger.transactions); "
            "ALTER TABLE bare.transactions ADD PRIMARY KEY (sequence), DROP COLUMN previous_sequence; "
            "CREATE TABLE bare.postings (LIKE ledger.postings); "
            "ALTER TABLE bare.postings ADD PRIMARY KEY (sequence, line)"
        )
        entries = await connection.fetch(f"SELECT {_COLUMNS} FROM ledger.transactions ORDER BY sequence")  # noqa: S608
        moved = await connection.fetch("SELECT * FROM ledger.postings ORDER BY sequence, line")
        postings: dict[int, list[asyncpg.Record]] = {}
        for row in moved:
            postings.setdefault(row["sequence"], []).append(row)
        insert = f"INSERT INTO bare.transactions ({_COLUMNS}) SELECT * FROM unnest({_arrays(_TYPES)})"  # noqa: S608
        insert_postings = f"INSERT INTO bare.postings SELECT * FROM unnest({_arrays(_POSTING_TYPES)})"  # noqa: S608
        start = time.perf_counter()
        for first in range(0, len(entries), per_commit):
            group = entries[first : first + per_commit]
            lines = [line for entry in group for line in postings[entry["sequence"]]]
            async with connection.transaction():
                await connection.execute(insert, *map(list, zip(*group, strict=True)))
                await connection.execute(insert_postings, *map(list, zip(*lines, strict=True)))
        return time.perf_counter() - start


def _arrays(types: Sequence[str]) -> str:
    return ", ".join(f"${number}::{of}[]" for number, of in enumerate(types, start=1))


async def measure(url: str, count: int, callers: int) -> dict[str, object]:
    """All figures of one run."""
    scene = Scene()
    async with running_books(url) as (books, pool):
        await books.post(request_of(scene.deposit(amount="1000000")))
        for number in range(STRATEGIES):
            await books.post(request_of(scene.fund(number + 1, "10000", f"s{number}")))
        wall_s, took_ms = await post_all(books, fills(count), callers)
        alone_s, alone_ms = await post_all(books, fills(count + 200)[count:], 1)
        bare_s = await bare_inserts(pool, callers)
    check = await check_books(url)
    took_ms.sort()
    alone_ms.sort()
    posted_per_s, bare_per_s = count / wall_s, check.transactions / bare_s
    return {
        "fills": count,
        "callers": callers,
        "posted_per_s": round(posted_per_s),
        "p50_ms": round(took_ms[len(took_ms) // 2], 2),
        "p99_ms": round(took_ms[len(took_ms) * 99 // 100], 2),
        "alone_p50_ms": round(alone_ms[len(alone_ms) // 2], 2),
        "alone_per_s": round(200 / alone_s),
        "bare_inserts_per_s": round(bare_per_s),
        "ratio_to_bare": round(posted_per_s / bare_per_s, 3),
        "balanced": check.balanced,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fills", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    url = os.environ.get("TRIMTAB_TEST_POSTGRES_DSN")
    if url:
        figures = asyncio.run(measure(url, options.fills, options.callers))
    else:
        with durable_postgres() as own:
            figures = asyncio.run(measure(own, options.fills, options.callers))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    main()

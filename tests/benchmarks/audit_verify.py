"""How many journal entries per second an auditor verifies: ``python -m tests.benchmarks.audit_verify [--json]``.

The ledger posts fills on a PostgreSQL of its own and signs heads on the way; then ``deploy.audit`` checks all of it,
from the database (as a running system is checked) and from the exported events.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.audit.events_file import heads_in, verify_events
from deploy.audit.postgres_stretches import verify_with_all_cores
from deploy.audit.postgres_tables import opened
from deploy.audit.tables import verify_tables
from deploy.audit.verification import NOTHING_KNOWN, Findings
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_heads import PostgresHeads
from services.ledger.heads import Signer
from services.ledger.requests import Request
from shared.messaging.database_postgres import create_pool
from tests.benchmarks.ledger_posting import STRATEGIES, durable_postgres, fills
from tests.services.ledger.messages import Scene, request_of

_GROUP = 256
_GROUPS_PER_HEAD = 20


async def make_history(url: str, count: int) -> None:
    """Post ``count`` fills in groups, as the service does under load; a head after every few."""
    scene = Scene()
    first = [request_of(scene.deposit(amount="1000000000"))]
    first += [request_of(scene.fund(number + 1, "1000000", f"s{number}")) for number in range(STRATEGIES)]
    pool = await create_pool(url, "audit-benchmark", max_size=4)
    journal = PostgresJournal(pool, lambda: datetime.now(UTC))
    heads = PostgresHeads(pool, lambda: datetime.now(UTC), Signer(Ed25519PrivateKey.generate()))
    await _post(journal, first)
    requests = fills(count)
    for number, at in enumerate(range(0, count, _GROUP), start=1):
        await _post(journal, requests[at : at + _GROUP])
        if number % _GROUPS_PER_HEAD == 0:
            await heads.covering_all()
    await heads.covering_all()
    await pool.close()


async def _post(journal: PostgresJournal, requests: Sequence[Request]) -> None:
    outcomes = await journal.post(requests)
    if any(outcomes):
        raise RuntimeError(f"not posted: {outcomes}")


async def exported(url: str) -> list[bytes]:
    """The events as an export has them: a CloudEvent a line."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT headers ->> 'ce-type', payload FROM ledger.outbox "
            "WHERE subject LIKE 'ledger.%' OR subject = 'audit.tree-heads' ORDER BY id"
        )
    finally:
        await connection.close()
    return [orjson.dumps({"specversion": "1.0", "type": row[0], "data": orjson.Fragment(row[1])}) for row in rows]


async def measure(url: str, count: int) -> dict[str, object]:
    """All figures of one run."""
    await make_history(url, count)
    start, cpu = time.perf_counter(), time.process_time()
    async with opened(url) as tables:
        alone = await verify_tables(tables)
    alone_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    start = time.perf_counter()
    async with opened(url) as tables:
        found = await verify_with_all_cores(url, tables, NOTHING_KNOWN)
    wall_s = time.perf_counter() - start
    lines = await exported(url)
    start = time.perf_counter()
    told = verify_events(lines, list(heads_in(lines)))
    events_s = time.perf_counter() - start
    _require_right(alone, told)
    if found != alone:
        raise RuntimeError("all cores find something else than one")
    return {
        "entries": alone.entries,
        "postings": alone.postings,
        "heads": len(alone.heads),
        "all_cores_entries_per_s": round(alone.entries / wall_s),
        "one_core_entries_per_s": round(alone.entries / alone_s),
        "one_core_entries_per_cpu_s": round(alone.entries / cpu_s),
        "events_entries_per_s": round(told.entries / events_s),
    }


def _require_right(found: Findings, told: Findings) -> None:
    if found.wrong or told.wrong or found.root != told.root:
        raise RuntimeError(f"the history is not right: {found.wrong} {told.wrong}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
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
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()

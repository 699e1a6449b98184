"""Many fills through the whole ledger: ``just check-books [--fills N]`` (minutes). Exit code 0: everything is equal.

Fills of 20 strategies, generated directly: each posted once and a tenth of them again; then the books are checked from
outside, projected, computed again from the first entry, and what is held is compared with what the fills sum to. A head
is signed and the auditor verifies every entry, each fill against the venue's list of trades.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.audit.reading import verify_database
from deploy.audit.trades import VenueTrades
from deploy.audit.verification import NOTHING_KNOWN
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.adapters.postgres_heads import PostgresHeads
from services.ledger.adapters.postgres_projector import Projector
from services.ledger.adapters.postgres_rebuild import rebuild
from services.ledger.heads import Signer
from services.ledger.market import Market
from services.ledger.requests import Request
from shared.contracts.orders import OrderFilled
from shared.messaging.database_postgres import create_pool
from tests.benchmarks.ledger_posting import STRATEGIES, durable_postgres
from tests.services.ledger.messages import Scene, request_of

GROUP = 256


def fills(count: int) -> Iterator[OrderFilled]:
    """Covered buys and sells with fees in base and quote, and plans of ten fills each."""
    scene, dice = Scene(), random.Random(1)
    held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for index in range(count):
        name, number, base = f"s{index % STRATEGIES}", index // STRATEGIES + 1, dice.choice(("BTC", "ETH", "SOL"))
        key = (name, base)
        side = "SELL" if held[key] > Decimal("0.05") and dice.random() < 0.5 else "BUY"
        quantity = Decimal(dice.randint(100, 2_000)) / 100_000
        held[key] += quantity - Decimal("0.00001") if side == "BUY" else -quantity
        worth = f"{dice.randint(1, 900)}.{dice.randint(0, 99)}"
        fill = scene.fill(index + 1, side, f"{quantity}", worth, "0.00001", name, base)
        yield fill.model_copy(update={"fill_number": number, "plan_id": f"pl{number // 10}"})


def balance_of(made: list[OrderFilled]) -> dict[str, Decimal]:
    """What all strategies together must hold of each asset but the quote."""
    total: dict[str, Decimal] = defaultdict(Decimal)
    for fill in made:
        bought = fill.quantity if fill.side == "BUY" else -fill.quantity
        total[fill.base] += bought - (fill.fee if fill.fee_asset == fill.base else 0)
    return dict(total)


def trades_of(made: list[OrderFilled]) -> Iterator[str]:
    """The fills as the venue lists them: a line each."""
    for fill in made:
        trade = {"id": fill.trade_id.partition(":")[2], "symbol": f"{fill.base}/{fill.quote}", "side": fill.side}
        amounts = {"amount": str(fill.quantity), "cost": str(fill.quote_quantity)}
        yield json.dumps(trade | amounts | {"fee": {"cost": str(fill.fee), "currency": fill.fee_asset}})


async def soak(url: str, count: int) -> list[str]:
    """Everything that is wrong; prints how long each step took."""
    pool = await create_pool(url, "books-soak", max_size=4)
    journal = PostgresJournal(pool, lambda: datetime.now(UTC))
    scene, made, dice = Scene(), list(fills(count)), random.Random(2)
    money = [scene.deposit(amount="100000000000")]
    money += [scene.fund(n + 1, "1000000000", f"s{n}") for n in range(STRATEGIES)]
    requests: list[Request] = [request_of(body) for body in (*money, *made)]
    repeats = dice.sample(requests, len(requests) // 10)
    try:
        started = time.perf_counter()
        for first in range(0, len(requests), GROUP):
            outcomes = await journal.post(requests[first : first + GROUP])
            if any(outcomes):
                return [f"not posted: {outcome}" for outcome in outcomes if outcome is not None]
        for first in range(0, len(repeats), GROUP):
            await journal.post(repeats[first : first + GROUP])
        started = _told(f"{count} fills posted", started)
        await Projector(pool, Market(), mark_interval_s=3600).catch_up()
        started = _told("projected", started)
        done = await rebuild(url)
        started = _told(f"{done.entries} entries computed again", started)
        check = await check_books(url)
        started = _told("checked from outside", started)
        await PostgresHeads(pool, lambda: datetime.now(UTC), Signer(Ed25519PrivateKey.generate())).covering_all()
        found = await verify_database(url, NOTHING_KNOWN, VenueTrades("paper", trades_of(made)))
        _told(f"{found.covered} entries under a signed head verified, each fill a trade of the venue", started)
    finally:
        await pool.close()
    wrong = [*done.differences, *check.differences, *found.wrong]
    if found.covered != len(requests):
        wrong.append(f"{found.covered} entries are under a signed head, not {len(requests)}")
    if done.entries != len(requests):
        wrong.append(f"{done.entries} entries, not {len(requests)}")
    held = {asset: amount for asset, amount in check.totals["strategy"].items() if asset != "USDT"}
    if held != balance_of(made):
        wrong.append(f"strategies hold {held}, the fills sum to {balance_of(made)}")
    return wrong


def _told(what: str, started: float) -> float:
    now = time.perf_counter()
    print(f"{what}: {now - started:.1f} s", flush=True)  # noqa: T201 - its output
    return now


def main() -> int:
    """Run on a server of its own; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fills", type=int, default=100_000)
    options = parser.parse_args()
    with durable_postgres() as url:
        wrong = asyncio.run(soak(url, options.fills))
    for line in wrong:
        print(line)  # noqa: T201
    print(f"{len(wrong)} differences")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

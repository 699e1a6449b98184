"""Whatever the order of arrival, and however often each message comes: the same books, lots and results.

Whatever the number of spenders: never below zero, no deadlock, no lost update.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_answers import PostgresAnswers
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.adapters.postgres_projector import Projector
from services.ledger.books import Books
from services.ledger.market import Market
from services.ledger.requests import Request
from shared.contracts.results import ReportResults
from shared.contracts.wire import Meta
from tests.services.ledger.messages import START, Scene, request_of
from tests.services.ledger.projecting import hear, projector_on
from tests.services.ledger.stories import deliver, phases_of, story

pytestmark = pytest.mark.servers

SEEDS = 200
SCENE = Scene()
PRICES = {"BTC": "50000", "ETH": "2000", "SOL": "20", "BNB": "300"}
META = Meta("q", "test", datetime(2026, 1, 1, tzinfo=UTC), "q", "")

# The place in the journal and the venue's clock at the time of posting are about the arrival; the rest is not.
FIGURES = (
    "SELECT account, asset, trim_scale(amount)::text FROM ledger.balances",
    "SELECT strategy_id, version, fills_posted, contributed, contributed_in, withdrawn, fees::text "
    "FROM ledger.strategies",
    "SELECT strategy_id, method, asset, quantity, cost, opened_quantity, opened_cost, opened_by "
    "FROM ledger_results.lots",
    "SELECT strategy_id, method, asset, piece, kind, quantity, cost, proceeds, opened_by, closed_by "
    "FROM ledger_results.closings",
    "SELECT strategy_id, amount, trim_scale(value_before) FROM ledger_results.flows",
    "SELECT strategy_id, is_holding, state - 'last_place' FROM ledger_results.strategies",
)
EMPTY = """
SET LOCAL session_replication_role = replica;
DELETE FROM ledger.postings; DELETE FROM ledger.transactions; DELETE FROM ledger.balances;
DELETE FROM ledger.strategies; DELETE FROM ledger.venues; DELETE FROM ledger.transfers; DELETE FROM ledger.outbox;
DELETE FROM ledger.log_nodes; DELETE FROM ledger.reservations; DELETE FROM ledger.order_holds;
DELETE FROM ledger_results.balances; DELETE FROM ledger_results.clocks; DELETE FROM ledger_results.strategies;
DELETE FROM ledger_results.lots; DELETE FROM ledger_results.closings; DELETE FROM ledger_results.flows;
UPDATE ledger.journal_head SET sequence = 0, tree_size = 0, tree_peaks = '';
UPDATE ledger_results.checkpoint SET sequence = 0
"""


def shuffled(requests: Sequence[Request], dice: random.Random) -> list[Request]:
    """Each request one to five times, in any order."""
    copies = [request for request in requests for _ in range(dice.randint(1, 5))]
    dice.shuffle(copies)
    return copies


async def figures_of(pool: "asyncpg.Pool[asyncpg.Record]") -> list[list[str]]:
    return [sorted(str(tuple(row)) for row in await pool.fetch(query)) for query in FIGURES]


async def told_of(pool: "asyncpg.Pool[asyncpg.Record]") -> list[object]:
    """What people are told, but for the rate by the year, which depends on the venue's clock when money was moved."""
    market = Market()
    hear(market, "paper", START, PRICES)
    answers = PostgresAnswers(pool, market)
    told = [await answers.results(ReportResults(strategy_id=f"paper-{name}"), META) for name in ("s1", "s2")]
    return [one.model_dump(exclude={"xirr"}) for one in told]


@pytest.mark.timeout(300)
async def test_books_and_results_when_messages_come_often_and_in_any_order_are_the_same(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    requests = story(9, random.Random(5))
    await deliver(journal, requests)
    await projector_on(journal.pool).catch_up()
    expected, told = await figures_of(journal.pool), await told_of(journal.pool)
    assert all(expected)
    for seed in range(SEEDS):
        dice, come = random.Random(seed), list[Request]()
        await journal.pool.execute(EMPTY)
        projector = projector_on(journal.pool)

        async def project_now_and_then(dice: random.Random = dice, projector: Projector = projector) -> None:
            if dice.random() < 0.3:
                await projector.step()

        for phase in phases_of(requests):
            come += phase
            late = dice.sample(come, len(come) // 5)
            await deliver(journal, shuffled([*phase, *late], dice), dice.choice((7, 64)), project_now_and_then)
        await projector_on(journal.pool).catch_up()
        assert await figures_of(journal.pool) == expected, f"seed {seed}"
        assert await told_of(journal.pool) == told, f"seed {seed}"
    assert (await check_books(postgres_dsn)).differences == ()


@pytest.mark.timeout(300)
async def test_wallet_when_64_spend_at_once_is_never_overdrawn_and_no_round_is_lost(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    spenders, rounds, covered = 64, 10_000, 7_000
    first, second = Books(journal, group_size=256), Books(PostgresJournal(journal.pool, journal._now), group_size=64)
    committers = [asyncio.create_task(books.run()) for books in (first, second)]
    await first.post(request_of(SCENE.deposit(amount=str(covered))))
    numbers = iter(range(1, rounds + 1))

    async def spend(spender: int) -> None:
        for number in numbers:
            await (first, second)[spender % 2].post(request_of(SCENE.fund(number, "1", f"s{spender}")))

    await asyncio.gather(*(spend(spender) for spender in range(spenders)))
    for committer in committers:
        committer.cancel()
    await asyncio.wait(committers)
    rows = await journal.pool.fetch("SELECT state, count(*) AS count FROM ledger.transfers GROUP BY state")
    assert {row["state"]: row["count"] for row in rows} == {"posted": covered, "refused": rounds - covered}
    check = await check_books(postgres_dsn)
    assert check.differences == ()
    assert check.totals["wallet"]["USDT"] == 0
    assert check.totals["strategy"]["USDT"] == covered

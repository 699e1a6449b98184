"""The books computed again: nothing differs, and what was changed is named."""

import random
from datetime import timedelta

import asyncpg
import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_rebuild import rebuild
from tests.services.ledger.books_soak import soak
from tests.services.ledger.messages import START
from tests.services.ledger.projecting import computed, hear, market_of, projector_on
from tests.services.ledger.stories import deliver, story

pytestmark = pytest.mark.servers

PRICES = {"BTC": "50000", "ETH": "2000", "SOL": "20", "BNB": "300"}


async def test_rebuild_when_the_service_has_seen_prices_and_restarts_finds_no_difference(
    journal: PostgresJournal, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ledger.adapters.postgres_projector.BATCH", 7)
    market = market_of("paper", START, PRICES)
    requests = story(12, random.Random(1))
    for number, first in enumerate(range(0, len(requests), 9)):
        await deliver(journal, requests[first : first + 9])
        hear(market, "paper", START + timedelta(hours=number + 1), PRICES | {"BTC": str(50000 + 300 * number)})
        await projector_on(journal.pool, market).catch_up()
    done = await rebuild(postgres_dsn)
    assert done.differences == ()
    assert done.entries == len(requests)
    assert len(await computed(journal.pool, "snapshots")) > 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE ledger.balances SET amount = amount + 1 WHERE account = 'wallet:paper'", "ledger.balances"),
        ("UPDATE ledger.strategies SET contributed = 7 WHERE strategy_id = 'paper-s1'", "ledger.strategies"),
        ("UPDATE ledger_results.lots SET cost = cost + 1 WHERE method = 'hifo'", "ledger_results.lots"),
        ("DELETE FROM ledger_results.closings WHERE method = 'fifo'", "ledger_results.closings"),
        ("UPDATE ledger_results.balances SET amount = 0", "ledger_results.balances"),
    ],
)
async def test_rebuild_when_something_was_changed_names_it(
    journal: PostgresJournal, postgres_dsn: str, change: str, named: str
) -> None:
    await deliver(journal, story(6, random.Random(2)))
    await projector_on(journal.pool).catch_up()
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(change)
    await connection.close()
    differences = (await rebuild(postgres_dsn)).differences
    assert differences
    assert all(line.startswith(named) for line in differences)


async def test_books_when_a_thousand_fills_went_through_are_equal_in_every_way(postgres_dsn: str) -> None:
    assert await soak(postgres_dsn, 1_000) == []

"""The outside check of the books: right when they are right, and every kind of tampering is found."""

from decimal import Decimal
from fractions import Fraction

import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.requests import Body
from tests.services.ledger.messages import Scene
from tests.services.ledger.test_journal import post

pytestmark = pytest.mark.servers

D = Decimal


async def test_withdrawals_when_posted_are_right_in_an_outsiders_eyes_and_told_once(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    """Two fundings, withdrawals that come out uneven, one that waits in the database, a refused one, the release."""
    scene = Scene()
    bodies: list[Body] = [
        scene.deposit(amount="1000.000000000000000007"),
        scene.fund(),
        scene.fill(1),
        scene.withdraw(2, 5, asset="BTC", amount=None, percent="7.77"),
        scene.fund(2, "33.3"),
        scene.fill(2, "SELL", "0.005", "210", "0.21"),
        scene.withdraw(2, 6, amount="0.000000000000000001"),
        scene.withdraw(2, 7, asset="ETH"),
        scene.withdraw(2, 8, amount="1000000"),
    ]
    for body in (*bodies, *bodies):
        assert await post(journal, body) == [None]
    check = await check_books(postgres_dsn)
    assert check.differences == ()
    states = await journal.pool.fetch("SELECT transfer_id, state FROM ledger.transfers WHERE purpose = 'withdraw'")
    assert {row["transfer_id"][-1]: row["state"] for row in states} == {
        **dict.fromkeys("568", "posted"),
        "7": "refused",
    }
    row = await journal.pool.fetchrow("SELECT contributed, contributed_in, withdrawn FROM ledger.strategies")
    # V = 642.69 at the scene's prices; 7.77 % of it are 49.937013 (0.001248425325 BTC); then 443.09 of 592.752987.
    assert row["contributed_in"] == D("633.3")
    assert row["withdrawn"] == D("493.027013")
    left = Fraction("633.3") * Fraction("149.662987") / Fraction("642.69")
    assert 0 <= Fraction(row["contributed"]) - left < Fraction(2, 10**18)
    assert await post(journal, scene.release(2)) == [None]
    check = await check_books(postgres_dsn)
    assert check.differences == ()
    assert check.totals["strategy"] == {"BTC": 0, "USDT": 0}
    assert await journal.pool.fetchval("SELECT contributed FROM ledger.strategies") == 0
    told = await journal.pool.fetch("SELECT message_id FROM ledger.outbox WHERE subject LIKE 'transfers.%' ORDER BY id")
    assert [row["message_id"][-2:] for row in told] == ["t1", "t2", "t5", "t6", "t7", "t8", "t9"]


async def test_checker_when_a_withdrawal_paid_another_amount_finds_it(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    scene = Scene()
    await post(journal, scene.deposit(), scene.fund(), scene.withdraw(amount=None, percent="10"))
    async with journal.pool.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE ledger.postings DISABLE TRIGGER append_only")
        await connection.execute("UPDATE ledger.postings SET amount = 61 WHERE sequence = 3")
        await connection.execute(
            "UPDATE ledger.balances SET amount = amount + CASE WHEN account LIKE 'wallet%' THEN 1 ELSE -1 END "
            "WHERE account NOT LIKE 'venue%'"
        )
        await connection.execute("UPDATE ledger.strategies SET contributed = 539, withdrawn = 61")
    assert (await check_books(postgres_dsn)).differences == ("withdrawal transfer:paper-t5 paid 61 USDT, not 60",)
    await journal.pool.execute("UPDATE ledger.strategies SET contributed = 540, withdrawn = 60")
    (first, _) = (await check_books(postgres_dsn)).differences
    assert "contributed 539 of 600 withdrawn 61; the table says" in first


async def test_checker_when_a_balance_was_tampered_with_names_it(journal: PostgresJournal, postgres_dsn: str) -> None:
    await post(journal, Scene().deposit(), Scene().fund(), Scene().fill(1))
    await journal.pool.execute("UPDATE ledger.balances SET amount = amount + 1 WHERE account = 'strategy:paper-s1'")
    await journal.pool.execute("UPDATE ledger.strategies SET fills_posted = 0, fees = '{}'")
    await journal.pool.execute("DELETE FROM ledger.outbox WHERE message_id = 'transaction.2'")
    check = await check_books(postgres_dsn)
    assert not check.balanced
    found = "\n".join(check.differences)
    for expected in (
        "strategy:paper-s1: postings give 0.009990000000000000 BTC, balance says 1.009990000000000000",
        "BTC: balances sum to 1.000000000000000000, not 0",
        "paper version 2 fills 1 contributed 600 of 600 withdrawn 0; the table says paper version 2 fills 0",
        "strategy:paper-s1: postings give fees of 0.000010000000000000 BTC, table says 0",
        "transaction 2 was not announced",
    ):
        assert expected in found


async def test_checker_when_the_journal_was_tampered_with_finds_it(journal: PostgresJournal, postgres_dsn: str) -> None:
    await post(journal, Scene().deposit(), Scene().fund(), Scene().fill(1))
    async with journal.pool.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE ledger.postings DISABLE TRIGGER append_only")
        await connection.execute("UPDATE ledger.postings SET amount = amount + 1 WHERE sequence = 3 AND line = 1")
    check = await check_books(postgres_dsn)
    assert any(line.startswith("strategy:paper-s1: postings give 199") for line in check.differences)

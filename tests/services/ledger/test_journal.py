"""The journal on a real PostgreSQL: exactly once, never negative, append-only, and right in an outsider's eyes."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.bookkeeping import NotCovered
from services.ledger.books import Books
from services.ledger.requests import Body
from shared.core.errors import Refused, RetryLater, Stop, TrimtabError
from tests.services.ledger.messages import Scene, request_of

pytestmark = pytest.mark.servers

D = Decimal


def wall_clock() -> datetime:
    return datetime.now(UTC)


async def post(journal: PostgresJournal, *bodies: Body) -> list[Exception | None]:
    return list(await journal.post([request_of(body) for body in bodies]))


async def balances(journal: PostgresJournal, venue: str) -> dict[tuple[str, str], Decimal]:
    """Balances of one scene, with its venue's name taken out, so that scenes can be compared."""
    rows = await journal.pool.fetch(
        "SELECT replace(account, $1, '') AS account, asset, trim_scale(amount) AS amount FROM ledger.balances "
        "WHERE (account LIKE '%:' || $1 OR account LIKE '%:' || $1 || '-%') AND amount <> 0",
        venue,
    )
    return {(row["account"], row["asset"]): row["amount"] for row in rows}


async def test_life_of_a_strategy_when_posted_one_by_one_balances_and_is_told_in_order(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    scene = Scene()
    bodies: list[Body] = [
        scene.deposit(amount="1000.000000000000000001"),
        scene.fund(),
        scene.fill(1),
        scene.release(2),
        scene.fill(2, "SELL", "0.005", "210", "0.21"),
    ]
    for body in bodies:
        assert await post(journal, body) == [None]

    check = await check_books(postgres_dsn)
    assert check.differences == ()
    assert (check.transactions, check.postings) == (5, 10)
    assert check.totals["wallet"] == {"BTC": D("0.00499"), "USDT": D("809.790000000000000001")}
    assert check.totals["strategy"] == {"BTC": 0, "USDT": 0}
    assert check.held == {"paper": {"BTC": D("0.00499"), "USDT": D("809.790000000000000001")}}
    assert set(check.fill_to_posted_ms) == {"p50", "p99"}
    told = await journal.pool.fetch("SELECT message_id FROM ledger.outbox ORDER BY id")
    assert [row["message_id"] for row in told] == [
        *("transaction.1", "wallet.paper.1", "books.paper.1"),
        *("transaction.2", "position.paper-s1.1", "wallet.paper.2", "books.paper.2", "transfer.paper-t1"),
        *("transaction.3", "position.paper-s1.2", "books.paper.3"),
        *("transaction.4", "transaction.5", "position.paper-s1.4", "wallet.paper.3", "books.paper.5"),
        "transfer.paper-t9",
    ]


async def test_refused_fund_when_repeated_after_money_came_stays_refused(journal: PostgresJournal) -> None:
    scene = Scene()
    await post(journal, scene.deposit(amount="10"), scene.fund())
    await post(journal, scene.deposit(2))
    assert await post(journal, scene.fund()) == [None]
    row = await journal.pool.fetchrow("SELECT state, reason, sequence FROM ledger.transfers")
    assert tuple(row) == ("refused", "wallet holds 10 USDT, needs 600", None)
    assert await journal.pool.fetchval("SELECT count(*) FROM ledger.outbox WHERE subject LIKE 'transfers.%'") == 1


async def test_repeat_when_different_is_refused_in_a_later_transaction_too(journal: PostgresJournal) -> None:
    scene = Scene()
    await post(journal, scene.deposit(), scene.fund(), scene.fill(1))
    for body in (scene.deposit(amount="1"), scene.fund(amount="1"), scene.fill(1, fee="0")):
        (outcome,) = await post(journal, body)
        assert isinstance(outcome, Refused)
    assert await journal.pool.fetchval("SELECT sequence FROM ledger.journal_head") == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.transactions SET kind = 'other'",
        "DELETE FROM ledger.transactions",
        "TRUNCATE ledger.transactions CASCADE",
        "UPDATE ledger.postings SET amount = amount + 1",
        "DELETE FROM ledger.postings WHERE line = 2",
        "TRUNCATE ledger.postings",
    ],
)
async def test_journal_when_changed_afterwards_refuses(journal: PostgresJournal, statement: str) -> None:
    await post(journal, Scene().deposit())
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await journal.pool.execute(statement)


_ENTRY = """
INSERT INTO ledger.transactions (sequence, transaction_id, kind, venue, strategy_id, market_time, received_at,
    posted_at, message_id, correlation_id, digest, request_type, request)
VALUES ({sequence}, '{name}', 'deposit', 'paper', '', now(), now(), now(), 'm', 'c', sha256('x'), 't', '{{}}')
"""


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        pytest.param(
            _ENTRY.format(sequence=2, name="new"), asyncpg.IntegrityConstraintViolationError, id="no postings"
        ),
        pytest.param(_ENTRY.format(sequence=3, name="new"), asyncpg.ForeignKeyViolationError, id="gap"),
        pytest.param(_ENTRY.format(sequence=1, name="new"), asyncpg.UniqueViolationError, id="sequence taken"),
        pytest.param(
            _ENTRY.format(sequence=2, name="deposit:paper:d1"), asyncpg.UniqueViolationError, id="posted before"
        ),
        pytest.param(
            "UPDATE ledger.balances SET amount = -0.000000000000000001 WHERE account = 'wallet:paper'",
            asyncpg.CheckViolationError,
            id="below zero",
        ),
        *(
            pytest.param(
                f"INSERT INTO ledger.postings VALUES (1, 2, '{source}', 'b', 'X', '{amount}')",  # noqa: S608
                asyncpg.CheckViolationError,
                id=f"{source} {amount}",
            )
            for source, amount in (("a", "0"), ("a", "-1"), ("b", "1"), ("a", "NaN"))
        ),
        pytest.param(
            "INSERT INTO ledger.postings VALUES (7, 1, 'a', 'b', 'X', 1)",
            asyncpg.ForeignKeyViolationError,
            id="posting without entry",
        ),
    ],
)
async def test_database_when_an_invariant_is_broken_behind_the_ledgers_back_refuses(
    journal: PostgresJournal, statement: str, constraint: type[Exception]
) -> None:
    await post(journal, Scene().deposit())
    with pytest.raises(constraint):
        await journal.pool.execute(statement)


async def test_spenders_when_64_at_once_never_take_more_than_there_is(
    postgres_dsn: str, journal: PostgresJournal
) -> None:
    """Two ledgers beside each other, 64 callers, 640 requests of 7 from a wallet of 1000: 142 fit."""
    scene = Scene()
    await post(journal, scene.deposit())
    async with _books(journal) as first, _books(journal) as second:
        spenders = [
            books.post(request_of(scene.fund(number, "7", f"s{number % 64}")))
            for number in range(320)
            for books in (first, second)
        ]
        random.Random(1).shuffle(spenders)
        await asyncio.gather(*spenders)
    states = await journal.pool.fetch("SELECT state, count(*) FROM ledger.transfers GROUP BY state")
    assert {row["state"]: row["count"] for row in states} == {"posted": 142, "refused": 178}
    check = await check_books(postgres_dsn)
    assert check.differences == ()
    assert check.totals["wallet"] == {"USDT": 6}
    assert check.totals["strategy"] == {"USDT": 994}


class _books:  # noqa: N801 - reads as a function
    """Books whose committer runs inside the block."""

    def __init__(self, journal: PostgresJournal, group_size: int = 16) -> None:
        self._books = Books(journal, group_size=group_size)

    async def __aenter__(self) -> Books:
        self._task = asyncio.create_task(self._books.run())
        return self._books

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


def history(scene: Scene, seed: int) -> list[Body]:
    """A random life of three strategies in an order that can be posted as it stands."""
    dice = random.Random(seed)
    bodies: list[Body] = [scene.deposit(1, "5000")]
    number = 0
    for index, name in enumerate(("a", "b", "c"), start=1):
        bodies.append(scene.fund(index, "900", name))
        held: dict[str, int] = {}
        fills = dice.randint(3, 8)
        for _ in range(fills):
            number += 1
            base = dice.choice(("BTC", "ETH", "SOL"))
            if held.get(base, 0) > 1 and dice.random() < 0.5:
                sold = dice.randint(1, held[base] - 1)
                held[base] -= sold
                bodies.append(scene.fill(number, "SELL", str(sold), str(sold * 11), "0.011", name, base))
            else:
                bought = dice.randint(2, 9)
                held[base] = held.get(base, 0) + bought - 1
                bodies.append(scene.fill(number, "BUY", str(bought), str(bought * 10), "1", name, base))
        if dice.random() < 0.7:
            bodies.append(scene.release(fills, 100 + index, name))
        else:
            wanted = (
                {"amount": None, "percent": "33.3"} if dice.random() < 0.5 else {"amount": str(dice.randint(1, 999))}
            )
            asset = dice.choice(("BTC", "USDT"))
            bodies.append(scene.withdraw(fills, 100 + index, name, asset, **wanted))
    bodies.append(scene.fund(50, "1000000", "d"))
    return bodies


async def deliver(journal: PostgresJournal, bodies: Sequence[Body], seed: int) -> None:
    """Each message 1-5 times, shuffled, in groups of any size; what is not covered comes again, as from a stream."""
    dice = random.Random(seed)
    pending = [body for body in bodies for _ in range(dice.randint(1, 5))]
    while pending:
        dice.shuffle(pending)
        again: list[Body] = []
        while pending:
            size = dice.randint(1, 40)
            group, pending = pending[:size], pending[size:]
            outcomes = await post(journal, *group)
            assert all(outcome is None or isinstance(outcome, NotCovered) for outcome in outcomes)
            again += [body for body, outcome in zip(group, outcomes, strict=True) if outcome is not None]
        pending = again


async def test_history_when_delivered_1_to_5_times_in_any_order_leads_to_the_same_books(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    figures = (
        "SELECT replace(strategy_id, $1, ''), version, fills_posted, contributed, contributed_in, withdrawn, fees "
        "FROM ledger.strategies WHERE venue = $1 ORDER BY 1"
    )
    transfers = "SELECT replace(transfer_id, $1, ''), state, amounts FROM ledger.transfers WHERE venue = $1 ORDER BY 1"
    for seed in range(200):
        once, often = Scene(f"once{seed}"), Scene(f"often{seed}")
        # The deposit comes first: whether a fund command is refused depends on what the wallet holds, as it must.
        assert await post(journal, *history(once, seed)) == [None] * len(history(once, seed))
        bodies = history(often, seed)
        await post(journal, bodies[0])
        await deliver(journal, bodies, seed)
        assert await balances(journal, often.venue) == await balances(journal, once.venue)
        for query in (figures, transfers):
            rows = [await journal.pool.fetch(query, scene.venue) for scene in (once, often)]
            assert [tuple(row) for row in rows[0]] == [tuple(row) for row in rows[1]]
    check = await check_books(postgres_dsn)
    assert check.differences == ()


async def test_commit_when_its_outcome_is_unknown_is_found_as_a_repeat(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    """The answer to COMMIT is lost, after and before it took effect: either way every request is posted once."""
    scene = Scene()
    for lose in (_lose_after, _lose_before):
        async with _books(_Lossy(journal, lose)) as books:
            number = 1 if lose is _lose_after else 2
            await books.post(request_of(scene.deposit(number)))
            assert await books.trouble() is None
    check = await check_books(postgres_dsn)
    assert (check.transactions, check.differences) == (2, ())


Post = Callable[[], Awaitable[list[TrimtabError | None]]]


async def _lose_after(really: Post) -> None:
    await really()


async def _lose_before(really: Post) -> None:
    del really


class _Lossy(PostgresJournal):
    """A journal whose first answer is lost, before or after the commit."""

    def __init__(self, journal: PostgresJournal, lose: Callable[[Post], Awaitable[None]]) -> None:
        super().__init__(journal.pool, wall_clock)
        self._lose: Callable[[Post], Awaitable[None]] | None = lose

    async def post(self, requests):  # type: ignore[no-untyped-def]
        if self._lose is not None:
            lose, self._lose = self._lose, None
            await lose(lambda: super(_Lossy, self).post(requests))
            raise RetryLater("the connection was lost")
        return await super().post(requests)


async def test_backend_when_killed_again_and_again_while_posting_loses_and_doubles_nothing(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    scene = Scene()
    killer = await asyncpg.connect(postgres_dsn)
    await post(journal, scene.deposit(amount="100000"), scene.fund(amount="90000"))

    async def kill() -> int:
        dice, killed = random.Random(7), 0
        for _ in range(40):
            await asyncio.sleep(dice.uniform(0.002, 0.04))
            killed += await killer.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'ledger-test' AND datname = current_database() AND state <> 'idle'"
            )

        return killed

    async with _books(journal, group_size=2) as books:
        fills = (books.post(request_of(scene.fill(number, quote_quantity="1"))) for number in range(1, 301))
        killed, *_ = await asyncio.gather(kill(), *fills)
    assert killed
    await killer.close()
    check = await check_books(postgres_dsn)
    assert (check.transactions, check.differences) == (302, ())
    assert check.totals["strategy"]["BTC"] == 300 * D("0.00999")


async def test_group_when_one_request_cannot_be_stored_posts_the_others(journal: PostgresJournal) -> None:
    """A NUL character is no text for PostgreSQL: the driver refuses it, which no rule of the books foresees."""
    scene = Scene()
    bad = request_of(scene.fund(strategy="nul\x00"))
    async with _books(journal) as books:
        good = [books.post(request_of(scene.deposit(number))) for number in (1, 2)]
        outcomes = await asyncio.gather(good[0], books.post(bad), good[1], return_exceptions=True)
    assert outcomes[0] is None
    assert outcomes[2] is None
    assert isinstance(outcomes[1], asyncpg.DataError)
    assert await journal.pool.fetchval("SELECT sequence FROM ledger.journal_head") == 2


async def test_books_when_the_schema_is_missing_stop_instead_of_giving_messages_up(journal: PostgresJournal) -> None:
    await journal.pool.execute("ALTER SCHEMA ledger RENAME TO elsewhere")
    books = Books(journal, group_size=1)
    waiting = asyncio.create_task(books.post(request_of(Scene().deposit())))
    with pytest.raises(Stop):
        await books.run()
    with pytest.raises(RetryLater):
        await waiting


async def test_books_when_stopped_send_everybody_who_waits_away_to_come_again(journal: PostgresJournal) -> None:
    scene = Scene()
    async with journal.pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("SELECT FROM ledger.journal_head FOR UPDATE")
        async with _books(journal, group_size=1) as books:
            waiting = [asyncio.create_task(books.post(request_of(scene.deposit(number)))) for number in (1, 2)]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*waiting, books.post(request_of(scene.deposit(3))), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RetryLater] * 3

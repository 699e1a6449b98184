"""Exports: beancount itself reads the books and books the lots; the other formats carry every row exactly."""

import csv
import io
import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest
from beancount import loader
from beancount.core import realization
from beancount.core.data import Transaction

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_export import Wanted
from services.ledger.export import export
from shared.core.errors import Refused
from shared.core.lots import Method
from tests.services.ledger.messages import START, Scene
from tests.services.ledger.projecting import market_of, projector_on
from tests.services.ledger.stories import deliver, story

pytestmark = pytest.mark.servers

D = Decimal
SCENE = Scene()
DAY_PER_FILL = timedelta(days=1) / 10
NEARLY = D("1e-9")


@pytest.fixture
async def books(journal: PostgresJournal) -> PostgresJournal:
    """A story in the journal, with its results."""
    prices = {"BTC": "50000", "ETH": "2000", "SOL": "20", "BNB": "300"}
    await deliver(journal, story(24, random.Random(3), unit=DAY_PER_FILL))
    await projector_on(journal.pool, market_of("paper", START, prices)).catch_up()
    return journal


@pytest.mark.parametrize("method", [Method.FIFO, Method.LIFO, Method.HIFO])
async def test_beancount_when_it_books_the_lots_itself_comes_to_the_same_gains_and_holdings(
    books: PostgresJournal, postgres_dsn: str, method: Method
) -> None:
    out = io.BytesIO()
    await export(postgres_dsn, "journal", "beancount", Wanted(method=method), out)
    entries, errors, _ = loader.load_string(out.getvalue().decode())
    assert errors == []
    found = realization.realize(entries)
    rows = await books.pool.fetch(
        "SELECT strategy_id, sum(proceeds - cost) AS gain FROM ledger_results.closings WHERE method = $1 GROUP BY 1",
        method,
    )
    assert {row["strategy_id"] for row in rows} == {"paper-s1", "paper-s2"}
    for row in rows:
        income = realization.get(found, f"Income:Gains:X-{row['strategy_id']}")
        told = income.balance.get_currency_units("USDT").number
        assert abs(told + row["gain"]) < NEARLY
    held = await books.pool.fetch(
        "SELECT account, asset, amount FROM ledger.balances WHERE account ~ '^(wallet|strategy)'"
    )
    for row in held:
        of, _, owner = row["account"].partition(":")
        account = realization.get(found, f"Assets:{of.capitalize()}:X-{owner}")
        assert account.balance.get_currency_units(row["asset"]).number == row["amount"]
    assert sum(isinstance(entry, Transaction) for entry in entries) == await books.pool.fetchval(
        "SELECT count(*) FROM ledger.transactions"
    )


async def test_beancount_when_something_is_asked_that_it_cannot_carry_is_refused(postgres_dsn: str) -> None:
    for wanted, report in (
        (Wanted(method=Method.AVERAGE), "journal"),
        (Wanted(since=START), "journal"),
        (Wanted(), "gains"),
    ):
        with pytest.raises(Refused):
            await export(postgres_dsn, report, "beancount", wanted, io.BytesIO())


async def test_journal_when_exported_in_each_format_carries_every_posting_exactly(
    books: PostgresJournal, postgres_dsn: str
) -> None:
    texts = {form: io.BytesIO() for form in ("csv", "jsonl", "parquet")}
    for form, out in texts.items():
        await export(postgres_dsn, "journal", form, Wanted(), out)
    rows = await books.pool.fetch("SELECT sequence, line, amount FROM ledger.postings ORDER BY sequence, line")
    expected = [(row["sequence"], row["line"], row["amount"]) for row in rows]
    table = pyarrow.parquet.read_table(io.BytesIO(texts["parquet"].getvalue())).to_pylist()
    assert [(row["sequence"], row["line"], row["amount"]) for row in table] == expected
    lines = list(csv.DictReader(io.StringIO(texts["csv"].getvalue().decode())))
    objects = [json.loads(line) for line in texts["jsonl"].getvalue().splitlines()]
    for told in (lines, objects):
        assert [(int(row["sequence"]), int(row["line"]), D(row["amount"])) for row in told] == expected


async def test_gains_when_exported_for_one_strategy_and_time_are_those_of_the_results(
    books: PostgresJournal, postgres_dsn: str
) -> None:
    out = io.BytesIO()
    middle = START + timedelta(days=20)
    await export(postgres_dsn, "gains", "csv", Wanted("paper-s1", middle, None, Method.HIFO), out)
    told = list(csv.DictReader(io.StringIO(out.getvalue().decode())))
    rows = await books.pool.fetch(
        "SELECT proceeds - cost AS gain FROM ledger_results.closings "
        "WHERE strategy_id = 'paper-s1' AND method = 'hifo' AND closed_at >= $1",
        middle,
    )
    assert sorted(D(row["gain"]) for row in told) == sorted(row["gain"] for row in rows)
    assert told
    assert {row["method"] for row in told} == {"hifo"}


async def test_programs_when_run_print_and_tell_by_their_exit_code(
    books: PostgresJournal, postgres_dsn: str, tmp_path: Path
) -> None:
    environment = os.environ | {"TRIMTAB_POSTGRES_DSN": postgres_dsn}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *argv], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    file = tmp_path / "journal.csv"
    assert run("services.ledger.export", "--output", str(file)).returncode == 0
    assert file.read_text().startswith("sequence,line,transaction_id")
    assert run("services.ledger.export", "--format", "beancount", "--report", "gains").returncode == 2
    rebuilt = run("deploy.command_line", "ledger", "rebuild")
    assert rebuilt.returncode == 0
    assert "0 differences" in rebuilt.stdout
    told = run(
        "deploy.command_line", "ledger", "export", "--report", "gains", "--strategy", "nobody", "--to", "2030-01-01"
    )
    assert (told.returncode, told.stdout.count("\n")) == (0, 1), "the header alone"
    await books.pool.execute("UPDATE ledger.balances SET amount = amount + 1 WHERE account = 'fees:paper'")
    rebuilt = run("services.ledger.rebuild", "--json")
    assert rebuilt.returncode == 1
    assert all("fees:paper" in line for line in json.loads(rebuilt.stdout)["differences"])

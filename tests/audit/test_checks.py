"""The auditor's parts by themselves: amounts, double entry, fills against trades, stretches put together."""

import json
import random
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from deploy.audit import postgres_stretches
from deploy.audit.books import Books, Fill, text_of, units_of
from deploy.audit.entry_check import stretch_of
from deploy.audit.kept import read_kept, write_kept
from deploy.audit.notes import text_of as signed_text_of
from deploy.audit.postgres_stretches import verify_with_all_cores
from deploy.audit.postgres_tables import opened
from deploy.audit.records import Entry, Head, Wrong
from deploy.audit.tables import begun, ended, entries_in, verify_tables
from deploy.audit.trades import VenueTrades, lines_of_csv
from deploy.audit.verification import NOTHING_KNOWN, Verification
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.heads import Signer
from tests.audit.history import MemoryTables, changed, make_history, read_tables, story
from tests.repository.checks import ROOT
from tests.services.ledger.messages import Scene

pytestmark = pytest.mark.servers


@pytest.fixture
async def history(journal: PostgresJournal, postgres_dsn: str) -> MemoryTables:
    await make_history(journal, Signer(Ed25519PrivateKey.generate()), story())
    return await read_tables(postgres_dsn)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**30), max_value=10**30))
def test_amount_when_read_and_written_is_the_same(amount: Decimal) -> None:
    text = format(amount, "f")
    assert units_of(text) == Fraction(amount) * 10**18
    assert Decimal(text_of(units_of(text))) == amount


@pytest.mark.parametrize("text", ["", ".", "1e5", "NaN", "+1", " 1", "1_0", "--1", "1.0000000000000000001", "\u0663"])
def test_amount_when_it_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        units_of(text)


def test_trades_when_given_as_a_table_are_the_same_as_lines() -> None:
    first = "id,symbol,side,amount,cost,fee_cost,fee_currency\r\n"
    table = [first, "7,BTC/USDT,BUY,0.01,400,0.00001,BTC\r\n", "8,BTC/USDT,sell,1,2,,\r\n"]
    found = VenueTrades("paper", lines_of_csv(table))
    amounts = (units_of("0.01"), units_of("400"), units_of("0.00001"))
    found.compare(Fill("BTCUSDT:7", "paper", "buy", "BTC", "USDT", *amounts, "BTC"))
    assert list(found.missing()) == ["trade 8 of BTC/USDT is in no entry"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("", "no column id"),
        ("id,symbol,side,amount,cost,fee_cost\n", "no column fee_currency"),
        ("id,symbol,side,amount,cost,fee_cost,fee_currency\n7,BTC/USDT,buy\n", "row 1"),
        ("id,symbol,side,amount,cost,fee_cost,fee_currency\n7,BTC/USDT,buy,1,1,1,BTC,x\n", "row 1"),
        ("id,symbol,side,amount,cost,fee_cost,fee_currency\n7,BTC/USDT,buy,one,1,1,BTC\n", "line 1 of the trades"),
    ],
)
def test_trades_when_the_table_is_damaged_are_refused(table: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        VenueTrades("paper", lines_of_csv(table.splitlines(keepends=True)))


def entry(name: str, *postings: tuple[str, str, str], kind: str = "deposit") -> dict[str, object]:
    made = [{"source": s, "destination": d, "asset": "A", "amount": amount} for s, d, amount in postings]
    return {"transaction_id": name, "kind": kind, "venue": "v", "postings": made, "request": {}}


def test_books_when_an_account_is_short_in_the_middle_of_an_entry_only_are_right() -> None:
    books = Books()
    books.take(entry("1", ("wallet:v", "strategy:s", "1"), ("venue:v", "wallet:v", "1")))
    assert books.unbalanced() == {}
    with pytest.raises(ValueError, match=r"strategy:s would hold -0\.5 A"):
        books.take(entry("2", ("strategy:s", "venue:v", "1.5")))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (entry("1"), "has no postings"),
        (entry("1", ("venue:v", "venue:v", "1")), "it moves 1 A from"),
        (entry("1", ("venue:v", "wallet:v", "0")), "it moves 0 A"),
        (entry("1", ("venue:v", "wallet:v", "-1")), "it moves -1 A"),
        (entry("1", ("fees:v", "wallet:v", "1")), "fees:v would hold -1 A"),
        (entry("fill:v:1", ("venue:v", "wallet:v", "1"), kind="fill"), "its message is no fill"),
    ],
)
def test_books_when_an_entry_is_wrong_say_why(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Books().take(fields)


def test_books_when_an_entry_is_there_twice_refuse_it() -> None:
    books, fields = Books(), entry("1", ("venue:v", "wallet:v", "1"))
    books.take(fields)
    with pytest.raises(ValueError, match="was posted before"):
        books.take(fields)


def entries_of(history: MemoryTables) -> list[Entry]:
    return list(entries_in(history.batch()))


async def test_stretches_when_put_together_at_any_cuts_give_the_same(history: MemoryTables) -> None:
    whole, small = await verify_tables(history), await history.small()
    entries, dice = entries_of(history), random.Random(7)
    for _ in range(100):
        cuts = [0, *sorted(dice.sample(range(1, len(entries)), dice.randrange(1, 5))), len(entries)]
        checking = begun(small, NOTHING_KNOWN)
        for first, last in pairwise(cuts):
            stretch = stretch_of(first + 1, entries[first:last], checking.sizes)
            assert stretch is not None
            checking.take_stretch(stretch)
        assert ended(small, checking) == whole


async def test_stretch_when_the_one_before_it_leaves_too_little_is_refused(history: MemoryTables) -> None:
    entries = entries_of(history)
    checking = begun(await history.small(), NOTHING_KNOWN)
    funded = next(at for at, one in enumerate(entries) if one.fields["kind"] == "fund")
    with pytest.raises(Wrong, match="would hold"):
        _take_all(checking, _without_deposits(entries))
    books = Books(relative=True)
    books.take(entries[funded].fields)
    with pytest.raises(ValueError, match="would owe USDT"):
        Books().add(books)


def _take_all(checking: Verification, entries: Sequence[Entry]) -> None:
    for one in entries:
        checking.take(one)


def _without_deposits(entries: Sequence[Entry]) -> list[Entry]:
    """The same leaves in the same places, where the first deposit's money goes somewhere else."""
    first = entries[0]
    elsewhere = [{**made, "destination": "fees:paper"} for made in first.fields["postings"]]
    return [first._replace(fields={**first.fields, "postings": elsewhere}), *entries[1:]]


async def test_all_cores_when_all_is_right_find_the_same_and_else_nothing(
    history: MemoryTables, journal: PostgresJournal, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_stretches, "_STRETCH", 6)
    async with opened(postgres_dsn) as tables:
        assert await verify_with_all_cores(postgres_dsn, tables, NOTHING_KNOWN) == await verify_tables(tables)
    await journal.pool.execute(
        "ALTER TABLE ledger.postings DISABLE TRIGGER USER; "
        "UPDATE ledger.postings SET amount = amount + 1 WHERE sequence = 8 AND line = 1"
    )
    async with opened(postgres_dsn) as tables:
        assert await verify_with_all_cores(postgres_dsn, tables, NOTHING_KNOWN) is None
        assert (await verify_tables(tables)).first_wrong_entry == 8


def trades_of(history: MemoryTables) -> list[dict[str, object]]:
    """What the venue would list, in the words of ccxt."""
    found: list[dict[str, object]] = []
    for one in entries_of(history):
        if one.fields["kind"] == "fill":
            told = one.fields["request"]
            found.append(
                {
                    "id": told["trade_id"].rpartition(":")[2],
                    "symbol": f"{told['base']}/{told['quote']}",
                    "side": told["side"].lower(),
                    "amount": float(told["quantity"]),
                    "cost": float(told["quote_quantity"]),
                    "fee": {"cost": float(told["fee"]), "currency": told["fee_asset"]},
                }
            )
    return found


async def test_fills_when_compared_with_the_trades_of_the_venue_agree_or_are_named(history: MemoryTables) -> None:
    trades = trades_of(history)

    async def wrong(listed: Sequence[dict[str, object]]) -> tuple[str, ...]:
        lines = [json.dumps(trade) for trade in listed]
        return (await verify_tables(history, trades=VenueTrades("paper", lines))).wrong

    assert await wrong(trades) == ()
    assert await wrong(trades[1:]) == ("entry 3: paper has no trade BTCUSDT:1",)
    assert await wrong([{**trades[0], "amount": 0.02}, *trades[1:]]) == (
        "entry 3: paper has trade BTCUSDT:1 as buy of 0.02, 400, 0.00001 BTC",
    )
    assert await wrong([*trades, {**trades[0], "id": "999"}]) == ("trades: trade 999 of BTC/USDT is in no entry",)
    with pytest.raises(ValueError, match="line 1 of the trades is no trade"):
        VenueTrades("paper", ['{"id": 1}'])


async def test_balances_when_the_table_differs_are_named(history: MemoryTables) -> None:
    rows = history.rows["balances"]
    at = next(number for number, row in enumerate(rows) if row[0] == "wallet:paper" and row[1] == "USDT")
    rows[at] = changed(rows[at], {"amount": "1"}, "balances")
    assert (await verify_tables(history)).wrong[0].startswith("balances: wallet:paper holds 1 USDT, its postings give")


async def test_entry_when_it_is_not_in_the_log_is_named(history: MemoryTables) -> None:
    history.rows["leaves"].pop()
    findings = await verify_tables(history)
    assert findings.first_wrong_entry == findings.entries + 1
    assert "it is not in the log" in findings.wrong[0]


async def test_kept_when_written_and_read_is_the_newest_head(history: MemoryTables, tmp_path: Path) -> None:
    file, findings = tmp_path / "kept.json", await verify_tables(history)
    assert read_kept(file) == NOTHING_KNOWN
    write_kept(file, findings.heads, NOTHING_KNOWN)
    kept = read_kept(file, ["another"])
    newest = findings.heads[-1]
    assert (kept.origin, kept.heads[0].root) == (newest.origin, newest.root)
    assert kept.keys == {newest.key_id, "another"}
    assert (await verify_tables(history, kept)).wrong == ()
    for content in ("", "[]", '{"origin": "o", "keys": [], "heads": [{}]}'):
        file.write_text(content)
        with pytest.raises(ValueError, match="is damaged"):
            read_kept(file)


async def test_documented_lines_when_run_on_an_event_give_its_leaf(
    history: MemoryTables, journal: PostgresJournal
) -> None:
    code = re.findall(r"```python\n(.+?)```", (ROOT / "deploy/audit/README.md").read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code[0], found)  # noqa: S102 - the text of our own page
    rows = await journal.pool.fetch("SELECT payload FROM ledger.outbox WHERE subject = 'ledger.paper'")
    events = [json.loads(row["payload"]) for row in rows]
    assert [found["leaf_hash"](event) for event in events] == [event["leaf_hash"] for event in events]
    assert len(events) == len(history.rows["transactions"])


async def test_nodes_when_one_is_changed_or_missing_are_named(journal: PostgresJournal, postgres_dsn: str) -> None:
    deposits = [Scene().deposit(number, "1") for number in range(1, 301)]
    await make_history(journal, Signer(Ed25519PrivateKey.generate()), [deposits])
    tables = await read_tables(postgres_dsn)
    (node,) = tables.rows["nodes"]
    assert (await verify_tables(tables)).wrong == ()
    for rows in ([], [(*node[:2], b"\0" * 32)], [node, (8, 1, node[2])], [node, node]):
        tables.rows["nodes"] = rows
        assert (await verify_tables(tables)).wrong[0].startswith("nodes: ")


async def test_head_when_signed_over_other_content_names_the_entries_since_the_one_before(
    journal: PostgresJournal, postgres_dsn: str
) -> None:
    key = Ed25519PrivateKey.generate()
    await make_history(journal, Signer(key), story())
    tables = await read_tables(postgres_dsn)
    heads = sorted(tables.rows["heads"])
    origin, public_key = tables.rows["identity"][0][0], tables.rows["keys"][0][1]
    number, size, _, signed_at, market_time, key_id, _ = heads[1]
    head = Head(origin, number, size, b"\7" * 32, signed_at, market_time, key_id, public_key, b"")
    signature = key.sign(signed_text_of(head).encode())
    tables.rows["heads"] = [heads[0], (*head[1:3], head.root, signed_at, market_time, key_id, signature), *heads[2:]]
    findings = await verify_tables(tables)
    assert findings.first_wrong_entry == heads[0][1] + 1
    assert findings.wrong[0].startswith(f"entries {heads[0][1] + 1} to {size}: head 2 was signed over other content")


async def test_entries_when_cut_off_under_their_head_are_missing(history: MemoryTables) -> None:
    last = len(history.rows["transactions"])
    for name in ("transactions", "postings"):
        history.rows[name] = [row for row in history.rows[name] if row[0] < last]
    history.rows["leaves"] = [row for row in history.rows["leaves"] if row[0] < last - 1]
    findings = await verify_tables(history)
    assert findings.wrong[0] == f"entry {last}: it is missing: head 4 covers {last}"

"""Nobody changes the past unnoticed: 10,000 random mutations of journal, log and heads, and dozens in a real database.

A mutation is found when the check finds anything wrong, with a head kept from before. What an entry's own rows say is
changed must be named with that entry.
"""

import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.audit.postgres_tables import opened
from deploy.audit.records import Wrong
from deploy.audit.tables import Row, verify_tables
from deploy.audit.verification import Findings, KeptHead, Trusted
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.heads import Signer
from shared.messaging.database_postgres import create_pool
from tests.audit.history import COLUMNS, MemoryTables, changed, forge, make_history, read_tables, story

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

MUTATIONS = 10_000


@dataclass(frozen=True)
class Scenery:
    """A right history, what an auditor has kept of it, and the key of its ledger."""

    tables: MemoryTables
    kept: Trusted
    key: Ed25519PrivateKey


@pytest.fixture
async def scenery(postgres_dsn: str) -> Scenery:
    key = Ed25519PrivateKey.generate()
    pool = await create_pool(postgres_dsn, "audit-test", max_size=2)
    await make_history(PostgresJournal(pool, lambda: datetime.now(UTC)), Signer(key), story())
    await pool.close()
    tables = await read_tables(postgres_dsn)
    findings = await verify_tables(tables)
    assert findings.wrong == ()
    assert (findings.covered, len(findings.heads)) == (findings.entries, 4)
    return Scenery(tables, kept_of(findings), key)


def kept_of(findings: Findings) -> Trusted:
    newest = findings.heads[-1]
    return Trusted(newest.origin, frozenset({newest.key_id}), (KeptHead(newest.number, newest.size, newest.root),))


def other_value(value: Any, dice: random.Random) -> Any:
    """A value of the same type that differs."""
    match value:
        case bool():
            return not value
        case int():
            return value + dice.choice((-2, -1, 1, 2, 1000))
        case bytes():
            at = dice.randrange(len(value))
            flipped = bytes([value[at] ^ (1 << dice.randrange(8))])
            return dice.choice((value[:at] + flipped + value[at + 1 :], value[:-1], value + b"\0", b""))
        case datetime():
            return value + timedelta(microseconds=dice.choice((-1, 1, 1_000_000, -3_600_000_000)))
        case str() if value.startswith("{"):
            return other_json(value, dice)
        case str() if value.replace(".", "").replace("-", "").isdigit():
            return dice.choice((value + "1", "1" + value, "-" + value, value + ".5" if "." not in value else "9"))
        case str():
            at = dice.randrange(len(value) + 1)
            return dice.choice((value[:at] + "x" + value[at:], value + " ", value.swapcase() + "_", ""))
        case _:
            raise AssertionError(f"a column of type {type(value)}")


def other_json(text: str, dice: random.Random) -> str:
    fields = orjson.loads(text)
    name = dice.choice(sorted(fields))
    how = dice.randrange(3)
    if how == 0:
        del fields[name]
    elif how == 1:
        fields[name + "_"] = fields.pop(name)
    else:
        fields[name] = "other" if fields[name] is None or isinstance(fields[name], dict) else [fields[name]]
    return orjson.dumps(fields).decode()


class Mutator:
    """Random mutations of a history; each method returns what it did, for the report."""

    def __init__(self, scenery: Scenery, dice: random.Random) -> None:
        self.scenery = scenery
        self.tables = scenery.tables.copy()
        self.dice = dice
        self.must_name: int | None = None

    def mutate(self) -> str:
        kinds = (self.change, self.change, self.change, self.delete, self.swap, self.insert, self.truncate, self.fork)
        return self.dice.choice(kinds)()

    def _table(self) -> tuple[str, list[Row]]:
        name = self.dice.choice(sorted(COLUMNS))
        return name, self.tables.rows[name]

    def change(self) -> str:
        table, rows = self._table()
        at, names = self.dice.randrange(len(rows)), COLUMNS[table].split()
        column = self.dice.randrange(len(names))
        value = other_value(rows[at][column], self.dice)
        if value == rows[at][column]:
            return self.change()
        if table in ("transactions", "postings", "leaves") and column >= (2 if table == "postings" else 1):
            self.must_name = rows[at][0] + (table == "leaves")
        rows[at] = changed(rows[at], {names[column]: value}, table)
        return f"change {table}.{names[column]}"

    def delete(self) -> str:
        table, rows = self._table()
        first = self.dice.randrange(len(rows))
        count = self.dice.choice((1, 1, 1, 2, len(rows)))
        if table == "balances" and all(row[2] == "0" for row in rows[first : first + count]):
            return self.delete()  # a balance of nothing may be there or not
        del rows[first : first + count]
        return f"delete {table}"

    def swap(self) -> str:
        """Two rows exchange one column, or all but their keys."""
        table, rows = self._table()
        names = COLUMNS[table].split()
        one, other = self.dice.randrange(len(rows)), self.dice.randrange(len(rows))
        first = self.dice.randrange(len(names))
        last = self.dice.choice((first + 1, len(names)))
        a, b = rows[one], rows[other]
        rows[one], rows[other] = (*a[:first], *b[first:last], *a[last:]), (*b[:first], *a[first:last], *b[last:])
        if {rows[one], rows[other]} == {a, b}:
            self.tables = self.scenery.tables.copy()
            return self.swap()
        return f"swap {table}"

    def insert(self) -> str:
        """A row of another place, or the same again."""
        table, rows = self._table()
        row, names = self.dice.choice(rows), COLUMNS[table].split()
        if self.dice.random() < 0.8:
            row = changed(row, {names[0]: other_value(row[0], self.dice)}, table)
        if table == "balances" and row[2] == "0":
            return self.insert()
        rows.append(row)
        return f"insert {table}"

    def truncate(self) -> str:
        """The end of the history is cut off everywhere, and all that remains is made right again."""
        size = self.dice.randrange(2, len(self.tables.rows["transactions"]))
        for name in ("transactions", "postings"):
            self.tables.rows[name] = [row for row in self.tables.rows[name] if row[0] <= size]
        self.tables = forge(self.tables, self.scenery.key)
        return "truncate"

    def fork(self) -> str:
        """The past is changed, and everything after it made right again with the ledger's own key."""
        dice, rows = self.dice, self.tables.rows
        original = self.tables.copy()
        table = dice.choice(("transactions", "postings"))
        names = COLUMNS[table].split()
        at, column = dice.randrange(len(rows[table])), dice.randrange(2 if table == "postings" else 3, len(names))
        value = other_value(rows[table][at][column], dice)
        if value == rows[table][at][column]:
            return self.fork()
        rows[table][at] = changed(rows[table][at], {names[column]: value}, table)
        try:
            self.tables = forge(self.tables, self.scenery.key)
        except (ValueError, TypeError, Wrong):  # such books cannot be made right: another change
            self.tables = original
            return self.fork()
        return f"fork {table}.{names[column]}"


async def test_mutations_when_made_anywhere_are_all_found(scenery: Scenery) -> None:
    dice = random.Random(2461)
    made: Counter[str] = Counter()
    missed: list[str] = []
    for number in range(MUTATIONS):
        mutator = Mutator(scenery, dice)
        what = mutator.mutate()
        made[what] += 1
        findings = await verify_tables(mutator.tables, scenery.kept)
        if not findings.wrong:
            missed.append(f"{number}: {what}")
        elif mutator.must_name is not None and findings.first_wrong_entry != mutator.must_name:
            missed.append(f"{number}: {what} of entry {mutator.must_name}: {findings.wrong}")
    print(f"{MUTATIONS} mutations of {len(made)} kinds, {MUTATIONS - len(missed)} found")  # noqa: T201
    assert missed == []
    assert {f"change {table}.{name}" for table, names in COLUMNS.items() for name in names.split()} <= set(made)
    assert (await verify_tables(scenery.tables, scenery.kept)).wrong == ()


async def test_fork_when_re_signed_is_right_by_itself_and_wrong_for_whoever_kept_a_head(scenery: Scenery) -> None:
    """The control of the test above: the forger's work is perfect, only a head from before tells."""
    tables = scenery.tables.copy()
    rows = tables.rows["transactions"]
    rows[4] = changed(rows[4], {"correlation_id": "another story"}, "transactions")
    forged = forge(tables, scenery.key)
    assert (await verify_tables(forged)).wrong == ()
    findings = await verify_tables(forged, scenery.kept)
    assert "kept from an earlier check" in findings.wrong[0]


_SQL_VALUES = {
    "text": "{0} || 'x'",
    "bigint": "{0} + 1000",
    "smallint": "{0} + 8",
    "timestamp with time zone": "{0} + interval '1 microsecond'",
    "numeric": "{0} + 0.000000000000000001",
    "bytea": "set_byte({0}, 0, (get_byte({0}, 0) + 1) % 256)",
    "jsonb": "{0} || '{{\"added\": true}}'",
}
_TABLES = (
    "transactions",
    "postings",
    "log_nodes",
    "journal_head",
    "log_identity",
    "log_keys",
    "tree_heads",
    "balances",
)
_SPECIAL = (
    ("transactions", "request", "'5'"),
    ("transactions", "request", "'{\"a\": 1e400}'"),
    ("transactions", "posted_at", "'infinity'"),
    ("postings", "amount", "'NaN'"),
    ("tree_heads", "signed_at", "'infinity'"),
    ("tree_heads", "market_time", "'-infinity'"),
)


async def test_columns_when_changed_in_the_database_are_all_found(scenery: Scenery, postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")  # no trigger and no reference holds us back
        await _drop_checks(connection)
        columns = await connection.fetch(
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'ledger' "
            "AND table_name = ANY($1) AND is_generated = 'NEVER' AND column_name <> 'only_row' ORDER BY 1, 2",
            list(_TABLES),
        )
        changes = [(row[0], row[1], _SQL_VALUES[row[2]].format(row[1])) for row in columns]
        for table, column, value in (*changes, *_SPECIAL):
            await _changed_and_found(connection, postgres_dsn, scenery.kept, (table, column, value))
        for table in _TABLES:
            await _deleted_and_found(connection, postgres_dsn, scenery.kept, table)
        assert {table for table, _, _ in changes} == set(_TABLES)
        async with opened(postgres_dsn) as tables:
            assert (await verify_tables(tables, scenery.kept)).wrong == ()
    finally:
        await connection.close()


async def _drop_checks(connection: asyncpg.Connection) -> None:
    names = await connection.fetch(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE connamespace = 'ledger'::regnamespace "
        "AND contype = 'c'"
    )
    for table, name in names:
        await connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')


async def _changed_and_found(
    connection: asyncpg.Connection, dsn: str, kept: Trusted, change: tuple[str, str, str]
) -> None:
    table, column, value = change
    query = f"SELECT ctid::text AS at, {column}::text AS old FROM ledger.{table} ORDER BY ctid DESC LIMIT 1"  # noqa: S608
    row = await connection.fetchrow(query)
    here = await connection.fetchval(
        f"UPDATE ledger.{table} SET {column} = {value} WHERE ctid = '{row['at']}' RETURNING ctid::text"  # noqa: S608
    )
    async with opened(dsn) as tables:
        assert (await verify_tables(tables, kept)).wrong, f"{table}.{column} = {value} was not found"
    kind = await connection.fetchval(f"SELECT pg_typeof({column})::text FROM ledger.{table} LIMIT 1")  # noqa: S608
    await connection.execute(
        f"UPDATE ledger.{table} SET {column} = '{row['old']}'::text::{kind} WHERE ctid = '{here}'"  # noqa: S608
    )


async def _deleted_and_found(connection: asyncpg.Connection, dsn: str, kept: Trusted, table: str) -> None:
    await connection.execute(f"CREATE TEMP TABLE saved AS SELECT * FROM ledger.{table}")  # noqa: S608
    amount = " WHERE amount <> 0" if table == "balances" else ""
    await connection.execute(
        f"DELETE FROM ledger.{table} WHERE ctid = (SELECT max(ctid) FROM ledger.{table}{amount})"  # noqa: S608
    )
    async with opened(dsn) as tables:
        assert (await verify_tables(tables, kept)).wrong, f"a row of {table} was deleted and not found"
    names = await connection.fetchval(
        "SELECT string_agg(column_name, ', ') FROM information_schema.columns "
        "WHERE table_schema = 'ledger' AND table_name = $1 AND is_generated = 'NEVER'",
        table,
    )
    await connection.execute(
        f"DELETE FROM ledger.{table}; INSERT INTO ledger.{table} ({names}) SELECT {names} FROM saved; "  # noqa: S608
        "DROP TABLE saved"
    )

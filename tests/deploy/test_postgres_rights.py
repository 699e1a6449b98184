"""Who may do what in PostgreSQL: each role x each table x each statement, tried on a migrated database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.postgres_roles import (
    AUDITOR,
    LOGINS,
    SCHEMAS,
    TABLES,
    equalise_roles,
    password_variable,
    passwords_in,
    role_of,
)
from deploy.provision import migrate

pytestmark = pytest.mark.servers

JOURNAL = ("ledger.transactions", "ledger.postings")
PASSWORDS = {login: f"t{login}" for login in LOGINS}
DENIED = asyncpg.InsufficientPrivilegeError


def url_of(dsn: str, login: str, password: str) -> str:
    """The same database, as another role."""
    return f"postgresql://{role_of(login)}:{password}@{dsn.partition('@')[2]}"


@pytest.fixture
async def guarded(postgres_dsn: str) -> str:
    """A database with the roles."""
    await migrate(postgres_dsn, passwords=PASSWORDS)
    return postgres_dsn


@pytest.fixture
async def operator(guarded: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(guarded)
    yield connection
    await connection.close()


async def is_allowed(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> bool:
    """Whether a statement passes the check of rights; what it does is undone."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except DENIED:
        return False
    finally:
        await transaction.rollback()
    return True


async def columns_of(operator: "asyncpg.Connection[asyncpg.Record]", table: str) -> list[str]:
    """Those that a statement may name."""
    rows = await operator.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped "
        "AND attgenerated = ''",
        table,
    )
    return [row["attname"] for row in rows]


def rights_of(login: str, table: str) -> str:
    """What is declared."""
    if login == AUDITOR:
        return "SELECT" if TABLES[table].audited else ""
    return TABLES[table].service if SCHEMAS[table.partition(".")[0]] == login else ""


@pytest.mark.parametrize("login", LOGINS)
async def test_role_when_trying_every_statement_on_every_table_may_do_what_is_declared(guarded, operator, login):
    connection = await asyncpg.connect(url_of(guarded, login, PASSWORDS[login]))
    wrong = []
    for table in TABLES:
        columns = await columns_of(operator, table)
        rights = rights_of(login, table)
        named = ", ".join(columns)
        tries = {
            "SELECT": f"SELECT * FROM {table} LIMIT 0",  # noqa: S608 - declared names
            "INSERT": f"INSERT INTO {table} ({named}) VALUES ({', '.join('DEFAULT' for _ in columns)})",  # noqa: S608 - declared names
            "DELETE": f"DELETE FROM {table} WHERE false",  # noqa: S608 - declared names
            "TRUNCATE": f"TRUNCATE {table}",
            "ALTER": f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            "DROP": f"DROP TABLE {table}",
            "REFERENCES": f"CREATE TABLE {table}_more (LIKE {table})",
        }
        expected = {name: name in rights for name in tries}
        for column in columns:
            tries[f"UPDATE {column}"] = f"UPDATE {table} SET {column} = DEFAULT WHERE false"  # noqa: S608 - declared names
            expected[f"UPDATE {column}"] = "UPDATE" in rights.split(", ") or f"UPDATE ({column})" in rights
        for name, statement in tries.items():
            try:
                allowed = await is_allowed(connection, statement)
            except asyncpg.IntegrityConstraintViolationError:
                allowed = True  # an empty row is no good, but it was looked at
            if allowed is not expected[name]:
                wrong.append(f"{name} on {table}: allowed is {allowed}")
    await connection.close()
    assert wrong == []


@pytest.mark.parametrize("login", LOGINS)
async def test_role_when_looked_at_is_ordinary(guarded, operator, login):
    row = await operator.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", role_of(login))
    powers = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
    assert [power for power in powers if row[power]] == []
    memberships = "SELECT count(*) FROM pg_auth_members WHERE member = $1::regrole"
    assert await operator.fetchval(memberships, role_of(login)) == 0
    connection = await asyncpg.connect(url_of(guarded, login, PASSWORDS[login]))
    for statement in (
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "SELECT * FROM public.migrations",
        "SELECT rolpassword FROM pg_authid",
        "SELECT passwd FROM pg_shadow",
        "SELECT * FROM pg_hba_file_rules",
        "SELECT * FROM pg_file_settings",
        "SET ROLE trimtab",
        "SELECT pg_read_file('PG_VERSION')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ):
        assert not await is_allowed(connection, statement), statement
    await connection.close()


def test_journal_when_declared_may_be_added_to_and_read_by_the_ledger_and_nothing_else():
    assert {TABLES[table].service for table in JOURNAL} == {"SELECT, INSERT"}
    assert all(TABLES[table].audited for table in JOURNAL)


RELATIONS = """
SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema', 'public')
"""
"""Everything that can be read with SELECT: tables, views, materialized views, foreign tables."""


async def test_tables_and_views_when_declared_are_all_there_are(operator):
    found = await operator.fetch(RELATIONS)
    there = {row["name"] for row in found}
    forgotten = sorted(there - set(TABLES))
    assert not forgotten, f"say in deploy/postgres_roles.py who may do what with {forgotten}: a line each in TABLES"
    assert set(TABLES) == there


@pytest.mark.parametrize("form", ["VIEW", "MATERIALIZED VIEW"])
async def test_view_when_made_is_nobodys_until_it_is_declared(guarded, operator, form):
    await operator.execute(f"CREATE {form} ledger.shortcut AS SELECT * FROM registry.commands")  # noqa: S608 - fixed names
    await operator.execute("GRANT SELECT ON ledger.shortcut TO trimtab_ledger, trimtab_auditor, PUBLIC")
    await migrate(guarded, passwords={})
    assert "ledger.shortcut" in {row["name"] for row in await operator.fetch(RELATIONS)}
    for login in LOGINS:
        connection = await asyncpg.connect(url_of(guarded, login, PASSWORDS[login]))
        assert not await is_allowed(connection, "SELECT * FROM ledger.shortcut"), login
        await connection.close()


async def test_sequences_when_a_service_inserts_may_be_used_by_it(operator):
    missing = await operator.fetch(
        "SELECT s.schemaname || '.' || s.sequencename AS name FROM pg_sequences s WHERE s.schemaname = ANY($1) "
        "AND NOT has_sequence_privilege('trimtab_' || ($2::jsonb ->> s.schemaname), "
        "s.schemaname || '.' || s.sequencename, 'USAGE')",
        list(SCHEMAS),
        str(SCHEMAS).replace("'", '"'),
    )
    assert [row["name"] for row in missing] == [], "add them to SEQUENCES in deploy/postgres_roles.py"


async def test_rights_when_somebody_gave_more_are_taken_back_by_provisioning(guarded, operator):
    await operator.execute("GRANT UPDATE, DELETE ON ledger.postings TO trimtab_ledger")
    await operator.execute("GRANT UPDATE (payload) ON ledger.outbox TO trimtab_ledger")
    await operator.execute("GRANT SELECT ON registry.commands TO trimtab_auditor, PUBLIC")
    await migrate(guarded, passwords={})
    connection = await asyncpg.connect(url_of(guarded, "ledger", PASSWORDS["ledger"]))
    assert not await is_allowed(connection, "DELETE FROM ledger.postings WHERE false")
    assert not await is_allowed(connection, "UPDATE ledger.outbox SET payload = payload WHERE false")
    assert not await is_allowed(connection, "SELECT * FROM registry.commands")
    await connection.close()


async def test_password_when_given_again_is_the_new_one(guarded, operator):
    async with operator.transaction():
        await equalise_roles(operator, {AUDITOR: "t2"})
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url_of(guarded, AUDITOR, PASSWORDS[AUDITOR]))
    await (await asyncpg.connect(url_of(guarded, AUDITOR, "t2"))).close()


def test_passwords_when_read_from_the_environment_are_those_of_the_logins():
    environment = {password_variable(AUDITOR): "one", password_variable("ledger"): "", "TRIMTAB_POSTGRES_PASSWORD": "x"}
    assert passwords_in(environment) == {AUDITOR: "one"}

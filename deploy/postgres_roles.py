"""THE declaration of who may do what in PostgreSQL, and what makes a database equal to it. Part of provisioning.

Each service logs in as a role of its own and reaches the tables of its own schema only, with the statements it needs.
The journal is for adding to: no service may change or remove an entry. Two more walls stand behind that: a trigger
refuses it to everybody (``append_only`` in the migrations), in case a grant is made by mistake; and the tables belong
to the operator, so that no service can take the trigger away.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

SCHEMAS = {
    "registry": "strategy_registry",
    "executor": "order_executor",
    "ledger": "ledger",
    "ledger_results": "ledger",
}
"""Each schema and the service that owns it; a service may own several."""

AUDITOR = "auditor"
LOGINS = (*dict.fromkeys(SCHEMAS.values()), AUDITOR)
"""Who logs in besides the operator, who owns everything."""

_APPEND = "SELECT, INSERT"
_KEEP = "SELECT, INSERT, UPDATE"
_FORGET = "SELECT, INSERT, UPDATE, DELETE"
_REPLACE = "SELECT, INSERT, DELETE"
_OUTBOX = "SELECT, INSERT, UPDATE (published_at)"
_ITERATIONS = 4096  # PostgreSQL's own


@dataclass(frozen=True, slots=True)
class TableRights:
    """``service``: what the owner of the schema may do with the table; ``audited``: the auditor may read it."""

    service: str
    audited: bool = True


TABLES: Mapping[str, TableRights] = {
    "registry.strategies": TableRights(_KEEP),
    "registry.strategy_versions": TableRights(_APPEND),
    "registry.previews": TableRights(_FORGET, audited=False),
    "registry.commands": TableRights(_FORGET, audited=False),
    "registry.outbox": TableRights(_OUTBOX),
    "executor.accounts": TableRights(_KEEP, audited=False),
    "executor.strategies": TableRights(_KEEP),
    "executor.plans": TableRights(_KEEP),
    "executor.orders": TableRights(_KEEP),
    "executor.fills": TableRights(_APPEND),
    "executor.deposits": TableRights(_APPEND),
    "executor.ended_holds": TableRights(_APPEND),
    "executor.differences": TableRights(_APPEND),
    "executor.foreign_orders": TableRights(_APPEND),
    "executor.halts": TableRights(_KEEP),
    "executor.outbox": TableRights(_OUTBOX),
    "ledger.transactions": TableRights(_APPEND),
    "ledger.postings": TableRights(_APPEND),
    "ledger.journal_head": TableRights("SELECT, UPDATE"),
    "ledger.log_nodes": TableRights(_APPEND),
    "ledger.log_identity": TableRights("SELECT"),
    "ledger.log_keys": TableRights(_APPEND),
    "ledger.tree_heads": TableRights(_APPEND),
    "ledger.balances": TableRights(_KEEP),
    "ledger.strategies": TableRights(_KEEP),
    "ledger.venues": TableRights(_KEEP),
    "ledger.transfers": TableRights(_KEEP),
    "ledger.order_holds": TableRights(_KEEP),
    "ledger.reservations": TableRights(_APPEND),
    "ledger.outbox": TableRights(_OUTBOX),
    "ledger.marks": TableRights(_APPEND),
    "ledger_results.checkpoint": TableRights("SELECT, UPDATE"),
    "ledger_results.clocks": TableRights(_KEEP),
    "ledger_results.balances": TableRights(_APPEND),
    "ledger_results.strategies": TableRights(_KEEP),
    "ledger_results.lots": TableRights(_REPLACE),
    "ledger_results.closings": TableRights(_REPLACE),
    "ledger_results.flows": TableRights(_REPLACE),
    "ledger_results.snapshots": TableRights(_APPEND),
}
"""Every table of every schema: one that is missing here is one that its own service may not even read."""

SEQUENCES = {"registry.outbox_id_seq", "executor.outbox_id_seq", "ledger.outbox_id_seq", "ledger.marks_mark_id_seq"}
"""What numbers the rows that services insert."""


def role_of(login: str) -> str:
    """The name of a login's role: roles belong to the whole server, which may serve others."""
    return f"trimtab_{login}"


def password_variable(login: str) -> str:
    """The environment variable provisioning takes a login's password from."""
    return f"TRIMTAB_POSTGRES_PASSWORD_{login.upper()}"


def passwords_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The passwords given to provisioning, by login."""
    return {
        login: environment[password_variable(login)] for login in LOGINS if environment.get(password_variable(login))
    }


def statements() -> list[str]:
    """SQL that gives the roles, which exist, exactly what is declared, in this database."""
    roles = {login: role_of(login) for login in LOGINS}
    everybody = ", ".join(roles.values())
    made = [
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()); "
        f"EXECUTE format('GRANT CONNECT ON DATABASE %I TO {everybody}', current_database()); END $$",
    ]
    for schema, service in SCHEMAS.items():
        made += [
            f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {everybody}",
            f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC, {everybody}",
            f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {everybody}",
            f"GRANT USAGE ON SCHEMA {schema} TO {roles[service]}, {roles[AUDITOR]}",
        ]
    for table, rights in TABLES.items():
        made.append(f"GRANT {rights.service} ON {table} TO {roles[SCHEMAS[table.partition('.')[0]]]}")
        if rights.audited:
            made.append(f"GRANT SELECT ON {table} TO {roles[AUDITOR]}")
    made += [f"GRANT USAGE ON SEQUENCE {one} TO {roles[SCHEMAS[one.partition('.')[0]]]}" for one in sorted(SEQUENCES)]
    return made


async def equalise_roles(connection: "asyncpg.Connection[asyncpg.Record]", passwords: Mapping[str, str]) -> None:
    """Create the roles that are missing, set the passwords given, and grant what is declared; all of it or nothing.

    A role without a password cannot log in. Services that run meanwhile notice nothing.
    """
    async with connection.transaction():
        for login in LOGINS:
            await connection.execute(_creating(role_of(login)))
            if login in passwords:
                await connection.execute(f"ALTER ROLE {role_of(login)} PASSWORD '{scram_verifier(passwords[login])}'")
        for statement in statements():
            await connection.execute(statement)


def _creating(role: str) -> str:
    """SQL that leaves a role there, whoever made it in the same moment in another database of the server."""
    return (
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (SCRAM-SHA-256, RFC 5802): so the password itself is in no statement."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *parts)

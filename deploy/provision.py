"""Brings NATS and PostgreSQL to what this version needs: ``python -m deploy.provision``. Idempotent.

Environment: TRIMTAB_NATS_URL, TRIMTAB_POSTGRES_DSN (and TRIMTAB_NATS_USER, TRIMTAB_NATS_PASSWORD when not in the URL);
TRIMTAB_POSTGRES_PASSWORD_<LOGIN> for each login of ``deploy.postgres_roles``: one without a password cannot log in.
"""

import asyncio
import hashlib
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import asyncpg

from deploy.postgres_roles import equalise_roles, passwords_in
from shared.core.errors import RetryLater, Stop
from shared.messaging.database_postgres import UNAVAILABLE
from shared.messaging.json_logging import log_json_lines
from shared.messaging.provisioning import provision

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parent / "postgres" / "migrations"
DEADLINE_S = 60.0
PAUSE_S = 0.5
CONNECT_TIMEOUT_S = 5.0
LOCK_WAIT_S = 30.0

_NAME = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")
_LOCK = 7_214_552_083  # any number that is ours


async def provision_streams(nats_url: str, *, user: str = "", password: str = "") -> None:
    """Make the streams and consumers on the server equal to the catalogue.

    Raises RetryLater when the server does not answer, Stop when a change would lose messages.
    """
    await provision(nats_url, user=user, password=password)


async def migrate(dsn: str, folder: Path = MIGRATIONS, *, passwords: Mapping[str, str] | None = None) -> list[str]:
    """Apply the migrations that are missing, each in a transaction; returns their names.

    With ``passwords`` (by login, see ``deploy.postgres_roles``) the roles are made as declared as well. Raises
    RetryLater when the database does not answer, Stop when an applied migration was changed or removed, or one was
    added before an applied one.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    except UNAVAILABLE as error:
        raise RetryLater(f"PostgreSQL cannot be reached: {error!r}") from error
    try:
        await connection.execute(f"SET lock_timeout = {int(LOCK_WAIT_S * 1000)}")
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        applied = await _apply_missing(connection, _migrations(folder))
        if passwords is not None:
            await equalise_roles(connection, passwords)
        return applied
    except UNAVAILABLE as error:
        raise RetryLater(f"PostgreSQL was lost while migrating: {error!r}") from error
    finally:
        # Ends the session, and with it the advisory lock.
        await connection.close(timeout=CONNECT_TIMEOUT_S)


def _migrations(folder: Path) -> dict[str, str]:
    """Name to SQL, in order. Raises Stop for a file that is named otherwise than ``NNNN_<schema>_<what>.sql``."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.sql")):
        if not _NAME.match(file.name):
            raise Stop(f"migration {file.name}: must be named NNNN_<schema>_<what>.sql")
        found[file.name] = file.read_text(encoding="utf-8")
    return found


async def _apply_missing(connection: "asyncpg.Connection[asyncpg.Record]", migrations: dict[str, str]) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS public.migrations "
        "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    applied = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT name, sha256 FROM migrations")}
    for name, digest in applied.items():
        if name not in migrations:
            raise Stop(f"migration {name} was applied to this database but is not part of this version")
        if digest != _digest(migrations[name]):
            raise Stop(f"migration {name} was changed after it was applied")
    missing = [name for name in migrations if name not in applied]
    if missing and applied and missing[0] < max(applied):
        raise Stop(f"migration {missing[0]} was added before {max(applied)}, which is applied")
    for name in missing:
        async with connection.transaction():
            await connection.execute(migrations[name])
            await connection.execute(
                "INSERT INTO public.migrations (name, sha256) VALUES ($1, $2)", name, _digest(migrations[name])
            )
        log.info("migration %s applied", name)
    return missing


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def _until_answered(what: str, work: Callable[[], Awaitable[object]], deadline: float) -> None:
    """Repeat ``work`` while its server does not answer. Raises RetryLater past the deadline."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            await work()
        except RetryLater as later:
            if loop.time() + PAUSE_S > deadline:
                raise
            log.info("waiting for %s: %s", what, later)
        else:
            return
        await asyncio.sleep(PAUSE_S)


async def _provision_all(nats_url: str, dsn: str) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    user, password = os.environ.get("TRIMTAB_NATS_USER", ""), os.environ.get("TRIMTAB_NATS_PASSWORD", "")
    await _until_answered(
        "NATS", lambda: provision_streams(nats_url, user=user, password=password if user else ""), deadline
    )
    await _until_answered("PostgreSQL", lambda: migrate(dsn, passwords=passwords_in(os.environ)), deadline)


def main() -> int:
    """Exit code: 0 done, 1 a server did not answer in 60 s, 2 an address is missing, 3 refused because of danger."""
    log_json_lines("provision", os.environ.get("TRIMTAB_LOG_LEVEL", "INFO"))
    nats_url, dsn = os.environ.get("TRIMTAB_NATS_URL"), os.environ.get("TRIMTAB_POSTGRES_DSN")
    if not nats_url or not dsn:
        log.error("TRIMTAB_NATS_URL and TRIMTAB_POSTGRES_DSN must both be set")
        return 2
    try:
        asyncio.run(_provision_all(nats_url, dsn))
    except RetryLater as error:
        log.error("not provisioned in %s s: %s", DEADLINE_S, error)  # noqa: TRY400 - the reason says it all
        return 1
    except Stop as error:
        log.error("refused: %s", error)  # noqa: TRY400 - the reason says it all
        return 3
    log.info("streams, consumers and schemas are as this version needs them")
    return 0


if __name__ == "__main__":
    sys.exit(main())

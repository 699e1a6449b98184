"""The connection pool every service uses: bounded in every direction, waits until the database answers."""

import asyncio
import logging

import asyncpg

from shared.core.errors import RetryLater

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 15.0
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 20_000

UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # 57: shutdown, crash of another backend, a statement that took too long
    asyncpg.InsufficientResourcesError,  # 53: disk full, too many connections
    asyncpg.TransactionRollbackError,  # 40: chosen as a deadlock's victim
    asyncpg.LockNotAvailableError,  # 55P03: somebody holds the lock for longer than we wait
    asyncpg.IdleInTransactionSessionTimeoutError,  # 25P03: this process was frozen
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a standby that will be promoted
)
"""The database is not there, not yet, or busy with others: the same call may succeed later, however long that takes."""


async def create_pool(
    dsn: str, name: str, *, max_size: int = 10, wait_s: float = 60.0, only_by_index: bool = False
) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool for the service ``name``, once the database answers.

    A statement ends after 10 s, a wait for a lock after 5 s; a transaction in which nothing happens for 20 s is ended
    by the server, so a frozen process cannot hold locks for ever. ``only_by_index``: where a statement can go by
    an index it does, even if its plan was made while the tables were small. Raises RetryLater when there is no answer
    in ``wait_s``.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        try:
            return await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=max_size,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                reset=_left_as_it_is,
                server_settings={
                    "application_name": name,
                    "timezone": "UTC",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                    "tcp_keepalives_idle": "10",
                    "tcp_keepalives_interval": "5",
                    "tcp_keepalives_count": "3",
                    **({"enable_seqscan": "off"} if only_by_index else {}),
                },
            )
        except UNAVAILABLE as error:
            if loop.time() >= deadline:
                raise RetryLater(f"the database does not answer: {error!r}") from error
            log.info("waiting for the database: %r", error)
        await asyncio.sleep(0.25)


async def _left_as_it_is(_connection: object) -> None:
    """Nobody changes a session, so a connection goes back without the round trip that would undo it; a transaction
    that is still open is rolled back before this.
    """

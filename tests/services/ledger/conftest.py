"""Fixtures of the ledger's tests."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.ledger.adapters.postgres import PostgresJournal
from shared.messaging.database_postgres import create_pool


@pytest.fixture
async def journal(postgres_dsn: str) -> AsyncIterator[PostgresJournal]:
    """The journal on a fresh database."""
    pool = await create_pool(postgres_dsn, "ledger-test", max_size=8)
    yield PostgresJournal(pool, lambda: datetime.now(UTC))
    await pool.close()

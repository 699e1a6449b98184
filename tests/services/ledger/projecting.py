"""The projection in tests: prices as they would be heard, and all that was computed, as text."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg

from services.ledger.adapters.postgres_projector import Projector
from services.ledger.market import Market
from shared.contracts.prices import PricesSnapshotted, QuoteSeen
from shared.contracts.wire import Meta

TABLES = ("balances", "strategies", "lots", "closings", "flows", "snapshots")


def market_of(venue: str, at: datetime, bids: Mapping[str, str]) -> Market:
    """A market that has heard these bids."""
    market = Market()
    hear(market, venue, at, bids)
    return market


def hear(market: Market, venue: str, at: datetime, bids: Mapping[str, str]) -> None:
    """Let the market hear a snapshot."""
    quotes = tuple(
        QuoteSeen(asset=asset, bid=Decimal(bid), ask=Decimal(bid), at=at, received_ns=0) for asset, bid in bids.items()
    )
    snapshot = PricesSnapshotted(venue=venue, epoch="e", sequence=1, market_time=at, quotes=quotes)
    market.take("", snapshot, Meta("m", "test", datetime.now(UTC), "c", ""))


def projector_on(pool: "asyncpg.Pool[asyncpg.Record]", market: Market | None = None) -> Projector:
    """A projector that begins with nothing in memory."""
    return Projector(pool, market or Market(), mark_interval_s=3600)


async def computed(pool: "asyncpg.Pool[asyncpg.Record]", *tables: str, schema: str = "ledger_results") -> list[str]:
    """Every row of the tables as one line of text, in order."""
    lines: list[str] = []
    for table in tables or TABLES:
        rows = await pool.fetch(f"SELECT '{table} ' || t::text AS line FROM {schema}.{table} t ORDER BY 1")  # noqa: S608
        lines += [row["line"] for row in rows]
    return lines

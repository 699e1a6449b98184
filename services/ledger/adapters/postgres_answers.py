"""Answers from the results: every one a few looks into an index, none of them reads the journal."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal

import asyncpg

from services.ledger.adapters.postgres_results import ResultsStore
from services.ledger.adapters.postgres_rows import amount_of
from services.ledger.adapters.results_rows import amounts_from
from services.ledger.market import Market
from services.ledger.report import report_of
from shared.contracts.results import (
    AccountHoldings,
    HistoryPoint,
    HistoryReported,
    HoldingsReported,
    ReportHistory,
    ReportHoldings,
    ReportResults,
    ResultsReported,
)
from shared.contracts.wire import Meta
from shared.core.double_entry import strategy_account, wallet_account
from shared.core.errors import Refused, RetryLater
from shared.core.lots import Method
from shared.core.returns import Flow
from shared.messaging.database_postgres import UNAVAILABLE

MOST_POINTS = 1_000

# The assets an account has ever held are few, and known; one look per asset finds what it held then.
_HELD_AT = """
SELECT b.asset, held.amount FROM ledger.balances b
CROSS JOIN LATERAL (
    SELECT amount FROM balances t WHERE t.account = b.account AND t.asset = b.asset AND t.at <= $2
    ORDER BY t.at DESC, t.sequence DESC LIMIT 1
) held
WHERE b.account = $1 AND held.amount <> 0 ORDER BY b.asset
"""
_POINTS = """
SELECT at, value, put_in, taken_out, basket, growth, weights FROM snapshots
WHERE strategy_id = $1 AND ($2::timestamptz IS NULL OR at < $2) ORDER BY at DESC, mark_id DESC LIMIT $3
"""


class PostgresAnswers:
    """Answers the questions of ``shared.contracts.results``. Raises RetryLater when the database cannot be reached."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", market: Market) -> None:
        self._pool = pool
        self._market = market

    async def results(self, question: ReportResults, _meta: Meta) -> ResultsReported:
        """The figures of a strategy. Raises Refused for an unknown method or strategy."""
        method = _method(question.method)
        async with _reading(self._pool) as store:
            results = await store.results(question.strategy_id, [method, Method.AVERAGE])
            if results is None:
                raise _unknown(question.strategy_id)
            rows = await store.connection.fetch(
                "SELECT at, amount FROM flows WHERE strategy_id = $1 ORDER BY sequence", question.strategy_id
            )
            sequence = await store.connection.fetchval("SELECT sequence FROM checkpoint")
        flows = [Flow(row["at"], amount_of(row["amount"])) for row in rows]
        return report_of(results, method, flows, self._market.venues.get(results.venue), int(sequence))

    async def history(self, question: ReportHistory, _meta: Meta) -> HistoryReported:
        """Value and weights over time. Raises Refused for an impossible limit."""
        if not 1 <= question.limit <= MOST_POINTS:
            raise Refused.one("limit", str(question.limit), f"1 to {MOST_POINTS}", "is not a number of points")
        async with _reading(self._pool) as store:
            rows = await store.connection.fetch(_POINTS, question.strategy_id, question.before, question.limit)
        points = tuple(
            HistoryPoint(
                at=row["at"],
                value=row["value"],
                put_in=row["put_in"],
                taken_out=row["taken_out"],
                held_value=row["basket"],
                twr=row["growth"],
                weights=amounts_from(row["weights"]),
            )
            for row in rows
        )
        return HistoryReported(strategy_id=question.strategy_id, points=points)

    async def holdings(self, question: ReportHoldings, _meta: Meta) -> HoldingsReported:
        """What a strategy, or every wallet, held at a time."""
        async with _reading(self._pool) as store:
            if question.strategy_id:
                owners = {question.strategy_id: strategy_account(question.strategy_id)}
            else:
                venues = await store.connection.fetch("SELECT venue FROM ledger.venues ORDER BY venue")
                owners = {row["venue"]: wallet_account(row["venue"]) for row in venues}
            held = {owner: await held_at(store, account, question.at) for owner, account in owners.items()}
            sequence = await store.connection.fetchval("SELECT sequence FROM checkpoint")
        accounts = tuple(AccountHoldings(owner=owner, balances=dict(balances)) for owner, balances in held.items())
        return HoldingsReported(at=question.at, sequence=int(sequence), accounts=accounts)


async def held_at(store: ResultsStore, account: str, at: datetime) -> Mapping[str, Decimal]:
    """What an account held when its venue's clock showed ``at``, by asset, without zeros."""
    rows = await store.connection.fetch(_HELD_AT, account, at)
    return {row["asset"]: amount_of(row["amount"]) for row in rows}


@asynccontextmanager
async def _reading(pool: "asyncpg.Pool[asyncpg.Record]") -> AsyncIterator[ResultsStore]:
    """A read-only transaction on the results. Raises RetryLater when the database cannot be reached."""
    try:
        async with (
            pool.acquire(timeout=5.0) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield await ResultsStore.opened(connection)
    except UNAVAILABLE as error:
        raise RetryLater(f"the results cannot be read now: {error!r}") from error


def _method(text: str) -> Method:
    try:
        return Method(text)
    except ValueError:
        raise Refused.one("method", text[:80], ", ".join(Method), "is not a method of closing lots") from None


def _unknown(strategy_id: str) -> Refused:
    return Refused.one("strategy_id", strategy_id[:80], "a strategy that has been funded", "has no results yet")

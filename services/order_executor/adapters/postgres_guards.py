"""What an account has sent lately, out of its orders: the guards' tally at start."""

import time
from typing import Any

import asyncpg

from services.order_executor.send_guards import tally_of
from shared.core.guards import SECONDS_KEPT, Tally
from shared.core.orders import UNSETTLED, OrderState

_PHASES_READ = 200


async def read_tally(pool: "asyncpg.Pool[asyncpg.Record]", account: str, venue: str) -> Tally:
    """The tally of the account as of now: call it as the account's only writer, before anything is sent.

    Orders by minute count by their intent, the day's notional by what traded or may still trade, at the limit (newest
    two market days), trips by phases since the switch was last used.
    """
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        ages_ms = await connection.fetch(
            "SELECT (extract(epoch FROM now() - intended_at) * 1000)::bigint AS age_ms FROM executor.orders "
            "WHERE account = $1 AND intended_at > now() - make_interval(secs => $2) AND state <> $3",
            account,
            SECONDS_KEPT + 1,
            OrderState.WITHHELD.value,
        )
        days = await connection.fetch(
            "SELECT market_day, sum(limit_price * quote_price * CASE WHEN state = ANY($2::text[]) THEN quantity "
            "ELSE filled_quantity END) AS notional FROM executor.orders WHERE account = $1 AND market_day >= "
            "(SELECT max(market_day) FROM executor.orders WHERE account = $1) - 1 GROUP BY market_day",
            account,
            [state.value for state in UNSETTLED],
        )
        trips = await _trips_in_a_row(connection, account, venue)
    by_day = [(row["market_day"], row["notional"]) for row in days]
    return tally_of([max(row["age_ms"], 0) for row in ages_ms], by_day, trips, time.monotonic_ns() // 1_000_000)


async def _trips_in_a_row(connection: Any, account: str, venue: str) -> int:
    """Newest phases in a row with an order that a guard withheld, since the switch was last used."""
    rows = await connection.fetch(
        "SELECT bool_or(o.state = $3 AND o.detail LIKE 'guard:%') AS tripped FROM executor.orders o "
        "WHERE o.account = $1 AND o.intended_at > coalesce((SELECT changed_at FROM executor.halts "
        "WHERE venue = $2 AND sequence > 0), '-infinity') AND o.intended_at > now() - interval '1 day' "
        "GROUP BY o.plan_id, o.round ORDER BY max(o.intended_at) DESC LIMIT $4",
        account,
        venue,
        OrderState.WITHHELD.value,
        _PHASES_READ,
    )
    count = 0
    for row in rows:
        if not row["tripped"]:
            break
        count += 1
    return count

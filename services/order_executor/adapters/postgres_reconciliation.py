"""What the executor has booked of an account, summed by asset; differences and foreign orders, each called once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from services.order_executor.adapters.postgres_account import check_lease
from services.order_executor.adapters.postgres_events import Announcement, add_events
from services.order_executor.comparing import Booked
from services.order_executor.late_proof import ENDED, EndedOrder
from services.order_executor.lease import Lease
from shared.contracts import subjects
from shared.contracts.lifecycle import NotificationRaised, Severity
from shared.contracts.reconciliation import BalanceDiffered, ForeignOrderFound
from shared.core.double_entry import EXACT_SUMS
from shared.core.matching import Side
from shared.core.money import ZERO, plain
from shared.core.orders import UNSETTLED
from shared.venues.port import OpenOrder

# Fills are numbered without gaps by strategy, under its lock: those above the numbers summed before are the new ones.
_NEW_FILLS = """
SELECT o.asset, o.quote, o.side, f.fee_asset, sum(f.quantity) AS quantity, sum(f.quote_quantity) AS quote_quantity,
       sum(f.fee) AS fee
FROM executor.strategies s
LEFT JOIN unnest($2::text[], $3::bigint[]) AS summed (strategy_id, fills) USING (strategy_id)
JOIN executor.fills f ON f.strategy_id = s.strategy_id AND f.fill_number > coalesce(summed.fills, 0)
JOIN executor.orders o USING (client_order_id)
WHERE s.venue = $1 AND s.fills_total > coalesce(summed.fills, 0)
GROUP BY o.asset, o.quote, o.side, f.fee_asset
"""
_DEPOSITED = """
SELECT asset, sum(amount) AS amount FROM (
    SELECT asset, amount FROM executor.deposits WHERE account = $1 AND NOT in_opening
    UNION ALL SELECT asset, amount FROM executor.differences WHERE account = $1
) came GROUP BY asset
"""
_UNSETTLED = "SELECT DISTINCT asset, quote FROM executor.orders WHERE account = $1 AND state = ANY($2::text[])"
_FOREIGN_TRADES = """
SELECT id FROM unnest($1::text[]) AS t (id)
WHERE NOT EXISTS (SELECT FROM executor.orders o WHERE o.symbol = $2 AND o.venue_order_id = t.id)
"""

_ENDED = """
SELECT o.client_order_id, o.venue_order_id, o.symbol, (p.body->>'market_time')::timestamptz AS since
FROM executor.orders o JOIN executor.plans p USING (plan_id)
WHERE o.account = $1 AND o.state = ANY($2::text[]) AND (o.asset = ANY($3::text[]) OR o.quote = ANY($3::text[]))
  AND o.intended_at > now() - make_interval(days => $4)
ORDER BY o.intended_at DESC LIMIT $5
"""
_NOT_BOOKED = """
SELECT id FROM unnest($1::text[]) AS t (id)
WHERE NOT EXISTS (SELECT FROM executor.fills f WHERE f.venue = $2 AND f.trade_id = t.id)
"""
ENDED_DAYS, ENDED_MOST = 7, 200
"""How far back an order that has ended may turn out to have traded, and how many of them are looked at."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One asset's difference, to be called."""

    asset: str
    amount: Decimal
    at_venue: Decimal
    in_books: Decimal
    market_time: datetime
    detail: str


class ReconciliationStore:
    """One account's sums and calls. The sums of its fills are kept in memory and carried on, one reader only."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", lease: Lease, venue: str) -> None:
        self._pool = pool
        self._lease = lease
        self._venue = venue
        self._filled: dict[str, Decimal] = {}
        self._summed: dict[str, int] = {}
        self._third_assets: set[str] = set()

    async def booked(self) -> Booked:
        """Everything booked as of one snapshot of the database."""
        account = self._lease.account
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            totals = await connection.fetch(
                "SELECT strategy_id, fills_total FROM executor.strategies WHERE venue = $1 AND fills_total > 0",
                self._venue,
            )
            fills = await connection.fetch(_NEW_FILLS, self._venue, list(self._summed), list(self._summed.values()))
            came = await connection.fetch(_DEPOSITED, account)
            unsettled = await connection.fetch(_UNSETTLED, account, [state.value for state in UNSETTLED])
        self._sum(fills)
        self._summed = {row["strategy_id"]: row["fills_total"] for row in totals}
        expected = dict(self._filled)
        for row in came:
            expected[row["asset"]] = EXACT_SUMS.add(expected.get(row["asset"], ZERO), row["amount"])
        moving = {row[side] for row in unsettled for side in ("asset", "quote")}
        return Booked(
            {asset: amount for asset, amount in expected.items() if amount},
            frozenset(moving | self._third_assets if moving else moving),
        )

    def _sum(self, fills: Sequence[Mapping[str, Any]]) -> None:
        for row in fills:
            sign = 1 if Side(row["side"]) is Side.BUY else -1
            self._add(row["asset"], sign * row["quantity"])
            self._add(row["quote"], -sign * row["quote_quantity"])
            self._add(row["fee_asset"], -row["fee"])
            if row["fee_asset"] not in {row["asset"], row["quote"]}:
                self._third_assets.add(row["fee_asset"])

    def _add(self, asset: str, amount: Decimal) -> None:
        if amount:
            self._filled[asset] = EXACT_SUMS.add(self._filled.get(asset, ZERO), amount)

    async def foreign(self, symbol: str, venue_order_ids: Sequence[str]) -> frozenset[str]:
        """Those of the venue's order ids that belong to none of our orders."""
        rows = await self._pool.fetch(_FOREIGN_TRADES, list(venue_order_ids), symbol)
        return frozenset(row["id"] for row in rows)

    async def not_booked(self, trade_ids: Sequence[str]) -> frozenset[str]:
        """Those of the trades that are no fill of ours."""
        rows = await self._pool.fetch(_NOT_BOOKED, list(trade_ids), self._venue)
        return frozenset(row["id"] for row in rows)

    async def ended(self, assets: Collection[str]) -> list[EndedOrder]:
        """Orders of the last days that have ended without trading all, by an asset they move; newest first."""
        states = sorted(state.value for state in ENDED)
        rows = await self._pool.fetch(_ENDED, self._lease.account, states, list(assets), ENDED_DAYS, ENDED_MOST)
        return [EndedOrder(**dict(row)) for row in rows]

    async def call(self, differences: Sequence[Difference]) -> None:
        """Call them, each under a number of its own. Raises Stop, calling none, when the lease is lost."""
        account = self._lease.account
        async with self._pool.acquire() as connection, connection.transaction():
            await check_lease(connection, self._lease)
            events = []
            for one in differences:
                number = await connection.fetchval(
                    "INSERT INTO executor.differences (account, number, asset, amount, at_venue, in_books, detail, "
                    "market_time) SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7 "
                    "FROM executor.differences WHERE account = $1 RETURNING number",
                    account,
                    one.asset,
                    one.amount,
                    one.at_venue,
                    one.in_books,
                    one.detail,
                    one.market_time,
                )
                events.append(self._differed(one, f"{account}.{number}"))
            await add_events(connection, events)

    def _differed(self, one: Difference, difference_id: str) -> Announcement:
        message = BalanceDiffered(
            difference_id=difference_id,
            venue=self._venue,
            asset=one.asset,
            amount=one.amount,
            at_venue=one.at_venue,
            in_books=one.in_books,
            market_time=one.market_time,
            detail=one.detail,
        )
        name = f"difference.{difference_id}"
        return Announcement(subjects.balances_differed(self._venue), message, name, name)

    async def call_foreign_orders(self, orders: Sequence[OpenOrder]) -> int:
        """Tell of the open orders that are not ours and were not told of before; returns how many."""
        if not orders:
            return 0
        account = self._lease.account
        async with self._pool.acquire() as connection, connection.transaction():
            await check_lease(connection, self._lease)
            rows = await connection.fetch(
                "INSERT INTO executor.foreign_orders (account, symbol, venue_order_id, client_order_id) "
                "SELECT $1, s, v, c FROM unnest($2::text[], $3::text[], $4::text[]) AS t (s, v, c) "
                # By either id: at a venue of UUIDs the client id is not the one we know the order by.
                "WHERE NOT EXISTS (SELECT FROM executor.orders o WHERE o.client_order_id = c) AND NOT EXISTS "
                "(SELECT FROM executor.orders o WHERE o.symbol = s AND o.venue_order_id = v AND "
                "o.venue_order_id <> '') "
                "ON CONFLICT DO NOTHING RETURNING symbol, venue_order_id, client_order_id",
                account,
                [order.symbol for order in orders],
                [order.venue_order_id for order in orders],
                [order.client_order_id for order in orders],
            )
            await add_events(connection, [event for row in rows for event in self._found(row)])
        return len(rows)

    async def tell_not_compared(self, assets: Sequence[str]) -> None:
        """Alert, once per writer, that these assets could not be compared since its start and are not traded."""
        named = ", ".join(assets)
        text = f"{named}: books and account at {self._venue} could not be compared since the executor's start, "
        text += "because fills or deposits are not posted, or orders are not settled. Not traded until they can be."
        alert = NotificationRaised(
            strategy_id="",
            strategy_version=0,
            kind="not_compared",
            severity=Severity.ALERT,
            text=text,
            inputs={"venue": self._venue, "assets": named},
        )
        name = f"not-compared.{self._lease.account}.{self._lease.epoch}"
        async with self._pool.acquire() as connection, connection.transaction():
            await check_lease(connection, self._lease)
            await add_events(connection, [Announcement(subjects.notifications(self._venue), alert, name, name)])

    def _found(self, row: Mapping[str, str]) -> tuple[Announcement, Announcement]:
        found = ForeignOrderFound(venue=self._venue, **dict(row))
        what = f"order {found.venue_order_id} in {found.symbol}"
        alert = NotificationRaised(
            strategy_id="",
            strategy_version=0,
            kind="foreign_order",
            severity=Severity.ALERT,
            text=f"{what} is open at {self._venue} and is not Trimtab's: when it trades, what it moves is suspense.",
            inputs={"venue": self._venue, **dict(row)},
        )
        name = f"foreign-order.{self._lease.account}.{found.symbol}.{found.venue_order_id}"
        return (
            Announcement(subjects.foreign_orders(self._venue), found, name, name),
            Announcement(subjects.notifications(self._venue), alert, f"{name}.notification", name),
        )


def trades_in_words(symbol: str, trades: Sequence[tuple[str, Decimal, Decimal]], shown: int = 3) -> str:
    """Trades (id, base, quote) that are not ours, as text: the first few and how many more; "" for none."""
    if not trades:
        return ""
    texts = [f"{trade_id}: {plain(base)} for {plain(quote)}" for trade_id, base, quote in trades[:shown]]
    more = f" and {len(trades) - shown} more" if len(trades) > shown else ""
    return f"trades in {symbol} that are not Trimtab's: {'; '.join(texts)}{more}"

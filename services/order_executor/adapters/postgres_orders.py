"""Order intents and fills in Postgres: intents committed before anything is sent, every fill booked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import asyncpg

from services.order_executor.adapters.postgres_account import superseded
from services.order_executor.adapters.postgres_at_once import Intents, commit_at_once
from services.order_executor.adapters.postgres_events import Announcement, change_and_tell
from services.order_executor.adapters.postgres_rows import ORDER_COLUMNS, order_from
from services.order_executor.adapters.postgres_strategies import lock_strategies_of, tell_progress
from services.order_executor.booking import BookingQueue, FilledOrders, trades_of
from services.order_executor.lease import Lease
from services.order_executor.records import Evidence, OrderRecord, PlanRecord, StrategyRow, concluded, may_take
from services.order_executor.steps import Send
from services.order_executor.third_fees import FeeTaken, ThirdFees
from shared.contracts import subjects
from shared.contracts.orders import OrderChanged, OrderFilled
from shared.core.errors import RetryLater, Stop
from shared.core.money import ONE, ZERO
from shared.venues.port import VenueTrade

HALTED_AGAIN_S = 1.0
_NEWEST_FEES = """
SELECT f.fee, f.fee_asset, o.asset AS base, o.quote FROM
(SELECT client_order_id, asset, quote FROM executor.orders WHERE account = $1 AND filled_quantity > 0
ORDER BY intended_at DESC LIMIT 100) o JOIN executor.fills f USING (client_order_id) ORDER BY f.market_time DESC
"""


@dataclass(frozen=True, slots=True)
class _NewFill:
    """A trade not booked before, with its number."""

    trade: VenueTrade
    order: OrderRecord
    number: int


class OrderStore:
    """Orders and fills of one venue account. Every method changes what it changes in one transaction."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", venue: str, lease: Lease) -> None:
        self._pool = pool
        self._venue = venue
        self._lease = lease
        self._bookings = BookingQueue(self._book)
        self._filled_orders = FilledOrders()
        self.third_fees = ThirdFees()

    async def recall_fees(self) -> None:
        """Learn from the newest fills in the books what the venue takes its fees from."""
        rows = await self._pool.fetch(_NEWEST_FEES, self._lease.account)
        self.third_fees.learn(FeeTaken(**dict(row)) for row in reversed(rows))

    def intents(self, send: Send, market_day: date, read: PlanRecord | None = None) -> Intents:
        """What is to be committed of a phase. ``market_day``: the market's day, which the daily limit counts by;
        ``read``: what the phase was sized by, where anything was done for the plan before.
        """
        return Intents(send, market_day, [self._intended(order, send) for order in send.orders], read)

    async def commit_intents(self, intents: Intents) -> None:
        """Commit a phase's intents and its sizing. Committing nothing, raises Stop when the lease is lost or the plan
        closed, and RetryLater while the venue is halted or when the plan is not as it was when the phase was sized.
        """
        standing = await commit_at_once(self._pool, self._lease, self._venue, intents)
        if not standing.is_ours:
            raise superseded(self._lease)
        if standing.halted is not None:
            raise RetryLater(f"{self._venue} is halted: {standing.halted}", after_s=HALTED_AGAIN_S)
        if standing.is_committed:
            return
        closed = "SELECT outcome IS NOT NULL FROM executor.plans WHERE plan_id = $1"
        if await self._pool.fetchval(closed, intents.plan_id):
            raise Stop(f"plan {intents.plan_id} is closed: somebody else works on it")
        raise RetryLater(f"plan {intents.plan_id} is not as it was when the phase was sized", after_s=0.0)

    async def book(self, evidences: Sequence[Evidence]) -> frozenset[str]:
        """THE booking of everything learned of orders: new trades, then the states that follow. Returns the ids of the
        trades given that are booked now (new or before). Evidence on orders that are not ours is left out. What is
        booked at the same time for other plans goes in one transaction with it.
        """
        return await self._bookings.book(evidences) if evidences else frozenset()

    async def _book(self, evidences: Sequence[Evidence], *, patient: bool) -> frozenset[str]:
        """See ``booking.Transaction``."""
        known: set[str] = set()
        by_order: dict[str, list[Evidence]] = {}
        for evidence in evidences:
            if self._filled_orders.has(evidence):
                known.update(trades_of(evidence))
            else:
                by_order.setdefault(evidence.client_order_id, []).append(evidence)
        if not by_order:
            return frozenset(known)
        async with self._pool.acquire() as connection, connection.transaction():
            strategies = await lock_strategies_of(connection, list(by_order), patient=patient)
            orders, closed = await self._orders(connection, list(by_order))
            fills, seen = await self._new_fills(connection, orders, by_order, strategies)
            await self._insert_fills(connection, fills)
            changed = _changes(orders, fills, by_order)
            await self._update_orders(connection, changed)
            await self._count(connection, strategies, fills, closed)
        self._filled_orders.note(changed, by_order)
        self.third_fees.learn(
            FeeTaken(fill.trade.fee, fill.trade.fee_asset, fill.order.asset, fill.order.quote) for fill in fills
        )
        return seen | known

    async def known_venue_orders(self, symbol: str, but: str) -> frozenset[str]:
        """Venue order ids of a symbol that belong to other intents than ``but``, newest 1,000."""
        rows = await self._pool.fetch(
            "SELECT venue_order_id FROM executor.orders WHERE symbol = $1 AND venue_order_id <> '' "
            "AND client_order_id <> $2 ORDER BY intended_at DESC LIMIT 1000",
            symbol,
            but,
        )
        return frozenset(row["venue_order_id"] for row in rows)

    async def _orders(self, connection: Any, ids: list[str]) -> tuple[dict[str, OrderRecord], frozenset[str]]:
        """The orders of this account (locked through their strategies), and the ids of their closed plans."""
        columns = ", ".join(f"o.{name.strip()}" for name in ORDER_COLUMNS.split(","))
        # The account is compared here: PostgreSQL must not get the idea of looking through all orders of an account.
        rows = await connection.fetch(
            f"SELECT {columns}, o.account, p.outcome IS NOT NULL AS plan_closed FROM executor.orders o "  # noqa: S608
            "JOIN executor.plans p USING (plan_id) WHERE o.client_order_id = ANY($1::text[])",
            ids,
        )
        ours = [row for row in rows if row["account"] == self._lease.account]
        closed = frozenset(row["plan_id"] for row in ours if row["plan_closed"])
        return {row["client_order_id"]: order_from(row) for row in ours}, closed

    async def _new_fills(
        self,
        connection: Any,
        orders: Mapping[str, OrderRecord],
        by_order: Mapping[str, list[Evidence]],
        strategies: Mapping[str, StrategyRow],
    ) -> tuple[list[_NewFill], frozenset[str]]:
        trades = _claimed(orders, by_order)
        if not trades:
            return [], frozenset()
        rows = await connection.fetch(
            "SELECT trade_id, client_order_id FROM executor.fills WHERE venue = $1 AND trade_id = ANY($2::text[])",
            self._venue,
            list(trades),
        )
        booked = {row["trade_id"]: row["client_order_id"] for row in rows}
        for trade_id, owner in booked.items():
            _check_claim(trade_id, owner, trades[trade_id][1].client_order_id)
        fresh = sorted((pair for name, pair in trades.items() if name not in booked), key=lambda pair: pair[0].at)
        numbers = {name: row.fills_total for name, row in strategies.items()}
        fills = []
        for trade, order in fresh:
            numbers[order.strategy_id] += 1
            fills.append(_NewFill(trade, order, numbers[order.strategy_id]))
        return fills, frozenset(trades)

    async def _insert_fills(self, connection: Any, fills: Sequence[_NewFill]) -> None:
        if not fills:
            return
        trades, orders = [fill.trade for fill in fills], [fill.order for fill in fills]
        await change_and_tell(
            connection,
            "INSERT INTO executor.fills (venue, received_at, trade_id, client_order_id, plan_id, strategy_id, "
            "fill_number, quantity, price, quote_quantity, fee, fee_asset, market_time) SELECT $1, $2, f.* "
            "FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::numeric[], $9::numeric[], "
            "$10::numeric[], $11::numeric[], $12::text[], $13::timestamptz[]) f",
            (
                self._venue,
                datetime.now(UTC),
                [trade.trade_id for trade in trades],
                [order.client_order_id for order in orders],
                [order.plan_id for order in orders],
                [order.strategy_id for order in orders],
                [fill.number for fill in fills],
                [trade.quantity for trade in trades],
                [trade.price for trade in trades],
                [trade.quote_quantity for trade in trades],
                [trade.fee for trade in trades],
                [trade.fee_asset for trade in trades],
                [trade.at for trade in trades],
            ),
            [self._filled(fill) for fill in fills],
        )

    async def _update_orders(self, connection: Any, orders: Sequence[OrderRecord]) -> None:
        if not orders:
            return
        await change_and_tell(
            connection,
            "UPDATE executor.orders o SET state = t.s, version = t.v, venue_order_id = t.i, filled_quantity = t.f, "
            "detail = t.d, was_unknown = o.was_unknown OR t.s = 'unknown', changed_at = now() "
            "FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::numeric[], $6::text[]) "
            "AS t (c, s, v, i, f, d) WHERE o.client_order_id = t.c",
            (
                [order.client_order_id for order in orders],
                [order.state.value for order in orders],
                [order.version for order in orders],
                [order.venue_order_id for order in orders],
                [order.filled_quantity for order in orders],
                [order.detail for order in orders],
            ),
            [self._changed(order) for order in orders],
        )

    async def _count(
        self,
        connection: Any,
        strategies: Mapping[str, StrategyRow],
        fills: Sequence[_NewFill],
        closed_plans: frozenset[str],
    ) -> None:
        """Raise the strategies' fill counts; a fill of a closed plan is told at once (else the close tells)."""
        totals = {fill.order.strategy_id: fill.number for fill in fills}
        late = {fill.order.strategy_id for fill in fills if fill.order.plan_id in closed_plans}
        in_time = {name: total for name, total in totals.items() if name not in late}
        if in_time:
            await connection.execute(
                "UPDATE executor.strategies s SET fills_total = t.total FROM unnest($1::text[], $2::bigint[]) "
                "AS t (name, total) WHERE s.strategy_id = t.name",
                list(in_time),
                list(in_time.values()),
            )
        for strategy_id in sorted(late):
            open_plan_id = await connection.fetchval(
                "SELECT plan_id FROM executor.plans WHERE strategy_id = $1 AND outcome IS NULL", strategy_id
            )
            row = replace(strategies[strategy_id], fills_total=totals[strategy_id])
            last = [fill.trade.trade_id for fill in fills if fill.order.strategy_id == strategy_id][-1]
            await tell_progress(connection, row, "late_fill", open_plan_id, last)

    def _intended(self, order: OrderRecord, send: Send) -> Announcement:
        third_fee = send.third_fees.get(order.client_order_id, ZERO)
        most = may_take(order, send.buying_costs.get(order.symbol, ONE), {send.fee_asset: third_fee})
        return self._changed(order, most)

    def _changed(self, order: OrderRecord, taken_at_most: Mapping[str, Decimal] = MappingProxyType({})) -> Announcement:
        message = OrderChanged(
            client_order_id=order.client_order_id,
            plan_id=order.plan_id,
            strategy_id=order.strategy_id,
            venue=self._venue,
            symbol=order.symbol,
            side=order.side.value,
            quantity=order.quantity,
            limit_price=order.limit_price,
            state=order.state.value,
            filled_quantity=order.filled_quantity,
            venue_order_id=order.venue_order_id,
            detail=order.detail,
            kind=order.kind.value,
            version=order.version,
            may_take=dict(taken_at_most),
        )
        name = f"order.{order.client_order_id}.{order.version}"
        return Announcement(
            subjects.orders_changed(order.strategy_id), message, name, order.plan_id, order.client_order_id
        )

    def _filled(self, fill: _NewFill) -> Announcement:
        trade, order = fill.trade, fill.order
        message = OrderFilled(
            trade_id=trade.trade_id,
            fill_number=fill.number,
            client_order_id=order.client_order_id,
            plan_id=order.plan_id,
            strategy_id=order.strategy_id,
            venue=self._venue,
            symbol=order.symbol,
            base=order.asset,
            quote=order.quote,
            side=order.side.value,
            quantity=trade.quantity,
            price=trade.price,
            quote_quantity=trade.quote_quantity,
            fee=trade.fee,
            fee_asset=trade.fee_asset,
            market_time=trade.at,
            received_at=datetime.now(UTC),
            valued_in=order.valued_in,
            quote_price=order.quote_price,
        )
        name = f"fill.{self._venue}.{trade.trade_id}"
        return Announcement(
            subjects.orders_filled(order.strategy_id), message, name, order.plan_id, order.client_order_id
        )


def _claimed(
    orders: Mapping[str, OrderRecord], by_order: Mapping[str, list[Evidence]]
) -> dict[str, tuple[VenueTrade, OrderRecord]]:
    """The trades told of, by id, each with its order. Raises Stop when two orders claim the same."""
    trades: dict[str, tuple[VenueTrade, OrderRecord]] = {}
    for name, order in orders.items():
        for evidence in by_order[name]:
            for trade in evidence.order.trades if evidence.order is not None else ():
                _, owner = trades.setdefault(trade.trade_id, (trade, order))
                _check_claim(trade.trade_id, owner.client_order_id, name)
    return trades


def _check_claim(trade_id: str, owner: str, claimant: str) -> None:
    if owner != claimant:
        raise Stop(f"trade {trade_id} is claimed by the orders {owner} and {claimant}")


def _changes(
    orders: Mapping[str, OrderRecord], fills: Sequence[_NewFill], by_order: Mapping[str, list[Evidence]]
) -> list[OrderRecord]:
    """The orders that are different now, each with its next version."""
    added: dict[str, Decimal] = {}
    for fill in fills:
        name = fill.order.client_order_id
        added[name] = added.get(name, ZERO) + fill.trade.quantity
    changed = []
    for name, order in orders.items():
        after = concluded(order, order.filled_quantity + added.get(name, ZERO), by_order[name])
        if after != order:
            changed.append(replace(after, version=order.version + 1))
    return changed

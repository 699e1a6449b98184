"""Every plan of a run with its orders, as figures that do not depend on the machine: no ids, no wall clock."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

_PLANS = """
SELECT plan_id, strategy_id, body ->> 'market_time' AS market_time,
       body ->> 'kind' AS kind, body ->> 'reason' AS reason, body ->> 'total_value' AS total_value, outcome, detail
FROM executor.plans ORDER BY accepted_at
"""

_ORDERS = """
SELECT o.plan_id, o.round, o.symbol, o.side, o.state,
       trim_scale(o.quantity)::text AS quantity,
       trim_scale(o.limit_price)::text AS limit_price,
       trim_scale(o.filled_quantity)::text AS filled,
       trim_scale(coalesce(sum(f.quote_quantity), 0))::text AS quote_quantity,
       trim_scale(coalesce(sum(f.fee), 0))::text AS fee,
       count(f.trade_id) AS fills
FROM executor.orders o LEFT JOIN executor.fills f USING (client_order_id)
GROUP BY o.client_order_id ORDER BY o.round, o.symbol, o.side
"""


async def read_trades(dsn: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """By strategy id: its plans in the order in which they were accepted, each with its orders by round and symbol."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        orders: dict[str, list[dict[str, Any]]] = {}
        for row in await connection.fetch(_ORDERS):
            values = dict(row)
            orders.setdefault(values.pop("plan_id"), []).append(values)
        plans: dict[str, list[dict[str, Any]]] = {}
        for row in await connection.fetch(_PLANS):
            values = dict(row)
            plan_id, strategy_id = values.pop("plan_id"), values.pop("strategy_id")
            plans.setdefault(strategy_id, []).append(values | {"orders": orders.get(plan_id, [])})
        return plans
    finally:
        await connection.close()

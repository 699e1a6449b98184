"""Rows of the schema `executor` as records, and back."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from services.order_executor.records import CycleSizing, FillRecord, OrderRecord
from shared.core.matching import Side
from shared.core.money import plain
from shared.core.order_styles import OrderKind
from shared.core.orders import OrderState

ORDER_COLUMNS = (
    "client_order_id, plan_id, strategy_id, epoch, round, asset, quote, symbol, side, quantity, limit_price, "
    "send_deadline, state, version, venue_order_id, filled_quantity, detail, kind, valued_in, quote_price"
)

_ORDER_FIELDS = tuple(ORDER_COLUMNS.split(", "))
_FILL_FIELDS = tuple(field.name for field in fields(FillRecord))


def order_from(row: asyncpg.Record) -> OrderRecord:
    """The order of a row with ``ORDER_COLUMNS``."""
    values: dict[str, Any] = {name: row[name] for name in _ORDER_FIELDS}
    values["side"] = Side(values["side"])
    values["state"] = OrderState(values["state"])
    values["kind"] = OrderKind(values["kind"])
    return OrderRecord(**values)


def fill_from(row: Mapping[str, Any]) -> FillRecord:
    """The fill of a row with the fields of ``FillRecord``."""
    values = {name: row[name] for name in _FILL_FIELDS}
    values["side"] = Side(values["side"])
    return FillRecord(**values)


def sizing_from(text: str | None) -> CycleSizing | None:
    """The sizing kept with a plan."""
    if text is None:
        return None
    body = json.loads(text)
    prices = {asset: Decimal(price) for asset, price in body["prices"].items()}
    sliced_at = body.get("sliced_at")
    return CycleSizing(body["cycle"], prices, datetime.fromisoformat(sliced_at) if sliced_at else None)


def sizing_json(sizing: CycleSizing) -> str:
    """The JSON kept with a plan."""
    body: dict[str, object] = {"cycle": sizing.cycle, "prices": {a: plain(p) for a, p in sizing.prices.items()}}
    if sizing.sliced_at is not None:
        body["sliced_at"] = sizing.sliced_at.isoformat()
    return json.dumps(body)

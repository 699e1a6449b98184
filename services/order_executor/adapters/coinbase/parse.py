"""Coinbase Advanced Trade's replies as the port's values. Pure; raises ``values.UNREADABLE`` for what makes no sense.

Samples: docs.cdp.coinbase.com, "Get order", "List fills", "List products", "List accounts"; ccxt 4.5.90,
``coinbase.py``: ``parse_order``, ``parse_trade`` (commission is in the quote currency).
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from services.order_executor.adapters.values import Body, amount, field, moment_of_text, step
from shared.core.market import Instrument
from shared.core.money import MONEY_CONTEXT, ZERO
from shared.core.orders import VenueReport
from shared.venues.port import VenueBalances, VenueOrder, VenueTrade

_OPEN = frozenset({"PENDING", "OPEN", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED"})
_ENDED = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})


def order_of(body: Body) -> VenueOrder:
    """{"order_id": "0000-000000-000000", "product_id": "BTC-USD", "client_order_id": "tt6g", "status": "FILLED",
    "filled_size": "0.001", "total_fees": "5.00", "order_configuration": {"sor_limit_ioc": {"base_size": "0.001",
    "limit_price": "10000.00"}}}
    """
    status, executed = field(body, "status"), amount(field(body, "filled_size"))
    if status not in _OPEN and status not in _ENDED:
        raise ValueError(f"unknown order status {status!r}")
    return VenueOrder(
        client_order_id=str(field(body, "client_order_id")),
        venue_order_id=str(field(body, "order_id")),
        symbol=str(field(body, "product_id")),
        report=VenueReport(status in _OPEN, executed, status == "FAILED"),
    )


def trade_of(body: Body) -> VenueTrade:
    """{"trade_id": "1111-11111-111111", "order_id": "0000-000000-000000", "trade_time": "2024-01-15T10:30:00Z",
    "price": "45123.45", "size": "0.005", "commission": "1.14", "product_id": "BTC-USD", "size_in_quote": false}
    """
    if body.get("size_in_quote"):
        raise ValueError("a fill whose size is in quote")  # of market orders by value, which are not sent
    symbol = str(field(body, "product_id"))
    price, quantity = amount(field(body, "price")), amount(field(body, "size"))
    return VenueTrade(
        trade_id=f"{symbol}:{field(body, 'trade_id')}",
        venue_order_id=str(field(body, "order_id")),
        symbol=symbol,
        quantity=quantity,
        price=price,
        quote_quantity=MONEY_CONTEXT.multiply(price, quantity),
        fee=amount(field(body, "commission")),
        fee_asset=symbol.rpartition("-")[2],
        at=moment_of_text(field(body, "trade_time")),
    )


def balances_of(rows: Iterable[Body], at: datetime) -> VenueBalances:
    """[{"currency": "BTC", "available_balance": {"value": "1.2"}, "hold": {"value": "0.1"}}]"""
    total: dict[str, Decimal] = {}
    for row in rows:
        held = amount(row["available_balance"]["value"]) + amount(row["hold"]["value"])
        total[str(row["currency"])] = total.get(str(row["currency"]), ZERO) + held
    return VenueBalances({asset: held for asset, held in total.items() if held}, at)


def instrument_of(venue: str, body: Body, taker_fee: Decimal) -> Instrument:
    """{"product_id": "BTC-USD", "base_currency_id": "BTC", "quote_currency_id": "USD", "base_increment": "0.00000001",
    "price_increment": "0.01", "base_min_size": "0.00000001", "base_max_size": "3400", "quote_min_size": "1", "status":
    "online", "trading_disabled": false, "is_disabled": false, "cancel_only": false, "post_only": false}
    """
    closed = ("is_disabled", "trading_disabled", "cancel_only", "post_only", "auction_mode", "view_only")
    return Instrument(
        venue=venue,
        symbol=str(field(body, "product_id")),
        base=str(field(body, "base_currency_id")),
        quote=str(field(body, "quote_currency_id")),
        lot_step=step(field(body, "base_increment")),
        min_quantity=amount(field(body, "base_min_size")).normalize(),
        max_quantity=amount(field(body, "base_max_size")).normalize(),
        tick_size=step(body.get("price_increment") or field(body, "quote_increment")),
        min_notional=amount(field(body, "quote_min_size")).normalize(),
        taker_fee=taker_fee,
        tradable=field(body, "status") == "online" and not any(body.get(name) for name in closed),
        buy_fee_in_quote=True,
    )

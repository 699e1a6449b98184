"""Records of the venue as rows of its SQLite file, and back."""

from dataclasses import fields
from decimal import Decimal
from typing import Any

from services.simulated_exchange.orders import Deposit, Order, OrderStatus, OrderType, TimeInForce, Trade
from shared.core.matching import Side
from shared.core.money import plain

ORDER_COLUMNS = tuple(field.name for field in fields(Order))
TRADE_COLUMNS = tuple(field.name for field in fields(Trade))
_Row = tuple[Any, ...]


def order_row(order: Order) -> _Row:
    """An order in the order of its columns."""
    return tuple(_cell(getattr(order, name)) for name in ORDER_COLUMNS)


def order_from(row: _Row) -> Order:
    """The order of a row."""
    return Order(
        order_id=row[0],
        account_id=row[1],
        symbol=row[2],
        client_order_id=row[3],
        side=Side(row[4]),
        order_type=OrderType(row[5]),
        time_in_force=TimeInForce(row[6]),
        price=Decimal(row[7]),
        quantity=Decimal(row[8]),
        quote_quantity=Decimal(row[9]),
        created_ms=row[10],
        updated_ms=row[11],
        status=OrderStatus(row[12]),
        executed=Decimal(row[13]),
        quote_executed=Decimal(row[14]),
    )


def trade_row(trade: Trade) -> _Row:
    """A trade in the order of its columns."""
    return tuple(_cell(getattr(trade, name)) for name in TRADE_COLUMNS)


def trade_from(row: _Row) -> Trade:
    """The trade of a row."""
    return Trade(
        trade_id=row[0],
        account_id=row[1],
        symbol=row[2],
        order_id=row[3],
        side=Side(row[4]),
        price=Decimal(row[5]),
        quantity=Decimal(row[6]),
        quote_quantity=Decimal(row[7]),
        commission=Decimal(row[8]),
        commission_asset=row[9],
        is_maker=bool(row[10]),
        time_ms=row[11],
    )


def deposit_row(deposit: Deposit) -> _Row:
    """A deposit as (id, account, asset, amount, time)."""
    return (deposit.deposit_id, deposit.account_id, deposit.asset, plain(deposit.amount), deposit.time_ms)


def deposit_from(row: _Row) -> Deposit:
    """The deposit of a row."""
    return Deposit(row[0], row[1], row[2], Decimal(row[3]), row[4])


def _cell(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    return int(value) if isinstance(value, bool) else value

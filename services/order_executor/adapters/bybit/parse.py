"""Bybit's replies as the port's values. Pure; raises ``values.UNREADABLE`` for what makes no sense.

Samples: bybit-exchange.github.io/docs/v5, "Get open & closed orders", "Get trade history", "Get instruments info",
"Get wallet balance", "Get transaction log"; ccxt 4.5.90, ``bybit.py``: ``parse_order``, ``parse_trade``.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from services.order_executor.adapters.values import Body, amount, field, moment, step
from shared.core.market import Instrument
from shared.core.orders import VenueReport
from shared.venues.port import VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_OPEN = frozenset({"New", "PartiallyFilled", "Untriggered"})
_ENDED = frozenset({"Filled", "Cancelled", "PartiallyFilledCanceled", "Rejected", "Deactivated"})
_TRADE = "Trade"


def result_of(body: object) -> Any:
    """The envelope's content: {"retCode": 0, "retMsg": "OK", "result": {...}}."""
    if not isinstance(body, dict) or str(field(body, "retCode")) != "0":
        raise ValueError(f"not an answer: {str(body)[:100]}")
    return field(body, "result")


def order_of(body: Body) -> VenueOrder:
    """{"orderId": "abcdef123456", "orderLinkId": "tt6g", "symbol": "BTCUSDT", "qty": "0.010", "orderStatus":
    "Cancelled", "cumExecQty": "0"}
    """
    status, executed = field(body, "orderStatus"), amount(field(body, "cumExecQty") or "0")
    if status not in _OPEN and status not in _ENDED:
        raise ValueError(f"unknown order status {status!r}")
    if executed > amount(field(body, "qty")):
        raise ValueError("more executed than ordered")
    names = str(field(body, "orderLinkId")), str(field(body, "orderId")), str(field(body, "symbol"))
    return VenueOrder(*names, VenueReport(status in _OPEN, executed, status == "Rejected"))


def trades_of(rows: list[Body]) -> list[VenueTrade]:
    """[{"symbol": "BTCUSDT", "orderId": "8c06", "execId": "e0cbe81d", "execType": "Trade", "execPrice": "50000.00",
    "execQty": "0.100", "execValue": "5000.00", "execFee": "0.0001", "feeCurrency": "BTC", "execTime": "1672282722429"}]
    """
    return [_trade_of(row) for row in rows if field(row, "execType") == _TRADE]


def _trade_of(body: Body) -> VenueTrade:
    symbol = str(field(body, "symbol"))
    return VenueTrade(
        trade_id=f"{symbol}:{field(body, 'execId')}",
        venue_order_id=str(field(body, "orderId")),
        symbol=symbol,
        quantity=amount(field(body, "execQty")),
        price=amount(field(body, "execPrice")),
        quote_quantity=amount(field(body, "execValue")),
        fee=amount(field(body, "execFee") or "0"),
        fee_asset=str(field(body, "feeCurrency")),
        at=moment(field(body, "execTime")),
    )


def balances_of(body: Body, at: datetime) -> VenueBalances:
    """{"accountType": "UNIFIED", "coin": [{"coin": "USDT", "walletBalance": "1000.50", "locked": "0"}]}"""
    total = {str(row["coin"]): amount(row["walletBalance"] or "0") for row in field(body, "coin")}
    return VenueBalances({asset: held for asset, held in total.items() if held}, at)


def deposits_of(rows: list[Body]) -> list[VenueDeposit]:
    """What came into the account: [{"id": "592324", "currency": "USDT", "change": "100", "type": "TRANSFER_IN",
    "transactionTime": "1672282722429"}]
    """
    return [
        VenueDeposit(str(row["id"]), str(row["currency"]), amount(row["change"]), moment(row["transactionTime"]))
        for row in rows
    ]


def instrument_of(venue: str, body: Body, taker_fee: Decimal) -> Instrument:
    """{"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading", "lotSizeFilter":
    {"basePrecision": "0.0001", "minOrderQty": "0.001", "maxLimitOrderQty": "100", "maxOrderQty": "100.0",
    "minOrderAmt": "10"}, "priceFilter": {"tickSize": "0.1"}}
    """
    lot = field(body, "lotSizeFilter")
    return Instrument(
        venue=venue,
        symbol=str(field(body, "symbol")),
        base=str(field(body, "baseCoin")),
        quote=str(field(body, "quoteCoin")),
        lot_step=step(field(lot, "basePrecision")),
        min_quantity=amount(field(lot, "minOrderQty")).normalize(),
        max_quantity=amount(lot.get("maxLimitOrderQty") or field(lot, "maxOrderQty")).normalize(),
        tick_size=step(field(field(body, "priceFilter"), "tickSize")),
        min_notional=amount(field(lot, "minOrderAmt")).normalize(),
        taker_fee=taker_fee,
        tradable=field(body, "status") == "Trading",
    )

"""OKX's replies as the port's values. Pure; raises ``values.UNREADABLE`` for what makes no sense.

Samples: okx.com/docs-v5, "Get order details", "Get transaction details", "Get instruments", "Get balance", "Get bills
details"; ccxt 4.5.90, ``okx.py``: ``parse_order``, ``parse_trade`` (a negative fee is one that was taken).
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from services.order_executor.adapters.values import Body, amount, field, moment, stated_fee, step
from shared.core.market import Instrument
from shared.core.money import MONEY_CONTEXT, ZERO
from shared.core.orders import VenueReport
from shared.venues.port import VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_OPEN, _ENDED = frozenset({"live", "partially_filled"}), frozenset({"filled", "canceled", "mmp_canceled"})
_TRANSFER_IN = "11"


def data_of(body: object) -> list[Any]:
    """The envelope's content: {"code": "0", "msg": "", "data": [...]}."""
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"not an answer: {str(body)[:100]}")  # noqa: TRY004 - a wrong reply, not a wrong call
    return rows


def order_of(body: Body) -> VenueOrder:
    """{"instId": "BTC-USDT", "ordId": "2497956918703120384", "clOrdId": "tt6g", "sz": "0.03", "accFillSz": "0.03",
    "avgPx": "103698.9", "state": "filled"}
    """
    state, executed = field(body, "state"), amount(field(body, "accFillSz") or "0")
    if state not in _OPEN and state not in _ENDED:
        raise ValueError(f"unknown order state {state!r}")
    if executed > amount(field(body, "sz")):
        raise ValueError("more executed than ordered")
    names = str(field(body, "clOrdId")), str(field(body, "ordId")), str(field(body, "instId"))
    return VenueOrder(*names, VenueReport(state in _OPEN, executed))


def trade_of(body: Body) -> VenueTrade:
    """{"instId": "BTC-USDT", "tradeId": "123456789", "ordId": "987654321", "billId": "456", "fillPx": "42000.5",
    "fillSz": "0.001", "feeCcy": "BTC", "fee": "-0.000001", "ts": "1625097600000"}
    """
    symbol = str(field(body, "instId"))
    price, quantity = amount(field(body, "fillPx")), amount(field(body, "fillSz"))
    return VenueTrade(
        trade_id=f"{symbol}:{field(body, 'tradeId')}",
        venue_order_id=str(field(body, "ordId")),
        symbol=symbol,
        quantity=quantity,
        price=price,
        quote_quantity=MONEY_CONTEXT.multiply(price, quantity),
        fee=stated_fee(field(body, "fee") or "0"),
        fee_asset=str(field(body, "feeCcy")),
        at=moment(field(body, "ts")),
    )


def balances_of(body: Body, at: datetime) -> VenueBalances:
    """{"details": [{"ccy": "USDT", "cashBal": "99.8", "availBal": "94.4", "frozenBal": "5.4"}]}: of trading."""
    total = {str(row["ccy"]): amount(row["cashBal"]) for row in field(body, "details")}
    return VenueBalances({asset: held for asset, held in total.items() if held}, at)


def deposits_of(rows: list[Body]) -> list[VenueDeposit]:
    """What came into the trading account: [{"billId": "623950854533513219", "ccy": "USDT", "balChg": "100", "subType":
    "11", "ts": "1695033476167"}]
    """
    return [
        VenueDeposit(str(row["billId"]), str(row["ccy"]), amount(row["balChg"]), moment(row["ts"]))
        for row in rows
        if row["subType"] == _TRANSFER_IN
    ]


def instrument_of(venue: str, body: Body, taker_fee: Decimal) -> Instrument:
    """{"instId": "BTC-USDT", "baseCcy": "BTC", "quoteCcy": "USDT", "lotSz": "0.00000001", "minSz": "0.00001",
    "maxLmtSz": "9999999999", "tickSz": "0.1", "state": "live"}: there is no smallest value
    """
    return Instrument(
        venue=venue,
        symbol=str(field(body, "instId")),
        base=str(field(body, "baseCcy")),
        quote=str(field(body, "quoteCcy")),
        lot_step=step(field(body, "lotSz")),
        min_quantity=amount(field(body, "minSz")).normalize(),
        max_quantity=amount(field(body, "maxLmtSz")).normalize(),
        tick_size=step(field(body, "tickSz")),
        min_notional=ZERO,
        taker_fee=taker_fee,
        tradable=field(body, "state") == "live",
    )

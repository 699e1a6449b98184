"""KuCoin's replies as the port's values. Pure; raises ``values.UNREADABLE`` for what makes no sense.

Samples: kucoin.com/docs-new, "Get order by clientOid", "Get trade history", "Get all symbols", "Get account list",
"Get account ledgers - trade_hf"; ccxt 4.5.90, ``kucoin.py``: ``parse_spot_order``, ``parse_trade``.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from services.order_executor.adapters.values import Body, amount, field, moment, step
from shared.core.market import Instrument
from shared.core.money import ZERO
from shared.core.orders import VenueReport
from shared.venues.port import VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_OK = frozenset({"200000", "200"})


def data_of(body: object) -> Any:
    """The envelope's content: {"code": "200000", "data": ...}."""
    if not isinstance(body, dict) or str(field(body, "code")) not in _OK:
        raise ValueError(f"not an answer: {str(body)[:100]}")
    return body.get("data")


def order_of(body: Body) -> VenueOrder:
    """{"id": "6717422bd51c29000775ea03", "clientOid": "tt6g", "symbol": "BTC-USDT", "size": "0.00001", "dealSize":
    "0.00001", "dealFunds": "0.677176", "active": false}
    """
    executed, is_open = amount(field(body, "dealSize")), field(body, "active")
    if not isinstance(is_open, bool):
        raise ValueError(f"neither active nor not: {is_open!r}")  # noqa: TRY004 - a wrong reply, not a wrong call
    if executed > amount(field(body, "size")):
        raise ValueError("more executed than ordered")
    names = str(field(body, "clientOid")), str(field(body, "id")), str(field(body, "symbol"))
    return VenueOrder(*names, VenueReport(is_open, executed))


def trade_of(body: Body) -> VenueTrade:
    """{"id": 19814995255305, "symbol": "BTC-USDT", "tradeId": 11029373945659392, "orderId": "6717422b", "side": "buy",
    "price": "67717.6", "size": "0.00001", "funds": "0.677176", "fee": "0.000677176", "feeCurrency": "USDT",
    "createdAt": 1729577515473}
    """
    symbol = str(field(body, "symbol"))
    return VenueTrade(
        trade_id=f"{symbol}:{field(body, 'tradeId')}",
        venue_order_id=str(field(body, "orderId")),
        symbol=symbol,
        quantity=amount(field(body, "size")),
        price=amount(field(body, "price")),
        quote_quantity=amount(field(body, "funds")),
        fee=amount(field(body, "fee")),
        fee_asset=str(field(body, "feeCurrency")),
        at=moment(field(body, "createdAt")),
    )


def balances_of(rows: list[Body], at: datetime) -> VenueBalances:
    """[{"currency": "USDT", "type": "trade", "balance": "5.9", "available": "4.9", "holds": "1"}]"""
    total: dict[str, Decimal] = {}
    for row in rows:
        total[str(row["currency"])] = total.get(str(row["currency"]), ZERO) + amount(row["balance"])
    return VenueBalances({asset: held for asset, held in total.items() if held}, at)


def deposits_of(rows: list[Body]) -> list[VenueDeposit]:
    """What came into the trading account: [{"id": "254062248624417", "currency": "USDT", "amount": "1.59", "bizType":
    "TRANSFER", "direction": "in", "createdAt": "1733722111000"}]
    """
    return [
        VenueDeposit(str(row["id"]), str(row["currency"]), amount(row["amount"]), moment(row["createdAt"]))
        for row in rows
        if row["direction"] == "in"
    ]


def instrument_of(venue: str, body: Body, taker_fee: Decimal) -> Instrument:
    """{"symbol": "BTC-USDT", "baseCurrency": "BTC", "quoteCurrency": "USDT", "baseMinSize": "0.00001", "baseMaxSize":
    "10000000000", "baseIncrement": "0.00000001", "priceIncrement": "0.1", "minFunds": "0.1", "quoteMinSize": "0.1",
    "feeCurrency": "USDT", "enableTrading": true, "takerFeeCoefficient": "1.00"}; a purchase pays in the fee's currency
    """
    quote = str(field(body, "quoteCurrency"))
    return Instrument(
        venue=venue,
        symbol=str(field(body, "symbol")),
        base=str(field(body, "baseCurrency")),
        quote=quote,
        lot_step=step(field(body, "baseIncrement")),
        min_quantity=amount(field(body, "baseMinSize")).normalize(),
        max_quantity=amount(field(body, "baseMaxSize")).normalize(),
        tick_size=step(field(body, "priceIncrement")),
        min_notional=amount(body.get("minFunds") or field(body, "quoteMinSize")).normalize(),
        taker_fee=taker_fee * amount(body.get("takerFeeCoefficient") or "1"),
        tradable=field(body, "enableTrading") is True,
        buy_fee_in_quote=body.get("feeCurrency", quote) == quote,
    )

"""Replies and events of Binance's spot dialect as the port's values. Pure; raises ValueError for what makes no sense.

Sources: Binance spot documents, rest-api.md ("New order", "Query order", "Account trade list", "Exchange information"),
user-data-stream.md ("Order update"), wallet "Deposit history". Samples are in the docstrings.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.order_executor.adapters.values import amount, field, moment
from shared.core.market import Instrument
from shared.core.matching import Book, Level
from shared.core.money import MONEY_CONTEXT, ZERO
from shared.core.orders import VenueReport
from shared.venues.port import BalanceNews, OrderNews, UserNews, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_OPEN = frozenset({"NEW", "PENDING_NEW", "PARTIALLY_FILLED", "PENDING_CANCEL"})
_ENDED = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
_CREDITED = frozenset({1, 6})  # success; credited but cannot be withdrawn yet


def report_of(status: object, executed: object) -> VenueReport:
    """An order's status and executedQty."""
    if status not in _OPEN and status not in _ENDED:
        raise ValueError(f"unknown order status {status!r}")
    return VenueReport(status in _OPEN, amount(executed), status == "REJECTED")


def order_of(body: object) -> VenueOrder:
    """Reply of POST and GET /api/v3/order and one row of openOrders; with `fills` (FULL) also its trades.

    {"symbol": "BTCUSDT", "orderId": 28, "clientOrderId": "tt6g", "transactTime": 1507725176595, "origQty": "10.0",
     "executedQty": "10.0", "cummulativeQuoteQty": "10.0", "status": "FILLED", "fills": [{"price": "4000.0",
     "qty": "1.0", "commission": "4.0", "commissionAsset": "USDT", "tradeId": 56}]}
    """
    if not isinstance(body, Mapping):
        raise ValueError("an order's reply is not an object")  # noqa: TRY004 - a wrong reply, not a wrong call
    report = report_of(field(body, "status"), field(body, "executedQty"))
    if report.executed_quantity > amount(field(body, "origQty")):
        raise ValueError("more executed than ordered")
    symbol, order_id = str(field(body, "symbol")), str(field(body, "orderId"))
    trades: tuple[VenueTrade, ...] = ()
    if body.get("fills"):
        at = moment(field(body, "transactTime"))
        trades = tuple(_fill(symbol, order_id, fill, at) for fill in body["fills"])
        # The reply has no quote amount per fill. Where price times quantity is not what the venue booked, the trades
        # are left out, and so fetched with the venue's own amounts.
        if sum((trade.quote_quantity for trade in trades), ZERO) != amount(field(body, "cummulativeQuoteQty")):
            trades = ()
    return VenueOrder(str(field(body, "clientOrderId")), order_id, symbol, report, trades)


def _fill(symbol: str, order_id: str, body: Mapping[str, Any], at: datetime) -> VenueTrade:
    price, quantity = amount(field(body, "price")), amount(field(body, "qty"))
    return VenueTrade(
        trade_id=f"{symbol}:{field(body, 'tradeId')}",
        venue_order_id=order_id,
        symbol=symbol,
        quantity=quantity,
        price=price,
        quote_quantity=MONEY_CONTEXT.multiply(price, quantity),
        fee=amount(field(body, "commission")),
        fee_asset=str(field(body, "commissionAsset")),
        at=at,
    )


def trade_of(body: Mapping[str, Any]) -> VenueTrade:
    """One row of GET /api/v3/myTrades.

    {"symbol": "BNBBTC", "id": 28457, "orderId": 100234, "price": "4.00000100", "qty": "12.0", "quoteQty": "48.000012",
     "commission": "10.1", "commissionAsset": "BNB", "time": 1499865549590}
    """
    symbol = str(field(body, "symbol"))
    return VenueTrade(
        trade_id=f"{symbol}:{field(body, 'id')}",
        venue_order_id=str(field(body, "orderId")),
        symbol=symbol,
        quantity=amount(field(body, "qty")),
        price=amount(field(body, "price")),
        quote_quantity=amount(field(body, "quoteQty")),
        fee=amount(field(body, "commission")),
        fee_asset=str(field(body, "commissionAsset")),
        at=moment(field(body, "time")),
    )


def news_of(event: Mapping[str, Any]) -> UserNews | None:
    """An event of the user stream; None for the kinds that tell nothing new.

    {"e": "executionReport", "s": "ETHBTC", "c": "tt6g", "C": "", "x": "TRADE", "X": "FILLED", "i": 4293153, "l": "1.0",
     "z": "1.0", "L": "0.1", "Y": "0.1", "n": "0.001", "N": "ETH", "T": 1499405658657, "t": 77}
    {"e": "balanceUpdate", "a": "BTC", "d": "100.0", "T": 1573200697068}
    """
    kind = event.get("e")
    if kind == "balanceUpdate":
        return BalanceNews(str(field(event, "a")))
    if kind != "executionReport":
        return None
    symbol, order_id = str(field(event, "s")), str(field(event, "i"))
    report = report_of(field(event, "X"), field(event, "z"))
    trades: tuple[VenueTrade, ...] = ()
    if field(event, "x") == "TRADE":
        trades = (
            VenueTrade(
                trade_id=f"{symbol}:{field(event, 't')}",
                venue_order_id=order_id,
                symbol=symbol,
                quantity=amount(field(event, "l")),
                price=amount(field(event, "L")),
                quote_quantity=amount(field(event, "Y")),
                fee=amount(field(event, "n")),
                fee_asset=str(event.get("N") or ""),
                at=moment(field(event, "T")),
            ),
        )
    # When an order is cancelled "c" names the cancellation and "C" the order.
    return OrderNews(VenueOrder(str(event.get("C") or field(event, "c")), order_id, symbol, report, trades))


def balances_of(body: Mapping[str, Any]) -> VenueBalances:
    """GET /api/v3/account: {"updateTime": 123456789, "balances": [{"asset": "BTC", "free": "1.0", "locked": "0.0"}]}"""
    total = {str(row["asset"]): amount(row["free"]) + amount(row["locked"]) for row in field(body, "balances")}
    held = {asset: quantity for asset, quantity in total.items() if quantity}
    return VenueBalances(held, moment(field(body, "updateTime")))


def deposits_of(rows: Sequence[Mapping[str, Any]]) -> list[VenueDeposit]:
    """GET /sapi/v1/capital/deposit/hisrec, credited ones: [{"id": "76", "coin": "BTC", "amount": "0.5", "status": 1,
    "insertTime": 1566791463000}]
    """
    return [
        VenueDeposit(str(row["id"]), str(row["coin"]), amount(str(row["amount"])), moment(row["insertTime"]))
        for row in rows
        if int(row["status"]) in _CREDITED
    ]


def instrument_of(venue: str, info: Mapping[str, Any], taker_fee: Decimal) -> Instrument:
    """One symbol of exchangeInfo, steps exactly as written: {"symbol": "ETHUSDT", "status": "TRADING", "baseAsset":
    "ETH", "quoteAsset": "USDT", "filters": [{"filterType": "LOT_SIZE", "minQty": "0.0001", "maxQty": "9000",
    "stepSize": "0.0001"}, {"filterType": "PRICE_FILTER", "tickSize": "0.01"}, {"filterType": "NOTIONAL",
    "minNotional": "5"}]}
    """
    filters = {str(row["filterType"]): row for row in field(info, "filters")}
    lot, price = field(filters, "LOT_SIZE"), field(filters, "PRICE_FILTER")
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {"minNotional": "0"}
    lot_step, tick_size = amount(field(lot, "stepSize")).normalize(), amount(field(price, "tickSize")).normalize()
    if not lot_step or not tick_size:
        raise ValueError(f"{info.get('symbol')}: steps must be positive")
    return Instrument(
        venue=venue,
        symbol=str(field(info, "symbol")),
        base=str(field(info, "baseAsset")),
        quote=str(field(info, "quoteAsset")),
        lot_step=lot_step,
        min_quantity=amount(field(lot, "minQty")).normalize(),
        max_quantity=amount(field(lot, "maxQty")).normalize(),
        tick_size=tick_size,
        min_notional=amount(field(notional, "minNotional")).normalize(),
        taker_fee=taker_fee,
        tradable=field(info, "status") == "TRADING" and info.get("isSpotTradingAllowed", True) is True,
    )


def book_of(body: Mapping[str, Any]) -> Book:
    """GET /api/v3/depth: {"lastUpdateId": 1, "bids": [["4.00", "431.0"]], "asks": [["4.02", "12.0"]]}."""
    if not isinstance(body, Mapping) or "bids" not in body or "asks" not in body:
        raise ValueError("not a book")
    sides = [tuple(Level(amount(row[0]), amount(row[1])) for row in body[side]) for side in ("bids", "asks")]
    return Book(*sides)

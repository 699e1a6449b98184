"""Orders: place, test, query and cancel (Binance spot documents, "Trading endpoints")."""

import secrets
from enum import StrEnum
from itertools import islice

from services.simulated_exchange.binance.endpoints import Call, Endpoint, Security
from services.simulated_exchange.binance.errors import BinanceError, from_refusal, missing
from services.simulated_exchange.binance.market_data import decimals, found, once_found
from services.simulated_exchange.binance.numbers import rate, text
from services.simulated_exchange.binance.parameters import Parameters
from services.simulated_exchange.orders import NewOrder, Order, OrderType, TimeInForce, Trade, VenueRefusal
from shared.core.matching import Side


class ReplyKind(StrEnum):
    """How much a new order's reply tells (newOrderRespType)."""

    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


_KNOWN_BUT_NOT_TAKEN = ("stopPrice", "icebergQty", "trailingDelta", "pegPriceType")


def new_client_id() -> str:
    """A client order id for a caller that sent none: 22 characters, as Binance makes them."""
    return secrets.token_hex(11)


def read_order(call: Call) -> NewOrder:
    """A new order from its parameters. Raises BinanceError with Binance's codes for each kind of mistake."""
    parameters = call.parameters
    listing = found(call, parameters.symbol())
    places = decimals(listing)
    side = parameters.choice("side", Side, -1117, "side")
    order_type = parameters.choice("type", OrderType, -1116, "orderType")
    quantity = parameters.decimal("quantity", places)
    quote_quantity = parameters.decimal("quoteOrderQty", places)
    price = parameters.decimal("price", places)
    parameters.refuse(*_KNOWN_BUT_NOT_TAKEN)
    time_in_force = TimeInForce.GTC
    if order_type is OrderType.MARKET:
        parameters.refuse("price", "timeInForce")
        if (quantity is None) == (quote_quantity is None):
            raise missing("quantity") if quantity is None else _not_required("quoteOrderQty")
    else:
        parameters.refuse("quoteOrderQty")
        if order_type is OrderType.LIMIT:
            time_in_force = parameters.choice("timeInForce", TimeInForce, -1115, "timeInForce")
        else:
            parameters.refuse("timeInForce")
        for name, value in (("quantity", quantity), ("price", price)):
            if value is None:
                raise missing(name)
    return NewOrder(
        symbol=listing.instrument.symbol,
        client_order_id=parameters.client_id("newClientOrderId") or new_client_id(),
        side=side,
        order_type=order_type,
        time_in_force=time_in_force,
        quantity=quantity,
        quote_quantity=quote_quantity,
        price=price,
    )


def _not_required(name: str) -> BinanceError:
    return BinanceError(-1106, f"Parameter '{name}' sent when not required.")


def place(call: Call) -> object:
    """POST /api/v3/order."""
    new = read_order(call)
    default = ReplyKind.ACK if new.order_type is OrderType.LIMIT_MAKER else ReplyKind.FULL
    kind = default
    if call.parameters.text("newOrderRespType"):
        kind = call.parameters.choice("newOrderRespType", ReplyKind, -1100, "newOrderRespType")
    try:
        order, trades = call.venue.place(call.account, new)
    except VenueRefusal as refusal:
        raise from_refusal(refusal) from None
    reply: dict[str, object] = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "transactTime": order.updated_ms,
    }
    if kind is not ReplyKind.ACK:
        reply |= _state(order) | {"workingTime": order.created_ms}
    if kind is ReplyKind.FULL:
        reply["fills"] = [_fill(trade) for trade in trades]
    return reply


def place_test(call: Call) -> object:
    """POST /api/v3/order/test: every check of a new order, and no order."""
    new = read_order(call)
    try:
        call.venue.check(call.account, new)
    except VenueRefusal as refusal:
        raise from_refusal(refusal) from None
    if call.parameters.text("computeCommissionRates") != "true":
        return {}
    fees = call.venue.rules.fees
    none = {"maker": "0.00000000", "taker": "0.00000000"}
    standard = {"maker": rate(fees.maker_bps), "taker": rate(fees.taker_bps)}
    return {
        "standardCommissionForOrder": standard,
        "specialCommissionForOrder": none,
        "taxCommissionForOrder": none,
        "discount": {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB", "discount": "0"},
    }


def query(call: Call) -> object:
    """GET /api/v3/order."""
    symbol, order_id, client_id = _named(call)
    try:
        return order_view(call.reads.find_order(call.account, symbol, order_id, client_id))
    except VenueRefusal as refusal:
        raise from_refusal(refusal) from None


def cancel(call: Call) -> object:
    """DELETE /api/v3/order."""
    symbol, order_id, client_id = _named(call)
    return cancelled(call, symbol, order_id, client_id, call.parameters.client_id("newClientOrderId"))


def cancel_all(call: Call) -> object:
    """DELETE /api/v3/openOrders: all open orders of a symbol; -2011 when there are none."""
    symbol = found(call, call.parameters.symbol()).instrument.symbol
    orders = call.venue.open_orders(call.account, symbol)
    if not orders:
        raise BinanceError(-2011, "Unknown order sent.")
    return [cancelled(call, symbol, order.order_id, "", None) for order in orders]


def open_orders(call: Call) -> object:
    """GET /api/v3/openOrders: of one symbol or of all."""
    symbol = found(call, call.parameters.symbol()).instrument.symbol if call.parameters.text("symbol") else None
    return [order_view(order) for order in call.reads.open_orders(call.account, symbol)]


def all_orders(call: Call) -> object:
    """GET /api/v3/allOrders: from an order id on, or the latest, oldest first."""
    parameters = call.parameters
    symbol = once_found(call, parameters.symbol()).instrument.symbol
    first_id = parameters.integer("orderId")
    start, end = parameters.integer("startTime"), parameters.integer("endTime")
    limit = parameters.limit(500, 1000)
    kept = (
        order
        for order in call.reads.orders(call.account, symbol)
        if (first_id is None or order.order_id >= first_id)
        and (start is None or order.created_ms >= start)
        and (end is None or order.created_ms <= end)
    )
    if first_id is None and start is None:
        return [order_view(order) for order in reversed(list(islice(kept, limit)))]
    return [order_view(order) for order in list(reversed(list(kept)))[:limit]]


def _named(call: Call) -> tuple[str, int | None, str]:
    """Symbol, order id and client order id of a call about one order; one of the two ids must be there (-1102)."""
    parameters: Parameters = call.parameters
    symbol = once_found(call, parameters.symbol()).instrument.symbol
    order_id, client_id = parameters.integer("orderId"), parameters.client_id("origClientOrderId")
    if order_id is None and client_id is None:
        message = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
        raise BinanceError(-1102, message)
    return symbol, order_id, client_id or ""


def cancelled(call: Call, symbol: str, order_id: int | None, client_id: str, cancel_id: str | None) -> object:
    """Cancel an order by id or client id; the order as it ended. Raises BinanceError -2011."""
    cancel_id = cancel_id or new_client_id()
    try:
        order = call.venue.cancel(call.account, symbol, order_id, client_id, cancel_id)
    except VenueRefusal as refusal:
        raise from_refusal(refusal, cancelling=True) from None
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": cancel_id,
        "transactTime": order.updated_ms,
    } | _state(order)


def order_view(order: Order) -> dict[str, object]:
    """An order as GET /api/v3/order shows it."""
    head: dict[str, object] = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
    }
    tail = {
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": True,
        "workingTime": order.created_ms,
    }
    return head | _state(order) | tail


def _state(order: Order) -> dict[str, object]:
    return {
        "price": text(order.price),
        "origQty": text(order.quantity),
        "executedQty": text(order.executed),
        "origQuoteOrderQty": text(order.quote_quantity),
        "cummulativeQuoteQty": text(order.quote_executed),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.order_type,
        "side": order.side,
        "selfTradePreventionMode": "NONE",
    }


def _fill(trade: Trade) -> dict[str, object]:
    return {
        "price": text(trade.price),
        "qty": text(trade.quantity),
        "commission": text(trade.commission),
        "commissionAsset": trade.commission_asset,
        "tradeId": trade.trade_id,
    }


_SIGNED = Security.SIGNED
TRADING_ENDPOINTS = (
    Endpoint("POST", "/api/v3/order", place, "order.place", _SIGNED, is_order=True),
    Endpoint("POST", "/api/v3/order/test", place_test, "order.test", _SIGNED),
    Endpoint("GET", "/api/v3/order", query, "order.status", _SIGNED, 4),
    Endpoint("DELETE", "/api/v3/order", cancel, "order.cancel", _SIGNED),
    Endpoint("GET", "/api/v3/openOrders", open_orders, "openOrders.status", _SIGNED, 6),
    Endpoint("DELETE", "/api/v3/openOrders", cancel_all, "openOrders.cancelAll", _SIGNED),
    Endpoint("GET", "/api/v3/allOrders", all_orders, "allOrders", _SIGNED, 20),
)

"""The viewer's orders and trades (open.bigone.com: "Orders", "Trades").

A reply to a new order shows it as it was taken, unfilled: matching comes after. What the ``amount`` of a market buy is,
base or quote, the documents and ccxt tell differently: it is a setting.
"""

import re
import secrets
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from services.simulated_exchange.bigone.calls import Call, Endpoint, Page, page, pair_name
from services.simulated_exchange.bigone.errors import (
    ALREADY_ENDED,
    UNKNOWN_OPENING_ORDER,
    from_refusal,
    malformed,
    not_found,
)
from services.simulated_exchange.identity import RULE_SETS
from services.simulated_exchange.listing import Listing
from services.simulated_exchange.markets.files import iso
from services.simulated_exchange.orders import NewOrder, Order, OrderStatus, OrderType, TimeInForce, Trade, VenueRefusal
from shared.core.matching import Side
from shared.core.money import MONEY_CONTEXT, ZERO, plain

_CLIENT_ID = re.compile(r"[a-zA-Z0-9_-]{1,36}")
_AMOUNT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_SIDES = {"BID": Side.BUY, "ASK": Side.SELL}
_SIDE_NAMES = {side: name for name, side in _SIDES.items()}
_STATES = {
    OrderStatus.NEW: "PENDING",
    OrderStatus.PARTIALLY_FILLED: "PENDING",
    OrderStatus.FILLED: "FILLED",
    OrderStatus.CANCELED: "CANCELLED",
    OrderStatus.EXPIRED: "CANCELLED",
}
_WANTED: dict[str, Callable[[Order], bool]] = {
    "": lambda _order: True,
    "ALL": lambda _order: True,
    "PENDING": lambda order: order.is_open,
    "OPENING": lambda order: order.is_open,
    "FILLED": lambda order: order.status is OrderStatus.FILLED,
    "CANCELLED": lambda order: _STATES[order.status] == "CANCELLED",
    "CLOSED": lambda order: not order.is_open,
    "NONE_FILLED": lambda order: not order.is_open and not order.executed,
}
_NUMBERS_OF_AN_ORDER = (20, 200)


class Trading:
    """Calls about orders. ``buys_by_cost``: the amount of a market buy is what it costs, in quote."""

    def __init__(self, *, buys_by_cost: bool) -> None:
        self._buys_by_cost = buys_by_cost

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The table."""
        return (
            Endpoint("POST", "/viewer/orders", self.place, is_order=True),
            Endpoint("GET", "/viewer/orders", orders),
            Endpoint("POST", "/viewer/orders/cancel", cancel_several),
            Endpoint("GET", "/viewer/orders/{id:[0-9]+}", query),
            Endpoint("POST", "/viewer/orders/{id:[0-9]+}/cancel", cancel),
            Endpoint("GET", "/viewer/trades", trades),
        )

    def place(self, call: Call) -> object:
        """POST /viewer/orders."""
        listing = call.listing()
        try:
            order, _ = call.desk.venue.place(call.account, self._read(call, listing))
        except VenueRefusal as refusal:
            raise from_refusal(refusal) from None
        view = order_view(order, listing)
        return view | {"state": "PENDING", "filled_amount": "0", "avg_deal_price": "0"}

    def _read(self, call: Call, listing: Listing) -> NewOrder:
        side = _SIDES.get(call.text("side"))
        if side is None:
            raise malformed("side")
        amount = _positive(call, "amount")
        client_id = call.text("client_order_id") or secrets.token_hex(11)
        if not _CLIENT_ID.fullmatch(client_id):
            raise malformed("client_order_id")
        at_once, post_only = call.flag("immediate_or_cancel"), call.flag("post_only")
        kind = call.text("type") or "LIMIT"
        if kind == "MARKET" and not (at_once or post_only):
            by_cost = side is Side.BUY and self._buys_by_cost
            return NewOrder(
                symbol=listing.instrument.symbol,
                client_order_id=client_id,
                side=side,
                order_type=OrderType.MARKET,
                time_in_force=TimeInForce.GTC,
                quantity=None if by_cost else amount,
                quote_quantity=amount if by_cost else None,
            )
        if kind != "LIMIT" or (at_once and post_only):
            raise malformed("type")
        return NewOrder(
            symbol=listing.instrument.symbol,
            client_order_id=client_id,
            side=side,
            order_type=OrderType.LIMIT_MAKER if post_only else OrderType.LIMIT,
            time_in_force=TimeInForce.IOC if at_once else TimeInForce.GTC,
            quantity=amount,
            price=_positive(call, "price"),
        )


def _positive(call: Call, name: str) -> Decimal:
    text = call.text(name)
    try:
        number = Decimal(text) if _AMOUNT.fullmatch(text) else ZERO
    except InvalidOperation:
        number = ZERO
    if number <= 0:
        raise malformed(name)
    return number


def query(call: Call) -> object:
    """GET /viewer/orders/{id}."""
    try:
        order = call.desk.reads.find_order(call.account, "", int(call.text("id")), "")
    except VenueRefusal:
        raise not_found() from None
    return order_view(order, call.desk.venue.once_listed(order.symbol))


def orders(call: Call) -> object:
    """GET /viewer/orders: of one pair, newest first."""
    listing = call.listing(once=True)
    state, side = call.text("state"), call.text("side")
    if state not in _WANTED or (side and side not in _SIDES):
        raise malformed("state" if state not in _WANTED else "side")
    kept = (
        order
        for order in call.desk.reads.orders(call.account, listing.instrument.symbol)
        if _WANTED[state](order) and side in {"", _SIDE_NAMES[order.side]}
    )
    rows, token = page(call, kept, lambda order: order.order_id, *_NUMBERS_OF_AN_ORDER)
    return Page([order_view(order, listing) for order in rows], token)


def cancel(call: Call) -> object:
    """POST /viewer/orders/{id}/cancel."""
    number, venue = int(call.text("id")), call.desk.venue
    known = next(venue.matching_orders(call.account, "", number, ""), None)
    if known is None:
        raise not_found()
    if not known.is_open:
        raise ALREADY_ENDED
    return _cancelled(call, known)


def cancel_several(call: Call) -> object:
    """POST /viewer/orders/cancel: the one with a ``client_order_id``, or all of ``asset_pair_name``."""
    client_id = call.text("client_order_id")
    if client_id:
        queryable = RULE_SETS[call.desk.venue.conditions.identity].queryable
        mine = call.desk.venue.open_orders(call.account)
        found = [order for order in mine if order.client_order_id == client_id and queryable]
        if not found:
            raise UNKNOWN_OPENING_ORDER
        return _cancelled(call, found[-1])
    symbol = call.listing(once=True).instrument.symbol
    side = _SIDES.get(call.text("side"))
    chosen = [order for order in call.desk.venue.open_orders(call.account, symbol) if side in {None, order.side}]
    for order in chosen:
        _cancelled(call, order)
    return {"cancelled": [order.order_id for order in chosen], "failed": []}


def _cancelled(call: Call, order: Order) -> dict[str, object]:
    venue = call.desk.venue
    ended = venue.cancel(call.account, order.symbol, order.order_id, "", secrets.token_hex(11))
    return order_view(ended, venue.once_listed(order.symbol))


def order_view(order: Order, listing: Listing) -> dict[str, object]:
    """An order. Amounts of one given by its cost are in quote."""
    by_cost = order.quote_quantity > 0
    average = MONEY_CONTEXT.divide(order.quote_executed, order.executed) if order.executed else ZERO
    return {
        "id": order.order_id,
        "asset_pair_name": pair_name(listing),
        "price": plain(order.price),
        "amount": plain(order.quote_quantity if by_cost else order.quantity),
        "filled_amount": plain(order.quote_executed if by_cost else order.executed),
        "avg_deal_price": plain(average.quantize(listing.instrument.tick_size)),
        "side": _SIDE_NAMES[order.side],
        "state": _STATES[order.status],
        "created_at": iso(order.created_ms),
        "updated_at": iso(order.updated_ms),
        "type": "MARKET" if order.order_type is OrderType.MARKET else "LIMIT",
        "stop_price": "0",
        "operator": "GTE",
        "immediate_or_cancel": order.time_in_force is TimeInForce.IOC,
        "post_only": order.order_type is OrderType.LIMIT_MAKER,
        "client_order_id": order.client_order_id,
    }


def trades(call: Call) -> object:
    """GET /viewer/trades: of one pair, newest first."""
    listing = call.listing(once=True)
    found = call.desk.reads.trades(call.account, listing.instrument.symbol)
    rows, token = page(call, found, lambda trade: trade.trade_id, *_NUMBERS_OF_AN_ORDER)
    return Page([_trade(trade, listing) for trade in rows], token)


def _trade(trade: Trade, listing: Listing) -> dict[str, object]:
    side, role = _SIDE_NAMES[trade.side], "maker" if trade.is_maker else "taker"
    view: dict[str, object] = {f"{name}_{what}": None for name in ("maker", "taker") for what in ("order_id", "fee")}
    time = iso(trade.time_ms)
    return view | {
        "id": trade.trade_id,
        "asset_pair_name": pair_name(listing),
        "price": plain(trade.price),
        "amount": plain(trade.quantity),
        "side": side,
        "taker_side": ("ASK" if side == "BID" else "BID") if trade.is_maker else side,
        f"{role}_order_id": trade.order_id,
        f"{role}_fee": plain(trade.commission),
        "inserted_at": time,
        "created_at": time,
    }

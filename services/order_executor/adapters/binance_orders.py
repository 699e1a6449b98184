"""Orders as Binance's spot dialect takes them, and the book it shows. Pure.

Sources: Binance spot documents, rest-api.md ("New order": LIMIT_MAKER is refused with -2010 when it would match at
once, MARKET with quoteOrderQty spends at most that), ("Order book").
"""

from collections.abc import Mapping
from typing import Any

from services.order_executor.adapters.binance_parse import amount
from shared.core.matching import Book, Level, Side
from shared.core.money import plain
from shared.core.order_styles import OrderKind
from shared.core.styled_orders import value_to_spend
from shared.venues.port import OrderRequest

BOOK_LEVELS = 100


def order_parameters(request: OrderRequest, receive_window_ms: int) -> dict[str, object]:
    """The parameters of POST /api/v3/order, unsigned."""
    return {
        "symbol": request.symbol,
        "side": request.side.value,
        **_kind_parameters(request),
        "newClientOrderId": request.client_order_id,
        "newOrderRespType": "FULL",
        "recvWindow": receive_window_ms,
    }


def _kind_parameters(request: OrderRequest) -> dict[str, object]:
    quantity, price = plain(request.quantity), plain(request.limit_price)
    if request.kind is OrderKind.MAKER:
        return {"type": "LIMIT_MAKER", "quantity": quantity, "price": price}
    if request.kind is OrderKind.IOC:
        return {"type": "LIMIT", "timeInForce": "IOC", "quantity": quantity, "price": price}
    if request.side is Side.SELL:
        return {"type": "MARKET", "quantity": quantity}
    return {"type": "MARKET", "quoteOrderQty": plain(value_to_spend(request.quantity, request.limit_price))}


def book_of(body: Mapping[str, Any]) -> Book:
    """GET /api/v3/depth: {"lastUpdateId": 1, "bids": [["4.00", "431.0"]], "asks": [["4.02", "12.0"]]}.

    Raises ValueError.
    """
    if not isinstance(body, Mapping) or "bids" not in body or "asks" not in body:
        raise ValueError("not a book")
    sides = [tuple(Level(amount(row[0]), amount(row[1])) for row in body[side]) for side in ("bids", "asks")]
    return Book(*sides)

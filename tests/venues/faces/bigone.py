"""BigONE as its documents describe it: open.bigone.com, spot (REST version 3)."""

import base64
import json
from collections.abc import Mapping, Sequence

from shared.venues.capabilities import FeeAsset
from tests.venues.loopback import Asked, Books, Order, Reply, SentOrder, TooLittle, Trade, iso, text

_VIEWER = "/api/v3/viewer/"
_PAGE = 3


class BigoneFace:
    """See ``Face``. Lists come newest first, three rows a page."""

    name, quote, fee_asset = "bigone", "USDT", FeeAsset.RECEIVED
    placing = f"POST {_VIEWER}orders"

    def symbol(self, base: str) -> str:
        return f"{base}-USDT"

    def sent(self, asked: Asked) -> SentOrder:
        body = asked.body
        other = {name: body[name] for name in ("type", "immediate_or_cancel")}
        return SentOrder(
            body["client_order_id"], body["asset_pair_name"], body["side"], body["amount"], body["price"], other
        )

    def answer(self, asked: Asked, books: Books) -> Reply:
        if asked.path == "/api/v3/ping":
            return 200, {"data": {"Timestamp": books.now_ms() * 1_000_000}}
        if asked.path == "/api/v3/asset_pairs":
            return _ok([_pair("BTC", 6, 1), _pair("ETH", 4, 2)])
        token = _token_of(asked)
        if (token["type"], token["sub"], token["recv_window"]) != ("OpenAPIV2", "key", "5"):
            return 401, {"code": 40004, "message": "invalid jwt"}
        path = asked.path.removeprefix(_VIEWER)
        if asked.method == "GET" and path.startswith("orders/"):
            found = [order for order in books.orders if f"orders/{order.id}" == path]
            return _ok(_order_row(found[0])) if found else (404, {"code": 10013, "message": "Resource not found"})
        if asked.method == "POST" and path.endswith("/cancel"):
            return self._cancel(books, path.split("/")[1])
        known = {
            "orders": self._place if asked.method == "POST" else self._orders,
            "trades": self._trades,
            "accounts": self._accounts,
            "deposits": self._deposits,
        }
        return known[path](asked, books)

    def _place(self, asked: Asked, books: Books) -> Reply:
        body = asked.body
        try:
            order = books.place(
                body["client_order_id"],
                body["asset_pair_name"][:3],
                body["side"] == "BID",
                body["amount"],
                body["price"],
            )
        except TooLittle:
            return 400, {"code": 10014, "message": "Insufficient funds"}
        # As it is taken: what became of it is not in the reply yet.
        return _ok({**_order_row(order), "state": "PENDING", "filled_amount": "0"})

    def _orders(self, asked: Asked, books: Books) -> Reply:
        rows = [_order_row(order) for order in reversed(books.orders)]
        rows = [row for row in rows if row["asset_pair_name"] == asked.query["asset_pair_name"]]
        state = asked.query.get("state", "ALL")
        return _page([row for row in rows if state in {"ALL", row["state"]}], asked)

    def _trades(self, asked: Asked, books: Books) -> Reply:
        rows = [_trade_row(trade) for trade in reversed(books.trades)]
        return _page([row for row in rows if row["asset_pair_name"] == asked.query["asset_pair_name"]], asked)

    def _accounts(self, asked: Asked, books: Books) -> Reply:
        return _ok(
            [
                {"asset_symbol": asset, "balance": text(held), "locked_balance": text(books.locked(asset))}
                for asset, held in books.held.items()
            ]
        )

    def _deposits(self, asked: Asked, books: Books) -> Reply:
        rows = [
            {
                "id": name,
                "amount": text(quantity),
                "asset_symbol": asset,
                "inserted_at": iso(at_ms),
                "state": "WITHHOLD",
            }
            for name, asset, quantity, at_ms in reversed(books.deposits)
        ]
        return _page(rows, asked)

    def _cancel(self, books: Books, order_id: str) -> Reply:
        if books.cancel(lambda order: str(order.id) == order_id):
            return _ok({"id": order_id})
        return 400, {"code": 40121, "message": "Order is already cancelled or filled"}


def _token_of(asked: Asked) -> dict[str, str]:
    _, payload, _ = asked.headers["Authorization"].removeprefix("Bearer ").split(".")
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def _ok(data: object) -> Reply:
    return 200, {"code": 0, "data": data}


def _page(rows: Sequence[Mapping[str, object]], asked: Asked) -> Reply:
    first = int(asked.query.get("page_token", "0"))
    last = first + _PAGE
    return 200, {"code": "0", "data": rows[first:last], "page_token": str(last) if last < len(rows) else ""}


def _pair(base: str, base_scale: int, quote_scale: int) -> dict[str, object]:
    return {
        "name": f"{base}-USDT",
        "base_scale": base_scale,
        "quote_scale": quote_scale,
        "min_quote_value": "10",
        "base_asset": {"symbol": base},
        "quote_asset": {"symbol": "USDT"},
        "max_quote_value": "900000",
    }


def _order_row(order: Order) -> dict[str, object]:
    ended = "FILLED" if order.executed == order.quantity else "CANCELLED"
    return {
        "id": order.id,
        "asset_pair_name": f"{order.base}-USDT",
        "price": text(order.price),
        "amount": text(order.quantity),
        "filled_amount": text(order.executed),
        "side": "BID" if order.is_buy else "ASK",
        "state": "PENDING" if order.is_open else ended,
        "created_at": iso(order.at_ms),
        "client_order_id": order.client_id,
    }


def _trade_row(trade: Trade) -> dict[str, object]:
    side = "BID" if trade.order.is_buy else "ASK"
    return {
        "id": trade.id,
        "asset_pair_name": f"{trade.order.base}-USDT",
        "price": text(trade.price),
        "amount": text(trade.quantity),
        "taker_side": side,
        "side": side,
        "maker_order_id": None,
        "taker_order_id": trade.order.id,
        "maker_fee": None,
        "taker_fee": text(trade.fee),
        "inserted_at": iso(trade.at_ms),
    }

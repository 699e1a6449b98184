"""Coinbase Advanced Trade as its documents describe it: docs.cdp.coinbase.com."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.venues.capabilities import FeeAsset
from tests.venues.loopback import FEE, Asked, Books, Order, Reply, SentOrder, TooLittle, Trade, iso, text

_ROOT = "/api/v3/brokerage/"
_HISTORY = "orders/historical/"
_PAGE = 3


class CoinbaseFace:
    """See ``Face``. Lists come newest first, three rows a page."""

    name, quote, fee_asset = "coinbase", "USDC", FeeAsset.QUOTE
    placing = f"POST {_ROOT}orders"

    def symbol(self, base: str) -> str:
        return f"{base}-USDC"

    def sent(self, asked: Asked) -> SentOrder:
        body = asked.body
        ((kind, order),) = body["order_configuration"].items()
        return SentOrder(
            body["client_order_id"],
            body["product_id"],
            body["side"],
            order["base_size"],
            order["limit_price"],
            {"kind": kind},
        )

    def answer(self, asked: Asked, books: Books) -> Reply:
        path = asked.path.removeprefix(_ROOT)
        if path == "time":
            now_ms = books.now_ms()
            return 200, {"iso": iso(now_ms), "epochSeconds": str(now_ms // 1000), "epochMillis": str(now_ms)}
        token = _token_of(asked)
        now_s = books.now_ms() / 1000
        if token["sub"] != "organizations/o/apiKeys/key" or not token["nbf"] - 1 <= now_s < token["exp"]:
            return 401, "Unauthorized\n"
        if token["exp"] - token["nbf"] > 5 or not token["uri"].endswith(asked.path):
            return 401, "Unauthorized\n"
        known = {
            "orders": self._place,
            f"{_HISTORY}batch": self._orders,
            f"{_HISTORY}fills": self._fills,
            "orders/batch_cancel": self._cancel,
            "accounts": self._accounts,
            "products": lambda *_: (200, {"products": [_product("BTC", "0.01"), _product("ETH", "0.01")]}),
            "transaction_summary": lambda *_: (200, {"fee_tier": {"taker_fee_rate": str(FEE)}}),
        }
        if path in known:
            return known[path](asked, books)
        found = [order for order in books.orders if f"{_HISTORY}{_id(order)}" == path]
        if found:
            return 200, {"order": _order_row(found[0])}
        words = "order with this orderID was not found"
        return 404, {"error": "unknown", "error_details": words, "message": words}

    def _place(self, asked: Asked, books: Books) -> Reply:
        body = asked.body
        (order,) = body["order_configuration"].values()
        try:
            placed = books.place(
                body["client_order_id"],
                body["product_id"][:3],
                body["side"] == "BUY",
                order["base_size"],
                order["limit_price"],
            )
        except TooLittle:
            error = {
                "error": "INSUFFICIENT_FUND",
                "message": "Insufficient balance in source account",
                "error_details": "",
                "preview_failure_reason": "PREVIEW_INSUFFICIENT_FUND",
            }
            return 200, {"success": False, "error_response": error, "order_configuration": {}}
        row = {"order_id": _id(placed), "product_id": body["product_id"], "client_order_id": placed.client_id}
        return 200, {"success": True, "success_response": row, "order_configuration": {}}

    def _orders(self, asked: Asked, books: Books) -> Reply:
        rows = [_order_row(order) for order in reversed(books.orders)]
        wanted = asked.query
        rows = [row for row in rows if wanted.get("product_ids", row["product_id"]) == row["product_id"]]
        rows = [row for row in rows if wanted.get("order_status", row["status"]) == row["status"]]
        return _page("orders", [row for row in rows if _since(row["created_time"], wanted.get("start_date"))], asked)

    def _fills(self, asked: Asked, books: Books) -> Reply:
        rows = [_trade_row(trade) for trade in reversed(books.trades)]
        wanted = asked.query
        rows = [row for row in rows if wanted["product_ids"] == row["product_id"]]
        rows = [row for row in rows if wanted.get("order_ids", row["order_id"]) == row["order_id"]]
        start = wanted.get("start_sequence_timestamp")
        return _page("fills", [row for row in rows if _since(row["trade_time"], start)], asked)

    def _cancel(self, asked: Asked, books: Books) -> Reply:
        done = books.cancel(lambda order: _id(order) in asked.body["order_ids"])
        reason = "UNKNOWN_CANCEL_FAILURE_REASON" if done else "UNKNOWN_CANCEL_ORDER"
        return 200, {"results": [{"success": done, "failure_reason": reason, "order_id": asked.body["order_ids"][0]}]}

    def _accounts(self, asked: Asked, books: Books) -> Reply:
        rows = [
            {
                "currency": a,
                "available_balance": {"value": text(h), "currency": a},
                "hold": {"value": "0", "currency": a},
            }
            for a, h in books.held.items()
        ]
        return _page("accounts", rows, asked)


def _id(order: Order) -> str:
    return f"0000-{order.id}"


def _token_of(asked: Asked) -> Any:
    _, payload, _ = asked.headers["Authorization"].removeprefix("Bearer ").split(".")
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def _since(at: object, start: str | None) -> bool:
    return start is None or datetime.fromisoformat(str(at)) >= datetime.fromisoformat(start)


def _page(name: str, rows: Sequence[Mapping[str, object]], asked: Asked) -> Reply:
    first = int(asked.query.get("cursor") or 0)
    last = first + _PAGE
    return 200, {name: rows[first:last], "cursor": str(last) if last < len(rows) else "", "has_next": last < len(rows)}


def _product(base: str, tick: str) -> dict[str, object]:
    return {
        "product_id": f"{base}-USDC",
        "base_currency_id": base,
        "quote_currency_id": "USDC",
        "base_increment": "0.00000001",
        "price_increment": tick,
        "quote_increment": tick,
        "base_min_size": "0.00000001",
        "base_max_size": "3400",
        "quote_min_size": "1",
        "status": "online",
        "trading_disabled": False,
        "is_disabled": False,
        "cancel_only": False,
        "post_only": False,
        "limit_only": False,
        "auction_mode": False,
        "view_only": False,
    }


def _order_row(order: Order) -> dict[str, object]:
    ended = "FILLED" if order.executed == order.quantity else "CANCELLED"
    return {
        "order_id": _id(order),
        "product_id": f"{order.base}-USDC",
        "client_order_id": order.client_id,
        "status": "OPEN" if order.is_open else ended,
        "filled_size": text(order.executed),
        "total_fees": "0",
        "created_time": iso(order.at_ms),
        "side": "BUY" if order.is_buy else "SELL",
        "order_configuration": {"sor_limit_ioc": {"base_size": text(order.quantity), "limit_price": text(order.price)}},
    }


def _trade_row(trade: Trade) -> dict[str, object]:
    return {
        "entry_id": f"entry-{trade.id}",
        "trade_id": f"trade-{trade.id}",
        "order_id": _id(trade.order),
        "trade_time": iso(trade.at_ms),
        "price": text(trade.price),
        "size": text(trade.quantity),
        "size_in_quote": False,
        "commission": text(trade.fee),
        "product_id": f"{trade.order.base}-USDC",
        "sequence_timestamp": iso(trade.at_ms),
    }

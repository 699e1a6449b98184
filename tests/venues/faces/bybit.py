"""Bybit as its documents describe it: bybit-exchange.github.io/docs/v5."""

from shared.venues.capabilities import FeeAsset
from tests.venues.loopback import FEE, Asked, Books, Order, Reply, SentOrder, TooLittle, Trade, text

_PAGE = 3


class BybitFace:
    """See ``Face``."""

    name, quote, fee_asset = "bybit", "USDT", FeeAsset.RECEIVED
    placing = "POST /v5/order/create"

    def symbol(self, base: str) -> str:
        return f"{base}USDT"

    def sent(self, asked: Asked) -> SentOrder:
        body = asked.body
        other = {name: body[name] for name in ("category", "orderType", "timeInForce", "isLeverage")}
        return SentOrder(body["orderLinkId"], body["symbol"], body["side"], body["qty"], body["price"], other)

    def answer(self, asked: Asked, books: Books) -> Reply:
        if asked.path == "/v5/market/time":
            return _ok({"timeSecond": str(books.now_ms() // 1000), "timeNano": str(books.now_ms() * 1_000_000)}, books)
        if asked.path == "/v5/market/instruments-info":
            rows = [_instrument("BTC", "0.000001", "0.1"), _instrument("ETH", "0.00001", "0.01")]
            return _ok({"category": "spot", "list": rows, "nextPageCursor": ""}, books)
        if asked.headers["X-BAPI-API-KEY"] != "key":
            return 200, {"retCode": 10003, "retMsg": "API key is invalid.", "result": {}}
        late_ms = books.now_ms() - int(asked.headers["X-BAPI-TIMESTAMP"])
        if not -1000 <= late_ms <= int(asked.headers["X-BAPI-RECV-WINDOW"]):
            return 200, {
                "retCode": 10002,
                "retMsg": "invalid request, please check your server timestamp",
                "result": {},
            }
        return {
            self.placing: self._place,
            "GET /v5/order/realtime": self._realtime,
            "GET /v5/order/history": self._history,
            "GET /v5/execution/list": self._executions,
            "POST /v5/order/cancel": self._cancel,
            "GET /v5/account/wallet-balance": self._balance,
            "GET /v5/account/transaction-log": self._log,
            "GET /v5/account/fee-rate": self._fees,
        }[asked.call](asked, books)

    def _place(self, asked: Asked, books: Books) -> Reply:
        body = asked.body
        try:
            order = books.place(
                body["orderLinkId"], body["symbol"][:3], body["side"] == "Buy", body["qty"], body["price"]
            )
        except TooLittle:
            return 200, {"retCode": 170131, "retMsg": "Insufficient balance.", "result": {}}
        return _ok({"orderId": str(order.id), "orderLinkId": order.client_id}, books)

    def _realtime(self, asked: Asked, books: Books) -> Reply:
        """Open orders and, when asked by an id, the recently closed ones."""
        if not {"orderId", "orderLinkId"} & asked.query.keys():
            rows = [_order_row(order) for order in books.orders if order.is_open]
            return _ok({"list": rows, "nextPageCursor": ""}, books)
        return self._history(asked, books)

    def _history(self, asked: Asked, books: Books) -> Reply:
        wanted = asked.query.get("orderId"), asked.query.get("orderLinkId")
        rows = [_order_row(o) for o in books.orders if str(o.id) == wanted[0] or o.client_id == wanted[1]]
        return _ok({"list": rows, "nextPageCursor": ""}, books)

    def _executions(self, asked: Asked, books: Books) -> Reply:
        rows = [_trade_row(trade) for trade in reversed(books.trades)]
        rows = [row for row in rows if row["symbol"] == asked.query["symbol"]]
        if "orderId" in asked.query:
            rows = [row for row in rows if row["orderId"] == asked.query["orderId"]]
        rows = [row for row in rows if int(row["execTime"]) >= int(asked.query.get("startTime", 0))]
        first = int(asked.query.get("cursor", "0"))
        last = first + _PAGE
        return _ok({"list": rows[first:last], "nextPageCursor": str(last) if last < len(rows) else ""}, books)

    def _cancel(self, asked: Asked, books: Books) -> Reply:
        if books.cancel(lambda order: order.client_id == asked.body["orderLinkId"]):
            return _ok({"orderId": "", "orderLinkId": asked.body["orderLinkId"]}, books)
        return 200, {"retCode": 170213, "retMsg": "Order does not exist.", "result": {}}

    def _balance(self, asked: Asked, books: Books) -> Reply:
        coins = [{"coin": asset, "walletBalance": text(held), "locked": "0"} for asset, held in books.held.items()]
        return _ok({"list": [{"accountType": "UNIFIED", "coin": coins}]}, books)

    def _log(self, asked: Asked, books: Books) -> Reply:
        rows = [
            {
                "id": name,
                "currency": asset,
                "change": text(quantity),
                "type": "TRANSFER_IN",
                "transactionTime": str(at_ms),
            }
            for name, asset, quantity, at_ms in reversed(books.deposits)
        ]
        return _ok({"list": rows, "nextPageCursor": ""}, books)

    def _fees(self, asked: Asked, books: Books) -> Reply:
        rows = [
            {"symbol": f"{base}USDT", "takerFeeRate": str(FEE), "makerFeeRate": str(FEE)} for base in ("BTC", "ETH")
        ]
        return _ok({"list": rows}, books)


def _ok(result: object, books: Books) -> Reply:
    return 200, {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": books.now_ms()}


def _instrument(base: str, lot: str, tick: str) -> dict[str, object]:
    return {
        "symbol": f"{base}USDT",
        "baseCoin": base,
        "quoteCoin": "USDT",
        "status": "Trading",
        "lotSizeFilter": {"basePrecision": lot, "minOrderQty": "0.0001", "maxLimitOrderQty": "83", "minOrderAmt": "5"},
        "priceFilter": {"tickSize": tick},
    }


def _order_row(order: Order) -> dict[str, str]:
    ended = (
        "Filled" if order.executed == order.quantity else "PartiallyFilledCanceled" if order.executed else "Cancelled"
    )
    return {
        "orderId": str(order.id),
        "orderLinkId": order.client_id,
        "symbol": f"{order.base}USDT",
        "price": text(order.price),
        "qty": text(order.quantity),
        "cumExecQty": text(order.executed),
        "orderStatus": "New" if order.is_open else ended,
    }


def _trade_row(trade: Trade) -> dict[str, str]:
    return {
        "symbol": f"{trade.order.base}USDT",
        "orderId": str(trade.order.id),
        "execId": f"e-{trade.id}",
        "execType": "Trade",
        "execPrice": text(trade.price),
        "execQty": text(trade.quantity),
        "execValue": text(trade.value),
        "execFee": text(trade.fee),
        "feeCurrency": trade.fee_asset,
        "execTime": str(trade.at_ms),
    }

"""OKX as its documents describe it: okx.com/docs-v5."""

from datetime import datetime

from shared.venues.capabilities import FeeAsset
from tests.venues.loopback import FEE, Asked, Books, Order, Reply, SentOrder, TooLittle, Trade, text

_WINDOW_MS = 30_000


class OkxFace:
    """See ``Face``."""

    name, quote, fee_asset = "okx", "USDT", FeeAsset.RECEIVED
    placing = "POST /api/v5/trade/order"

    def symbol(self, base: str) -> str:
        return f"{base}-USDT"

    def sent(self, asked: Asked) -> SentOrder:
        body = asked.body
        other = {name: body[name] for name in ("tdMode", "ordType")}
        return SentOrder(body["clOrdId"], body["instId"], body["side"], body["sz"], body["px"], other)

    def answer(self, asked: Asked, books: Books) -> Reply:
        if asked.path == "/api/v5/public/time":
            return _ok([{"ts": str(books.now_ms())}])
        if asked.path == "/api/v5/public/instruments":
            return _ok([_instrument("BTC", "0.00000001", "0.1"), _instrument("ETH", "0.000001", "0.01")])
        sent_ms = datetime.fromisoformat(asked.headers["OK-ACCESS-TIMESTAMP"]).timestamp() * 1000
        if abs(sent_ms - books.now_ms()) > _WINDOW_MS:
            return 401, {"msg": "Timestamp request expired", "code": "50102"}
        if (asked.headers["OK-ACCESS-KEY"], asked.headers["OK-ACCESS-PASSPHRASE"]) != ("key", "phrase"):
            return 401, {"msg": "Invalid OK-ACCESS-KEY", "code": "50111"}
        return {
            self.placing: self._place,
            "GET /api/v5/trade/order": self._order,
            "GET /api/v5/trade/orders-pending": self._pending,
            "GET /api/v5/trade/fills-history": self._fills,
            "POST /api/v5/trade/cancel-order": self._cancel,
            "GET /api/v5/account/balance": self._balance,
            "GET /api/v5/account/bills-archive": self._bills,
            "GET /api/v5/account/trade-fee": lambda *_: _ok([{"instType": "SPOT", "taker": f"-{FEE}", "maker": "-0"}]),
        }[asked.call](asked, books)

    def _place(self, asked: Asked, books: Books) -> Reply:
        body = asked.body
        row = {"clOrdId": body["clOrdId"], "ordId": "", "tag": "", "sCode": "0", "sMsg": ""}
        if int(asked.headers["expTime"]) < books.now_ms():
            return 200, {"code": "50036", "data": [], "msg": "expTime is earlier than the current system time"}
        try:
            order = books.place(row["clOrdId"], body["instId"][:3], body["side"] == "buy", body["sz"], body["px"])
        except TooLittle:
            refused = {**row, "sCode": "51008", "sMsg": "Order failed. Insufficient USDT balance in account."}
            return 200, {"code": "1", "data": [refused], "msg": "All operations failed"}
        return _ok([{**row, "ordId": str(order.id)}])

    def _order(self, asked: Asked, books: Books) -> Reply:
        wanted = asked.query.get("ordId"), asked.query.get("clOrdId")
        for order in books.orders:
            if str(order.id) == wanted[0] or order.client_id == wanted[1]:
                return _ok([_order_row(order)])
        return 200, {"code": "51603", "data": [], "msg": "Order does not exist"}

    def _pending(self, asked: Asked, books: Books) -> Reply:
        pair = asked.query.get("instId")
        return _ok([_order_row(o) for o in books.orders if o.is_open and pair in {None, self.symbol(o.base)}])

    def _fills(self, asked: Asked, books: Books) -> Reply:
        rows = [_trade_row(trade) for trade in reversed(books.trades)]
        rows = [row for row in rows if row["instId"] == asked.query["instId"]]
        if "ordId" in asked.query:
            rows = [row for row in rows if row["ordId"] == asked.query["ordId"]]
        rows = [row for row in rows if int(row["ts"]) >= int(asked.query.get("begin", 0))]
        rows = [row for row in rows if int(row["billId"]) < int(asked.query.get("after", 10**9))]
        return _ok(rows[: int(asked.query["limit"])])

    def _cancel(self, asked: Asked, books: Books) -> Reply:
        if books.cancel(lambda order: order.client_id == asked.body["clOrdId"]):
            return _ok([{"clOrdId": asked.body["clOrdId"], "ordId": "", "sCode": "0", "sMsg": ""}])
        gone = {"clOrdId": asked.body["clOrdId"], "ordId": "", "sCode": "51400", "sMsg": "Cancellation failed"}
        return 200, {"code": "1", "data": [gone], "msg": ""}

    def _balance(self, asked: Asked, books: Books) -> Reply:
        rows = [
            {"ccy": asset, "cashBal": text(held), "availBal": "", "frozenBal": ""} for asset, held in books.held.items()
        ]
        return _ok([{"details": rows, "uTime": str(books.now_ms())}])

    def _bills(self, asked: Asked, books: Books) -> Reply:
        rows = [
            {
                "billId": str(number),
                "ccy": asset,
                "balChg": text(quantity),
                "type": "1",
                "subType": "11",
                "ts": str(at_ms),
            }
            for number, (_, asset, quantity, at_ms) in enumerate(books.deposits)
        ]
        return _ok(rows[::-1])


def _ok(data: object) -> Reply:
    return 200, {"code": "0", "msg": "", "data": data}


def _instrument(base: str, lot: str, tick: str) -> dict[str, str]:
    return {
        "instType": "SPOT",
        "instId": f"{base}-USDT",
        "baseCcy": base,
        "quoteCcy": "USDT",
        "lotSz": lot,
        "minSz": "0.00001",
        "maxLmtSz": "9999999999",
        "tickSz": tick,
        "state": "live",
    }


def _order_row(order: Order) -> dict[str, str]:
    state = "live" if order.is_open else "filled" if order.executed == order.quantity else "canceled"
    return {
        "instId": f"{order.base}-USDT",
        "ordId": str(order.id),
        "clOrdId": order.client_id,
        "px": text(order.price),
        "sz": text(order.quantity),
        "accFillSz": text(order.executed),
        "state": state,
        "cTime": str(order.at_ms),
    }


def _trade_row(trade: Trade) -> dict[str, str]:
    return {
        "instId": f"{trade.order.base}-USDT",
        "tradeId": str(trade.id),
        "ordId": str(trade.order.id),
        "billId": str(trade.id),
        "fillPx": text(trade.price),
        "fillSz": text(trade.quantity),
        "execType": "T",
        "fee": text(-trade.fee),
        "feeCcy": trade.fee_asset,
        "ts": str(trade.at_ms),
    }

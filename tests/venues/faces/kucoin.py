"""KuCoin as its documents describe it: kucoin.com/docs-new, spot trading (HF)."""

import base64
import hashlib
import hmac

from shared.venues.capabilities import FeeAsset
from tests.venues.loopback import FEE, Asked, Books, Order, Reply, SentOrder, TooLittle, Trade, text

_ORDERS = "/api/v1/hf/orders/"
_BY_CLIENT_ID = f"{_ORDERS}client-order/"


class KucoinFace:
    """See ``Face``."""

    name, quote, fee_asset = "kucoin", "USDT", FeeAsset.QUOTE
    placing = "POST /api/v1/hf/orders"

    def symbol(self, base: str) -> str:
        return f"{base}-USDT"

    def sent(self, asked: Asked) -> SentOrder:
        body = asked.body
        other = {name: body[name] for name in ("type", "timeInForce")}
        return SentOrder(body["clientOid"], body["symbol"], body["side"], body["size"], body["price"], other)

    def answer(self, asked: Asked, books: Books) -> Reply:
        if asked.path == "/api/v1/timestamp":
            return _ok(books.now_ms())
        if asked.path == "/api/v2/symbols":
            return _ok([_instrument("BTC", "0.00000001", "0.1"), _instrument("ETH", "0.0000001", "0.01")])
        if abs(books.now_ms() - int(asked.headers["KC-API-TIMESTAMP"])) > 5_000:
            return 400, {"code": "400002", "msg": "KC-API-TIMESTAMP Invalid"}
        signed = base64.b64encode(hmac.new(b"secret", b"phrase", hashlib.sha256).digest()).decode()
        if (asked.headers["KC-API-KEY"], asked.headers["KC-API-PASSPHRASE"]) != ("key", signed):
            return 400, {"code": "400003", "msg": "KC-API-KEY not exists"}
        if asked.path.startswith(_BY_CLIENT_ID):
            return self._by_client_id(asked, books, asked.path.removeprefix(_BY_CLIENT_ID))
        known = {
            self.placing: self._place,
            "GET /api/v1/hf/orders/active": self._active,
            "GET /api/v1/hf/orders/active/symbols": self._active_symbols,
            "GET /api/v1/hf/fills": self._fills,
            "GET /api/v1/accounts": self._accounts,
            "GET /api/v1/hf/accounts/ledgers": self._ledgers,
            "GET /api/v1/base-fee": lambda *_: _ok({"takerFeeRate": str(FEE), "makerFeeRate": str(FEE)}),
        }
        if asked.call in known:
            return known[asked.call](asked, books)
        (order_id,) = asked.path.removeprefix(_ORDERS).split("/")
        return _found([order for order in books.orders if str(order.id) == order_id])

    def _place(self, asked: Asked, books: Books) -> Reply:
        body = asked.body
        try:
            order = books.place(
                body["clientOid"], body["symbol"][:3], body["side"] == "buy", body["size"], body["price"]
            )
        except TooLittle:
            return 200, {"code": "200004", "msg": "Balance insufficient!"}
        return _ok({"orderId": str(order.id), "clientOid": order.client_id})

    def _by_client_id(self, asked: Asked, books: Books, client_id: str) -> Reply:
        if asked.method == "GET":
            return _found([order for order in books.orders if order.client_id == client_id])
        if books.cancel(lambda order: order.client_id == client_id):
            return _ok({"clientOid": client_id})
        return 200, {"code": "400100", "msg": "order_not_exist_or_not_allow_to_cancel"}

    def _active(self, asked: Asked, books: Books) -> Reply:
        return _ok([_order_row(o) for o in books.orders if o.is_open and self.symbol(o.base) == asked.query["symbol"]])

    def _active_symbols(self, asked: Asked, books: Books) -> Reply:
        return _ok({"symbols": sorted({self.symbol(order.base) for order in books.orders if order.is_open})})

    def _fills(self, asked: Asked, books: Books) -> Reply:
        wanted = asked.query
        rows = [_trade_row(trade) for trade in reversed(books.trades)]
        rows = [
            row
            for row in rows
            if row["symbol"] == wanted["symbol"] and int(row["id"]) < int(wanted.get("lastId", 10**9))
        ]
        rows = [row for row in rows if wanted.get("orderId", row["orderId"]) == row["orderId"]]
        rows = [row for row in rows if int(row["createdAt"]) >= int(wanted.get("startAt", 0))][: int(wanted["limit"])]
        return _ok({"items": rows, "lastId": rows[-1]["id"] if rows else 0})

    def _accounts(self, asked: Asked, books: Books) -> Reply:
        rows = [{"currency": asset, "type": "trade", "balance": text(held)} for asset, held in books.held.items()]
        return _ok(rows)

    def _ledgers(self, asked: Asked, books: Books) -> Reply:
        return _ok(
            [
                {"id": name, "currency": asset, "amount": text(quantity), "direction": "in", "createdAt": str(at_ms)}
                for name, asset, quantity, at_ms in reversed(books.deposits)
            ]
        )


def _ok(data: object) -> Reply:
    return 200, {"code": "200000", "data": data}


def _found(orders: list[Order]) -> Reply:
    if orders:
        return _ok(_order_row(orders[0]))
    return 200, {"code": "100001", "msg": "error.getOrder.orderNotExist"}


def _instrument(base: str, lot: str, tick: str) -> dict[str, object]:
    return {
        "symbol": f"{base}-USDT",
        "baseCurrency": base,
        "quoteCurrency": "USDT",
        "baseMinSize": "0.00001",
        "baseMaxSize": "10000000000",
        "baseIncrement": lot,
        "priceIncrement": tick,
        "feeCurrency": "USDT",
        "minFunds": "0.1",
        "enableTrading": True,
        "takerFeeCoefficient": "1.00",
    }


def _order_row(order: Order) -> dict[str, object]:
    return {
        "id": str(order.id),
        "clientOid": order.client_id,
        "symbol": f"{order.base}-USDT",
        "price": text(order.price),
        "size": text(order.quantity),
        "dealSize": text(order.executed),
        "active": order.is_open,
        "createdAt": order.at_ms,
    }


def _trade_row(trade: Trade) -> dict[str, object]:
    return {
        "id": trade.id,
        "symbol": f"{trade.order.base}-USDT",
        "tradeId": trade.id + 5,
        "orderId": str(trade.order.id),
        "price": text(trade.price),
        "size": text(trade.quantity),
        "funds": text(trade.value),
        "fee": text(trade.fee),
        "feeCurrency": trade.fee_asset,
        "createdAt": trade.at_ms,
    }

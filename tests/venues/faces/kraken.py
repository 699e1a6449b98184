"""Kraken as its documents describe it: docs.kraken.com, spot REST."""

from datetime import datetime

from shared.venues.capabilities import FeeAsset
from tests.venues.loopback import Asked, Books, Order, Reply, SentOrder, TooLittle, Trade, text

_PAIRS = {"BTC": "XBTUSDT", "ETH": "ETHUSDT"}
_ASSETS = {"BTC": "XXBT", "ETH": "XETH"}
_PRIVATE = "/0/private/"
_PAGE = 3


class KrakenFace:
    """See ``Face``. Lists come newest first, three rows a page; a nonce must be above the one before."""

    name, quote, fee_asset = "kraken", "USDT", FeeAsset.QUOTE
    placing = f"POST {_PRIVATE}AddOrder"

    def __init__(self) -> None:
        self._nonce = 0

    def symbol(self, base: str) -> str:
        return _PAIRS[base]

    def sent(self, asked: Asked) -> SentOrder:
        body = asked.body
        other = {name: body[name] for name in ("ordertype", "timeinforce", "oflags")}
        return SentOrder(body["cl_ord_id"], body["pair"], body["type"], body["volume"], body["price"], other)

    def answer(self, asked: Asked, books: Books) -> Reply:
        if asked.path == "/0/public/Time":
            return _ok({"unixtime": books.now_ms() // 1000, "rfc1123": ""})
        if asked.path == "/0/public/AssetPairs":
            return _ok({"XBTUSDT": _pair("BTC", 1), "ETHUSDT": _pair("ETH", 2)})
        if asked.headers["API-Key"] != "key":
            return _error("EAPI:Invalid key")
        if int(asked.body["nonce"]) <= self._nonce:
            return _error("EAPI:Invalid nonce")
        self._nonce = int(asked.body["nonce"])
        return {
            "AddOrder": self._place,
            "OpenOrders": self._open,
            "ClosedOrders": self._closed,
            "QueryOrders": self._query,
            "QueryTrades": self._query_trades,
            "TradesHistory": self._history,
            "CancelOrder": self._cancel,
            "Balance": lambda _, books: _ok({_ASSETS.get(a, a): text(held) for a, held in books.held.items()}),
            "DepositStatus": self._deposits,
        }[asked.path.removeprefix(_PRIVATE)](asked, books)

    def _place(self, asked: Asked, books: Books) -> Reply:
        body = asked.body
        if datetime.fromisoformat(body["deadline"]).timestamp() * 1000 < books.now_ms():
            return _error("EService:Deadline elapsed")
        base = next(base for base, pair in _PAIRS.items() if pair == body["pair"])
        try:
            order = books.place(body["cl_ord_id"], base, body["type"] == "buy", body["volume"], body["price"])
        except TooLittle:
            return _error("EOrder:Insufficient funds")
        return _ok({"descr": {"order": ""}, "txid": [_id(order)]})

    def _open(self, asked: Asked, books: Books) -> Reply:
        return _ok({"open": {_id(o): _order_row(o) for o in books.orders if o.is_open and _asked_for(asked, o)}})

    def _closed(self, asked: Asked, books: Books) -> Reply:
        found = {_id(o): _order_row(o) for o in books.orders if not o.is_open and _asked_for(asked, o)}
        return _ok({"closed": found, "count": len(found)})

    def _query(self, asked: Asked, books: Books) -> Reply:
        found = {_id(order): _order_row(order) for order in books.orders if _id(order) == asked.body["txid"]}
        return _ok(found) if found else _error("EOrder:Unknown order")

    def _query_trades(self, asked: Asked, books: Books) -> Reply:
        wanted = asked.body["txid"].split(",")
        return _ok({_trade_id(trade): _trade_row(trade) for trade in books.trades if _trade_id(trade) in wanted})

    def _history(self, asked: Asked, books: Books) -> Reply:
        found = [trade for trade in reversed(books.trades) if trade.at_ms / 1000 > float(asked.body["start"])]
        first = int(asked.body["ofs"])
        rows = {_trade_id(trade): _trade_row(trade) for trade in found[first : first + _PAGE]}
        return _ok({"trades": rows, "count": len(found)})

    def _cancel(self, asked: Asked, books: Books) -> Reply:
        if books.cancel(lambda order: order.client_id == asked.body["cl_ord_id"]):
            return _ok({"count": 1})
        return _error("EOrder:Unknown order")

    def _deposits(self, asked: Asked, books: Books) -> Reply:
        return _ok(
            [
                {
                    "refid": name,
                    "asset": _ASSETS.get(asset, asset),
                    "amount": text(quantity),
                    "fee": "0.0000000",
                    "time": at_ms // 1000,
                    "status": "Success",
                }
                for name, asset, quantity, at_ms in books.deposits
            ]
        )


def _id(order: Order) -> str:
    return f"OQCLML-BW3P3-{order.id}"


def _trade_id(trade: Trade) -> str:
    return f"TCWJEG-FL4SZ-{trade.id}"


def _asked_for(asked: Asked, order: Order) -> bool:
    return order.client_id in {asked.body.get("cl_ord_id"), *([] if "cl_ord_id" in asked.body else [order.client_id])}


def _ok(result: object) -> Reply:
    return 200, {"error": [], "result": result}


def _error(words: str) -> Reply:
    return 200, {"error": [words]}


def _pair(base: str, decimals: int) -> dict[str, object]:
    return {
        "altname": _PAIRS[base],
        "wsname": f"{'XBT' if base == 'BTC' else base}/USDT",
        "base": _ASSETS[base],
        "quote": "USDT",
        "pair_decimals": decimals,
        "lot_decimals": 8,
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": "0.1" if decimals == 1 else "0.01",
        "status": "online",
        "fees": [[0, 0.1], [10000, 0.09]],
    }


def _order_row(order: Order) -> dict[str, object]:
    ended = "closed" if order.executed == order.quantity else "canceled"
    return {
        "status": "open" if order.is_open else ended,
        "cl_ord_id": order.client_id,
        "opentm": order.at_ms / 1000,
        "descr": {"pair": _PAIRS[order.base], "type": "buy" if order.is_buy else "sell", "price": text(order.price)},
        "vol": text(order.quantity),
        "vol_exec": text(order.executed),
        "oflags": "fciq",
        "trades": [_trade_id(trade) for trade in order.trades],
    }


def _trade_row(trade: Trade) -> dict[str, object]:
    return {
        "ordertxid": _id(trade.order),
        "pair": _PAIRS[trade.order.base],
        "time": trade.at_ms / 1000,
        "type": "buy" if trade.order.is_buy else "sell",
        "price": text(trade.price),
        "cost": text(trade.value),
        "fee": text(trade.fee),
        "vol": text(trade.quantity),
    }

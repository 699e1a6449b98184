"""KuCoin's spot dialect (HF trading account). Its passphrase goes out signed (key version 2, ccxt ``sign``)."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ccxt.async_support.kucoin import kucoin

from services.order_executor.adapters.dialect import LONGEST_WALK, OrderName, TradesWanted, pages
from services.order_executor.adapters.kucoin.parse import (
    balances_of,
    data_of,
    deposits_of,
    instrument_of,
    order_of,
    trade_of,
)
from services.order_executor.adapters.values import Body, amount, field, milliseconds, readable
from services.order_executor.adapters.wire import Answers, Call, Metered, VenueAccess
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import ZERO, plain
from shared.core.orders import VenueReport
from shared.venues.port import OrderRequest, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_PAGE = 100
_NO_SUCH_ORDER = frozenset({"100001", "400100"})
_FARTHEST_BACK = timedelta(days=6, hours=23)  # the venue tells no more than seven days at once
_ORDER_BY_CLIENT_ID = "hf/orders/client-order/{clientOid}"


class _Exchange(Metered, kucoin):  # type: ignore[misc] # ccxt has no types
    """ccxt's kucoin."""


class KucoinDialect:
    """Fills ``VenueDialect``."""

    def exchange(self) -> Any:
        """See ``VenueDialect``."""
        return _Exchange()

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """{"code": "200004", "msg": "Balance insufficient!"}"""
        if not isinstance(body, dict) or str(body.get("code", "200000")) in {"200000", "200"}:
            return None
        return str(body["code"]), str(body.get("msg", ""))

    def order_call(self, request: OrderRequest, _now: datetime) -> Call:
        """POST /api/v1/hf/orders (ccxt ``create_spot_order_request``)."""
        parameters = {
            "clientOid": request.client_order_id,
            "symbol": request.symbol,
            "side": "buy" if request.side is Side.BUY else "sell",
            "type": "limit",
            "timeInForce": "IOC",
            "size": plain(request.quantity),
            "price": plain(request.limit_price),
        }
        return Call("POST", "hf/orders", parameters)

    def placed(self, request: OrderRequest, body: Any) -> VenueOrder:
        """{"code": "200000", "data": {"orderId": "670fd33bf9406e0007ab3945", "clientOid": "tt6g"}}"""
        row = data_of(body)
        names = str(field(row, "clientOid")), str(field(row, "orderId"))
        return VenueOrder(*names, request.symbol, VenueReport(True, ZERO))

    def cancel_call(self, order: OrderName) -> Call:
        """DELETE /api/v1/hf/orders/client-order/{clientOid}."""
        return Call("DELETE", _ORDER_BY_CLIENT_ID, {"clientOid": order.client_order_id, "symbol": order.symbol})

    async def by_client_id(self, answers: Answers, order: OrderName, _since: datetime) -> VenueOrder | None:
        """GET /api/v1/hf/orders/client-order/{clientOid}."""
        which = {"clientOid": order.client_order_id, "symbol": order.symbol}
        return await _order(answers, Call("GET", _ORDER_BY_CLIENT_ID, which))

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """GET /api/v1/hf/orders/{orderId}."""
        which = {"orderId": order.venue_order_id, "symbol": order.symbol}
        return await _order(answers, Call("GET", "hf/orders/{orderId}", which))

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """GET /api/v1/hf/orders/active of one pair, or of every pair that has any."""
        symbols = [symbol]
        if not symbol:
            named = data_of(await answers.ask(Call("GET", "hf/orders/active/symbols")))
            symbols = list((named or {}).get("symbols") or ())
        found: list[VenueOrder] = []
        for each in symbols:
            rows = data_of(await answers.ask(Call("GET", "hf/orders/active", {"symbol": each})))
            found += [order_of(row) for row in rows or ()]
        return tuple(found)

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """GET /api/v1/hf/fills, newest first, page after page by ``lastId``; seven days at most."""
        which: dict[str, object] = {"symbol": wanted.symbol}
        if wanted.since is None:
            which["orderId"] = wanted.venue_order_id
        else:
            which["startAt"] = milliseconds(max(wanted.since, answers.now() - _FARTHEST_BACK))
        found: list[VenueTrade] = []
        after: dict[str, object] = {}
        for _ in pages():
            body = data_of(await answers.ask(Call("GET", "hf/fills", {**which, "limit": _PAGE, **after})))
            rows = (body or {}).get("items") or []
            found += [trade_of(row) for row in rows]
            if len(rows) < _PAGE:
                break
            after = {"lastId": body["lastId"]}
        return tuple(sorted(found, key=lambda trade: (trade.at, trade.trade_id)))

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """GET /api/v2/symbols; the taker fee of the account."""
        rows = data_of(await answers.ask(Call("GET", "symbols", api=("public",))))
        fee = await self._taker_fee(answers)
        quoted = (row for row in rows if access.wants(row["quoteCurrency"]))
        return readable(quoted, lambda row: instrument_of(access.name, row, fee))

    async def _taker_fee(self, answers: Answers) -> Decimal:
        """{"takerFeeRate": "0.001", "makerFeeRate": "0.001"}"""
        return amount(field(data_of(await answers.ask(Call("GET", "base-fee"))), "takerFeeRate"))

    async def balances(self, answers: Answers) -> VenueBalances:
        """GET /api/v1/accounts of the trading account."""
        return balances_of(data_of(await answers.ask(Call("GET", "accounts", {"type": "trade"}))), answers.now())

    async def deposits(self, answers: Answers) -> tuple[VenueDeposit, ...]:
        """Transfers into the trading account in the last seven days: deposits arrive in the funding account."""
        since = milliseconds(answers.now() - _FARTHEST_BACK)
        which = {"bizType": "TRANSFER", "direction": "in", "startAt": since}
        found: list[Body] = []
        after: dict[str, object] = {}
        for _ in range(LONGEST_WALK):
            parameters = {**which, "limit": _PAGE, **after}
            rows = data_of(await answers.ask(Call("GET", "hf/accounts/ledgers", parameters))) or []
            found += rows
            if len(rows) < _PAGE:
                break
            after = {"lastId": rows[-1]["id"]}
        return tuple(deposits_of(found))


async def _order(answers: Answers, call: Call) -> VenueOrder | None:
    body = await answers.ask(call, absent=_NO_SUCH_ORDER)
    row = None if body is None else data_of(body)
    return None if row is None else order_of(row)

"""Bybit's spot dialect (V5, unified account).

A placed order is acknowledged before it is made, so the reply never says what became of it.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ccxt.async_support.bybit import bybit

from services.order_executor.adapters.bybit.parse import (
    balances_of,
    deposits_of,
    instrument_of,
    order_of,
    result_of,
    trades_of,
)
from services.order_executor.adapters.dialect import OrderName, TradesWanted, pages
from services.order_executor.adapters.values import Body, amount, field, milliseconds, readable
from services.order_executor.adapters.wire import Answers, Call, Metered, VenueAccess
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import ZERO, plain
from shared.core.orders import VenueReport
from shared.venues.bybit import BYBIT
from shared.venues.port import OrderRequest, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_SPOT: dict[str, object] = {"category": "spot"}
_PAGE, _PAIRS_PAGE = 50, 1000
_NO_SUCH_ORDER = frozenset({"110001", "170213"})
_FARTHEST_BACK = timedelta(days=6, hours=23)  # the venue tells no more than seven days at once


class _Exchange(Metered, bybit):  # type: ignore[misc] # ccxt has no types
    """ccxt's bybit."""


class BybitDialect:
    """Fills ``VenueDialect``."""

    def exchange(self) -> Any:
        """See ``VenueDialect``."""
        return _Exchange({"options": {"recvWindow": BYBIT.receive_window_ms}})

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """{"retCode": 170131, "retMsg": "Insufficient balance.", "result": {}}"""
        if not isinstance(body, dict) or str(body.get("retCode", "0")) == "0":
            return None
        return str(body["retCode"]), str(body.get("retMsg", ""))

    def order_call(self, request: OrderRequest, _now: datetime) -> Call:
        """POST /v5/order/create (ccxt ``create_order_request``)."""
        parameters = {
            **_SPOT,
            "symbol": request.symbol,
            "side": "Buy" if request.side is Side.BUY else "Sell",
            "orderType": "Limit",
            "timeInForce": "IOC",
            "qty": plain(request.quantity),
            "price": plain(request.limit_price),
            "orderLinkId": request.client_order_id,
            "isLeverage": 0,
        }
        return Call("POST", "v5/order/create", parameters)

    def placed(self, request: OrderRequest, body: Any) -> VenueOrder:
        """{"retCode": 0, "result": {"orderId": "1321003749386327552", "orderLinkId": "tt6g"}}"""
        row = result_of(body)
        names = str(field(row, "orderLinkId")), str(field(row, "orderId"))
        return VenueOrder(*names, request.symbol, VenueReport(True, ZERO))

    def cancel_call(self, order: OrderName) -> Call:
        """POST /v5/order/cancel."""
        parameters = {**_SPOT, "symbol": order.symbol, "orderLinkId": order.client_order_id}
        return Call("POST", "v5/order/cancel", parameters)

    async def by_client_id(self, answers: Answers, order: OrderName, _since: datetime) -> VenueOrder | None:
        """Among the open and the 500 newest closed orders, then in the history."""
        return await self._order(answers, {"symbol": order.symbol, "orderLinkId": order.client_order_id})

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """The same by the venue's id."""
        return await self._order(answers, {"symbol": order.symbol, "orderId": order.venue_order_id})

    async def _order(self, answers: Answers, which: dict[str, object]) -> VenueOrder | None:
        for path in ("v5/order/realtime", "v5/order/history"):
            body = await answers.ask(Call("GET", path, {**_SPOT, **which}), absent=_NO_SUCH_ORDER)
            rows = [] if body is None else field(result_of(body), "list")
            if rows:
                return order_of(rows[0])
        return None

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """GET /v5/order/realtime with openOnly 0: those that rest."""
        which = {**_SPOT, "openOnly": 0, **({"symbol": symbol} if symbol else {})}
        found = [order_of(row) for row in await _walk(answers, "v5/order/realtime", which)]
        return tuple(order for order in found if order.report.is_open)

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """GET /v5/execution/list, newest first; seven days at most."""
        which = {**_SPOT, "symbol": wanted.symbol}
        if wanted.since is None:
            which["orderId"] = wanted.venue_order_id
        else:
            which["startTime"] = milliseconds(max(wanted.since, answers.now() - _FARTHEST_BACK))
        found = trades_of(await _walk(answers, "v5/execution/list", which))
        return tuple(sorted(found, key=lambda trade: (trade.at, trade.trade_id)))

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """GET /v5/market/instruments-info; taker fees of the account."""
        call = Call("GET", "v5/market/instruments-info", {**_SPOT, "limit": _PAIRS_PAGE}, ("public",))
        rows = field(result_of(await answers.ask(call)), "list")
        fees = await self._taker_fees(answers)
        quoted = (row for row in rows if access.wants(row["quoteCoin"]))
        return readable(quoted, lambda row: instrument_of(access.name, row, fees[str(row["symbol"])]))

    async def _taker_fees(self, answers: Answers) -> dict[str, Decimal]:
        """[{"symbol": "BTCUSDT", "takerFeeRate": "0.001"}]"""
        rows = field(result_of(await answers.ask(Call("GET", "v5/account/fee-rate", _SPOT))), "list")
        return {str(row["symbol"]): amount(row["takerFeeRate"]) for row in rows}

    async def balances(self, answers: Answers) -> VenueBalances:
        """GET /v5/account/wallet-balance."""
        body = await answers.ask(Call("GET", "v5/account/wallet-balance", {"accountType": "UNIFIED"}))
        (row,) = field(result_of(body), "list")
        return balances_of(row, answers.now())

    async def deposits(self, answers: Answers) -> tuple[VenueDeposit, ...]:
        """Transfers into the unified account in the last seven days."""
        since = milliseconds(answers.now() - _FARTHEST_BACK)
        which = {"accountType": "UNIFIED", "type": "TRANSFER_IN", "startTime": since}
        return tuple(deposits_of(await _walk(answers, "v5/account/transaction-log", which)))


async def _walk(answers: Answers, path: str, parameters: dict[str, object]) -> list[Body]:
    """Every row of a list, page after page by the cursor."""
    found: list[Body] = []
    cursor: dict[str, object] = {}
    for _ in pages():
        body = await answers.ask(Call("GET", path, {**parameters, "limit": _PAGE, **cursor}))
        rows = field(result_of(body), "list")
        found += rows
        token = result_of(body).get("nextPageCursor")
        if not token or not rows:
            break
        cursor = {"cursor": token}
    return found

"""OKX's spot dialect (trading account, tdMode cash)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from ccxt.async_support.okx import okx

from services.order_executor.adapters.dialect import OrderName, TradesWanted, pages
from services.order_executor.adapters.okx.parse import (
    balances_of,
    data_of,
    deposits_of,
    instrument_of,
    order_of,
    trade_of,
)
from services.order_executor.adapters.values import Body, field, milliseconds, readable, stated_fee
from services.order_executor.adapters.wire import Answers, Call, Metered, VenueAccess
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import ZERO, plain
from shared.core.orders import VenueReport
from shared.venues.okx import OKX
from shared.venues.port import OrderRequest, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_SPOT = {"instType": "SPOT"}
_PAGE = 100
_NO_SUCH_ORDER = frozenset({"51603"})

T = TypeVar("T")


class _Exchange(Metered, okx):  # type: ignore[misc] # ccxt has no types
    """ccxt's okx."""


class OkxDialect:
    """Fills ``VenueDialect``."""

    def exchange(self) -> Any:
        """See ``VenueDialect``."""
        return _Exchange()

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """{"code": "50011", "msg": "Too Many Requests", "data": []}; of an order the reason is inside: {"code": "1",
        "msg": "All operations failed", "data": [{"clOrdId": "tt6g", "sCode": "51008", "sMsg": "..."}]}
        """
        if not isinstance(body, dict) or str(body.get("code", "0")) == "0":
            return None
        rows = body.get("data")
        inner = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
        if str(inner.get("sCode", "0")) != "0":
            return str(inner["sCode"]), str(inner.get("sMsg", ""))
        return str(body["code"]), str(body.get("msg", ""))

    def order_call(self, request: OrderRequest, now: datetime) -> Call:
        """POST /api/v5/trade/order (ccxt ``create_order_request``, ioc); ``expTime`` is the deadline of the request."""
        parameters = {
            "instId": request.symbol,
            "tdMode": "cash",
            "side": "buy" if request.side is Side.BUY else "sell",
            "ordType": "ioc",
            "sz": plain(request.quantity),
            "px": plain(request.limit_price),
            "clOrdId": request.client_order_id,
        }
        expires = now + timedelta(milliseconds=OKX.receive_window_ms)
        return Call("POST", "trade/order", parameters, headers={"expTime": str(milliseconds(expires))})

    def placed(self, request: OrderRequest, body: Any) -> VenueOrder:
        """{"code": "0", "data": [{"ordId": "312269865356374016", "clOrdId": "tt6g", "sCode": "0", "sMsg": ""}]}"""
        (row,) = data_of(body)
        if str(field(row, "sCode")) != "0":
            raise ValueError("neither taken nor refused")
        names = str(field(row, "clOrdId")), str(field(row, "ordId"))
        return VenueOrder(*names, request.symbol, VenueReport(True, ZERO))

    def cancel_call(self, order: OrderName) -> Call:
        """POST /api/v5/trade/cancel-order."""
        return Call("POST", "trade/cancel-order", {"instId": order.symbol, "clOrdId": order.client_order_id})

    async def by_client_id(self, answers: Answers, order: OrderName, _since: datetime) -> VenueOrder | None:
        """GET /api/v5/trade/order."""
        return await _order(answers, {"instId": order.symbol, "clOrdId": order.client_order_id})

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """GET /api/v5/trade/order."""
        return await _order(answers, {"instId": order.symbol, "ordId": order.venue_order_id})

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """GET /api/v5/trade/orders-pending."""
        wanted: dict[str, object] = {**_SPOT, **({"instId": symbol} if symbol else {})}
        return tuple(await _walk(answers, Call("GET", "trade/orders-pending", wanted), "ordId", order_of))

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """GET /api/v5/trade/fills-history, three months back."""
        which: dict[str, object] = {**_SPOT, "instId": wanted.symbol}
        if wanted.since is None:
            which["ordId"] = wanted.venue_order_id
        else:
            which["begin"] = str(milliseconds(wanted.since))
        rows = await _walk(answers, Call("GET", "trade/fills-history", which), "billId", trade_of)
        return tuple(sorted(rows, key=lambda trade: (trade.at, trade.trade_id)))

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """GET /api/v5/public/instruments; the taker fee of the account."""
        rows = data_of(await answers.ask(Call("GET", "public/instruments", _SPOT, ("public",))))
        fee = await self._taker_fee(answers)
        quoted = (row for row in rows if access.wants(row["quoteCcy"]))
        return readable(quoted, lambda row: instrument_of(access.name, row, fee))

    async def _taker_fee(self, answers: Answers) -> Decimal:
        """[{"taker": "-0.001"}]: negative, because it is taken."""
        (row,) = data_of(await answers.ask(Call("GET", "account/trade-fee", _SPOT)))
        return stated_fee(field(row, "taker"))

    async def balances(self, answers: Answers) -> VenueBalances:
        """GET /api/v5/account/balance: the trading account."""
        (row,) = data_of(await answers.ask(Call("GET", "account/balance")))
        return balances_of(row, answers.now())

    async def deposits(self, answers: Answers) -> tuple[VenueDeposit, ...]:
        """Transfers into the trading account, three months back: what is deposited arrives in the funding account."""
        call = Call("GET", "account/bills-archive", {"type": "1"})
        return tuple(deposits_of(await _walk(answers, call, "billId", lambda row: row)))


async def _order(answers: Answers, parameters: dict[str, object]) -> VenueOrder | None:
    body = await answers.ask(Call("GET", "trade/order", parameters), absent=_NO_SUCH_ORDER)
    rows = [] if body is None else data_of(body)
    return order_of(rows[0]) if rows else None


async def _walk(answers: Answers, call: Call, page_by: str, read: Callable[[Body], T]) -> list[T]:
    """Every row of a list, newest first, page after page by the id of its last row."""
    found: list[T] = []
    after: dict[str, object] = {}
    for _ in pages():
        parameters = {**call.parameters, "limit": str(_PAGE), **after}
        rows = data_of(await answers.ask(Call(call.method, call.path, parameters)))
        found += [read(row) for row in rows]
        if len(rows) < _PAGE:
            break
        after = {"after": rows[-1][page_by]}
    return found

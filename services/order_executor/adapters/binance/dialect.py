"""Binance's spot dialect, live or on loopback: the settings' URL is the only difference."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ccxt.async_support.binance import binance

from services.order_executor.adapters.binance.parse import (
    balances_of,
    book_of,
    deposits_of,
    instrument_of,
    order_of,
    trade_of,
)
from services.order_executor.adapters.binance.user_stream import UserStream
from services.order_executor.adapters.dialect import LONGEST_WALK, OrderName, TradesWanted, pages
from services.order_executor.adapters.values import amount, milliseconds, readable
from services.order_executor.adapters.wire import Answers, Call, Metered, VenueAccess
from shared.core.market import Instrument
from shared.core.matching import Book, Side
from shared.core.money import plain
from shared.core.order_styles import OrderKind
from shared.core.styled_orders import value_to_spend
from shared.venues.binance import BINANCE
from shared.venues.port import OrderRequest, UserNews, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_PAGE = 1000
_BOOK_LEVELS = 100
_NO_SUCH_ORDER = -2013
_ANY_REFUSAL = range(-9_999, 0)
_DEFAULT_TAKER_FEE = Decimal("0.001")  # of the regular tier


class _Exchange(Metered, binance):  # type: ignore[misc] # ccxt has no types
    """ccxt's binance; the limits in force come with exchangeInfo."""

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """See ``Metered``."""
        parsed = await super().fetch(url, method, headers, body)
        if "/exchangeInfo" in url and isinstance(parsed, dict):
            self.rates.budget.learn(parsed.get("rateLimits") or ())
        return parsed


class BinanceDialect:
    """Fills ``VenueDialect``, ``Deep`` and ``Streaming``."""

    def exchange(self) -> Any:
        """See ``VenueDialect``."""
        return _Exchange({"options": {"defaultType": "spot"}})

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """{"code": -1121, "msg": "Invalid symbol."}"""
        if not isinstance(body, dict) or "code" not in body or "msg" not in body or str(body["code"]) == "200":
            return None
        code = body["code"]
        return code if isinstance(code, int) else None, str(body["msg"])

    def order_call(self, request: OrderRequest, _now: datetime) -> Call:
        """POST /api/v3/order, with its fills in the reply."""
        parameters = {
            "symbol": request.symbol,
            "side": request.side.value,
            **_kind_parameters(request),
            "newClientOrderId": request.client_order_id,
            "newOrderRespType": "FULL",
            "recvWindow": BINANCE.receive_window_ms,
        }
        return Call("POST", "order", parameters)

    def placed(self, _request: OrderRequest, body: Any) -> VenueOrder:
        """See ``VenueDialect``."""
        return order_of(body)

    def cancel_call(self, order: OrderName) -> Call:
        """DELETE /api/v3/order."""
        return Call("DELETE", "order", {"symbol": order.symbol, "origClientOrderId": order.client_order_id})

    async def by_client_id(self, answers: Answers, order: OrderName, _since: datetime) -> VenueOrder | None:
        """GET /api/v3/order."""
        return await self._order(answers, {"symbol": order.symbol, "origClientOrderId": order.client_order_id})

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """GET /api/v3/order."""
        return await self._order(answers, {"symbol": order.symbol, "orderId": order.venue_order_id})

    async def _order(self, answers: Answers, parameters: dict[str, object]) -> VenueOrder | None:
        body = await answers.ask(Call("GET", "order", parameters), absent={_NO_SUCH_ORDER})
        return None if body is None else order_of(body)

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """GET /api/v3/openOrders."""
        rows = await answers.ask(Call("GET", "openOrders", {"symbol": symbol} if symbol else {}))
        return tuple(order_of(row) for row in rows)

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """GET /api/v3/myTrades, page after page by the id of the last trade."""
        found: list[VenueTrade] = []
        begin: dict[str, object] = {"orderId": wanted.venue_order_id}
        if wanted.since is not None:
            begin = {"startTime": milliseconds(wanted.since)}
        for _ in pages():
            parameters = {"symbol": wanted.symbol, "limit": _PAGE, **begin}
            rows = await answers.ask(Call("GET", "myTrades", parameters))
            found += [trade_of(row) for row in rows]
            if len(rows) < _PAGE or wanted.since is None:
                break
            begin = {"fromId": int(rows[-1]["id"]) + 1}
        return tuple(found)

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """exchangeInfo, steps from the raw filters; taker fees of the account."""
        body = await answers.ask(Call("GET", "exchangeInfo", api=("public",)))
        fees = await self._taker_fees(answers)
        rows = (row for row in body["symbols"] if access.wants(row["quoteAsset"]))
        return readable(rows, lambda row: instrument_of(access.name, row, fees.get(row["symbol"], _DEFAULT_TAKER_FEE)))

    async def _taker_fees(self, answers: Answers) -> dict[str, Decimal]:
        """Taker fee as a fraction by symbol; empty where the venue does not tell."""
        rows = await answers.ask(Call("GET", "asset/tradeFee", api=("sapi",)), absent=_ANY_REFUSAL)
        return {str(row["symbol"]): amount(row["takerCommission"]) for row in rows or ()}

    async def balances(self, answers: Answers) -> VenueBalances:
        """GET /api/v3/account."""
        return balances_of(await answers.ask(Call("GET", "account", {"omitZeroBalances": "true"})))

    async def deposits(self, answers: Answers) -> tuple[VenueDeposit, ...]:
        """GET /sapi/v1/capital/deposit/hisrec, all pages."""
        found: list[VenueDeposit] = []
        for page in range(LONGEST_WALK):
            parameters = {"limit": _PAGE, "offset": page * _PAGE}
            rows = await answers.ask(Call("GET", "capital/deposit/hisrec", parameters, api=("sapi",)))
            found += deposits_of(rows)
            if len(rows) < _PAGE:
                break
        return tuple(found)

    async def book(self, answers: Answers, symbol: str) -> Book:
        """GET /api/v3/depth."""
        call = Call("GET", "depth", {"symbol": symbol, "limit": _BOOK_LEVELS}, ("public",))
        return book_of(await answers.ask(call))

    def news(self, access: VenueAccess, milliseconds: Callable[[], int]) -> AsyncIterator[UserNews]:
        """The user stream over the websocket API."""
        return UserStream(access.ws_api_url, access.api_key, access.api_secret).news(milliseconds)


def _kind_parameters(request: OrderRequest) -> dict[str, object]:
    """LIMIT_MAKER is refused (-2010) when it would match at once; MARKET with quoteOrderQty spends at most that."""
    quantity, price = plain(request.quantity), plain(request.limit_price)
    if request.kind is OrderKind.MAKER:
        return {"type": "LIMIT_MAKER", "quantity": quantity, "price": price}
    if request.kind is OrderKind.IOC:
        return {"type": "LIMIT", "timeInForce": "IOC", "quantity": quantity, "price": price}
    if request.side is Side.SELL:
        return {"type": "MARKET", "quantity": quantity}
    return {"type": "MARKET", "quoteOrderQty": plain(value_to_spend(request.quantity, request.limit_price))}

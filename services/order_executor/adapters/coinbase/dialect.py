"""Coinbase Advanced Trade's dialect.

It has no look-up by client id: the pair's orders are looked through, newest first. What arrives from outside is not in
this API, so a deposit shows as a difference between account and books.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ccxt.async_support.coinbase import coinbase

from services.order_executor.adapters.coinbase.parse import balances_of, instrument_of, order_of, trade_of
from services.order_executor.adapters.dialect import OrderName, TradesWanted, pages
from services.order_executor.adapters.values import Body, amount, field, readable
from services.order_executor.adapters.wire import Answers, Call, Metered, VenueAccess
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import ZERO, plain
from shared.core.orders import VenueReport
from shared.venues.coinbase import COINBASE
from shared.venues.port import OrderRequest, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_PRIVATE, _PUBLIC = ("v3", "private"), ("v3", "public")
_ORDERS = "brokerage/orders/historical/batch"
_PAGE = 250
_NO_SUCH_ORDER = frozenset({"not_found", "NOT_FOUND", "unknown"})


class _Exchange(Metered, coinbase):  # type: ignore[misc] # ccxt has no types
    """ccxt's coinbase; its tokens end with our receive window and are dated by the venue's clock."""

    def seconds(self) -> int:
        """The venue's time, of which tokens are dated."""
        return int(self.nonce()) // 1000

    def jwt(self, request: dict[str, Any], *rest: Any) -> str:
        """ccxt's token (``create_auth_token``), which ends after 120 s by itself."""
        ends = int(request["nbf"]) + COINBASE.receive_window_ms // 1000
        token: str = super().jwt({**request, "exp": ends}, *rest)
        return token


class CoinbaseDialect:
    """Fills ``VenueDialect``."""

    def exchange(self) -> Any:
        """See ``VenueDialect``."""
        return _Exchange({"options": {"fetchTime": "v3PublicGetBrokerageTime"}})  # in milliseconds

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """{"error": "unauthorized", "message": "..."}, {"errors": [{"id": "not_found", "message": "..."}]}, and of an
        order {"success": false, "error_response": {"error": "INSUFFICIENT_FUND", "message": "Insufficient balance in
        source account", "preview_failure_reason": "PREVIEW_INSUFFICIENT_FUND"}} with HTTP 200
        """
        if not isinstance(body, dict):
            return None
        if isinstance(body.get("errors"), list) and body["errors"] and isinstance(body["errors"][0], dict):
            return str(body["errors"][0].get("id")), str(body["errors"][0].get("message", ""))
        results = body.get("results")
        if isinstance(results, list) and results and results[0].get("success") is False:  # of a cancel
            return str(results[0].get("failure_reason")), "not cancelled"
        inner: Mapping[str, Any] = body.get("error_response") or body
        if body.get("success") is False or "error" in body:
            words = (inner.get(name) for name in ("preview_failure_reason", "message", "error_details"))
            code = inner.get("error") or body.get("failure_reason")
            return None if code is None else str(code), " ".join(str(word) for word in words if word)
        return None

    def order_call(self, request: OrderRequest, _now: datetime) -> Call:
        """POST /api/v3/brokerage/orders: ``sor_limit_ioc`` (ccxt ``create_order``, timeInForce IOC)."""
        order = {"base_size": plain(request.quantity), "limit_price": plain(request.limit_price)}
        parameters = {
            "client_order_id": request.client_order_id,
            "product_id": request.symbol,
            "side": "BUY" if request.side is Side.BUY else "SELL",
            "order_configuration": {"sor_limit_ioc": order},
        }
        return Call("POST", "brokerage/orders", parameters, _PRIVATE)

    def placed(self, _request: OrderRequest, body: Any) -> VenueOrder:
        """{"success": true, "success_response": {"order_id": "5", "product_id": "BTC-USD", "client_order_id": "t"}}"""
        if field(body, "success") is not True:
            raise ValueError("neither taken nor refused")
        row = field(body, "success_response")
        names = str(field(row, "client_order_id")), str(field(row, "order_id")), str(field(row, "product_id"))
        return VenueOrder(*names, VenueReport(True, ZERO))

    def cancel_call(self, order: OrderName) -> Call:
        """POST /api/v3/brokerage/orders/batch_cancel: by the venue's id only."""
        return Call("POST", "brokerage/orders/batch_cancel", {"order_ids": [order.venue_order_id]}, _PRIVATE)

    async def by_client_id(self, answers: Answers, order: OrderName, since: datetime) -> VenueOrder | None:
        """Through the pair's orders since a moment."""
        wanted: dict[str, object] = {"product_ids": order.symbol, "start_date": _text(since)}
        for row in await _walk(answers, _ORDERS, wanted, "orders"):
            if row["client_order_id"] == order.client_order_id:
                return order_of(row)
        return None

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """GET /api/v3/brokerage/orders/historical/{order_id}."""
        call = Call("GET", "brokerage/orders/historical/{order_id}", {"order_id": order.venue_order_id}, _PRIVATE)
        body = await answers.ask(call, absent=_NO_SUCH_ORDER)
        return None if body is None else order_of(field(body, "order"))

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """Orders of status OPEN (it may not be asked for together with others)."""
        wanted: dict[str, object] = {"order_status": "OPEN"}
        rows = await _walk(answers, _ORDERS, {**wanted, **({"product_ids": symbol} if symbol else {})}, "orders")
        return tuple(order_of(row) for row in rows)

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """GET /api/v3/brokerage/orders/historical/fills."""
        which: dict[str, object] = {"product_ids": wanted.symbol}
        if wanted.since is None:
            which["order_ids"] = wanted.venue_order_id
        else:
            which["start_sequence_timestamp"] = _text(wanted.since)
        rows = await _walk(answers, "brokerage/orders/historical/fills", which, "fills")
        return tuple(sorted((trade_of(row) for row in rows), key=lambda trade: (trade.at, trade.trade_id)))

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """GET /api/v3/brokerage/products; the taker fee of the account's tier."""
        body = await answers.ask(Call("GET", "brokerage/products", {"product_type": "SPOT"}, _PRIVATE))
        fee = await self._taker_fee(answers)
        quoted = (row for row in field(body, "products") if access.wants(row["quote_currency_id"]))
        return readable(quoted, lambda row: instrument_of(access.name, row, fee))

    async def _taker_fee(self, answers: Answers) -> Decimal:
        """{"fee_tier": {"taker_fee_rate": "0.006"}}"""
        body = await answers.ask(Call("GET", "brokerage/transaction_summary", {"product_type": "SPOT"}, _PRIVATE))
        return amount(field(field(body, "fee_tier"), "taker_fee_rate"))

    async def balances(self, answers: Answers) -> VenueBalances:
        """GET /api/v3/brokerage/accounts."""
        return balances_of(await _walk(answers, "brokerage/accounts", {}, "accounts"), answers.now())

    async def deposits(self, _answers: Answers) -> tuple[VenueDeposit, ...]:
        """None can be told apart here."""
        return ()


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


async def _walk(answers: Answers, path: str, parameters: dict[str, object], rows_in: str) -> list[Body]:
    """Every row of a list, page after page by the cursor."""
    found: list[Body] = []
    cursor: dict[str, object] = {}
    for _ in pages():
        body = await answers.ask(Call("GET", path, {**parameters, "limit": _PAGE, **cursor}, _PRIVATE))
        found += field(body, rows_in)
        if not body.get("cursor") or not field(body, rows_in):
            break
        cursor = {"cursor": body["cursor"]}
    return found

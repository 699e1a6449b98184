"""BigONE's spot dialect (REST version 3).

There is no look-up by client id in its documents (clients are seen that ask ``/viewer/order?client_order_id=``, which
neither the documents nor ccxt have), so the orders of the pair are looked through, newest first.
"""

import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from ccxt.async_support.bigone import bigone

from services.order_executor.adapters.bigone.parse import (
    balances_of,
    data_of,
    deposits_of,
    instrument_of,
    order_of,
    trade_of,
)
from services.order_executor.adapters.dialect import LONGEST_WALK, OrderName, TradesWanted, pages
from services.order_executor.adapters.values import Body, amount, field, moment_of_text, readable
from services.order_executor.adapters.wire import Answers, Call, Metered, VenueAccess
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import plain
from shared.venues.bigone import BIGONE
from shared.venues.port import OrderRequest, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_PAGE, _DEPOSITS_PAGE = 200, 50
_NOT_FOUND = "10013"
_WINDOW_S = str(BIGONE.receive_window_ms // 1000)

T = TypeVar("T")


class _Exchange(Metered, bigone):  # type: ignore[misc] # ccxt has no types
    """ccxt's bigone; its token states our receive window, and no two tokens have the same nonce."""

    _last_nonce = 0

    def nonce(self) -> int:
        """Nanoseconds of the venue's clock, always rising."""
        ahead_ns = int(self.options.get("timeDifference") or 0) * 1_000_000
        self._last_nonce = max(self._last_nonce + 1, time.time_ns() - ahead_ns)
        return self._last_nonce

    def jwt(self, request: dict[str, Any], *rest: Any) -> str:
        """ccxt's token (``bigone.py``, ``sign``) with ``recv_window``, which it leaves at the venue's 30 s."""
        token: str = super().jwt({**request, "recv_window": _WINDOW_S}, *rest)
        return token


class BigoneDialect:
    """Fills ``VenueDialect``."""

    def exchange(self) -> Any:
        """See ``VenueDialect``."""
        return _Exchange()

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """{"code": 10014, "message": "Insufficient funds"}"""
        if not isinstance(body, dict) or "code" not in body or str(body["code"]) == "0":
            return None
        return str(body["code"]), str(body.get("message", ""))

    def order_call(self, request: OrderRequest, _now: datetime) -> Call:
        """POST /viewer/orders. A limit: what the amount of a market buy means is not certain."""
        parameters = {
            "asset_pair_name": request.symbol,
            "side": "BID" if request.side is Side.BUY else "ASK",
            "type": "LIMIT",
            "amount": plain(request.quantity),
            "price": plain(request.limit_price),
            "immediate_or_cancel": True,
            "client_order_id": request.client_order_id,
        }
        return Call("POST", "orders", parameters)

    def placed(self, request: OrderRequest, body: Any) -> VenueOrder:
        """The order as it is taken; a reply that does not name our id is about it all the same."""
        row = data_of(body)
        return order_of({**row, "client_order_id": row.get("client_order_id") or request.client_order_id})

    def cancel_call(self, order: OrderName) -> Call:
        """POST /viewer/orders/{id}/cancel: by the venue's id only (/viewer/orders/cancel ends every order)."""
        return Call("POST", "orders/{id}/cancel", {"id": order.venue_order_id})

    async def by_client_id(self, answers: Answers, order: OrderName, since: datetime) -> VenueOrder | None:
        """Through the pair's orders, newest first, down to ``since``."""
        token = ""
        for _ in pages():
            parameters = {"asset_pair_name": order.symbol, "state": "ALL", "limit": _PAGE}
            body = await answers.ask(Call("GET", "orders", {**parameters, **_after(token)}))
            rows = data_of(body)
            for row in rows:
                if row.get("client_order_id") == order.client_order_id:
                    return order_of(row)
            token = str(body.get("page_token") or "")
            if not token or not rows or moment_of_text(rows[-1]["created_at"]) < since:
                break
        return None

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """GET /viewer/orders/{id}."""
        body = await answers.ask(Call("GET", "orders/{id}", {"id": order.venue_order_id}), absent={_NOT_FOUND})
        return None if body is None else order_of(data_of(body))

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """The pending orders of a pair. Of any: an order locks money, so only pairs of locked assets are asked for."""
        pairs = [symbol] if symbol else await self._pairs_with_locks(answers)
        found: list[VenueOrder] = []
        for pair in pairs:
            found += await _walk(answers, "orders", {"asset_pair_name": pair, "state": "PENDING"}, order_of)
        return tuple(found)

    async def _pairs_with_locks(self, answers: Answers) -> list[str]:
        accounts = data_of(await answers.ask(Call("GET", "accounts")))
        locked = {row["asset_symbol"] for row in accounts if amount(row["locked_balance"]) > Decimal(0)}
        if not locked:
            return []
        pairs = [str(row["name"]) for row in data_of(await answers.ask(Call("GET", "asset_pairs", api=("public",))))]
        return [pair for pair in pairs if locked.intersection(pair.split("-"))]

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """GET /viewer/trades, newest first; there is no filter by order or time."""
        name = wanted.venue_order_id
        since = wanted.since
        if since is None:
            body = await answers.ask(Call("GET", "orders/{id}", {"id": name}))
            since = moment_of_text(field(data_of(body), "created_at"))
        rows = await _walk(answers, "trades", {"asset_pair_name": wanted.symbol}, trade_of, until=since)
        found = [row for row in rows if row.at >= since and name in {"", row.venue_order_id}]
        return tuple(sorted(found, key=lambda trade: (trade.at, trade.trade_id)))

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """GET /asset_pairs."""
        rows = data_of(await answers.ask(Call("GET", "asset_pairs", api=("public",))))
        quoted = (row for row in rows if access.wants(row["quote_asset"]["symbol"]))
        return readable(quoted, lambda row: instrument_of(access.name, row))

    async def balances(self, answers: Answers) -> VenueBalances:
        """GET /viewer/accounts: the spot account."""
        return balances_of(data_of(await answers.ask(Call("GET", "accounts"))), answers.now())

    async def deposits(self, answers: Answers) -> tuple[VenueDeposit, ...]:
        """GET /viewer/deposits."""
        found: list[VenueDeposit] = []
        token = ""
        for _ in range(LONGEST_WALK):
            body = await answers.ask(Call("GET", "deposits", {"limit": _DEPOSITS_PAGE, **_after(token)}))
            found += deposits_of(data_of(body))
            token = str(body.get("page_token") or "")
            if not token or len(data_of(body)) < _DEPOSITS_PAGE:
                break
        return tuple(found)


def _after(token: str) -> dict[str, object]:
    return {"page_token": token} if token else {}


async def _walk(
    answers: Answers,
    path: str,
    parameters: dict[str, object],
    read: Callable[[Body], T],
    until: datetime | None = None,
) -> list[T]:
    """Every row of a list, newest first, page after page; no further than ``until`` (a trade's ``inserted_at``)."""
    found: list[T] = []
    token = ""
    for _ in pages():
        body = await answers.ask(Call("GET", path, {**parameters, "limit": _PAGE, **_after(token)}))
        rows = data_of(body)
        found += [read(row) for row in rows]
        token = str(body.get("page_token") or "")
        if not token or not rows or (until is not None and moment_of_text(rows[-1]["inserted_at"]) < until):
            break
    return found

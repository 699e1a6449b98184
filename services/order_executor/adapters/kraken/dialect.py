"""Kraken's spot dialect.

Its client ids are UUIDs (``shared/venues/identity.py``). Nonces must rise, so requests go out one by one
(``in_order``). The order carries a deadline of its own, which the matching engine keeps.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ccxt.async_support.kraken import kraken

from services.order_executor.adapters.dialect import OrderName, TradesWanted, pages
from services.order_executor.adapters.kraken.parse import (
    balances_of,
    deposits_of,
    instrument_of,
    order_of,
    pairs_of,
    result_of,
    trade_of,
)
from services.order_executor.adapters.values import Body, field, readable
from services.order_executor.adapters.wire import Answers, Call, Metered, VenueAccess
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import ZERO, plain
from shared.core.orders import VenueReport
from shared.venues.kraken import KRAKEN
from shared.venues.port import OrderRequest, VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_UNKNOWN_ORDER = "EOrder:Unknown order"
_NO_METHOD = "EFunding:No funding method"
_TRADES_AT_ONCE = 20


class _Exchange(Metered, kraken):  # type: ignore[misc] # ccxt has no types
    """ccxt's kraken."""


class KrakenDialect:
    """Fills ``VenueDialect``. It learns the names of the pairs when it first needs them."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[str, str]] = {}

    def exchange(self) -> Any:
        """See ``VenueDialect``."""
        return _Exchange()

    def read_error(self, body: object) -> tuple[int | str | None, str] | None:
        """{"error": ["EOrder:Insufficient funds"]}; warnings begin with W."""
        errors = body.get("error") if isinstance(body, dict) else None
        found = [str(error) for error in errors if not str(error).startswith("W")] if isinstance(errors, list) else []
        return (found[0], "; ".join(found)) if found else None

    def order_call(self, request: OrderRequest, now: datetime) -> Call:
        """POST /0/private/AddOrder (ccxt ``order_request``), with the fee in quote and a deadline."""
        deadline = now + timedelta(milliseconds=KRAKEN.receive_window_ms)
        parameters = {
            "pair": request.symbol,
            "type": "buy" if request.side is Side.BUY else "sell",
            "ordertype": "limit",
            "volume": plain(request.quantity),
            "price": plain(request.limit_price),
            "timeinforce": "IOC",
            "oflags": "fciq",
            "cl_ord_id": request.client_order_id,
            "deadline": deadline.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        return Call("POST", "AddOrder", parameters)

    def placed(self, request: OrderRequest, body: Any) -> VenueOrder:
        """{"error": [], "result": {"descr": {"order": "buy 0.01 XBTUSD @ limit 50000.0"}, "txid": ["OUF4EM-FRGI2"]}}"""
        (order_id,) = field(result_of(body), "txid")
        return VenueOrder(request.client_order_id, str(order_id), request.symbol, VenueReport(True, ZERO))

    def cancel_call(self, order: OrderName) -> Call:
        """POST /0/private/CancelOrder."""
        return Call("POST", "CancelOrder", {"cl_ord_id": order.client_order_id})

    async def by_client_id(self, answers: Answers, order: OrderName, _since: datetime) -> VenueOrder | None:
        """Among the open orders, then the closed ones: both can be asked for a client id."""
        for path in ("OpenOrders", "ClosedOrders"):
            body = await answers.ask(Call("POST", path, {"cl_ord_id": order.client_order_id}))
            for found in _orders(result_of(body)):
                if found.client_order_id == order.client_order_id:
                    return found
        return None

    async def by_venue_id(self, answers: Answers, order: OrderName) -> VenueOrder | None:
        """POST /0/private/QueryOrders."""
        row = await self._row(answers, order.venue_order_id)
        return None if row is None else order_of(order.venue_order_id, row)

    async def _row(self, answers: Answers, order_id: str) -> Body | None:
        call = Call("POST", "QueryOrders", {"txid": order_id, "trades": "true"})
        body = await answers.ask(call, absent={_UNKNOWN_ORDER})
        row: Body | None = None if body is None else result_of(body).get(order_id)
        return row

    async def open_orders(self, answers: Answers, symbol: str) -> tuple[VenueOrder, ...]:
        """POST /0/private/OpenOrders: always of all pairs."""
        orders = _orders(result_of(await answers.ask(Call("POST", "OpenOrders"))))
        return tuple(order for order in orders if symbol in {"", order.symbol})

    async def trades(self, answers: Answers, wanted: TradesWanted) -> tuple[VenueTrade, ...]:
        """Of an order: by the trades it names. Since a moment: POST /0/private/TradesHistory, newest first."""
        pairs = await self._names(answers)
        if wanted.since is None:
            rows = await self._trades_of(answers, wanted.venue_order_id)
        else:
            rows = await self._trades_since(answers, wanted.since)
        found = [trade_of(name, row, pairs) for name, row in rows.items()]
        found = [trade for trade in found if trade.symbol == wanted.symbol]
        return tuple(sorted(found, key=lambda trade: (trade.at, trade.trade_id)))

    async def _trades_of(self, answers: Answers, order_id: str) -> dict[str, Body]:
        row = await self._row(answers, order_id)
        names = [] if row is None else list(row.get("trades") or ())
        found: dict[str, Body] = {}
        for first in range(0, len(names), _TRADES_AT_ONCE):
            asked = ",".join(names[first : first + _TRADES_AT_ONCE])
            found |= result_of(await answers.ask(Call("POST", "QueryTrades", {"txid": asked})))
        return found

    async def _trades_since(self, answers: Answers, since: datetime) -> dict[str, Body]:
        found: dict[str, Body] = {}
        for _ in pages():
            parameters = {"start": f"{since.timestamp():.6f}", "ofs": len(found)}
            rows = field(result_of(await answers.ask(Call("POST", "TradesHistory", parameters))), "trades")
            new = rows.keys() - found.keys()
            found |= rows
            if not new:
                break
        return found

    async def _names(self, answers: Answers) -> dict[str, tuple[str, str]]:
        if not self._pairs:
            self._pairs = pairs_of(result_of(await answers.ask(Call("GET", "AssetPairs", api=("public",)))))
        return self._pairs

    async def instruments(self, answers: Answers, access: VenueAccess) -> tuple[Instrument, ...]:
        """GET /0/public/AssetPairs."""
        rows = result_of(await answers.ask(Call("GET", "AssetPairs", api=("public",))))
        self._pairs = pairs_of(rows)
        quoted = [row for key, row in rows.items() if access.wants(self._pairs[key][1])]
        return readable(quoted, lambda row: instrument_of(access.name, row))

    async def balances(self, answers: Answers) -> VenueBalances:
        """POST /0/private/Balance."""
        return balances_of(result_of(await answers.ask(Call("POST", "Balance"))), answers.now())

    async def deposits(self, answers: Answers) -> tuple[VenueDeposit, ...]:
        """POST /0/private/DepositStatus: the recent ones, as many as the venue tells."""
        body = await answers.ask(Call("POST", "DepositStatus"), absent={_NO_METHOD})
        return () if body is None else tuple(deposits_of(result_of(body)))


def _orders(result: Body) -> Iterator[VenueOrder]:
    """{"open": {"O26VBY-ISGAE-JP5TLU": {...}}}, or "closed"."""
    rows = result.get("open") or result.get("closed") or {}
    for order_id, row in rows.items():
        yield order_of(str(order_id), row)

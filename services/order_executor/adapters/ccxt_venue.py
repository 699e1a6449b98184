"""A venue of Binance's spot dialect through ccxt, live or on loopback: the settings' URL is the only difference.

ccxt signs, sends and reads; its implicit calls are used, so amounts stay the exact text they are. ccxt never repeats a
request (``maxRetriesOnFailure`` 0) and aiohttp never repeats a POST.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import ccxt
from ccxt.async_support.binance import binance

from services.order_executor.adapters.binance_parse import (
    amount,
    balances_of,
    deposits_of,
    instrument_of,
    order_of,
    trade_of,
)
from services.order_executor.adapters.user_stream import UserStream
from shared.core.errors import RetryLater, Stop
from shared.core.market import Instrument
from shared.core.money import plain
from shared.venues.capabilities import VenueCapabilities, VenueError, Verdict
from shared.venues.port import (
    NotSent,
    OpenOrder,
    OrderRefused,
    OrderRequest,
    OutcomeUnknown,
    Search,
    UserNews,
    VenueBalances,
    VenueDeposit,
    VenueOrder,
    VenueTrade,
)
from shared.venues.rate_limits import RateBudget, RateLimits

log = logging.getLogger(__name__)

_PAGE = 1000
_NO_SUCH_ORDER = -2013
_CLOCK_SKEWED, _OWNERS_ASKED = -1021, 20
_PLACE, _SUBSCRIBE = "POST /api/v3/order", "WS userDataStream.subscribe.signature"
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class VenueAccess:
    """Where and as whom. Empty URLs: the live venue's."""

    name: str
    quote: str
    rest_url: str
    ws_api_url: str
    api_key: str
    api_secret: str
    timeout_ms: int


class _Answered(Exception):  # noqa: N818 - an answer, though an error
    """The venue answered with an error."""

    def __init__(self, error: VenueError) -> None:
        super().__init__(f"HTTP {error.http_status}, {error.code}: {error.message}")
        self.error = error


class _Waits(Exception):  # noqa: N818 - what it does
    """The request has not gone out: the budget is used up, or the venue asked for silence."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"nothing may be asked for {wait_ms / 1000:.1f} s more")
        self.wait_s = wait_ms / 1000


class _Exchange(binance):  # type: ignore[misc] # ccxt has no types
    """ccxt's binance: every request within the budget, and errors kept as the venue sent them instead of as classes."""

    rates: "VenueRates"

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """THE way out for every request over HTTP. Raises _Waits, having sent nothing."""
        call = f"{method} {urlsplit(url).path}"
        self.rates.take(call)
        parsed = await super().fetch(url, method, headers, body)
        if call.endswith("/exchangeInfo") and isinstance(parsed, dict):
            self.rates.budget.learn(parsed.get("rateLimits") or ())
        return parsed

    def handle_errors(self, code: int, reason: str, *rest: Any) -> None:
        """Raise the error in a reply, if it is one. ``rest``: URL, method, headers, body, parsed body, request."""
        headers, body, parsed = rest[2] or {}, rest[3] or "", rest[4]
        wait_s = self.rates.heard(code, headers, str(body))
        is_error = isinstance(parsed, dict) and "code" in parsed and "msg" in parsed and str(parsed["code"]) != "200"
        if code < 400 and not is_error:
            return
        number = parsed.get("code") if isinstance(parsed, dict) else None
        message = str(parsed.get("msg", "")) if isinstance(parsed, dict) else str(body)[:200]
        raise _Answered(VenueError(code, number if isinstance(number, int) else None, message or reason, wait_s))


class VenueRates:
    """The budget on this process's clock: wall time at the start, steady from then on.

    ``silences``: ends of the silences that the venue has asked for, for whoever keeps them over a restart.
    """

    def __init__(self, limits: RateLimits) -> None:
        self.budget = RateBudget(limits)
        self.silences: asyncio.Queue[datetime] = asyncio.Queue()
        self._offset_ms = (time.time_ns() - time.monotonic_ns()) // _NS_PER_MS

    def now_ms(self) -> int:
        """Milliseconds since 1970, never going back."""
        return time.monotonic_ns() // _NS_PER_MS + self._offset_ms

    def wait_s(self, call: str) -> float:
        """0 when the call may go out now."""
        return self.budget.wait_ms(call, self.now_ms()) / 1000

    def take(self, call: str) -> None:
        """Let the call out. Raises _Waits."""
        now_ms = self.now_ms()
        if wait_ms := self.budget.wait_ms(call, now_ms):
            raise _Waits(wait_ms)
        self.budget.take(call, now_ms)

    def heard(self, status: int, headers: Mapping[str, str], text: str) -> float:
        """A reply came: seconds that the venue wants to be left alone for."""
        now_ms = self.now_ms()
        self.budget.observe(headers, now_ms)
        if not self.budget.refused(status, headers, text[:1000], now_ms):
            return 0.0
        until_ms = self.budget.silent_until_ms
        log.error("HTTP %d: silent for %.1f s", status, (until_ms - now_ms) / 1000)
        self.silences.put_nowait(datetime.fromtimestamp(until_ms / 1000, UTC))
        return (until_ms - now_ms) / 1000


def _exchange(access: VenueAccess, rates: VenueRates) -> Any:
    exchange = _Exchange(
        {
            "apiKey": access.api_key,
            "secret": access.api_secret,
            "timeout": access.timeout_ms,
            "enableRateLimit": False,  # the budget is ours: ccxt counts only what goes through one of its objects
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchMargins": False,
                "adjustForTimeDifference": True,
                "maxRetriesOnFailure": 0,
                "warnOnFetchOpenOrdersWithoutSymbol": False,
            },
        }
    )
    exchange.rates = rates
    exchange.has["fetchCurrencies"] = False
    if access.rest_url:
        # Every URL, so that no call can leave for the live venue by accident.
        base = access.rest_url.rstrip("/")
        for name, url in exchange.urls["api"].items():
            if isinstance(url, str):
                exchange.urls["api"][name] = base + urlsplit(url).path
    return exchange


class CcxtVenue:
    """The port's ``Venue`` for one account."""

    def __init__(self, access: VenueAccess, capabilities: VenueCapabilities) -> None:
        self.capabilities = capabilities
        self._access = access
        self.rates = VenueRates(capabilities.rates)
        self._exchange = _exchange(access, self.rates)
        self._skewed = False
        self._names: dict[str, str] = {}  # client ids of orders that were asked for in vain

    async def silenced(self) -> datetime:
        """See the port."""
        return await self.rates.silences.get()

    def stay_silent(self, until: datetime) -> None:
        """See the port."""
        self.rates.budget.stay_silent(int(until.timestamp() * 1000))

    async def place_order(self, request: OrderRequest, guard: Callable[[], str | None]) -> VenueOrder:
        """POST /api/v3/order once; see the port."""
        await self._before_call()
        if wait_s := self.rates.wait_s(_PLACE):
            raise NotSent(f"nothing may be asked for {wait_s:.1f} s more", retry_after_s=wait_s)
        signed = self._exchange.sign("order", ["private"], "POST", self._order_parameters(request))
        # After signing, so that nothing but the write follows: a request delayed even later, by a frozen process or a
        # slow way, is refused by the venue itself when its receive window has passed.
        if (reason := guard()) is not None:
            raise NotSent(reason)
        try:
            async with asyncio.timeout(2 * self._access.timeout_ms / 1000):
                body = await self._exchange.fetch(signed["url"], signed["method"], signed["headers"], signed["body"])
            order = order_of(body)
        except _Waits as waits:
            raise NotSent(str(waits), retry_after_s=waits.wait_s) from waits
        except _Answered as answered:
            raise self._refusal(answered.error) from answered
        except ValueError as error:
            raise OutcomeUnknown(f"unreadable reply: {error}") from error
        except (ccxt.BaseError, TimeoutError, OSError) as error:
            raise OutcomeUnknown(f"no reply: {error!r}"[:200]) from error
        if (order.client_order_id, order.symbol) != (request.client_order_id, request.symbol):
            raise OutcomeUnknown(f"the reply is about {order.client_order_id} {order.symbol}")
        return order

    def _order_parameters(self, request: OrderRequest) -> dict[str, object]:
        return {
            "symbol": request.symbol,
            "side": request.side.value,
            "type": "LIMIT",
            "timeInForce": "IOC",
            "quantity": plain(request.quantity),
            "price": plain(request.limit_price),
            "newClientOrderId": request.client_order_id,
            "newOrderRespType": "FULL",
            "recvWindow": self.capabilities.receive_window_ms,
        }

    def _refusal(self, error: VenueError) -> Exception:
        verdict = self.capabilities.errors.verdict(error)
        self._heed(error)
        if verdict is Verdict.UNKNOWN:
            return OutcomeUnknown(f"HTTP {error.http_status}, {error.code}: {error.message}"[:200])
        retry_after_s = max(error.retry_after_s, 0.25) if verdict is Verdict.RETRY else 0.0
        stop = verdict is Verdict.STOP
        return OrderRefused(str(error.code), error.message[:200], retry_after_s=retry_after_s, stop=stop)

    def _heed(self, error: VenueError) -> None:
        """Do what an error asks for: look at the clock."""
        if error.code == _CLOCK_SKEWED:
            self._skewed = True

    async def _before_call(self) -> None:
        if self._skewed:
            self._skewed = False
            await self._read(self._exchange.load_time_difference())

    async def _read(self, call: Awaitable[Any]) -> Any:
        """Await a call that changes nothing. Raises RetryLater, Stop, or _Answered for a definite refusal."""
        try:
            return await call
        except _Waits as waits:
            raise RetryLater(str(waits), after_s=waits.wait_s) from waits
        except _Answered as answered:
            self._heed(answered.error)
            verdict = self.capabilities.errors.verdict(answered.error)
            if verdict is Verdict.STOP:
                raise Stop(f"the venue shuts us out: {answered}") from answered
            if verdict is Verdict.REFUSE:
                raise
            raise RetryLater(str(answered), after_s=max(answered.error.retry_after_s, 0.25)) from answered
        except (ccxt.BaseError, TimeoutError, OSError) as error:
            raise RetryLater(f"the venue does not answer: {error!r}"[:200], after_s=0.25) from error

    async def _ask(self, call: Awaitable[Any]) -> Any:
        """``_read``, where a definite refusal is no more than a read that failed."""
        try:
            return await self._read(call)
        except _Answered as answered:
            raise RetryLater(f"the venue refuses a read: {answered}") from answered

    async def find_order(self, search: Search) -> VenueOrder | None:
        """One reading by client id, then open orders, then trades; see the port."""
        try:
            found = await self._by_client_id(search)
            return found or await self._among_open(search) or await self._by_trades(search)
        except ValueError as error:
            raise RetryLater(f"unreadable reply: {error}") from error

    async def _by_client_id(self, search: Search) -> VenueOrder | None:
        body = await self._order({"symbol": search.symbol, "origClientOrderId": search.client_order_id})
        return None if body is None else await self._complete(order_of(body), search.client_order_id)

    async def _order(self, parameters: dict[str, object]) -> Mapping[str, Any] | None:
        try:
            body: Mapping[str, Any] = await self._read(self._exchange.private_get_order(parameters))
        except _Answered as answered:
            if answered.error.code == _NO_SUCH_ORDER:
                return None
            raise RetryLater(f"the venue refuses a read: {answered}") from answered
        return body

    async def _among_open(self, search: Search) -> VenueOrder | None:
        rows = await self._ask(self._exchange.private_get_openorders({"symbol": search.symbol}))
        for row in rows:
            if row["clientOrderId"] == search.client_order_id:
                return await self._complete(order_of(row), search.client_order_id)
        return None

    async def _by_trades(self, search: Search) -> VenueOrder | None:
        """Trades since the intent whose orders are not known to be others': one of them may be ours. Raises RetryLater
        when there are more than one reading can look at: what was not looked at proves nothing.
        """
        since = {"startTime": int(search.since.timestamp() * 1000)}
        rows = await self._trades({"symbol": search.symbol, **since, "limit": _PAGE})
        known, name = search.known_order_ids, search.client_order_id
        owners = dict.fromkeys(trade.venue_order_id for trade in reversed(rows))
        unknown = [owner for owner in owners if owner not in known and self._names.get(owner, name) == name]
        for order_id in unknown[:_OWNERS_ASKED]:
            if (body := await self._order({"symbol": search.symbol, "orderId": order_id})) is None:
                continue
            if body["clientOrderId"] == name:
                return await self._complete(order_of(body), name)
            self._names[order_id] = body["clientOrderId"]  # so that the next reading comes further
        if len(rows) < _PAGE and len(unknown) <= _OWNERS_ASKED:
            return None
        raise RetryLater(f"{search.symbol}: more trades than one reading can look at", after_s=0.25)

    async def _trades(self, parameters: dict[str, object]) -> list[VenueTrade]:
        rows = await self._ask(self._exchange.private_get_mytrades(parameters))
        return [trade_of(row) for row in rows]

    async def _complete(self, order: VenueOrder, client_order_id: str) -> VenueOrder:
        """The order with its trades, as far as the venue shows them yet."""
        if order.client_order_id != client_order_id:
            raise ValueError(f"asked for {client_order_id}, got {order.client_order_id}")
        if not order.report.executed_quantity:
            return order
        rows = await self._trades({"symbol": order.symbol, "orderId": order.venue_order_id, "limit": _PAGE})
        ours = tuple(trade for trade in rows if trade.venue_order_id == order.venue_order_id)
        return VenueOrder(client_order_id, order.venue_order_id, order.symbol, order.report, ours)

    async def fetch_instruments(self) -> tuple[Instrument, ...]:
        """exchangeInfo through load_markets, steps from the raw filters; taker fees of the account."""
        markets = await self._ask(self._exchange.load_markets(True))
        fees = await self._taker_fees()
        found = []
        for market in markets.values():
            if market.get("spot") and market["info"].get("quoteAsset") == self._access.quote:
                fee = fees.get(market["id"])
                taker = fee if fee is not None else Decimal(str(market["taker"]))
                try:
                    found.append(instrument_of(self._access.name, market["info"], taker))
                except ValueError as error:
                    log.warning("instrument %s is left out: %s", market["id"], error)
        return tuple(sorted(found, key=lambda instrument: instrument.base))

    async def _taker_fees(self) -> dict[str, Decimal]:
        """Taker fee as a fraction by symbol; empty where the venue does not tell (then ccxt's default counts)."""
        try:
            rows = await self._read(self._exchange.sapi_get_asset_tradefee({}))
            return {str(row["symbol"]): amount(row["takerCommission"]) for row in rows}
        except (_Answered, KeyError, TypeError, ValueError):
            return {}

    async def fetch_balances(self) -> VenueBalances:
        """GET /api/v3/account."""
        return balances_of(await self._ask(self._exchange.private_get_account({"omitZeroBalances": "true"})))

    async def fetch_deposits(self) -> tuple[VenueDeposit, ...]:
        """GET /sapi/v1/capital/deposit/hisrec, all pages, oldest first."""
        found: list[VenueDeposit] = []
        offset = 0
        while True:
            parameters = {"limit": _PAGE, "offset": offset}
            rows = await self._ask(self._exchange.sapi_get_capital_deposit_hisrec(parameters))
            found += deposits_of(rows)
            offset += _PAGE
            if len(rows) < _PAGE:
                return tuple(sorted(found, key=lambda deposit: (deposit.at, deposit.deposit_id)))

    async def fetch_open_orders(self) -> tuple[OpenOrder, ...]:
        """GET /api/v3/openOrders of all pairs."""
        rows = await self._ask(self._exchange.private_get_openorders({}))
        return tuple(OpenOrder(str(row["symbol"]), str(row["orderId"]), str(row["clientOrderId"])) for row in rows)

    async def fetch_trades(self, symbol: str, since: datetime) -> tuple[VenueTrade, ...]:
        """GET /api/v3/myTrades: one page."""
        since_ms = int(since.timestamp() * 1000)
        return tuple(await self._trades({"symbol": symbol, "startTime": since_ms, "limit": _PAGE}))

    def news(self) -> AsyncIterator[UserNews]:
        """The user stream over the websocket API."""
        access = self._access
        try:
            self.rates.take(_SUBSCRIBE)
        except _Waits as waits:
            raise RetryLater(str(waits), after_s=waits.wait_s) from waits
        return UserStream(access.ws_api_url, access.api_key, access.api_secret).news(self._exchange.nonce)

    async def close(self) -> None:
        """Close ccxt's session."""
        await self._exchange.close()

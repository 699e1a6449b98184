"""Any spot venue of ccxt, asked once a second over REST.

Slower than a websocket and blind between two looks, but the same to everybody else: quotes with the text ccxt read, the
wall clock as market time, and a connection that counts as ended while the venue does not answer.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt

from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.venue_events import QuoteReceived, TimeReceived

_log = logging.getLogger(__name__)
_POLL_INTERVAL_S = 1.0
_REQUEST_TIMEOUT_MS = 10_000
_FAILURES = (ccxt.BaseError, TimeoutError, OSError, ValueError, KeyError, TypeError)


def exchange_of(name: str, root: str) -> Any | None:
    """ccxt's exchange of that name, at ``root`` instead of its own hosts if there is one; None if ccxt has none."""
    if name not in ccxt.exchanges:
        return None
    exchange = getattr(ccxt, name)({"enableRateLimit": True, "timeout": _REQUEST_TIMEOUT_MS})
    exchange.options["fetchMarkets"] = {"types": ["spot"]}
    exchange.has["fetchCurrencies"] = False
    if root:
        exchange.urls["api"] = _moved(exchange.urls["api"], root.rstrip("/"))
    return exchange


def _moved(urls: Any, root: str) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(url, root) for name, url in urls.items()}
    return root + urlsplit(urls).path if isinstance(urls, str) else urls


class PolledPrices:
    """Fills ``VenuePrices`` with an exchange of ccxt."""

    def __init__(
        self,
        exchange: Any,
        listener: Listener,
        times: ConnectionTimes,
        *,
        interval_s: float = _POLL_INTERVAL_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._exchange, self._listener, self._times = exchange, listener, times
        self._interval_s, self._chance = interval_s, chance
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._answered_at = time.monotonic()
        self._is_alive = False
        self._is_loaded = False

    def follow(self, symbols: Collection[str]) -> None:
        """See ``VenuePrices``."""
        self._wanted = frozenset(symbols)
        self._changed.set()

    async def run(self) -> None:
        """See ``VenuePrices``."""
        failures = 0
        try:
            while True:
                if not self._wanted:
                    await self._changed.wait()
                self._changed.clear()
                try:
                    await self._look()
                    failures, delay_s = 0, self._interval_s
                except _FAILURES as failed:
                    failures += 1
                    delay_s = self._times.back_off.delay_s(failures, self._chance())
                    _log.warning("no prices from %s: %s; again in %.2f s", self._exchange.id, failed, delay_s)
                    self._unanswered()
                await asyncio.sleep(delay_s)
        finally:
            await self._exchange.close()

    def _unanswered(self) -> None:
        if self._is_alive and time.monotonic() - self._answered_at >= self._times.quiet_s:
            self._is_alive = False
            self._listener.alive(self._wanted, False)

    async def _look(self) -> None:
        """Ask for everything that is wanted and tell it. Raises what ccxt raises."""
        if not self._is_loaded:
            await self._exchange.load_markets()
            # From here on ccxt passes prices on as the text it read.
            self._exchange.number = str
            self._is_loaded = True
        by_name = self._names()
        tickers = await self._tickers(list(by_name)) if by_name else {}
        received_ns = time.time_ns()
        self._answered_at = time.monotonic()
        if not self._is_alive:
            self._is_alive = True
            self._listener.connected()
        self._listener.receive(TimeReceived("", received_ns // 1_000_000), received_ns)
        for name, ticker in tickers.items():
            symbol = by_name.get(name)
            if symbol is not None:
                self._listener.receive(QuoteReceived(symbol, ticker.get("bid"), ticker.get("ask")), received_ns)

    def _names(self) -> dict[str, str]:
        """ccxt's names of the wanted symbols, to the venue's own; what the venue no longer lists is left out."""
        found = {}
        for symbol in sorted(self._wanted):
            markets = self._exchange.markets_by_id.get(symbol, ())
            spot = next((market for market in markets if market.get("spot")), None)
            if spot is not None:
                found[spot["symbol"]] = symbol
        return found

    async def _tickers(self, names: list[str]) -> Mapping[str, Mapping[str, Any]]:
        exchange = self._exchange
        if exchange.has.get("fetchBidsAsks"):
            told: Mapping[str, Mapping[str, Any]] = await exchange.fetch_bids_asks(names)
        elif exchange.has.get("fetchTickers"):
            told = await exchange.fetch_tickers(names)
        else:
            told = {name: await exchange.fetch_ticker(name) for name in names}
        return told

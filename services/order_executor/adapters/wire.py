"""The one way out to a venue: ccxt signs and sends, the budget is kept, and errors stay as the venue sent them.

ccxt never repeats a request (``maxRetriesOnFailure`` 0, and ``fetch`` is called directly) and aiohttp never repeats a
POST. Amounts stay the text they are: no method of ccxt that makes numbers of them is used.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import ccxt

from services.order_executor.adapters.last_word import AskingRequest, Guard, asked_before_writing
from shared.core.errors import RetryLater, Stop
from shared.venues.capabilities import VenueCapabilities, VenueError, Verdict
from shared.venues.port import OrderRefused, OutcomeUnknown
from shared.venues.rate_limits import RateBudget, RateLimits

log = logging.getLogger(__name__)

_NS_PER_MS = 1_000_000
_SHORTEST_PAUSE_S = 0.25
_NO_LOG = logging.Logger("ccxt", logging.CRITICAL)  # of no hierarchy: ccxt writes headers, so keys, into its log
_LOST = (ccxt.BaseError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class VenueAccess:
    """Where and as whom. Empty URLs: the live venue's. ``sandbox``: the venue's own test environment instead.

    ``quote``: what the pairs asked for are quoted in; "": anything.
    """

    name: str
    quote: str
    rest_url: str
    ws_api_url: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    timeout_ms: int
    api_passphrase: str = field(default="", repr=False)
    sandbox: bool = False

    def wants(self, quote: object) -> bool:
        """Whether pairs quoted in this are asked for."""
        return self.quote in {"", quote}


@dataclass(frozen=True, slots=True)
class Call:
    """One request: ``path`` and ``api`` as in ccxt's table of the venue; ``headers`` that go out beside the signed."""

    method: str
    path: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    api: tuple[str, ...] = ("private",)
    headers: Mapping[str, str] = field(default_factory=dict)


class Answered(Exception):  # noqa: N818 - an answer, though an error
    """The venue answered with an error."""

    def __init__(self, error: VenueError) -> None:
        super().__init__(f"HTTP {error.http_status}, {error.code}: {error.message}")
        self.error = error


class Waits(Exception):  # noqa: N818 - what it does
    """The request has not gone out: the budget is used up, or the venue asked for silence."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"nothing may be asked for {wait_ms / 1000:.1f} s more")
        self.wait_s = wait_ms / 1000


ReadError = Callable[[object], tuple[int | str | None, str] | None]
"""Code and text of the error that a parsed reply is; None when it is none."""


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
        """Let the call out. Raises Waits."""
        now_ms = self.now_ms()
        if wait_ms := self.budget.wait_ms(call, now_ms):
            raise Waits(wait_ms)
        self.budget.take(call, now_ms)

    def heard(self, status: int, headers: Mapping[str, str], text: str) -> float | None:
        """A reply came: seconds that the venue wants to be left alone for, if its status says that it wants to."""
        now_ms = self.now_ms()
        self.budget.observe(headers, now_ms)
        before_ms = self.budget.silent_until_ms
        if not self.budget.refused(status, headers, text[:1000], now_ms):
            return None
        self._keep(before_ms, f"HTTP {status}")
        return max(0, self.budget.silent_until_ms - now_ms) / 1000

    def be_silent(self, pause_s: float, why: str) -> None:
        """Ask nothing for so long, because an error says so."""
        before_ms = self.budget.silent_until_ms
        self.budget.stay_silent(self.now_ms() + int(pause_s * 1000))
        self._keep(before_ms, why)

    def _keep(self, before_ms: int, why: str) -> None:
        until_ms = self.budget.silent_until_ms
        if until_ms > before_ms:
            log.error("%s: silent for %.1f s", why, (until_ms - self.now_ms()) / 1000)
            self.silences.put_nowait(datetime.fromtimestamp(until_ms / 1000, UTC))


class Metered:
    """Goes before a ccxt class: every request within the budget, and errors as data instead of ccxt's classes."""

    rates: VenueRates
    read_error: ReadError
    capabilities: VenueCapabilities

    own_session: bool
    session: aiohttp.ClientSession | None
    ssl_context: Any
    aiohttp_trust_env: bool

    def open(self, lazy: bool = False) -> None:
        """Prepare the HTTP session, once; like ccxt's, except that its requests ask before they are written."""
        own, self.own_session = self.own_session, False
        super().open(lazy)  # type: ignore[misc] # of the ccxt class that follows
        self.own_session = own
        if own and self.session is None:
            self.tcp_connector = aiohttp.TCPConnector(ssl=self.ssl_context)
            self.session = aiohttp.ClientSession(
                connector=self.tcp_connector, trust_env=self.aiohttp_trust_env, request_class=AskingRequest
            )

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """THE way out for every request over HTTP. Raises Waits, having sent nothing."""
        self.rates.take(f"{method} {urlsplit(url).path}")
        return await super().fetch(url, method, headers, body)  # type: ignore[misc] # of the ccxt class that follows

    def handle_errors(self, code: int, reason: str, *rest: Any) -> None:
        """Raise the error in a reply, if it is one. ``rest``: URL, method, headers, body, parsed body, request."""
        headers, body, parsed = rest[2] or {}, rest[3] or "", rest[4]
        wait_s = self.rates.heard(code, headers, str(body))
        found = self.read_error(parsed)
        if found is None and code < 400:
            return
        number, message = found or (None, str(body)[:200])
        if wait_s is None:
            verdict = self.capabilities.errors.verdict(VenueError(code, number, message))
            wait_s = self.capabilities.pause_s(verdict)
            if wait_s:
                self.rates.be_silent(wait_s, f"{number}: {message}"[:200])
        raise Answered(VenueError(code, number, message or reason, wait_s))


class Answers(Protocol):
    """What a dialect asks with."""

    async def ask(self, call: Call, absent: Collection[int | str] = ()) -> Any:
        """The parsed reply; None when the venue answers with a code of ``absent``. Raises RetryLater, Stop."""

    def now(self) -> datetime:
        """The venue's time, as far as it is known."""


def prepared(exchange: Any, access: VenueAccess) -> Any:
    """A ccxt object that talks to ``access`` and nobody else."""
    exchange.apiKey, exchange.secret = access.api_key, access.api_secret
    exchange.password, exchange.timeout = access.api_passphrase, access.timeout_ms
    exchange.enableRateLimit = False  # the budget is ours: ccxt counts only what goes through one of its objects
    exchange.options["maxRetriesOnFailure"] = 0
    exchange.logger = _NO_LOG
    if access.sandbox:
        exchange.set_sandbox_mode(True)
    if access.rest_url:
        # Every URL, so that no call can leave for the live venue by accident.
        base = access.rest_url.rstrip("/")
        for name, url in exchange.urls["api"].items():
            if isinstance(url, str):
                exchange.urls["api"][name] = base + urlsplit(url).path
    return exchange


class Wire:
    """Signs and sends for one account. ``is_skewed``: our clock is to be compared with the venue's before we go on."""

    def __init__(self, exchange: Any, capabilities: VenueCapabilities, rates: VenueRates, timeout_ms: int) -> None:
        self.exchange = exchange
        self.is_skewed = True
        self._capabilities = capabilities
        self._rates = rates
        self._longest_s = 2 * timeout_ms / 1000
        self._turn = asyncio.Lock()

    def now(self) -> datetime:
        """See ``Answers``: our clock, set by the difference that was measured."""
        difference_ms = int(self.exchange.options.get("timeDifference") or 0)
        return datetime.fromtimestamp((self.exchange.milliseconds() - difference_ms) / 1000, UTC)

    async def set_clock(self) -> None:
        """Measure the difference of the clocks, if it is due. Raises RetryLater, Stop."""
        if not self.is_skewed:
            return
        try:
            await self._answered(self.exchange.load_time_difference())
        except Answered as answered:
            raise RetryLater(f"the venue does not tell its time: {answered}") from answered
        self.is_skewed = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One request at a time where the venue wants nonces in order; signing must be inside."""
        if not self._capabilities.in_order:
            yield
            return
        async with self._turn:
            yield

    def sign(self, call: Call) -> Mapping[str, Any]:
        """The request as it goes out; ``name`` is what the budget knows it by."""
        signed = self.exchange.sign(call.path, list(call.api), call.method, dict(call.parameters))
        headers = {**(signed["headers"] or {}), **call.headers}
        return {**signed, "headers": headers, "name": f"{call.method} {urlsplit(signed['url']).path}"}

    def wait_s(self, signed: Mapping[str, Any]) -> float:
        """0 when the request may go out now."""
        return self._rates.wait_s(signed["name"])

    async def send(self, signed: Mapping[str, Any]) -> Any:
        """Send it once. Raises Waits, Answered, or whatever became of the connection."""
        async with asyncio.timeout(self._longest_s):
            return await self.exchange.fetch(signed["url"], signed["method"], signed["headers"], signed["body"])

    async def send_order(self, signed: Mapping[str, Any], guard: Guard) -> Any:
        """Send an order if ``guard`` agrees when it is about to be written. Raises Waits, NotSent, OrderRefused,
        OutcomeUnknown.
        """
        try:
            with asked_before_writing(guard):
                return await self.send(signed)
        except Answered as answered:
            raise self._refusal(answered.error) from answered
        except _LOST as error:
            raise OutcomeUnknown(f"no reply: {type(error).__name__}") from error

    async def ask(self, call: Call, absent: Collection[int | str] = ()) -> Any:
        """See ``Answers``."""
        try:
            return await self._asked(call)
        except Answered as answered:
            if answered.error.code in absent:
                return None
            raise RetryLater(f"the venue refuses it: {answered}") from answered

    async def tell(self, call: Call) -> None:
        """Ask for what the venue may refuse for good: that is no error. Raises RetryLater, Stop."""
        try:
            await self._asked(call)
        except Answered as answered:
            log.info("the venue refuses it: %s", answered)

    async def _asked(self, call: Call) -> Any:
        """The parsed reply. Raises RetryLater, Stop, or Answered for a definite refusal."""
        await self.set_clock()
        async with self.turn():
            return await self._answered(self.send(self.sign(call)))

    async def _answered(self, sending: Awaitable[Any]) -> Any:
        """Await a request that may be repeated. Raises RetryLater, Stop, or Answered for a definite refusal."""
        try:
            return await sending
        except Waits as waits:
            raise RetryLater(str(waits), after_s=waits.wait_s) from waits
        except Answered as answered:
            self._heed(answered.error)
            verdict = self._capabilities.errors.verdict(answered.error)
            if verdict is Verdict.STOP:
                raise Stop(f"the venue shuts us out: {answered}") from answered
            if verdict is Verdict.REFUSE:
                raise
            raise RetryLater(str(answered), after_s=max(answered.error.retry_after_s, _SHORTEST_PAUSE_S)) from answered
        except _LOST as error:
            lost = f"the venue does not answer: {type(error).__name__}"
            raise RetryLater(lost, after_s=_SHORTEST_PAUSE_S) from error

    def _refusal(self, error: VenueError) -> Exception:
        verdict = self._capabilities.errors.verdict(error)
        self._heed(error)
        if verdict is Verdict.UNKNOWN:
            return OutcomeUnknown(f"HTTP {error.http_status}, {error.code}: {error.message}"[:200])
        again = verdict in {Verdict.RETRY, Verdict.RATE_LIMITED, Verdict.BANNED}
        retry_after_s = max(error.retry_after_s, _SHORTEST_PAUSE_S) if again else 0.0
        stop = verdict is Verdict.STOP
        return OrderRefused(str(error.code), error.message[:200], retry_after_s=retry_after_s, stop=stop)

    def _heed(self, error: VenueError) -> None:
        """Do what an error asks for: look at the clock."""
        if error.code in self._capabilities.clock_codes:
            self.is_skewed = True

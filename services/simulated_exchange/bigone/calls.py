"""The calls of the dialect: envelope, parameters and pages, and the routes made from a table of endpoints."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.bigone.errors import TOO_MANY_REQUESTS, BigoneError, malformed, not_found
from services.simulated_exchange.bigone.signing import authorise
from services.simulated_exchange.binance.rate_gate import RateLimitedError
from services.simulated_exchange.binance.rest import reply
from services.simulated_exchange.desk import Desk, wall_ms
from services.simulated_exchange.listing import Listing
from services.simulated_exchange.orders import VenueRefusal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the desk, parameters (path, query, JSON body), the clock (ms), and the account of a viewer's call."""

    desk: Desk
    values: Mapping[str, Any]
    clock_ms: int
    viewer: Account | None = None

    @property
    def account(self) -> Account:
        """The account that asks. Only viewer's calls may read it."""
        assert self.viewer is not None  # noqa: S101 - public calls never ask
        return self.viewer

    def text(self, name: str) -> str:
        """A parameter as text; empty when it is not there."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    def flag(self, name: str) -> bool:
        """A JSON truth value, false when it is not there (10007)."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise malformed(name)
        return value

    def limit(self, default: int, most: int) -> int:
        """``limit``: above ``most`` counts as ``most`` (10007)."""
        text = self.text("limit")
        if not text:
            return default
        if not text.isdecimal() or int(text) < 1:
            raise malformed("limit")
        return min(int(text), most)

    def listing(self, *, once: bool = False) -> Listing:
        """The pair that ``asset_pair_name`` names, as BTC-USDT (10013). ``once``: delisted ones too."""
        return self.listing_of(self.text("asset_pair_name"), once=once)

    def listing_of(self, name: str, *, once: bool = False) -> Listing:
        """A pair by its name."""
        base, dash, quote = name.partition("-")
        venue = self.desk.venue
        try:
            if not dash:
                raise not_found()
            return venue.once_listed(base + quote) if once else venue.listing(base + quote)
        except VenueRefusal:
            raise not_found() from None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; ``token`` asks for what comes after it, "" at the end."""

    rows: list[object]
    token: str


def page(call: Call, rows: Iterable[T], number: Callable[[T], int], default: int, most: int) -> tuple[list[T], str]:
    """Rows of a list that falls by ``number``, from after ``page_token`` on, and the token of the next page."""
    token, limit = call.text("page_token"), call.limit(default, most)
    if token:
        try:
            after = int(urlsafe_b64decode(token))
        except ValueError:
            raise malformed("page_token") from None
        rows = (row for row in rows if number(row) < after)
    found = list(islice(rows, limit + 1))
    kept = found[:limit]
    more = len(found) > limit
    return kept, urlsafe_b64encode(str(number(kept[-1])).encode()).decode() if more else ""


def pair_name(listing: Listing) -> str:
    """BTC-USDT."""
    return f"{listing.instrument.base}-{listing.instrument.quote}"


Answer = Callable[[Call], object]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A call's method, path below /api/v3 and function; a viewer's call needs a token."""

    method: str
    path: str
    answer: Answer
    is_order: bool = False

    @property
    def is_viewers(self) -> bool:
        """Whether it is about an account."""
        return self.path.startswith("/viewer/")


def rest_routes(desk: Desk, endpoints: Sequence[Endpoint]) -> list[web.RouteDef]:
    """A route per endpoint."""
    return [web.route(endpoint.method, f"/api/v3{endpoint.path}", _handler(desk, endpoint)) for endpoint in endpoints]


def _handler(desk: Desk, endpoint: Endpoint) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        address, headers = request.remote or "", {}
        try:
            _admit(desk, endpoint, address)
            answer = _answer(desk, endpoint, request, body)
        except RateLimitedError as limited:
            headers["Retry-After"] = str(limited.retry_after_s)
            return reply(TOO_MANY_REQUESTS.body(), status=TOO_MANY_REQUESTS.status, headers=headers)
        except BigoneError as error:
            return reply(error.body(), status=error.status)
        if isinstance(answer, Page):
            return reply({"code": 0, "data": answer.rows, "page_token": answer.token})
        return reply({"code": 0, "data": answer})

    return handle


def _admit(desk: Desk, endpoint: Endpoint, address: str) -> None:
    """Every request weighs the same. Raises RateLimitedError."""
    now = wall_ms()
    desk.gate.admit(address, 1, now)
    if endpoint.is_order:
        desk.gate.admit_order(address, address, now)


def _answer(desk: Desk, endpoint: Endpoint, request: web.Request, body: bytes) -> object:
    now = desk.clock_ms()
    viewer = authorise(desk.venue, request.headers.get("Authorization"), now) if endpoint.is_viewers else None
    values = {**request.query, **_read_body(body), **request.match_info}
    return endpoint.answer(Call(desk, values, now, viewer))


def _read_body(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        raise BigoneError(10001, "Syntax error") from None
    if not isinstance(found, dict):
        raise BigoneError(10001, "Syntax error")
    return found

"""The operator's side, beside any dialect: /control (deposits, accounts, pace of the market) and /healthz."""

import hmac
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.binance.rate_gate import LONGEST_BAN_S, RateGate
from services.simulated_exchange.binance.rest import reply
from services.simulated_exchange.desk import wall_ms
from services.simulated_exchange.markets.files import iso
from services.simulated_exchange.orders import Cause, VenueRefusal
from services.simulated_exchange.replay import MAX_ROWS_PER_SECOND, Replay
from services.simulated_exchange.venue import Venue
from shared.core.errors import Problem, Refused
from shared.core.market import is_pair_name
from shared.core.money import parse_asset, parse_decimal, plain

MAX_ROWS = 1_000_000
_LONGEST_ID = 128
_RATES = ("weight_per_minute", "orders_per_10s", "orders_per_day", "patience")


class Control:
    """Handlers of the control API. Bodies and answers are JSON; refusals name field, value and what is allowed."""

    def __init__(self, venue: Venue, replay: Replay, gate: RateGate) -> None:
        self._venue = venue
        self._gate = gate
        self._replay = replay

    def routes(self) -> list[web.RouteDef]:
        """Routes of the control API."""
        return [
            web.get("/control/market", self.market),
            web.post("/control/market/pause", self.pause),
            web.post("/control/market/resume", self.resume),
            web.post("/control/market/speed", self.speed),
            web.post("/control/market/advance", self.advance),
            web.post("/control/deposits", self.deposit),
            web.post("/control/withdrawals", self.withdraw),
            web.post("/control/accounts/discount", self.discount),
            web.get("/control/accounts", self.accounts),
            web.post("/control/accounts", self.add_account),
            web.get("/control/rates", self.rates),
            web.post("/control/rates", self.change_rates),
            web.post("/control/rates/ban", self.ban),
        ]

    async def market(self, _request: web.Request) -> web.StreamResponse:
        """Where the market is."""
        return reply(self._market())

    async def pause(self, _request: web.Request) -> web.StreamResponse:
        """Hold the market at its row."""
        self._replay.set_pace(paused=True)
        return reply(self._market())

    async def resume(self, _request: web.Request) -> web.StreamResponse:
        """Let the market go on."""
        self._replay.set_pace(paused=False)
        return reply(self._market())

    async def speed(self, request: web.Request) -> web.StreamResponse:
        """{"rows_per_second": 40}"""
        speed = (await _body(request)).get("rows_per_second")
        if not isinstance(speed, int | float) or isinstance(speed, bool) or not 0 < speed <= MAX_ROWS_PER_SECOND:
            allowed = f"a number above 0, at most {MAX_ROWS_PER_SECOND:.0f}"
            raise Refused.one("rows_per_second", speed, allowed, "is not a speed")
        self._replay.set_pace(rows_per_second=float(speed))
        return reply(self._market())

    async def advance(self, request: web.Request) -> web.StreamResponse:
        """{"rows": 1} or {"to_row": 42}: makes further rows current while paused, and answers when they are.

        Sent again, ``to_row`` changes nothing.
        """
        body = await _body(request)
        if "to_row" in body:
            advanced = await self._replay.advance_to(_row(body["to_row"]))
            return reply(self._market() | {"advanced": advanced})
        rows = body.get("rows", 1)
        if not isinstance(rows, int) or isinstance(rows, bool) or not 1 <= rows <= MAX_ROWS:
            raise Refused.one("rows", rows, f"1 to {MAX_ROWS}", "is not a number of rows")
        advanced = await self._replay.advance(rows)
        return reply(self._market() | {"advanced": advanced})

    async def deposit(self, request: web.Request) -> web.StreamResponse:
        """{"id": "d-1", "asset": "USDT", "amount": "1000", "account": "<api key>"}; account: default the first."""
        return self._move(await _body(request), sign=1)

    async def withdraw(self, request: web.Request) -> web.StreamResponse:
        """The same body as a deposit's: the money leaves the account, as when its owner takes it elsewhere."""
        return self._move(await _body(request), sign=-1)

    async def discount(self, request: web.Request) -> web.StreamResponse:
        """{"enabled": true, "account": "<api key>"}: pay commission in the discount asset; account: the first."""
        body = await _body(request)
        if not isinstance(body.get("enabled"), bool):
            raise Refused.one("enabled", body.get("enabled"), "true or false", "is not a choice")
        account = self._account(body)
        self._venue.take_discount(account, wanted=body["enabled"])
        asset = self._venue.rules.fees.discount_asset
        return reply({"account": account.account_id, "enabled": account.takes_discount, "asset": asset})

    def _move(self, body: Mapping[str, Any], *, sign: int) -> web.StreamResponse:
        deposit_id = _text(body, "id", _LONGEST_ID)
        asset = parse_asset(body.get("asset"), "asset")
        amount = _amount(body.get("amount")) * sign
        try:
            deposit = self._venue.deposit(deposit_id, self._account(body), asset, amount)
        except VenueRefusal as refusal:
            if refusal.cause is Cause.INSUFFICIENT_BALANCE:
                raise Refused.one("amount", plain(-amount), "at most what is free", f"{asset} is not there") from None
            raise Refused.one("asset", asset, "USDT or an asset of the market", "is not an asset here") from None
        view = {"id": deposit.deposit_id, "asset": deposit.asset, "amount": plain(deposit.amount)}
        return reply(view | {"account": deposit.account_id, "time": iso(deposit.time_ms)})

    async def accounts(self, _request: web.Request) -> web.StreamResponse:
        """All accounts with their balances; no secrets."""
        return reply([_account_view(account) for account in self._venue.accounts.values()])

    async def add_account(self, request: web.Request) -> web.StreamResponse:
        """{"api_key": "...", "api_secret": "..."}; the same again changes nothing."""
        body = await _body(request)
        key, secret = _text(body, "api_key", _LONGEST_ID), _text(body, "api_secret", _LONGEST_ID)
        return reply(_account_view(self._venue.add_account(key, secret)))

    async def rates(self, _request: web.Request) -> web.StreamResponse:
        """How much may be asked, and what has been."""
        return reply(self._rates())

    async def change_rates(self, request: web.Request) -> web.StreamResponse:
        """{"weight_per_minute": 6000, "orders_per_10s": 100, "orders_per_day": 200000, "patience": 10}: any of them."""
        body = await _body(request)
        for name, value in body.items():
            if name not in _RATES or not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise Refused.one(name, value, f"a whole number for one of {', '.join(_RATES)}", "is not a limit")
        self._gate.change(**body)
        return reply(self._rates())

    async def ban(self, request: web.Request) -> web.StreamResponse:
        """{"seconds": 120}: from now on every request is answered with 418, until then."""
        seconds = (await _body(request)).get("seconds")
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= LONGEST_BAN_S:
            raise Refused.one("seconds", seconds, f"0 to {LONGEST_BAN_S}", "is not a time to ban for")
        until_ms = self._gate.ban_all(seconds, wall_ms())
        return reply(self._rates() | {"banned_until_ms": until_ms})

    def _rates(self) -> dict[str, object]:
        return {"rules": asdict(self._gate.rules), "counts": asdict(self._gate.counts)}

    def _account(self, body: Mapping[str, Any]) -> Account:
        key = body.get("account")
        accounts = list(self._venue.accounts.values())
        account = next(iter(accounts), None) if key is None else self._venue.account_of_key(str(key))
        if account is None:
            raise Refused.one("account", key, "the API key of an account", "there is no such account")
        return account

    def _market(self) -> dict[str, object]:
        venue, source = self._venue, self._venue.source
        total = source.rows_total
        return {
            "source": source.name,
            "rows_total": total,
            "row": venue.state.row,
            "ticks": venue.state.ticks,
            "first_time": iso(source.time_ms(0)),
            "last_time": iso(source.time_ms(total - 1)) if total is not None else None,
            "market_time": iso(venue.market_ms),
            "ended": venue.ended,
            "paused": venue.state.paused,
            "rows_per_second": venue.state.rows_per_second,
            "assets": [name for name in source.assets if not is_pair_name(name)],
            "listed": list(dict.fromkeys(listing.instrument.base for listing in venue.listed())),
        }


async def healthz(_request: web.Request) -> web.StreamResponse:
    """200 as long as requests are answered at all: everything else ends the process."""
    return reply({"healthy": True})


def control_guard(token: str) -> Middleware:
    """Middleware: /control needs the token, or without one a caller on this machine; never a web page's script."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/control"):
            return await handler(request)
        sent = request.headers.get("X-Control-Token", "")
        if token:
            allowed = hmac.compare_digest(sent.encode(errors="replace"), token.encode())
        else:
            allowed = ip_address(request.remote or "0.0.0.0").is_loopback  # noqa: S104 - compared, not bound
        if not allowed or "Origin" in request.headers:
            return reply({"error": {"message": "forbidden", "problems": []}}, status=403)
        try:
            return await handler(request)
        except Refused as refused:
            return reply(
                {"error": {"message": "refused", "problems": [_view(p) for p in refused.problems]}}, status=422
            )

    return guard


def _view(problem: Problem) -> dict[str, str]:
    return {name: getattr(problem, name) for name in ("field", "value", "allowed", "message")}


def _account_view(account: Account) -> dict[str, object]:
    balances = {
        asset: {"free": plain(balance.free), "locked": plain(balance.locked)}
        for asset, balance in sorted(account.balances.items())
    }
    return {"account": account.account_id, "api_key": account.api_key, "balances": balances}


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refused.one("body", raw[:40].decode("utf-8", "replace"), "a JSON object", "is not a JSON object")
    return body


def _text(body: Mapping[str, Any], name: str, longest: int) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        raise Refused.one(name, value, f"1 to {longest} printable characters", "is not valid")
    return value


def _row(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Refused.one("to_row", value, "the number of a row, from 0", "is not a row")
    return value


def _amount(value: object) -> Decimal:
    allowed = 'text of a number above 0 and at most 1000000000000 with at most 8 decimals, as in "1000"'
    amount = parse_decimal(value, "amount", allowed)
    if not 0 < amount <= 10**12 or amount != round(amount, 8):
        raise Refused.one("amount", plain(amount), allowed, "is out of range")
    return amount

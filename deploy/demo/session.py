"""One demo on a running stack: deposit, create the strategies as a user would, let the market run, settle, report."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from deploy.demo.clients import ExchangeControl, GatewayClient, MarketProgress
from deploy.demo.postgres_report import Progress, is_settled, read_progress
from deploy.demo.scenario import QUOTE, VENUE, Candidate, deposits_for
from shared.core.errors import Refused, RetryLater, Stop
from shared.core.identity import derived_id
from shared.core.money import plain

POLL_S = 0.5
READY_WITHIN_S = 60.0
SETTLED_WITHIN_S = 60.0
_WAITING_FIELDS = ("targets", "funding_asset")


@dataclass(frozen=True, slots=True)
class Ending:
    """When a demo ends: after some wall-clock seconds, or at the last row; Ctrl-C ends it in any case."""

    exit_after_s: float | None = None
    until_end: bool = False


@dataclass(slots=True)
class Seen:
    """What the session knows of the system right now; the view draws it."""

    market: MarketProgress | None = None
    prices: dict[str, str] = field(default_factory=dict)
    strategies: list[dict[str, Any]] = field(default_factory=list)
    decisions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)


class DemoSession:
    """Drives one demo. ``seen`` is refreshed twice a second while it runs."""

    def __init__(
        self, gateway: GatewayClient, exchange: ExchangeControl, candidates: Sequence[Candidate], dsn: str
    ) -> None:
        self.seen = Seen()
        self.started_at = time.monotonic()
        self._gateway = gateway
        self._exchange = exchange
        self._waiting = list(candidates)
        self._candidates = tuple(candidates)
        self._dsn = dsn

    async def prepare(self) -> None:
        """Deposit, create what can be created, and wait for the first purchases; the market stands still meanwhile.

        Raises Refused when the system refuses a strategy, Stop when a first purchase does not come about.
        """
        await self.look()
        for number, (asset, amount) in enumerate(deposits_for(self._candidates).items()):
            await self._deposit(number, asset, amount)
        await self._create_listed()
        await self._first_purchases(time.monotonic() + READY_WITHIN_S)

    async def run(self, ending: Ending, stop: asyncio.Event) -> None:
        """Let the market run until the ending or ``stop``; waiting strategies start when their assets are listed."""
        await self._exchange.resume()
        began = time.monotonic()
        while not stop.is_set():
            await self.look()
            if self._waiting:
                await self._create_listed()
            market = self.seen.market
            if market is not None and market.ended and not (ending.exit_after_s and not ending.until_end):
                return
            elapsed_s = time.monotonic() - began
            if ending.exit_after_s is not None and elapsed_s >= ending.exit_after_s:
                return
            try:
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def start_listed(self, listed: Sequence[str]) -> bool:
        """In lockstep: start what waited for assets that are listed now; whether anything was started.

        Comes back when everything started has made its first purchase. Raises Refused when the system refuses a
        strategy, Stop when a first purchase does not come about.
        """
        startable = [one for one in self._waiting if not one.missing(listed)]
        deadline = time.monotonic() + READY_WITHIN_S
        while any(one in self._waiting for one in startable):
            _refuse_late(deadline)
            await self._create_listed()
            await asyncio.sleep(POLL_S / 10)
        if startable:
            await self._first_purchases(deadline)
        return bool(startable)

    async def _first_purchases(self, deadline: float) -> None:
        while self._awaits_purchases():
            _refuse_late(deadline)
            await asyncio.sleep(POLL_S / 5)
            await self.look()

    def _awaits_purchases(self) -> bool:
        """Whether money is on its way or is being spent; with a start price a strategy may wait as long as it likes."""
        patient = {one.document["name"] for one in self._candidates if one.document.get("start")}
        waiting = [one for one in self.seen.strategies if one["status"] in {"funding", "building"}]
        return any(one["status"] == "funding" or one["name"] not in patient for one in waiting)

    async def settle(self) -> None:
        """Hold the market, and wait until no plan is open and every fill is posted. Raises Stop when that fails."""
        await self._exchange.pause()
        deadline = time.monotonic() + SETTLED_WITHIN_S
        quiet = 0
        while quiet < 3:  # a plan may just be on its way from an evaluator: quiet must last
            quiet = quiet + 1 if await is_settled(self._dsn) else 0
            if time.monotonic() > deadline:
                raise Stop("plans or fills are still open a minute after the market stood still")
            await asyncio.sleep(POLL_S)
        await self.look()

    async def _deposit(self, number: int, asset: str, amount: Decimal) -> None:
        deposit = derived_id("demo", number, asset, plain(amount))
        body = {"id": deposit, "asset": asset, "amount": plain(amount)}
        await self._gateway.post(f"/wallets/{VENUE}/deposits", body, deposit)
        deadline = time.monotonic() + READY_WITHIN_S
        while Decimal((await self._wallet()).get(asset, "0")) < amount:
            if time.monotonic() > deadline:
                raise Stop(f"the deposit of {plain(amount)} {asset} has not reached the wallet")
            await asyncio.sleep(POLL_S / 5)

    async def _wallet(self) -> dict[str, str]:
        for wallet in (await self._gateway.get("/wallets"))["wallets"]:
            if wallet["venue"] == VENUE:
                balances: dict[str, str] = wallet["balances"]
                return balances
        return {}

    async def _create_listed(self) -> None:
        """Create every waiting strategy whose assets all trade now."""
        instruments = (await self._gateway.get(f"/venues/{VENUE}/instruments"))["instruments"]
        listed = [one["base"] for one in instruments if one["tradable"]]
        for candidate in list(self._waiting):
            if candidate.missing(listed):
                continue
            if await self._create(candidate):
                self._waiting.remove(candidate)
        self.seen.waiting = [
            f"{candidate.definition.name} ({', '.join(candidate.missing(listed))})" for candidate in self._waiting
        ]
        await self.look()

    async def _create(self, candidate: Candidate) -> bool:
        """Preview and confirm. False when a just-listed asset has no quote yet. Raises Refused."""
        number = self._candidates.index(candidate)
        try:
            preview = await self._gateway.post(
                "/strategies/preview", candidate.document, derived_id("preview", number, str(time.monotonic_ns()))
            )
        except RetryLater:
            return False
        except Refused as refused:
            if self.seen.market and self.seen.market.paused:
                raise
            just_listed = all(problem.field.startswith(_WAITING_FIELDS) for problem in refused.problems)
            if just_listed:
                return False
            raise
        key = derived_id("confirm", preview["preview_id"])
        await self._gateway.post("/strategies", {"preview_id": preview["preview_id"]}, key)
        return True

    async def look(self) -> None:
        """Refresh ``seen``."""
        self.seen.market = await self._exchange.market()
        self.seen.progress = await read_progress(self._dsn)
        listed = (await self._gateway.get("/strategies"))["strategies"]
        details = await asyncio.gather(*(self._gateway.get(f"/strategies/{one['id']}") for one in listed))
        self.seen.strategies = sorted(details, key=lambda one: str(one["created_at"]))
        decisions = await asyncio.gather(
            *(self._gateway.get(f"/strategies/{one['id']}/decisions", limit="8") for one in listed)
        )
        self.seen.decisions = {one["strategy_id"]: one["decisions"] for one in decisions}
        try:
            prices = (await self._gateway.get(f"/venues/{VENUE}/prices"))["prices"]
        except (RetryLater, Stop):
            return  # the feed has not spoken yet
        self.seen.prices = {one["asset"]: one["bid"] for one in prices if one["asset"] != QUOTE}


def _refuse_late(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Stop("a strategy has not made its first purchase: see the logs of the executor and evaluator")

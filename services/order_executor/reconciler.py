"""Compares the venue's account with the books, at the start before anything is traded and then for ever.

What differs twice is called: the ledger moves it to suspense. Assets in suspense, and those that could not be judged
since the start, are not traded; see ``comparing`` for when an asset can be judged.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from services.order_executor.adapters.postgres_account import AccountStore
from services.order_executor.adapters.postgres_reconciliation import (
    Difference,
    ReconciliationStore,
    trades_in_words,
)
from services.order_executor.comparing import Booked, Reading, Suspicions
from services.order_executor.lease import Lease
from shared.contracts.reconciliation import BooksTotalled
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.core.money import ZERO
from shared.messaging.database_postgres import UNAVAILABLE
from shared.venues.port import Venue, VenueBalances

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.5
START_PATIENCE_S = 20.0
FOREIGN_ORDERS_EVERY_S = 60.0
_TRADES_LOOKED_BACK = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the reconciler works with. ``block`` is told the assets that may not be traded, ``wake`` of new events;
    ``symbol_of`` names the pair of an asset, "" when none is listed.
    """

    venue: Venue
    accounts: AccountStore
    store: ReconciliationStore
    lease: Lease
    block: Callable[[frozenset[str]], None]
    wake: Callable[[], None]
    symbol_of: Callable[[str], str]


class Reconciler:
    """One account's. ``every_s`` 0: it is never run, and nothing waits for it."""

    def __init__(self, parts: Parts, quote: str, every_s: float) -> None:
        self._parts = parts
        self._quote = quote
        self._every_s = every_s
        self._books: BooksTotalled | None = None
        self._suspicions = Suspicions()
        self._changed_at: dict[str, float] = {}
        self._last: Booked | None = None
        self._started = asyncio.Event()
        self._foreign_due = 0.0
        if not every_s:
            self._started.set()

    def on_books(self, _subject: str, message: Message, _meta: Meta) -> None:
        """Take the ledger's totals; what it holds in suspense is blocked from now on."""
        if isinstance(message, BooksTotalled) and (self._books is None or message.sequence >= self._books.sequence):
            self._books = message
            self._tell()

    async def started(self) -> None:
        """Return once every asset was judged since the start; what was not in ``START_PATIENCE_S`` stays blocked. It
        does not return while nothing can be read.
        """
        await self._started.wait()

    @property
    def has_started(self) -> bool:
        """Whether ``started`` would return at once."""
        return self._started.is_set()

    async def run(self) -> None:
        """For ever. Raises Stop when the account has another writer or the venue shuts us out."""
        begun = time.monotonic()
        while True:
            pause_s = LOOK_AGAIN_S
            try:
                await self._look()
                self._tell()
                if not self._suspicions.doubted:
                    self._start()
                if self._started.is_set() and not self._suspicions.seen:
                    pause_s = self._every_s
                await self._look_for_foreign_orders()
                if not self._started.is_set() and time.monotonic() - begun > START_PATIENCE_S:
                    await self._parts.store.tell_not_compared(sorted(self._suspicions.doubted))
                    self._parts.wake()
                    self._start()
            except (RetryLater, *UNAVAILABLE) as error:
                log.info("the account cannot be compared with the books now: %s", error)
            await asyncio.sleep(pause_s)

    def _start(self) -> None:
        """Let trading begin, but for what is blocked."""
        if not self._started.is_set():
            log.info("compared with the books; in doubt: %s", ", ".join(sorted(self._suspicions.doubted)) or "nothing")
            self._suspicions.is_start = False
            self._started.set()

    async def _look(self) -> None:
        """One reading, and what is to be called by it. Deposits come after balances: what these hold is booked."""
        parts = self._parts
        before = self._note(await parts.store.booked())
        balances = await parts.venue.fetch_balances()
        if await parts.accounts.observe(parts.lease, await parts.venue.fetch_deposits()):
            parts.wake()
        after = self._note(await parts.store.booked())
        in_books = {} if self._books is None else self._books.held
        reading = Reading(before, balances.total, after, in_books, self._lagging())
        confirmed = self._suspicions.confirmed(reading, time.monotonic(), self._apart_s)
        if confirmed:
            await self._call(confirmed, balances, in_books)

    @property
    def _apart_s(self) -> float:
        return max(LOOK_AGAIN_S, self._parts.venue.capabilities.read_lag_ms / 1000)

    def _note(self, booked: Booked) -> Booked:
        """Remember when each sum changed."""
        known = {} if self._last is None else self._last.expected
        if self._last is not None:
            for asset in {*known, *booked.expected}:
                if known.get(asset, ZERO) != booked.expected.get(asset, ZERO):
                    self._changed_at[asset] = time.monotonic()
        self._last = booked
        return booked

    def _lagging(self) -> frozenset[str]:
        lag_s = self._parts.venue.capabilities.read_lag_ms / 1000
        return frozenset(asset for asset, at in self._changed_at.items() if time.monotonic() - at < lag_s)

    async def _call(
        self, confirmed: Mapping[str, Decimal], balances: VenueBalances, in_books: Mapping[str, Decimal]
    ) -> None:
        details = await self._details(confirmed, balances.at)
        differences = [
            Difference(
                asset=asset,
                amount=amount,
                at_venue=balances.total.get(asset, ZERO),
                in_books=in_books.get(asset, ZERO),
                market_time=balances.at,
                detail=details.get(asset, details.get("", "") if asset == self._quote else ""),
            )
            for asset, amount in confirmed.items()
        ]
        await self._parts.store.call(differences)
        self._parts.wake()
        for one in differences:
            log.warning("%s: %s at the venue, %s in the books", one.asset, one.at_venue, one.in_books)

    async def _details(self, confirmed: Mapping[str, Decimal], at: datetime) -> dict[str, str]:
        """Trades that are not ours by asset; under "" all of them, which is what explains the quote currency."""
        found: dict[str, str] = {}
        for asset in confirmed:
            if not (symbol := self._parts.symbol_of(asset)):
                continue
            try:
                trades = await self._parts.venue.fetch_trades(symbol, at - _TRADES_LOOKED_BACK)
            except RetryLater:
                continue
            foreign = await self._parts.store.foreign(symbol, list({trade.venue_order_id for trade in trades}))
            rows = [(t.trade_id, t.quantity, t.quote_quantity) for t in trades if t.venue_order_id in foreign]
            if text := trades_in_words(symbol, rows):
                found[asset] = text
        found[""] = "; ".join(found.values())[:500]
        return found

    async def _look_for_foreign_orders(self) -> None:
        if time.monotonic() < self._foreign_due:
            return
        orders = await self._parts.venue.fetch_open_orders()
        if await self._parts.store.call_foreign_orders(orders):
            self._parts.wake()
        self._foreign_due = time.monotonic() + FOREIGN_ORDERS_EVERY_S

    def _tell(self) -> None:
        """Block what is in suspense, and what is doubted."""
        suspense = () if self._books is None else self._books.suspense
        self._parts.block(self._suspicions.doubted.union(suspense))

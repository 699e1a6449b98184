"""Follows the venue account: its opening balances once, deposits, own orders as the user stream tells them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.order_executor.adapters.postgres_account import AccountStore
from services.order_executor.adapters.postgres_orders import OrderStore
from services.order_executor.lease import Lease
from services.order_executor.records import Evidence
from shared.core.errors import RetryLater
from shared.messaging.database_postgres import UNAVAILABLE
from shared.venues.port import BalanceNews, OrderNews, UserNews, Venue, VenueDeposit

log = logging.getLogger(__name__)

# The stream is the second source: replies book the same fills first, so its news may wait and be booked together.
GATHER_S = 0.1
LONGEST_PAUSE_S = 5.0


async def open_account(venue: Venue, store: AccountStore, lease: Lease) -> bool:
    """At the first connection ever, take the balances that are there as deposits; True when it was the first.

    Deposits read before and after the balances must agree, so that none is counted both here and later. Raises
    RetryLater when the venue cannot be read.
    """
    if await store.is_opened():
        return False
    while True:
        before = await venue.fetch_deposits()
        balances = await venue.fetch_balances()
        if await venue.fetch_deposits() == before:
            break
    opening = [
        VenueDeposit(f"opening:{lease.account}:{asset}", asset, quantity, balances.at)
        for asset, quantity in sorted(balances.total.items())
        if quantity > Decimal(0)
    ]
    await store.open(lease, opening, before)
    return True


class DepositWatch:
    """Announces deposits: looks every ``poll_s``, and at once when ``look_now`` is called."""

    def __init__(
        self, venue: Venue, store: AccountStore, lease: Lease, poll_s: float, wake: Callable[[], None]
    ) -> None:
        self._venue = venue
        self._store = store
        self._lease = lease
        self._poll_s = poll_s
        self._wake = wake
        self._asked = asyncio.Event()

    def look_now(self) -> None:
        """Do not wait for the next turn."""
        self._asked.set()

    async def run(self) -> None:
        """For ever. Raises Stop when the account has another writer or the venue shuts us out."""
        while True:
            self._asked.clear()
            try:
                if await self._store.observe(self._lease, await self._venue.fetch_deposits()):
                    self._wake()
            except (RetryLater, *UNAVAILABLE) as error:
                log.info("deposits cannot be read now: %s", error)
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._asked.wait()
            except TimeoutError:
                continue


class UserStreamWatch:
    """Books what the user stream tells, a little later than the replies and together; connects again for ever."""

    def __init__(
        self, venue: Venue, orders: OrderStore, look_for_deposits: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        self._venue = venue
        self._orders = orders
        self._look_for_deposits = look_for_deposits
        self._wake = wake
        self._waiting: list[Evidence] = []
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """For ever. Raises Stop when the venue refuses the key."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._book())

    async def _read(self) -> None:
        pause_s = 0.1
        while True:
            try:
                async for news in self._venue.news():
                    pause_s = 0.1
                    self._take(news)
            except RetryLater as later:
                log.info("%s", later)
            self._look_for_deposits()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _take(self, news: UserNews) -> None:
        if isinstance(news, BalanceNews):
            self._look_for_deposits()
        elif isinstance(news, OrderNews):
            self._waiting.append(Evidence(news.order.client_order_id, order=news.order))
            self._arrived.set()

    async def _book(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            try:
                await self._orders.book(batch)
                self._wake()
            except UNAVAILABLE as error:
                # Kept for the next turn; REST tells the same anyway.
                log.warning("user stream: %d reports not booked yet: %r", len(batch), error)
                self._waiting = batch + self._waiting
                self._arrived.set()
                await asyncio.sleep(1.0)


class SilenceKeeper:
    """Keeps the end of every silence that the venue asks for, so that a restart during a ban asks nothing either."""

    def __init__(self, venue: Venue, store: AccountStore) -> None:
        self._venue = venue
        self._store = store

    async def load(self) -> None:
        """Go on with a silence that has not ended. Raises what the database raises."""
        until = await self._store.silent_until()
        if until is not None and until > datetime.now(UTC):
            log.warning("the venue wants to be left alone until %s", until)
            self._venue.stay_silent(until)

    def start(self) -> Callable[[], Coroutine[Any, Any, None]]:
        """Begin to keep; returns what ends it."""
        task = asyncio.create_task(self._run(), name="silences")

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        return end

    async def _run(self) -> None:
        while True:
            until = await self._venue.silenced()
            while until > datetime.now(UTC):
                try:
                    await self._store.keep_silence(until)
                    break
                except UNAVAILABLE as error:
                    log.warning("a silence is not recorded yet: %r", error)
                    await asyncio.sleep(0.5)

"""The venue account in Postgres: who may write (lease and epoch), opening balances, deposits."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from services.order_executor.adapters.postgres_events import Announcement, add_events
from services.order_executor.lease import Lease
from shared.contracts import subjects
from shared.contracts.orders import DepositObserved
from shared.core.errors import Stop
from shared.venues.port import VenueDeposit


async def check_lease(connection: Any, lease: Lease) -> None:
    """Hold off every take-over until the transaction ends. Raises Stop when the account has another writer."""
    ours = await connection.fetchval(
        "SELECT epoch = $2 AND holder = $3 FROM executor.accounts WHERE account = $1 FOR SHARE",
        lease.account,
        lease.epoch,
        lease.holder,
    )
    if not ours:
        raise superseded(lease)


def superseded(lease: Lease) -> Stop:
    """The account has another writer."""
    return Stop(f"account {lease.account}: epoch {lease.epoch} has been superseded")


class AccountStore:
    """One account's rows. Every method is one transaction."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", account: str, venue: str) -> None:
        self._pool = pool
        self._account = account
        self._venue = venue

    async def acquire(self, holder: str, duration_s: float) -> Lease | None:
        """Become the writer with the next epoch, or None while another one's lease runs."""
        asked = time.monotonic()
        epoch = await self._pool.fetchval(
            "INSERT INTO executor.accounts (account, epoch, holder, lease_until) "
            "VALUES ($1, 1, $2, now() + make_interval(secs => $3)) "
            "ON CONFLICT (account) DO UPDATE SET epoch = accounts.epoch + 1, holder = $2, "
            "lease_until = now() + make_interval(secs => $3) WHERE accounts.lease_until < now() RETURNING epoch",
            self._account,
            holder,
            duration_s,
        )
        return None if epoch is None else Lease(self._account, holder, epoch, duration_s, asked + duration_s)

    async def renew(self, lease: Lease) -> None:
        """Extend the lease. Raises Stop when another writer has taken over."""
        asked = time.monotonic()
        renewed = await self._pool.fetchval(
            "UPDATE executor.accounts SET lease_until = now() + make_interval(secs => $4) "
            "WHERE account = $1 AND epoch = $2 AND holder = $3 RETURNING true",
            lease.account,
            lease.epoch,
            lease.holder,
            lease.duration_s,
        )
        if not renewed:
            raise superseded(lease)
        lease.valid_until = asked + lease.duration_s

    async def release(self, lease: Lease) -> None:
        """Let another writer take over at once."""
        lease.valid_until = 0.0
        await self._pool.execute(
            "UPDATE executor.accounts SET lease_until = now() - interval '1 microsecond' "
            "WHERE account = $1 AND epoch = $2 AND holder = $3",
            lease.account,
            lease.epoch,
            lease.holder,
        )

    async def silent_until(self) -> datetime | None:
        """Before when nothing may be asked of the venue; None: it never wanted that."""
        found: datetime | None = await self._pool.fetchval(
            "SELECT silent_until FROM executor.accounts WHERE account = $1", self._account
        )
        return found

    async def keep_silence(self, until: datetime) -> None:
        """Keep that; an earlier end changes nothing."""
        await self._pool.execute(
            "UPDATE executor.accounts SET silent_until = greatest(silent_until, $2) WHERE account = $1",
            self._account,
            until,
        )

    async def is_opened(self) -> bool:
        """Whether the opening balances have been taken."""
        return bool(
            await self._pool.fetchval(
                "SELECT opened_at IS NOT NULL FROM executor.accounts WHERE account = $1", self._account
            )
        )

    async def open(self, lease: Lease, opening: Sequence[VenueDeposit], contained: Sequence[VenueDeposit]) -> None:
        """Take the opening balances (as deposits) once; ``contained`` are the deposits they include."""
        async with self._pool.acquire() as connection, connection.transaction():
            await check_lease(connection, lease)
            first = await connection.fetchval(
                "UPDATE executor.accounts SET opened_at = now() WHERE account = $1 AND opened_at IS NULL "
                "RETURNING true",
                self._account,
            )
            if first:
                await self._record(connection, contained, in_opening=True)
                await self._record(connection, opening, in_opening=False)

    async def observe(self, lease: Lease, deposits: Sequence[VenueDeposit]) -> int:
        """Announce the deposits not seen before; returns how many."""
        known = await self._pool.fetch(
            "SELECT deposit_id FROM executor.deposits WHERE account = $1 AND deposit_id = ANY($2::text[])",
            self._account,
            [deposit.deposit_id for deposit in deposits],
        )
        seen = {row["deposit_id"] for row in known}
        fresh = [deposit for deposit in deposits if deposit.deposit_id not in seen]
        if not fresh:
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            await check_lease(connection, lease)
            return await self._record(connection, fresh, in_opening=False)

    async def _record(self, connection: Any, deposits: Sequence[VenueDeposit], *, in_opening: bool) -> int:
        events = []
        for deposit in deposits:
            inserted = await connection.fetchval(
                "INSERT INTO executor.deposits (account, deposit_id, asset, amount, market_time, in_opening) "
                "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true",
                self._account,
                deposit.deposit_id,
                deposit.asset,
                deposit.amount,
                deposit.at,
                in_opening,
            )
            if inserted and not in_opening:
                events.append(self._event(deposit))
        await add_events(connection, events)
        return len(events)

    def _event(self, deposit: VenueDeposit) -> Announcement:
        message = DepositObserved(
            deposit_id=deposit.deposit_id,
            venue=self._venue,
            asset=deposit.asset,
            amount=deposit.amount,
            market_time=deposit.at,
        )
        name = f"deposit.{self._account}.{deposit.deposit_id}"
        return Announcement(subjects.deposits(self._venue), message, name, deposit.deposit_id)

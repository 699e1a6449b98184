"""The right to write to a venue account: one process at a time, fenced by an epoch in Postgres and by time here."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Protocol

from shared.messaging.database_postgres import UNAVAILABLE

log = logging.getLogger(__name__)

ASK_AGAIN_S = 0.2
RENEWALS_PER_LEASE = 4


@dataclass(slots=True)
class Lease:
    """The right to write, as this process holds it. ``valid_until`` is on the monotonic clock, counted from before the
    request that renewed it, so the database's own end is never earlier.
    """

    account: str
    holder: str
    epoch: int
    duration_s: float
    valid_until: float

    def holds_for(self, span_s: float) -> bool:
        """Whether nobody else can take over within ``span_s`` from now."""
        return time.monotonic() + span_s < self.valid_until

    async def trouble(self) -> str | None:
        """For the health check: a lease that cannot be renewed."""
        return None if self.holds_for(0) else f"the lease on account {self.account} has run out"


class LeaseStore(Protocol):
    """Where leases are kept."""

    async def acquire(self, holder: str, duration_s: float) -> Lease | None:
        """The lease with the next epoch, or None while another one's runs."""

    async def renew(self, lease: Lease) -> None:
        """Extend it; raises Stop when another writer has taken over."""


async def acquire(store: LeaseStore, holder: str, duration_s: float) -> Lease:
    """Wait until the account is free, then be its writer."""
    waiting = False
    while True:
        try:
            lease = await store.acquire(holder, duration_s)
        except UNAVAILABLE as error:
            log.warning("the lease cannot be asked for now: %r", error)
            lease = None
        if lease is not None:
            log.info("writer of account %s with epoch %d", lease.account, lease.epoch)
            return lease
        if not waiting:
            log.info("standing by: the account has a writer")
            waiting = True
        await asyncio.sleep(ASK_AGAIN_S)


async def keep(store: LeaseStore, lease: Lease) -> None:
    """Renew for ever. Without the database the lease runs out by itself and nothing is sent. Raises Stop when lost."""
    while True:
        try:
            await store.renew(lease)
            await asyncio.sleep(lease.duration_s / RENEWALS_PER_LEASE)
        except UNAVAILABLE as error:
            log.warning("the lease cannot be renewed now: %r", error)
            await asyncio.sleep(ASK_AGAIN_S)

"""The kill switch as this process knows it: looked at right before each socket write.

The truth is a row in Postgres, and the transaction that commits an intent looks at it too. This copy is what stops the
orders that were committed already: changed at once by a command that comes here, within ``LOOK_EVERY_S`` by one that
another instance took. Until it was read once it counts as halted.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from shared.contracts.halts import HaltCause, HaltChanged, HaltVenue, ResumeVenue
from shared.contracts.wire import Meta
from shared.core.errors import Conflict, Refused, RetryLater
from shared.messaging.database_postgres import UNAVAILABLE

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
LONGEST_REASON = 200
RESUME_WITHIN = timedelta(seconds=30)


class SwitchStore(Protocol):
    """Where the switch is kept."""

    async def read(self) -> HaltChanged:
        """The switch as it is."""

    async def change(
        self, *, halted: bool, cause: HaltCause, reason: str, message_id: str, asked_at: datetime | None = None
    ) -> HaltChanged:
        """Set it; as it is already, or changed later than ``asked_at``, nothing changes."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A halt that is in force here and still to be recorded."""

    cause: HaltCause
    reason: str
    message_id: str


class HaltSwitch:
    """One venue's switch."""

    def __init__(self, venue: str, store: SwitchStore, wake: Callable[[], None]) -> None:
        self._venue = venue
        self._store = store
        self._wake = wake
        self._known: HaltChanged | None = None
        self._wanted: _Wanted | None = None
        self._hurry = asyncio.Event()
        self.on_resume: Callable[[], None] = lambda: None

    @property
    def reason(self) -> str | None:
        """Why nothing may be sent; None when it may."""
        if self._wanted is not None:
            return self._wanted.reason
        if self._known is None:
            return "the switch has not been read yet"
        return self._known.reason if self._known.halted else None

    @property
    def since(self) -> HaltChanged | None:
        """The last change, as far as it is known here."""
        return self._known

    async def on_halt(self, command: HaltVenue, meta: Meta) -> HaltChanged:
        """Halt: in force here before anything else, then recorded. Raises RetryLater when it could not be recorded;
        it stays in force and is recorded as soon as the database answers. Raises Refused for another venue's.
        """
        self._check(command.venue)
        reason = command.reason[:LONGEST_REASON] or "halted by a person"
        self._wanted = _Wanted(HaltCause.ASKED, reason, meta.message_id)
        try:
            return await self._record(self._wanted)
        except UNAVAILABLE as error:
            raise RetryLater(f"halted, but not recorded yet: {error!r}"[:200]) from error

    async def on_resume_asked(self, command: ResumeVenue, meta: Meta) -> HaltChanged:
        """Resume. Raises RetryLater when it could not be recorded: nothing is sent then. Raises Refused, and Conflict
        for a command that comes late: after a halt that is younger than it, or when nobody waits for it any more (a
        process that was frozen finds in its socket what was asked meanwhile).
        """
        self._check(command.venue)
        before = self._wanted
        if datetime.now(UTC) - meta.occurred_at > RESUME_WITHIN:
            raise Conflict.one("resume", meta.occurred_at.isoformat(), "a command of now", "was asked for too long ago")
        try:
            changed = await self._store.change(
                halted=False,
                cause=HaltCause.ASKED,
                reason="resumed by a person",
                message_id=meta.message_id,
                asked_at=meta.occurred_at,
            )
        except UNAVAILABLE as error:
            raise RetryLater(f"not resumed: {error!r}"[:200]) from error
        if changed.halted:
            self._take(changed)
            raise Conflict.one("resume", command.venue, "the halt as it was", "the venue was halted again since")
        if self._wanted is before:  # else somebody has halted since
            self._wanted = None
        self._take(changed)
        return changed

    def trip(self, reason: str, message_id: str) -> None:
        """The guards' own halt: in force now, recorded by ``run``."""
        if self.reason is None:
            log.critical("%s is halted by its guards: %s", self._venue, reason)
            self._wanted = _Wanted(HaltCause.GUARDS, reason[:LONGEST_REASON], message_id)
            self._hurry.set()

    async def load(self) -> None:
        """Read it. Raises what the database raises."""
        self._take(await self._store.read())

    async def run(self) -> None:
        """Record what is to be recorded and look what others did, for ever."""
        while True:
            self._hurry.clear()
            try:
                if self._wanted is not None:
                    await self._record(self._wanted)
                await self.load()
            except UNAVAILABLE as error:
                log.warning("the switch of %s cannot be read now: %r", self._venue, error)
            except Exception:
                # Whatever it was: a halt that is in force here and not recorded yet must not end with this task.
                log.exception("the switch of %s cannot be read now", self._venue)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def _record(self, wanted: _Wanted) -> HaltChanged:
        changed = await self._store.change(
            halted=True, cause=wanted.cause, reason=wanted.reason, message_id=wanted.message_id
        )
        self._take(changed)
        if self._wanted is wanted:  # else a newer word came meanwhile
            self._wanted = None
        return changed

    def _take(self, changed: HaltChanged) -> None:
        """Believe the newest: a slow reading must not undo a change."""
        known = self._known
        if known is not None and changed.sequence < known.sequence:
            return
        self._known = changed
        if known is None or changed.sequence > known.sequence:
            if known is not None or changed.halted:
                log.warning("%s: %s (%s)", self._venue, "halted" if changed.halted else "resumed", changed.reason)
            if not changed.halted:
                self.on_resume()
            self._wake()

    def _check(self, venue: str) -> None:
        if venue != self._venue:
            raise Refused.one("venue", venue, self._venue, "is not this executor's venue")

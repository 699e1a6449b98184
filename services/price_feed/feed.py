"""The feed at work: what the venue tells goes into the book, what the book has new goes out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from services.price_feed.price_book import PriceBook
from services.price_feed.venue_events import FromVenue, PulseReceived
from shared.contracts.frames import PriceFrame, encode_frame
from shared.contracts.prices import PricesSnapshotted
from shared.core.errors import RetryLater

_log = logging.getLogger(__name__)
_TIME_POLL_S = 0.05
_MOST_HELD = 65_536


@dataclass(frozen=True, slots=True)
class FeedTimes:
    """``flush_interval_s``: the shortest time between two frames; what comes in between is conflated.

    ``heartbeat_s``: the longest, if need be with an empty frame. ``snapshot_interval_s``: between two snapshots.
    """

    flush_interval_s: float = 0.002
    heartbeat_s: float = 0.5
    snapshot_interval_s: float = 1.0


SendFrame = Callable[[bytes], Awaitable[None]]
PublishSnapshot = Callable[[PricesSnapshotted], Awaitable[None]]


class Feed:
    """Joins one venue's connection to the outside. Single event loop, no locks but the one around sending."""

    def __init__(
        self,
        book: PriceBook,
        times: FeedTimes,
        send: SendFrame,
        publish: PublishSnapshot,
        *,
        whole_moments: bool = False,
    ) -> None:
        """``whole_moments``: hold everything back until the venue's pulse, so that no frame has half of a moment."""
        self._book, self._times = book, times
        self._held: list[tuple[FromVenue, int]] | None = [] if whole_moments else None
        self._send, self._publish = send, publish
        self._changed = asyncio.Event()
        self._first_quote = asyncio.Event()
        self._sending = asyncio.Lock()
        self.frames_lost = 0

    def receive(self, event: FromVenue, received_ns: int) -> None:
        """Take one event of the venue, now or with the next pulse."""
        if self._held is None:
            self._take(event, received_ns)
            return
        self._held.append((event, received_ns))
        if type(event) is PulseReceived or len(self._held) >= _MOST_HELD:
            held, self._held = self._held, []
            for each in held:
                self._take(*each)

    def _take(self, event: FromVenue, received_ns: int) -> None:
        book = self._book
        accepted = book.accepted
        book.receive(event, received_ns)
        if book.first_quote_due and book.accepted > accepted:
            book.first_quote_due = False
            self._first_quote.set()
        if book.changed and not self._changed.is_set():
            self._changed.set()

    def connected(self) -> None:
        """The venue was connected anew: it begins with everything there is."""
        if self._held is not None:
            self._held = []
        self._book.connected()

    def alive(self, symbols: Collection[str], is_alive: bool) -> None:
        """The connection of these symbols ended or fell silent, or talks on."""
        self._book.connection(symbols, is_alive=is_alive)

    async def send_frames(self) -> None:
        """Send a frame soon after anything changed, and a heartbeat when nothing does. Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._times.heartbeat_s):
                    await self._changed.wait()
            await self._flush()
            _end_if_cancelled()
            await asyncio.sleep(self._times.flush_interval_s)

    async def publish_snapshots(self) -> None:
        """Publish everything once a second, and at once after the first quotes of a connection. Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._times.snapshot_interval_s):
                    await self._first_quote.wait()
            if not self._book.clock.now_ms:
                # The quotes came before the venue told its time: look again soon, and keep the wish for a snapshot.
                await asyncio.sleep(_TIME_POLL_S)
                continue
            self._first_quote.clear()
            await self._snapshot()
            _end_if_cancelled()

    async def _flush(self) -> None:
        async with self._sending:
            self._changed.clear()
            frame = self._book.take_frame()
            if frame is not None:
                await self._send_frame(frame)

    async def _send_frame(self, frame: PriceFrame) -> None:
        try:
            await self._send(encode_frame(frame))
        except Exception:  # noqa: BLE001 - whatever the broker's client raises, newer prices follow
            # Receivers see the gap in the numbers and start again from the next snapshot.
            self.frames_lost += 1
            _log.warning("frame %d was not sent", frame.sequence, exc_info=True)

    async def _snapshot(self) -> None:
        # The snapshot must hold nothing that no frame has carried: its number tells receivers where to go on.
        await self._flush()
        snapshot = self._book.snapshot(time.time_ns())
        if snapshot is None:
            return
        try:
            await self._publish(snapshot)
        except RetryLater as later:
            # A newer one follows within a second: this one is not worth repeating.
            _log.warning("snapshot %d was not published: %s", snapshot.sequence, later)


def _end_if_cancelled() -> None:
    """Python 3.11's ``asyncio.wait_for`` (the NATS client uses it) loses a cancellation that comes with its result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

"""The composition root of the feed."""

import time
from collections.abc import Coroutine, Sequence
from typing import Any

from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.adapters.table import open_prices, wire_symbols
from services.price_feed.feed import Feed, FeedTimes
from services.price_feed.freshness import Freshness
from services.price_feed.guards import GuardLimits, QuoteGuard
from services.price_feed.handlers import InstrumentsHandler
from services.price_feed.price_book import PriceBook
from services.price_feed.settings import Settings
from shared.contracts import subjects
from shared.contracts.prices import PricesSnapshotted
from shared.messaging.broker import make_broker
from shared.messaging.following import Follower
from shared.messaging.health import Health
from shared.messaging.publishing import Publisher

NAME = "price_feed"
_NS = 1_000_000_000


class PriceFeedApp:
    """One venue's feed, put together. Nothing is connected before ``start``."""

    name = NAME

    def __init__(self, settings: Settings) -> None:
        venue = settings.venue_name
        self._broker = make_broker(
            settings.nats_url,
            f"{NAME}-{settings.instance}",
            user=settings.nats_user,
            password=settings.nats_password,
        )
        self.health = Health(self._broker)
        publisher = Publisher(self._broker, NAME)

        async def send(frame: bytes) -> None:
            await publisher.send(subjects.prices(venue), frame)

        async def publish(snapshot: PricesSnapshotted) -> None:
            message_id = f"{venue}.{snapshot.epoch}.{snapshot.sequence}"
            await publisher.publish(
                subjects.price_snapshots(venue), snapshot, message_id=message_id, correlation_id=message_id
            )

        book = _book(settings)
        self.health.show("refused", lambda: dict(book.guard.refused))
        self.health.show("stale", lambda: book.stale(time.time_ns()))
        times = FeedTimes(flush_interval_s=settings.prices_flush_interval_s)
        self._feed = Feed(book, times, send, publish, whole_moments=settings.prices_whole_moments)
        self._prices = open_prices(
            settings.venue_dialect,
            settings.venue_ws_url,
            Listener(self._feed.receive, self._feed.connected, self._feed.alive),
            ConnectionTimes(
                silence_s=settings.prices_silence_s,
                quiet_s=settings.prices_stale_after_s,
                roll_after_s=settings.prices_roll_after_s,
            ),
            pulse=settings.prices_whole_moments,
        )
        handler = InstrumentsHandler(book, self._prices.follow)
        self._instruments = Follower(self._broker, "INSTRUMENTS", [subjects.instruments(venue)], handler)

    async def start(self) -> None:
        """Connect to NATS."""
        await self._broker.start()

    async def stop(self) -> None:
        """Disconnect from NATS; the venue's connection ended with the background tasks."""
        await self._broker.stop()

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """Instruments in, venue in, frames and snapshots out: one ending ends the process."""
        return (
            self._instruments.run(),
            self._prices.run(),
            self._feed.send_frames(),
            self._feed.publish_snapshots(),
        )


def _book(settings: Settings) -> PriceBook:
    limits = GuardLimits(jump_factor=settings.prices_jump_factor, confirmations=settings.prices_jump_confirmations)
    return PriceBook(
        venue=settings.venue_name,
        # A new epoch with every start: receivers see that the numbers begin again.
        epoch=str(time.time_ns()),
        freshness=Freshness(int(settings.prices_stale_after_s * _NS), int(settings.prices_oldest_s * _NS)),
        guard=QuoteGuard(limits),
        wire_symbol=wire_symbols(settings.venue_dialect),
    )


def build_app(settings: Settings) -> PriceFeedApp:
    """The feed for one venue. Raises Refused for an unknown dialect."""
    return PriceFeedApp(settings)

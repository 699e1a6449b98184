"""The registry put together: Postgres, NATS, handlers, outbox relay."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from services.strategy_registry.adapters.market_data import MarketData
from services.strategy_registry.adapters.postgres import SCHEMA, Pool, RegistryStore, connect
from services.strategy_registry.answering import Answering
from services.strategy_registry.commands import PreviewTerms, Registry
from services.strategy_registry.handlers import connect_handlers
from services.strategy_registry.payouts import Payouts
from services.strategy_registry.running import RunningStrategies
from services.strategy_registry.settings import Settings
from shared.core.errors import RetryLater
from shared.messaging.broker import make_broker
from shared.messaging.following import last_value
from shared.messaging.health import Health
from shared.messaging.outbox_postgres import OutboxRelay

_log = logging.getLogger(__name__)
FORGET_INTERVAL_S = 3600.0


def build_app(settings: Settings) -> "RegistryApp":
    """The service, not yet started."""
    return RegistryApp(settings)


class RegistryApp:
    """Starts and stops the registry. ``Postgres`` first: nothing is answered before its state can be read."""

    name = "strategy_registry"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker = make_broker(
            settings.nats_url,
            f"{self.name}-{settings.instance}",
            user=settings.nats_user,
            password=settings.nats_password,
        )
        self.health = Health(self._broker)
        self._pool: Pool | None = None
        self._relay: OutboxRelay | None = None
        self._registry: Registry | None = None
        self._payouts: Payouts | None = None

    async def start(self) -> None:
        """Connect to Postgres, then serve. What was committed but not published goes out with the first relay run."""
        settings = self._settings
        self._pool = await connect(settings.postgres_dsn, settings.instance)
        store = RegistryStore(self._pool)
        self._relay = OutboxRelay(self._pool, SCHEMA, self._broker)
        market_data = MarketData(partial(last_value, self._broker), timedelta(seconds=settings.prices_max_age_s))
        terms = PreviewTerms(
            venues=settings.venues,
            valid_for=timedelta(seconds=settings.preview_valid_s),
            slippage_bps=settings.slippage_bps,
            max_assets=settings.max_assets,
        )
        answering = Answering(store, clock=lambda: datetime.now(UTC), wake=self._wake)
        self._registry = Registry(answering, market_data, terms)
        self._payouts = Payouts(answering, market_data)
        self.health.add("postgres", store.ping)
        connect_handlers(self._broker, self._registry, RunningStrategies(answering, market_data, settings.max_assets))
        await self._broker.start()

    async def stop(self) -> None:
        """Finish what is in flight and let go of both servers."""
        await self._broker.stop()
        if self._pool is not None:
            await self._pool.close()

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """The outbox relay, the payouts, and the hourly removal of what nobody needs."""
        if self._relay is None or self._registry is None or self._payouts is None:
            raise RuntimeError("start() comes first")
        return [self._relay.run(), self._payouts.run(), _forget_regularly(self._registry)]

    def _wake(self) -> None:
        """Something was committed: relay it, and look for a payout that it made due."""
        if self._relay is not None and self._payouts is not None:
            self._relay.wake()
            self._payouts.wake()


async def _forget_regularly(registry: Registry) -> None:
    while True:
        try:
            await registry.forget_old()
        except RetryLater as later:
            _log.warning("old previews and replies stay for now: %s", later)
        await asyncio.sleep(FORGET_INTERVAL_S)

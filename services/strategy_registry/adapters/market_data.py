"""The newest instruments, prices and wallet of a venue, and positions, from the last-value streams; none is kept."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from services.strategy_registry.market import Market, market_of
from shared.contracts import subjects
from shared.contracts.books import PositionChanged, WalletChanged
from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater

LastValue = Callable[[str, str], Awaitable[tuple[Message, Meta] | None]]
"""The newest message of a stream's subject."""


class MarketData:
    """Reads of the streams INSTRUMENTS, PRICE_SNAPSHOTS, WALLETS and POSITIONS."""

    def __init__(self, last_value: LastValue, prices_max_age: timedelta) -> None:
        self._last_value = last_value
        self._prices_max_age = prices_max_age

    async def market(self, venue: str, now: datetime) -> Market:
        """Instruments and quotes of a venue. ``now``: wall clock.

        Raises RetryLater when the venue is not connected yet, or its newest prices are too old to be relied on.
        """
        listed = await self._last_value("INSTRUMENTS", subjects.instruments(venue))
        prices = await self._last_value("PRICE_SNAPSHOTS", subjects.price_snapshots(venue))
        if listed is None or prices is None:
            missing = "instruments" if listed is None else "prices"
            raise RetryLater(f"{venue} is not connected yet: its {missing} are not known", after_s=2)
        instruments, snapshot = listed[0], prices[0]
        if not isinstance(instruments, InstrumentsListed) or not isinstance(snapshot, PricesSnapshotted):
            raise RetryLater(f"what the streams say about {venue} cannot be read")
        age = now - prices[1].occurred_at
        if age > self._prices_max_age:
            raise RetryLater(f"the prices of {venue} are {age.total_seconds():.0f} s old", after_s=2)
        return market_of(instruments, snapshot)

    async def wallet(self, venue: str) -> Mapping[str, Decimal]:
        """Balances of the venue's spot wallet; empty when nothing was ever deposited."""
        newest = await self._last_value("WALLETS", subjects.wallets(venue))
        return newest[0].balances if newest is not None and isinstance(newest[0], WalletChanged) else {}

    async def position(self, strategy_id: str) -> PositionChanged:
        """What a strategy holds, as the ledger last told. Raises RetryLater when it has not told anything yet."""
        newest = await self._last_value("POSITIONS", subjects.positions(strategy_id))
        if newest is None or not isinstance(newest[0], PositionChanged):
            raise RetryLater("what the strategy holds is not known yet", after_s=2)
        return newest[0]

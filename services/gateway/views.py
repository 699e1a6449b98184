"""What is true now, in memory: fed by the streams, rebuilt from their last values at every start.

Each view keeps the newest message by its own version, so a message that comes twice or late changes nothing.
"""

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from shared.contracts.books import PositionChanged, WalletChanged
from shared.contracts.halts import HaltChanged
from shared.contracts.plans import PlanProgressed
from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.contracts.reconciliation import BooksTotalled
from shared.contracts.strategies import StrategyChanged
from shared.contracts.wire import Message, Meta
from shared.core.strategy import StrategyStatus

FOLLOWED = {
    "STRATEGIES": "strategies.*",
    "POSITIONS": "positions.*",
    "PLAN_RESULTS": "plan-results.*",
    "WALLETS": "wallets.*",
    "BOOKS": "books.*",
    "INSTRUMENTS": "instruments.*",
    "PRICE_SNAPSHOTS": "price-snapshots.*",
    "HALTS": "halts.*",
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PricesSeen:
    """A venue's newest price snapshot and when it was published (wall clock)."""

    snapshot: PricesSnapshotted
    published_at: datetime


class Views:
    """Newest state of everything the gateway shows."""

    def __init__(self) -> None:
        self.strategies: dict[str, StrategyChanged] = {}
        self.positions: dict[str, PositionChanged] = {}
        self.progress: dict[str, PlanProgressed] = {}
        self.wallets: dict[str, WalletChanged] = {}
        self.books: dict[str, BooksTotalled] = {}
        self.instruments: dict[str, InstrumentsListed] = {}
        self.prices: dict[str, PricesSeen] = {}
        self.halts: dict[str, HaltChanged] = {}
        self._by_age: list[tuple[datetime, str]] = []

    def take(self, message: Message, meta: Meta) -> None:
        """Let a message change the views, unless they know something newer."""
        match message:
            case StrategyChanged():
                self.take_strategy(message)
            case PositionChanged():
                _keep_newer(self.positions, message.strategy_id, message, lambda one: one.version)
            case PlanProgressed():
                _keep_newer(self.progress, message.strategy_id, message, lambda one: one.sequence)
            case WalletChanged():
                _keep_newer(self.wallets, message.venue, message, lambda one: one.version)
            case BooksTotalled():
                _keep_newer(self.books, message.venue, message, lambda one: one.sequence)
            case InstrumentsListed():
                self.instruments[message.venue] = message
            case PricesSnapshotted():
                self.prices[message.venue] = PricesSeen(message, meta.occurred_at)
            case HaltChanged():
                self.take_halt(message)
            case _:
                return

    def take_halt(self, message: HaltChanged) -> None:
        """Let a venue's switch change the view, unless a newer change is known."""
        _keep_newer(self.halts, message.venue, message, lambda one: one.sequence)

    def take_strategy(self, message: StrategyChanged) -> None:
        """Let a strategy's state change the view, unless a newer version is known."""
        known = self.strategies.get(message.strategy_id)
        if known is None:
            insort(self._by_age, (message.created_at, message.strategy_id))
        if known is None or known.version < message.version:
            self.strategies[message.strategy_id] = message

    def strategies_after(
        self, after: str, limit: int, statuses: frozenset[StrategyStatus]
    ) -> tuple[list[StrategyChanged], str]:
        """A page of strategies, newest first, and the id to continue after ("" at the end).

        ``after``: the last id of the page before, "" for the first page; ``statuses``: empty = any.
        """
        page: list[StrategyChanged] = []
        passed = not after
        for _, strategy_id in reversed(self._by_age):
            if not passed:
                passed = strategy_id == after
                continue
            strategy = self.strategies[strategy_id]
            if statuses and strategy.status not in statuses:
                continue
            if len(page) == limit:
                return page, page[-1].strategy_id
            page.append(strategy)
        return page, ""

    def venues(self) -> list[str]:
        """Every venue anything is known of."""
        return sorted({*self.instruments, *self.prices, *self.wallets, *self.books, *self.halts})


def _keep_newer(kept: dict[str, _T], key: str, message: _T, number: Callable[[_T], int]) -> None:
    """Keep the message unless one with its number or a higher one is known."""
    known = kept.get(key)
    if known is None or number(known) < number(message):
        kept[key] = message

"""The projection's state in memory: what one pass over new entries changes, to be written in one transaction.

Whoever runs it reads entries and prices, lets ``Pass`` take them in, and writes what it has changed. Nothing here knows
a database.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from services.ledger.facts import Fact, JournalEntry, fact_of, in_order
from services.ledger.results import StrategyResults
from shared.core.double_entry import EXACT_SUMS, changes_of
from shared.core.money import ZERO

KEPT_STRATEGIES = 2_000
KEPT_BALANCES = 200_000

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class BalanceAfter:
    """What an account held after an entry, at the venue's clock."""

    account: str
    asset: str
    at: datetime
    sequence: int
    amount: Decimal


@dataclass(slots=True)
class Remembered:
    """What is kept between passes, as it is in the database after entry ``sequence``; forgotten when that has moved."""

    sequence: int = 0
    strategies: "OrderedDict[str, StrategyResults]" = field(default_factory=OrderedDict)
    balances: dict[Key, Decimal] = field(default_factory=dict)
    clocks: dict[str, datetime] = field(default_factory=dict)

    def forget(self) -> None:
        """Everything: somebody else has written, or what was computed was not committed."""
        self.strategies.clear()
        self.balances.clear()
        self.clocks.clear()

    def shrink(self) -> None:
        """Let go of what was used least recently."""
        while len(self.strategies) > KEPT_STRATEGIES:
            self.strategies.popitem(last=False)
        if len(self.balances) > KEPT_BALANCES:
            self.balances.clear()


@dataclass(slots=True)
class Pass:
    """One pass. ``changed``: strategies with new facts; ``anew``: of those, the ones computed from their beginning."""

    memory: Remembered
    balances: list[BalanceAfter] = field(default_factory=list)
    changed: dict[str, StrategyResults] = field(default_factory=dict)
    anew: set[str] = field(default_factory=set)

    def take_balances(self, entries: Iterable[JournalEntry]) -> None:
        """Note what every account holds after each entry; the balances before must be in memory."""
        for entry in entries:
            clock = max(entry.market_time, self.memory.clocks.get(entry.venue, entry.market_time))
            self.memory.clocks[entry.venue] = clock
            for key, change in sorted(changes_of(entry.postings).items()):
                amount = EXACT_SUMS.add(self.memory.balances.get(key, ZERO), change)
                self.memory.balances[key] = amount
                if change:
                    self.balances.append(BalanceAfter(*key, clock, entry.sequence, amount))

    def take_facts(self, facts: Sequence[Fact]) -> set[str]:
        """Apply the new facts; returns the strategies to which some have come out of order: use ``take_anew``."""
        by_strategy: dict[str, list[Fact]] = {}
        for fact in facts:
            by_strategy.setdefault(fact.strategy_id, []).append(fact)
        for strategy_id, new in by_strategy.items():
            results = self.memory.strategies.setdefault(strategy_id, StrategyResults(strategy_id, new[0].venue))
            self.memory.strategies.move_to_end(strategy_id)
            self.changed[strategy_id] = results
            for fact in in_order(new):
                placed = results.placed(fact)
                if placed is None:
                    self.anew.add(strategy_id)
                    break
                results.apply(placed)
        return self.anew

    def take_anew(self, strategy_id: str, venue: str, facts: Iterable[Fact]) -> None:
        """Compute one strategy from all of its facts."""
        results = StrategyResults(strategy_id, venue)
        for fact in in_order(facts):
            results.apply(fact)
        self.memory.strategies[strategy_id] = self.changed[strategy_id] = results


def facts_of(entries: Iterable[JournalEntry], prices: Mapping[int, Mapping[str, Decimal]]) -> list[Fact]:
    """The facts among the entries; ``prices`` by sequence, where an entry needs some."""
    found = (fact_of(entry, prices.get(entry.sequence, {})) for entry in entries)
    return [fact for fact in found if fact is not None]

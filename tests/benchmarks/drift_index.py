"""Ticks per second through the drift index, with re-certification, beside brute force over the same strategies.

    uv run python -m tests.benchmarks.drift_index [--ticks N] [--strategies N]

Strategies of 5 assets out of 200, thresholds of 3-8 points; prices follow a random walk of 4 % daily volatility; each
asset is quoted 25 times a second of market time (5,000 ticks/s in all, what a busy venue sends). A tick is a price: its
logarithm is taken, the index asked. A broken certificate is computed anew in floats, and a strategy that fires is set
back to its targets, within the time measured.

Besides, the same with the decision an evaluator makes at every look: exact, in decimals, with its certificate. What is
timed then is the ticks and the decisions, not making up the strategy's state from the benchmark's matrices.

Few and many strategies take turns, a slice of the ticks each, so that other work of the machine strikes both. Ticks per
second are by the wall clock; the ratio is that of the processor time per tick.
"""

import argparse
import math
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from math import exp, log
from operator import add, sub
from typing import Any

import numpy as np

from shared.core.bulk_certificates import threshold_boxes
from shared.core.certificates import barriers, certificate_after, leaning_box
from shared.core.decisions import Plan, decide
from shared.core.drift_index import DriftIndex
from shared.core.market import Instrument, Quote
from shared.core.position import PlanProgress, Position
from shared.core.rules import Band
from shared.core.situation import Market, Situation, StrategyView
from shared.core.strategy import StrategyStatus, parse_strategy

ASSETS, WIDTH = 200, 5
TICKS_PER_MARKET_S = 5000.0
DAILY_VOLATILITY = 0.04
SAMPLE = 20_000
MARGIN = 1e-9
NO_ROOM = exp(MARGIN)
SLICES = 10
AT = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = [f"A{number}" for number in range(ASSETS)]
ASSET_IDS = {name: number for number, name in enumerate(NAMES)}
DEFINITION = parse_strategy(
    {"name": "x", "venue": "paper", "funding_asset": "USDT", "amount": "100", "targets": {"A0": "50", "A1": "50"},
     "rebalance": {"threshold": "5"}}
)  # fmt: skip
_LEAST = Decimal("0.00000001")
INSTRUMENT = Instrument("paper", "A0USDT", "A0", "USDT", _LEAST, _LEAST, Decimal(10**12), _LEAST, _LEAST, Decimal(0))


@dataclass
class Outcome:
    """Of one run. ``looks`` are broken certificates, ``fired`` those of them whose threshold was really reached."""

    strategies: int
    load_s: float
    index_bytes: int = 0
    ticks: int = 0
    wall_s: float = 0.0
    processor_s: float = 0.0
    looks: int = 0
    fired: int = 0
    brute_force_pass_s: float = 0.0

    @property
    def ticks_per_s(self) -> float:
        """By the wall clock."""
        return self.ticks / self.wall_s


def in_mid_life(generator: np.random.Generator) -> tuple[Any, Any, Any]:
    """Targets, thresholds and log price moves since the last rebalance of strategies that have run for 60 days.

    Freshly balanced strategies would flatter the index, for their bands are wide; strategies at random places within
    their bands would crowd near the bounds as no real ones do. Time steps get finer towards the end.
    """
    targets = np.round(5.0 + 75.0 * generator.dirichlet(np.full(WIDTH, 6.0), size=SAMPLE), 4)
    points = generator.uniform(3.0, 8.0, size=SAMPLE)
    moves = np.zeros((SAMPLE, WIDTH))
    for days, steps in ((0.2, 300), (0.01, 60), (0.0005, 60), (0.000025, 60)):
        for _ in range(steps):
            moves += generator.normal(0.0, DAILY_VOLATILITY * math.sqrt(days), size=moves.shape)
            values = targets * np.exp(moves)
            drift = np.abs(100.0 * values / values.sum(axis=1, keepdims=True) - targets).max(axis=1)
            moves[drift >= points] = 0.0
    return targets, points, moves


class Strategies:
    """Quantities, targets and thresholds of all strategies, as matrices."""

    def __init__(self, count: int, generator: np.random.Generator) -> None:
        keys = generator.random((count, ASSETS), dtype=np.float32)
        self.ids = np.argpartition(keys, WIDTH, axis=1)[:, :WIDTH].astype(np.int64)
        sample = generator.integers(0, SAMPLE, size=count)
        targets, points, drifted = in_mid_life(generator)
        self.targets, self.points = targets[sample], points[sample]
        self.log_prices = generator.normal(3.0, 3.0, size=ASSETS)
        quantities = self.targets * np.exp(drifted[sample]) / np.exp(self.log_prices[self.ids])
        # The same figures once as matrices for brute force and once as flat arrays for single looks.
        self._ids, self._targets = array("q", self.ids.tobytes()), array("d", self.targets.tobytes())
        self._points, self._quantities = array("d", self.points.tobytes()), array("d", quantities.tobytes())
        self.quantities = np.frombuffer(self._quantities, dtype=np.float64).reshape(count, WIDTH)

    def barriers(self) -> tuple[Any, Any]:
        """Of the certificates of all, in log price: below and above."""
        log_prices = self.log_prices[self.ids]
        ups, downs = threshold_boxes(self.quantities * np.exp(log_prices), self.targets, self.points[:, None])
        return log_prices - downs, log_prices + ups

    def fired(self) -> Any:
        """Brute force: every strategy's drift at the newest prices."""
        values = self.quantities * np.exp(self.log_prices)[self.ids]
        drift = np.abs(100.0 * values / values.sum(axis=1, keepdims=True) - self.targets).max(axis=1)
        return np.flatnonzero(drift >= self.points)

    def look(self, slot: int, prices: list[float], logs: list[float], index: DriftIndex) -> bool:
        """What an evaluator does with a broken certificate, in floats: rebalance if due, then a new certificate."""
        start, end = slot * WIDTH, (slot + 1) * WIDTH
        ids, targets, points = self._ids[start:end].tolist(), self._targets[start:end], self._points[slot]
        quantities = self._quantities[start:end]
        values = [quantity * prices[each] for quantity, each in zip(quantities, ids, strict=True)]
        ups, downs = _bands(values, targets, points)
        due = not (all(ups) and all(downs))
        if due:
            self.rebalance(slot, prices)
            quantities = self._quantities[start:end]
            values = [quantity * prices[each] for quantity, each in zip(quantities, ids, strict=True)]
            ups, downs = _bands(values, targets, points)
        at = [logs[each] for each in ids]
        index.put(slot, ids, list(map(sub, at, downs)), list(map(add, at, ups)))
        return due

    def rebalance(self, slot: int, prices: list[float]) -> None:
        """Set a strategy to its targets."""
        places = range(slot * WIDTH, (slot + 1) * WIDTH)
        total = math.fsum(self._quantities[place] * prices[self._ids[place]] for place in places)
        for place in places:
            self._quantities[place] = total * self._targets[place] / 100.0 / prices[self._ids[place]]

    def situation(self, slot: int) -> Situation:
        """A strategy as an evaluator knows it."""
        places = range(slot * WIDTH, (slot + 1) * WIDTH)
        weights = [Decimal(round(self._targets[place] * 10_000)).scaleb(-4) for place in places]
        weights[0] += 100 - sum(weights)
        names = [NAMES[self._ids[place]] for place in places]
        definition = replace(
            DEFINITION,
            targets=dict(zip(names, weights, strict=True)),
            rule=replace(DEFINITION.rule, threshold=Band(_decimal(self._points[slot]))),
        )
        holdings = {name: _decimal(self._quantities[place]) for name, place in zip(names, places, strict=True)}
        view = StrategyView("s", 1, StrategyStatus.ACTIVE, definition, AT)
        return Situation(view, Position("s", 1, 0, holdings, Decimal(100)), PlanProgress("s"))


class World:
    """Strategies under prices that move."""

    def __init__(self, count: int, seed: int = 1) -> None:
        self.generator = np.random.default_rng(seed)
        self.strategies = Strategies(count, self.generator)
        began = time.perf_counter()
        self.index = DriftIndex()
        self.index.put_many(np.arange(count), self.strategies.ids, *self.strategies.barriers())
        self.outcome = Outcome(count, time.perf_counter() - began)
        self.logs = self.strategies.log_prices.tolist()
        self.prices = [exp(each) for each in self.logs]
        for slot in self.strategies.fired().tolist():
            self.strategies.look(slot, self.prices, self.logs, self.index)

    def ticks(self, count: int) -> Iterator[tuple[int, float]]:
        """Asset numbers and price ratios."""
        step = DAILY_VOLATILITY * math.sqrt(ASSETS / TICKS_PER_MARKET_S / 86_400.0)
        moved = self.generator.integers(0, ASSETS, size=count).tolist()
        return zip(moved, np.exp(self.generator.normal(0.0, step, size=count)).tolist(), strict=True)

    def run(self, count: int) -> None:
        """Apply so many ticks, looking in floats."""
        ticks, look, index = self.ticks(count), self.strategies.look, self.index
        prices, logs, looks, fired = self.prices, self.logs, 0, 0
        began, processor_began = time.perf_counter(), time.process_time()
        for asset, ratio in ticks:
            prices[asset] = price = prices[asset] * ratio
            logs[asset] = log_price = log(price)
            for slot in index.apply(asset, log_price):
                looks += 1
                fired += look(slot, prices, logs, index)
        outcome = self.outcome
        outcome.wall_s += time.perf_counter() - began
        outcome.processor_s += time.process_time() - processor_began
        outcome.ticks += count
        outcome.looks += looks
        outcome.fired += fired

    def run_exactly(self, count: int) -> Outcome:
        """Apply so many ticks, deciding exactly at each look; a strategy that fires is set back by the benchmark."""
        strategies, index, prices, logs = self.strategies, self.index, self.prices, self.logs
        outcome, at, instruments = Outcome(self.outcome.strategies, 0.0, ticks=count), AT, {}
        instruments = {name: replace(INSTRUMENT, base=name, symbol=f"{name}USDT") for name in NAMES}
        elsewhere, began = np.zeros(2), _clocks()
        for asset, ratio in self.ticks(count):
            prices[asset] = price = prices[asset] * ratio
            logs[asset] = log_price = log(price)
            for slot in index.apply(asset, log_price):
                left = _clocks()
                situation = strategies.situation(slot)
                ids = [ASSET_IDS[name] for name in situation.strategy.definition.targets]
                quotes = {NAMES[each]: Quote(_decimal(prices[each]), _decimal(prices[each]), at) for each in ids}
                market = Market(quotes, instruments, "USDT", at)
                elsewhere += _clocks() - left
                decision = decide(situation, market)
                if isinstance(decision, Plan):
                    left = _clocks()
                    outcome.fired += 1
                    strategies.rebalance(slot, prices)
                    situation = strategies.situation(slot)
                    elsewhere += _clocks() - left
                    decision = decide(situation, market)
                index.put(slot, ids, *barriers(certificate_after(decision, situation, market)))
                outcome.looks += 1
        outcome.wall_s, outcome.processor_s = (_clocks() - began - elsewhere).tolist()
        return outcome

    def check(self) -> None:
        """Brute force at the newest prices: what the index should have found. Exits when it missed one."""
        self.outcome.index_bytes = self.index.size_bytes()
        self.strategies.log_prices[:] = self.logs
        began = time.perf_counter()
        missed = self.strategies.fired()
        self.outcome.brute_force_pass_s = time.perf_counter() - began
        if missed.size:
            raise SystemExit(f"the index missed {missed.size} strategies")


def _clocks() -> Any:
    return np.array((time.perf_counter(), time.process_time()))


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.18f}")


def _bands(values: list[float], targets: Iterable[float], points: float) -> tuple[list[float], list[float]]:
    """How far each price may rise and fall: ``shared.core.certificates`` for one strategy, in plain floats."""
    total, highs, lows = math.fsum(values), [], []
    for value, target in zip(values, targets, strict=True):
        rest, high, low = total - value, target + points, target - points
        up = high * rest / (value * (100.0 - high)) if high < 100.0 else math.inf
        down = value * (100.0 - low) / (rest * low) if low > 0.0 else math.inf
        highs.append(log(up) - MARGIN if up > NO_ROOM else 0.0)
        lows.append(log(down) - MARGIN if down > NO_ROOM else 0.0)
    box = leaning_box(highs, lows)
    return box.ups, box.downs


def main() -> None:
    """Print the figures for few and for many strategies, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=2_000_000)
    parser.add_argument("--strategies", type=int, default=1_000_000)
    arguments = parser.parse_args()
    World(1000).run(arguments.ticks // 10)  # warm up
    few, many = World(1000), World(arguments.strategies)
    for _ in range(SLICES):
        few.run(arguments.ticks // SLICES)
        many.run(arguments.ticks // SLICES)
    for world in (few, many):
        world.check()
        _print(world.outcome)
    costs = [1e6 * world.outcome.processor_s / world.outcome.ticks for world in (few, many)]
    print(
        f"cost per tick at {many.outcome.strategies:,} / at 1,000 strategies: {costs[1] / costs[0]:.2f} "
        f"({costs[1]:.3f} / {costs[0]:.3f} us of processor time)"
    )
    exact = many.run_exactly(arguments.ticks // 4)
    print(
        f"with exact decisions and their certificates at {exact.strategies:,}: {exact.ticks_per_s:,.0f} ticks/s "
        f"({1e6 * exact.processor_s / exact.ticks:.2f} us of processor time each), "
        f"{exact.looks / exact.ticks * TICKS_PER_MARKET_S:.3f} looks per market second"
    )


def _print(outcome: Outcome) -> None:
    market_s = outcome.ticks / TICKS_PER_MARKET_S
    print(
        f"{outcome.strategies:>9,} strategies: {outcome.ticks_per_s:>9,.0f} ticks/s, "
        f"loaded in {outcome.load_s:.2f} s, {outcome.index_bytes / outcome.strategies:,.0f} bytes each, "
        f"{outcome.looks / market_s:.3f} looks and {outcome.fired / market_s:.3f} fired per market second; "
        f"brute force: {1 / outcome.brute_force_pass_s:,.1f} ticks/s "
        f"(index {outcome.ticks_per_s * outcome.brute_force_pass_s:,.0f} x faster)"
    )


if __name__ == "__main__":
    main()

"""Ticks per second through the drift index, with re-certification, beside brute force over the same strategies.

    uv run python -m tests.benchmarks.drift_index [--ticks N] [--strategies N]

Strategies of 5 assets out of 200, thresholds of 3-8 points; prices follow a random walk of 4 % daily volatility; each
asset is quoted 25 times a second of market time (5,000 ticks/s in all, what a busy venue sends). A broken certificate
is computed anew, and a strategy that fires is set back to its targets, within the time measured.
"""

import argparse
import math
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.core.certificates import threshold_bands
from shared.core.drift_index import DriftIndex

ASSETS, WIDTH = 200, 5
TICKS_PER_MARKET_S = 5000.0
DAILY_VOLATILITY = 0.04
SAMPLE = 20_000


@dataclass(frozen=True)
class Outcome:
    """Of one run. ``looks`` are broken certificates, ``fired`` those of them whose threshold was really reached."""

    strategies: int
    load_s: float
    ticks_per_s: float
    looks: int
    fired: int
    ticks: int
    index_bytes: int
    brute_force_pass_s: float


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

    def bands(self, rows: Any) -> Any:
        values = self.quantities[rows] * np.exp(self.log_prices[self.ids[rows]])
        return threshold_bands(values, self.targets[rows], self.points[rows])

    def fired(self) -> Any:
        """Brute force: every strategy's drift at the newest prices."""
        values = self.quantities * np.exp(self.log_prices)[self.ids]
        drift = np.abs(100.0 * values / values.sum(axis=1, keepdims=True) - self.targets).max(axis=1)
        return np.flatnonzero(drift >= self.points)

    def look(self, slot: int, log_prices: list[float], index: DriftIndex) -> bool:
        """What an evaluator does with a broken certificate, in floats: rebalance if due, then a new certificate."""
        start, end = slot * WIDTH, (slot + 1) * WIDTH
        ids, targets, points = self._ids[start:end], self._targets[start:end], self._points[slot]
        logs = [log_prices[each] for each in ids]
        values = [q * math.exp(x) for q, x in zip(self._quantities[start:end], logs, strict=True)]
        total = math.fsum(values)
        is_due = any(abs(100.0 * v / total - t) >= points for v, t in zip(values, targets, strict=True))
        if is_due:
            values = [total * t / 100.0 for t in targets]
            for place, value, log_price in zip(range(start, end), values, logs, strict=True):
                self._quantities[place] = value / math.exp(log_price)
        index.put(slot, ids, logs, _band(values, targets, points))
        return is_due


def _band(values: list[float], targets: Iterable[float], points: float) -> float:
    """The formula of ``shared.core.certificates`` for one strategy, in plain floats."""
    total, band = math.fsum(values), math.inf
    for value, target in zip(values, targets, strict=True):
        rest, high, low = total - value, target + points, target - points
        if high < 100.0:
            band = min(band, high * rest / (value * (100.0 - high)))
        if low > 0.0:
            band = min(band, value * (100.0 - low) / (rest * low))
    return max(0.0, math.log(band) / 2 * (1 - 1e-9) - 1e-12) if band > 1.0 else 0.0


def measure(count: int, ticks: int, seed: int = 1) -> Outcome:
    """Load ``count`` strategies, apply ``ticks`` ticks."""
    generator = np.random.default_rng(seed)
    world = Strategies(count, generator)
    step = DAILY_VOLATILITY * math.sqrt(ASSETS / TICKS_PER_MARKET_S / 86_400.0)
    moved = generator.integers(0, ASSETS, size=ticks).tolist()
    kicks = array("d", generator.normal(0.0, step, size=ticks).tolist())
    began = time.perf_counter()
    index = DriftIndex()
    index.put_many(np.arange(count), world.ids, world.log_prices[world.ids], world.bands(slice(None)))
    load_s = time.perf_counter() - began
    log_prices = world.log_prices.tolist()
    for slot in world.fired().tolist():
        world.look(slot, log_prices, index)
    looks = fired = 0
    began = time.perf_counter()
    for asset, kick in zip(moved, kicks, strict=True):
        price = log_prices[asset] + kick
        log_prices[asset] = price
        for slot in index.apply(asset, price):
            looks += 1
            fired += world.look(slot, log_prices, index)
    apply_s = time.perf_counter() - began
    world.log_prices[:] = log_prices
    began = time.perf_counter()
    missed = world.fired()
    brute_force_s = time.perf_counter() - began
    if missed.size:
        raise SystemExit(f"the index missed {missed.size} strategies")
    return Outcome(count, load_s, ticks / apply_s, looks, fired, ticks, index.size_bytes(), brute_force_s)


def main() -> None:
    """Print the figures for few and for many strategies, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=2_000_000)
    parser.add_argument("--strategies", type=int, default=1_000_000)
    arguments = parser.parse_args()
    measure(1000, arguments.ticks // 10)  # warm up
    few = measure(1000, arguments.ticks)
    many = measure(arguments.strategies, arguments.ticks)
    for outcome in (few, many):
        market_s = outcome.ticks / TICKS_PER_MARKET_S
        print(
            f"{outcome.strategies:>9,} strategies: {outcome.ticks_per_s:>9,.0f} ticks/s, "
            f"loaded in {outcome.load_s:.2f} s, {outcome.index_bytes / outcome.strategies:,.0f} bytes each, "
            f"{outcome.looks / market_s:.3f} looks and {outcome.fired / market_s:.3f} fired per market second; "
            f"brute force: {1 / outcome.brute_force_pass_s:,.1f} ticks/s "
            f"(index {outcome.ticks_per_s * outcome.brute_force_pass_s:,.0f} x faster)"
        )
    print(f"cost per tick at {many.strategies:,} / at 1,000 strategies: {few.ticks_per_s / many.ticks_per_s:.2f}")


if __name__ == "__main__":
    main()

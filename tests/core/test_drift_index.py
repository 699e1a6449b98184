"""The index against brute force: never a false negative; and index + decide against decide alone."""

import math
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from shared.core.bulk_certificates import threshold_boxes
from shared.core.decisions import Plan, decide
from shared.core.drift_index import NEAR, DriftIndex
from shared.core.errors import Refused
from shared.core.position import PlanProgress, Position
from shared.core.situation import Market, Situation, StrategyView
from shared.core.strategy import StrategyStatus, parse_strategy
from tests.core.portfolio_samples import AT, market

D = Decimal


def _put(index: DriftIndex, slot: int, ids: list[int], log_prices: list[float], band: float) -> None:
    """The same band for every asset and side."""
    index.put(slot, ids, [each - band for each in log_prices], [each + band for each in log_prices])


def test_apply_when_inside_the_band_breaks_nothing() -> None:
    index = DriftIndex()
    _put(index, 0, [3, 5], [1.0, -2.0], 0.25)
    assert index.apply(3, 1.2499) == []
    assert index.apply(3, 0.7501) == []
    assert index.apply(5, -2.2499) == []
    assert index.apply(4, 99.0) == []
    assert index.apply(77, 99.0) == []


@pytest.mark.parametrize("price", [1.25, 0.75, 9.0, -9.0])
def test_apply_when_a_barrier_is_reached_breaks_the_slot_once(price: float) -> None:
    index = DriftIndex()
    _put(index, 7, [3, 5], [1.0, -2.0], 0.25)
    assert index.apply(3, price) == [7]


def test_apply_when_the_band_is_zero_breaks_at_every_tick() -> None:
    index = DriftIndex()
    for _ in range(3):
        _put(index, 1, [0], [2.0], 0.0)
        assert index.apply(0, 2.0) == [1]


def test_apply_when_the_band_is_infinite_never_breaks() -> None:
    index = DriftIndex()
    _put(index, 1, [0], [2.0], math.inf)
    assert index.apply(0, 700.0) == []
    assert index.apply(0, -700.0) == []


def test_put_when_repeated_replaces_the_certificate() -> None:
    index = DriftIndex()
    _put(index, 1, [0, 1], [0.0, 0.0], 0.1)
    _put(index, 1, [0, 1], [0.0, 0.0], 0.5)
    assert index.apply(0, 0.4) == []
    _put(index, 1, [1, 2, 3], [0.0, 0.0, 0.0], 0.1)
    assert index.apply(0, 9.0) == []
    assert index.apply(3, -0.1) == [1]


def test_remove_when_present_or_not_leaves_nothing_behind() -> None:
    index = DriftIndex()
    _put(index, 1, [0], [0.0], 0.1)
    index.remove(1)
    index.remove(1)
    index.remove(99)
    assert 1 not in index
    assert index.apply(0, 9.0) == []
    _put(index, 2, [0], [0.0], 0.1)
    assert index.apply(0, 9.0) == [2]


def test_apply_when_a_thousand_equal_certificates_break_returns_them_all() -> None:
    index = DriftIndex()
    for slot in range(1000):
        _put(index, slot, [0], [0.0], 0.1)
    assert index.apply(0, 0.09999) == []
    assert sorted(index.apply(0, 0.1)) == list(range(1000))


@pytest.mark.parametrize(
    ("assets", "prices", "band"),
    [([0], [1.0], -0.1), ([0], [1.0], math.nan), ([0], [math.nan], 0.1), ([], [], 0.1),
     ([-1], [1.0], 0.1), ([70_000], [1.0], 0.1)],
)  # fmt: skip
def test_put_when_it_is_no_certificate_is_refused(assets: list[int], prices: list[float], band: float) -> None:
    index = DriftIndex()
    with pytest.raises(Refused):
        _put(index, 0, assets, prices, band)
    assert 0 not in index


@pytest.mark.parametrize("seed", range(12))
def test_index_when_driven_at_random_equals_brute_force(seed: int) -> None:
    """Adds, changes, removals and jumps; bands from 0 to large; the same slots after every tick, exactly."""
    rng = random.Random(seed)
    index, assets = DriftIndex(), rng.choice([1, 3, 8])
    prices = [rng.uniform(-20, 20) for _ in range(assets)]
    brute: dict[int, tuple[list[int], list[float], float]] = {}

    def put(slot: int) -> None:
        ids = rng.sample(range(assets), rng.randint(1, min(assets, 5)))
        band = rng.choice([0.0, rng.expovariate(20), rng.expovariate(1), math.inf])
        brute[slot] = (ids, [prices[each] for each in ids], band)
        _put(index, slot, *brute[slot])

    for slot in range(rng.choice([3, 3 * NEAR, 12 * NEAR])):
        put(slot)
    for _ in range(1500):
        asset = rng.randrange(assets)
        prices[asset] += rng.choice([0.0, rng.gauss(0, 0.01), rng.gauss(0, 0.2), rng.gauss(0, 3)])
        expected = {
            slot
            for slot, (ids, at, band) in brute.items()
            if asset in ids and not at[ids.index(asset)] - band < prices[asset] < at[ids.index(asset)] + band
        }
        broken = index.apply(asset, prices[asset])
        assert len(broken) == len(set(broken))
        assert set(broken) == expected
        for slot in broken:
            if rng.random() < 0.9:
                put(slot)
            else:
                del brute[slot]
                index.remove(slot)
        if rng.random() < 0.1:
            put(rng.randrange(2000))


def test_put_many_when_compared_with_put_breaks_the_same() -> None:
    generator = np.random.default_rng(5)
    count, width, assets = 2000, 5, 20
    ids = np.argsort(generator.random((count, assets)), axis=1)[:, :width]
    prices = generator.normal(size=assets)
    bands = generator.exponential(0.1, size=count)
    one, many = DriftIndex(), DriftIndex()
    many.put_many(np.arange(count), ids, prices[ids] - bands[:, None], prices[ids] + bands[:, None])
    for slot in range(count):
        _put(one, slot, ids[slot].tolist(), prices[ids[slot]].tolist(), float(bands[slot]))
    for asset in range(assets):
        price = float(prices[asset]) + generator.normal(0, 0.2)
        broken = many.apply(asset, price)
        assert sorted(broken) == sorted(one.apply(asset, price))
        for slot in broken:
            one.remove(slot)
            many.remove(slot)


def test_put_many_when_rows_and_segments_were_given_back_uses_them_again() -> None:
    """Strategies that leave and come back in parts: nothing grows, and the same breaks as with one at a time."""
    generator = np.random.default_rng(7)
    count, width, assets = 3000, 4, 15
    ids = np.argsort(generator.random((count, assets)), axis=1)[:, :width]
    prices = generator.normal(size=assets)
    one, many = DriftIndex(), DriftIndex()
    sizes, breaks = [], 0
    for _ in range(4):
        bands = generator.exponential(0.1, size=count)
        for slots in np.array_split(generator.permutation(count), 6):
            at, band = prices[ids[slots]], bands[slots][:, None]
            many.put_many(slots, ids[slots], at - band, at + band)
            for slot in slots.tolist():
                _put(one, slot, ids[slot].tolist(), prices[ids[slot]].tolist(), float(bands[slot]))
        sizes.append(len(many._segment_assets))
        for asset in range(assets):
            prices[asset] += generator.normal(0, 0.02)
            broken = many.apply(asset, float(prices[asset]))
            assert sorted(broken) == sorted(one.apply(asset, float(prices[asset])))
            breaks += len(broken)
            for slot in broken:
                one.remove(slot)
                many.remove(slot)
        for slot in range(count):
            one.remove(slot)
            many.remove(slot)
    assert set(sizes) == {count * width}
    assert breaks > 1000


# --- index + decide against decide alone ------------------------------------------------------------------------------


def test_index_and_exact_decision_when_a_million_strategy_ticks_fire_as_brute_force_does() -> None:
    """500 threshold strategies x 2,500 jumpy ticks, each tick checked by vectorised brute force over all of them.

    Brute force in floats decides what is clear; what lies within 1e-9 of a bound is decided exactly.
    """
    generator = np.random.default_rng(17)
    world = _World(generator, strategies=500, assets=12, width=4)
    fired = looks = 0
    changed = set[int]()
    for _ in range(2500):
        moved = generator.choice(world.assets, size=generator.integers(1, 4), replace=False)
        kick = generator.choice([0.002, 0.02, 0.3], size=moved.size, p=[0.7, 0.27, 0.03])
        world.log_prices[moved] += generator.normal(size=moved.size) * kick
        broken = {slot for asset in moved for slot in world.index.apply(int(asset), float(world.log_prices[asset]))}
        broken |= changed  # a new position is an event: it is looked at whatever the prices do
        expected = world.fire_by_brute_force()
        acting = {slot for slot in broken if world.fires_exactly(slot)}
        assert acting == expected
        for slot in acting:
            world.rebalance(slot, generator)
        world.certify(np.array(sorted(broken), dtype=np.int64))
        changed = acting
        fired, looks = fired + len(acting), looks + len(broken)
    assert fired > 500
    assert looks < 20 * fired  # false positives are allowed, but the index must be worth having


class _World:
    """Strategies as matrices: quantities and targets per (strategy, column), prices per asset."""

    def __init__(self, generator: np.random.Generator, *, strategies: int, assets: int, width: int) -> None:
        self.assets = assets
        self.log_prices = generator.normal(0, 4, size=assets)
        self.ids = np.argsort(generator.random((strategies, assets)), axis=1)[:, :width]
        cuts = np.sort(generator.integers(1, 100 - width, size=(strategies, width - 1)), axis=1)
        edges = np.hstack([np.zeros((strategies, 1)), cuts, np.full((strategies, 1), 100 - width)])
        self.targets = np.diff(edges, axis=1) + 1.0
        self.points = generator.choice([0.5, 1.0, 3.0, 5.0, 12.0], size=strategies)
        self.quantities = 1000.0 * self.targets / np.exp(self.log_prices[self.ids])
        self.index = DriftIndex()
        self.certify(np.arange(strategies))

    def values(self, rows: Any) -> Any:
        return self.quantities[rows] * np.exp(self.log_prices[self.ids[rows]])

    def certify(self, slots: Any) -> None:
        logs = self.log_prices[self.ids[slots]]
        ups, downs = threshold_boxes(self.values(slots), self.targets[slots], self.points[slots, None])
        for slot, lowers, uppers in zip(slots.tolist(), (logs - downs).tolist(), (logs + ups).tolist(), strict=True):
            self.index.put(slot, self.ids[slot].tolist(), lowers, uppers)

    def fire_by_brute_force(self) -> set[int]:
        values = self.values(slice(None))
        drift = np.abs(100.0 * values / values.sum(axis=1, keepdims=True) - self.targets).max(axis=1)
        clear = set(np.flatnonzero(drift >= self.points + 1e-9).tolist())
        close = np.flatnonzero(np.abs(drift - self.points) < 1e-9)
        return clear | {slot for slot in close.tolist() if self.fires_exactly(slot)}

    def fires_exactly(self, slot: int) -> bool:
        ids = self.ids[slot].tolist()
        prices = {f"A{n}": format(D(math.exp(self.log_prices[n])), "f") for n in ids}
        targets = {f"A{n}": D(t) for n, t in zip(ids, self.targets[slot].tolist(), strict=True)}
        held = {f"A{n}": D(q) for n, q in zip(ids, self.quantities[slot].tolist(), strict=True)}
        return self._decide(held, targets, D(self.points[slot]), market(prices))

    @staticmethod
    def _decide(held: dict[str, Decimal], targets: dict[str, Decimal], points: Decimal, now: Market) -> bool:
        document = {
            "name": "x", "venue": "paper", "funding_asset": "USDT", "amount": "1000",
            "targets": {asset: str(int(weight)) for asset, weight in targets.items()},
            "rebalance": {"threshold": format(points, "f")},
        }  # fmt: skip
        view = StrategyView("s", 1, StrategyStatus.ACTIVE, parse_strategy(document), AT)
        made = Situation(view, Position("s", 1, 0, held, D(1)), PlanProgress("s"))
        return isinstance(decide(made, now), Plan)

    def rebalance(self, slot: int, generator: np.random.Generator) -> None:
        """To targets, or short of them (as when an order was only partly filled)."""
        values = self.values(slot)
        wanted = values.sum() * self.targets[slot] / 100.0
        share = 1.0 if generator.random() < 0.8 else generator.random()
        self.quantities[slot] = (values + share * (wanted - values)) / np.exp(self.log_prices[self.ids[slot]])

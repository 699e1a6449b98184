"""The index against brute force: never a false negative; and index + decide against decide alone."""

import math
import random
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from shared.core.certificates import certificate_after, threshold_bands
from shared.core.decisions import Decision, ExitRequested, Plan, decide
from shared.core.drift_index import NEAR, DriftIndex
from shared.core.errors import Refused
from shared.core.market import Quote
from shared.core.position import PlanOutcome, PlanProgress, Position
from shared.core.situation import NONE_YET, ExitConfirmations, Market, Situation, StrategyView
from shared.core.strategy import StrategyStatus, parse_strategy
from tests.core.portfolio_samples import AT, instrument, market

D = Decimal


def test_apply_when_inside_the_band_breaks_nothing() -> None:
    index = DriftIndex()
    index.put(0, [3, 5], [1.0, -2.0], 0.25)
    assert index.apply(3, 1.2499) == []
    assert index.apply(3, 0.7501) == []
    assert index.apply(5, -2.2499) == []
    assert index.apply(4, 99.0) == []
    assert index.apply(77, 99.0) == []


@pytest.mark.parametrize("price", [1.25, 0.75, 9.0, -9.0])
def test_apply_when_a_barrier_is_reached_breaks_the_slot_once(price: float) -> None:
    index = DriftIndex()
    index.put(7, [3, 5], [1.0, -2.0], 0.25)
    assert index.apply(3, price) == [7]


def test_apply_when_the_band_is_zero_breaks_at_every_tick() -> None:
    index = DriftIndex()
    for _ in range(3):
        index.put(1, [0], [2.0], 0.0)
        assert index.apply(0, 2.0) == [1]


def test_apply_when_the_band_is_infinite_never_breaks() -> None:
    index = DriftIndex()
    index.put(1, [0], [2.0], math.inf)
    assert index.apply(0, 700.0) == []
    assert index.apply(0, -700.0) == []


def test_put_when_repeated_replaces_the_certificate() -> None:
    index = DriftIndex()
    index.put(1, [0, 1], [0.0, 0.0], 0.1)
    index.put(1, [0, 1], [0.0, 0.0], 0.5)
    assert index.apply(0, 0.4) == []
    index.put(1, [1, 2, 3], [0.0, 0.0, 0.0], 0.1)
    assert index.apply(0, 9.0) == []
    assert index.apply(3, -0.1) == [1]


def test_remove_when_present_or_not_leaves_nothing_behind() -> None:
    index = DriftIndex()
    index.put(1, [0], [0.0], 0.1)
    index.remove(1)
    index.remove(1)
    index.remove(99)
    assert 1 not in index
    assert index.apply(0, 9.0) == []
    index.put(2, [0], [0.0], 0.1)
    assert index.apply(0, 9.0) == [2]


def test_apply_when_a_thousand_equal_certificates_break_returns_them_all() -> None:
    index = DriftIndex()
    for slot in range(1000):
        index.put(slot, [0], [0.0], 0.1)
    assert index.apply(0, 0.09999) == []
    assert sorted(index.apply(0, 0.1)) == list(range(1000))


@pytest.mark.parametrize(
    ("assets", "prices", "band"),
    [([0], [1.0], -0.1), ([0], [1.0], math.nan), ([0], [math.nan], 0.1), ([0], [math.inf], 0.1), ([], [], 0.1),
     ([-1], [1.0], 0.1), ([70_000], [1.0], 0.1)],
)  # fmt: skip
def test_put_when_it_is_no_certificate_is_refused(assets: list[int], prices: list[float], band: float) -> None:
    index = DriftIndex()
    with pytest.raises(Refused):
        index.put(0, assets, prices, band)
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
        index.put(slot, *brute[slot])

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
    many.put_many(np.arange(count), ids, prices[ids], bands)
    for slot in range(count):
        one.put(slot, ids[slot].tolist(), prices[ids[slot]].tolist(), float(bands[slot]))
    for asset in range(assets):
        price = float(prices[asset]) + generator.normal(0, 0.2)
        broken = many.apply(asset, price)
        assert sorted(broken) == sorted(one.apply(asset, price))
        for slot in broken:
            one.remove(slot)
            many.remove(slot)


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
        bands = threshold_bands(self.values(slots), self.targets[slots], self.points[slots])
        for slot, band in zip(slots.tolist(), bands.tolist(), strict=True):
            self.index.put(slot, self.ids[slot].tolist(), self.log_prices[self.ids[slot]].tolist(), band)

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


@dataclass
class _Case:
    """One strategy of the test below, kept twice: looked at every frame, and looked at when its certificate breaks."""

    situation: Situation
    confirmations: ExitConfirmations = NONE_YET


@pytest.mark.parametrize("seed", range(12))
def test_certificates_when_every_rule_is_driven_decide_as_looking_at_every_frame_does(seed: int) -> None:
    """Every kind of band, interval, both, destinations, cost guard, start price, take-profit, stop-loss, cash weights,
    minima and their latch, cooldowns, staleness, missing prices.

    ``brute`` decides about every strategy at every frame; ``looked`` only when the certificate says so. Both must act
    on the same strategies in the same frame, for the same reason.
    """
    rng = random.Random(seed)
    assets = [f"A{n}" for n in range(6)]
    prices = {asset: rng.choice([0.00001234, 0.5, 7.0, 61234.5]) for asset in assets[:-1]}
    rules = {a: instrument(a, min_notional=D(10), lot_step=D("0.0000001"), min_quantity=D("0.0000001")) for a in assets}
    brute = [_Case(_random_situation(rng, assets, slot)) for slot in range(25)]
    looked = [_Case(case.situation) for case in brute]
    index, now, stale = DriftIndex(), AT, set[str]()
    due: dict[int, Any] = dict.fromkeys(range(25), AT)
    waits: dict[int, str] = {}
    acted = 0
    spreads = dict.fromkeys(assets, D(1))
    for _ in range(400):
        now += timedelta(seconds=rng.choice([1, 60, 3600]))
        moved = set(rng.sample(list(prices), rng.randint(1, 3)))
        for asset in moved:
            prices[asset] *= math.exp(rng.choice([0.0, rng.gauss(0, 0.004), rng.gauss(0, 0.15)]))
        if rng.random() < 0.02:
            prices.setdefault(assets[-1], 3.0)
            moved.add(assets[-1])
        was_stale, stale = stale, stale - moved
        if rng.random() < 0.05:
            stale = {rng.choice(assets)} - moved
        freshened = was_stale - stale
        shown = {asset: format(D(repr(price)), "f") for asset, price in prices.items()}
        for asset in moved:
            spreads[asset] = rng.choice([D(1), D("1.0005"), D("1.02")])
        quotes = {asset: Quote(D(bid), D(bid) * spreads[asset], now) for asset, bid in shown.items()}
        frame = replace(market(shown, now), quotes=quotes, instruments=rules, stale=stale)
        logs = {asset: math.log(float(text)) for asset, text in shown.items()}
        hits = {slot for asset in moved for slot in index.apply(assets.index(asset), logs[asset])}
        hits |= {slot for slot, asset in waits.items() if asset in moved | freshened}
        hits |= {slot for slot, at in due.items() if at is not None and at <= now}
        for slot in range(25):
            expected = _decide_case(brute[slot], frame, moved)
            if slot in hits:
                decision = _decide_case(looked[slot], frame, moved)
                certificate = certificate_after(decision, looked[slot].situation, frame)
                ids = [assets.index(asset) for asset in certificate.assets]
                if ids and math.isfinite(certificate.log_band):
                    index.put(slot, ids, [logs[asset] for asset in certificate.assets], certificate.log_band)
                else:
                    index.remove(slot)
                due[slot], waits[slot] = certificate.until, certificate.waits_for_price
                assert _acts(decision) == _acts(expected), slot
            else:
                assert _acts(expected) is None, (slot, expected.code)
            if _acts(expected):
                acted += 1
                brute[slot].situation = looked[slot].situation = _after(brute[slot].situation, expected, frame, rng)
                brute[slot].confirmations = looked[slot].confirmations = NONE_YET
                due[slot] = now  # an event: look at the next frame
    assert acted > 30


def _decide_case(case: _Case, frame: Market, moved: set[str]) -> Decision:
    position = case.situation.position
    assert position is not None
    concerned = {*position.holdings, *case.situation.strategy.definition.targets}
    decision = decide(case.situation, frame, case.confirmations, by_new_quote=bool(moved & concerned))
    case.confirmations = decision.confirmations
    return decision


def _acts(decision: Decision) -> str | None:
    return decision.code if isinstance(decision, Plan | ExitRequested) else None


def _random_situation(rng: random.Random, assets: list[str], slot: int) -> Situation:
    names = rng.sample([*assets, "USDT"], rng.randint(2, 4))
    weights = [rng.randint(1, 30) for _ in names[1:]]
    targets = {names[0]: str(100 - sum(weights))} | dict(zip(names[1:], map(str, weights), strict=True))
    document = {
        "name": "x", "venue": "paper", "funding_asset": "USDT", "amount": "1000", "targets": targets,
        "rebalance": _random_rule(rng, names),
        "take_profit": rng.choice([None, "3", {"percent": "40", "confirm": "2"}]),
        "stop_loss": rng.choice([None, "-3", {"percent": "-30", "confirm": "1"}]),
    }  # fmt: skip
    status = StrategyStatus.ACTIVE
    started = [name for name in names if name != "USDT"]
    if rng.random() < 0.2:
        status, price = StrategyStatus.BUILDING, rng.choice(["0.00001234", "0.45", "8", "60000"])
        document["start"] = {"asset": rng.choice(started), rng.choice(["at_or_below", "at_or_above"]): price}
    amount = rng.choice([D(30), D(1000), D(100000)])
    view = StrategyView(f"s{slot}", 1, status, parse_strategy(document), AT)
    return Situation(view, Position(f"s{slot}", 1, 0, {"USDT": amount}, amount), PlanProgress(f"s{slot}"))


def _random_rule(rng: random.Random, names: list[str]) -> dict[str, Any]:
    """One of every kind of rule, with every kind of guard."""
    threshold: Any = rng.choice(
        ["0.5", "4", "25", {"relative": "10"}, {"relative": "120"}, {"factor": "20", "floor": "3"}, {"points": "6"}]
    )
    if isinstance(threshold, dict) and rng.random() < 0.4:
        threshold = {**threshold, "per_asset": {rng.choice(names): rng.choice(["0.7", "2", "30"])}}
    rule: dict[str, Any] = rng.choice(
        [{"threshold": threshold}, {"threshold": threshold}, {"interval": "2h"}, {"hold": True},
         {"interval": "2h", "threshold": threshold}, {"interval": "2h", "threshold": threshold, "when": "all"}]
    )  # fmt: skip
    if "hold" in rule:
        return rule
    if "interval" in rule and "when" not in rule and rng.random() < 0.5:
        rule = {**rule, "min_drift": rng.choice(["0.3", "2", "9"])}
    if "threshold" in rule:
        rule = {**rule, "destination": rng.choice(["target", "target", "halfway", "band_edge"])}
    if rng.random() < 0.3:
        rule = {**rule, "cost_guard": rng.choice(["0.5", "2", "20", "200"])}
    return {**rule, "cooldown": rng.choice(["0m", "5m", "1h"])}


def _after(before: Situation, decision: Decision, frame: Market, rng: random.Random) -> Situation:
    """The world after a decision: rebalanced (fully or in part), or sold and begun anew."""
    position = before.position
    assert position is not None
    if isinstance(decision, ExitRequested):
        total = decision.figures.valuation.total if decision.figures.valuation else D(1)
        return replace(before, position=replace(position, version=position.version + 1, holdings={"USDT": total},
                                                contributed=total))  # fmt: skip
    assert isinstance(decision, Plan)
    valuation = decision.draft.valuation
    share = D(1) if rng.random() < 0.7 else D(repr(rng.random()))
    holdings = {}
    for line in valuation.lines:
        value = line.value + share * (line.target_pct * valuation.total / 100 - line.value)
        holdings[line.asset] = (value / line.bid).quantize(D("0.000000001"))
    outcome = PlanOutcome.COMPLETED if share == 1 else rng.choice(list(PlanOutcome))
    progress = PlanProgress(before.strategy.strategy_id, None, decision.draft.plan_id, outcome, frame.now, 0, False)
    strategy = before.strategy
    if decision.draft.kind == "initial":
        strategy = replace(strategy, status=StrategyStatus.ACTIVE, active_since=frame.now)
    return replace(
        before,
        strategy=strategy,
        position=replace(position, version=position.version + 1, holdings=holdings),
        progress=progress,
        last_closed_kind=decision.draft.kind,
        last_closed_reason=decision.code,
    )

"""Every rule in the index: looking when a certificate breaks acts exactly as looking at every frame does."""

import math
import random
from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from shared.core.certificates import barriers, certificate_after
from shared.core.decisions import CycleDue, Decision, ExitRequested, Plan, decide
from shared.core.drift import assets_concerned
from shared.core.drift_index import DriftIndex
from shared.core.market import Quote
from shared.core.situation import NONE_YET, ExitConfirmations, Market, Situation
from tests.core.portfolio_samples import AT, instrument, market
from tests.core.random_strategies import acts, after, random_situation

D = Decimal
STRATEGIES = 25
ASSETS = [f"A{n}" for n in range(6)]


@pytest.mark.parametrize("seed", range(12))
def test_certificates_when_every_rule_is_driven_decide_as_looking_at_every_frame_does(seed: int) -> None:
    """Every kind of band, interval, both, destinations, cost guard, start price, take-profit and stop-loss, plain and
    trailing, cash weights, minima and their latch, cooldowns, staleness, missing prices; Auto-Invest by schedule and
    drawdown, in coins that may have no price; new money, payouts and rebalances that were asked for, and pauses.

    ``brute`` decides about every strategy at every frame; ``looked`` only when the certificate says so. Both must act
    on the same strategies in the same frame, for the same reason, and raise the same peaks.
    """
    rng = random.Random(seed)
    path = _Path(rng)
    brute = [_Case(random_situation(rng, ASSETS, slot, investing=True)) for slot in range(STRATEGIES)]
    looked = _Looked([_Case(case.situation) for case in brute])
    acted, kinds = 0, set()
    for _ in range(400):
        path.step()
        hits = looked.hits(path)
        for slot, case in enumerate(brute):
            expected = case.decide(path)
            if slot in hits:
                decision = looked.look(slot, path)
                assert acts(decision) == acts(expected), slot
                assert decision.peak == expected.peak, slot
            else:
                assert acts(expected) is None, (slot, expected.code)
                assert expected.peak is None, slot
            if expected.peak is not None:
                strategy = replace(case.situation.strategy, peak=expected.peak)
                looked.tell(slot, case, replace(case.situation, strategy=strategy), path.now)
            if acts(expected):
                acted += 1
                kinds.add(type(expected))
                world = after(case.situation, expected, path.frame, rng, asked_for=ASSETS)
                looked.tell(slot, case, world, path.now)
    assert acted > 30
    assert kinds == {Plan, ExitRequested, CycleDue}


class _Path:
    """Prices, spreads, staleness and time, frame by frame."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.prices = {asset: rng.choice([0.00001234, 0.5, 7.0, 61234.5]) for asset in ASSETS[:-1]}
        self.spreads = dict.fromkeys(ASSETS, D(1))
        least = D("0.0000001")
        self.rules = {a: instrument(a, min_notional=D(10), lot_step=least, min_quantity=least) for a in ASSETS}
        self.now, self.stale = AT, set[str]()
        self.moved: Set[str] = set()
        self.freshened: Set[str] = set()
        self.logs: dict[str, float] = {}
        self.frame: Market = market({})

    def step(self) -> None:
        rng = self.rng
        self.now += timedelta(seconds=rng.choice([1, 60, 3600]))
        moved = set(rng.sample(list(self.prices), rng.randint(1, 3)))
        for asset in sorted(moved):
            self.prices[asset] *= math.exp(rng.choice([0.0, rng.gauss(0, 0.004), rng.gauss(0, 0.15)]))
        if rng.random() < 0.02:
            self.prices.setdefault(ASSETS[-1], 3.0)
            moved.add(ASSETS[-1])
        was_stale, stale = self.stale, self.stale - moved
        if rng.random() < 0.05:
            stale = {rng.choice(ASSETS)} - moved
        for asset in sorted(moved):
            self.spreads[asset] = rng.choice([D(1), D("1.0005"), D("1.02")])
        shown = {asset: format(D(repr(price)), "f") for asset, price in self.prices.items()}
        quotes = {asset: Quote(D(bid), D(bid) * self.spreads[asset], self.now) for asset, bid in shown.items()}
        self.moved, self.freshened, self.stale = moved, was_stale - stale, stale
        self.logs = {asset: math.log(float(text)) for asset, text in shown.items()}
        self.frame = replace(market(shown, self.now), quotes=quotes, instruments=self.rules, stale=stale)


@dataclass
class _Case:
    """One strategy, as somebody knows it who looks at it now and then, or always."""

    situation: Situation
    confirmations: ExitConfirmations = NONE_YET

    def decide(self, path: _Path) -> Decision:
        position = self.situation.position
        assert position is not None
        concerned = assets_concerned(position.holdings, self.situation.strategy.definition.targets)
        quoted = not path.moved.isdisjoint(concerned)
        decision = decide(self.situation, path.frame, self.confirmations, by_new_quote=quoted)
        self.confirmations = decision.confirmations
        return decision


class _Looked:
    """The strategies as an evaluator keeps them: each with a certificate."""

    def __init__(self, cases: list[_Case]) -> None:
        self.cases = cases
        self.index = DriftIndex()
        self.due: dict[int, datetime | None] = dict.fromkeys(range(len(cases)), AT)
        self.waits: dict[int, str] = {}

    def hits(self, path: _Path) -> set[int]:
        found = {slot for asset in path.moved for slot in self.index.apply(ASSETS.index(asset), path.logs[asset])}
        found |= {slot for slot, asset in self.waits.items() if asset in path.moved | path.freshened}
        return found | {slot for slot, at in self.due.items() if at is not None and at <= path.now}

    def look(self, slot: int, path: _Path) -> Decision:
        decision = self.cases[slot].decide(path)
        certificate = certificate_after(decision, self.cases[slot].situation, path.frame)
        ids = [ASSETS.index(asset) for asset in certificate.assets]
        if ids and math.isfinite(certificate.log_band):
            self.index.put(slot, ids, *barriers(certificate))
        else:
            self.index.remove(slot)
        self.due[slot], self.waits[slot] = certificate.until, certificate.waits_for_price
        return decision

    def tell(self, slot: int, brute: _Case, situation: Situation, now: datetime) -> None:
        """An event about a strategy: both know, and it is looked at in the next frame."""
        for case in (brute, self.cases[slot]):
            case.situation, case.confirmations = situation, NONE_YET
        self.due[slot] = now

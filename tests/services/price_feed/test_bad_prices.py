"""No bad price leads to an order: real parser, guards, book, frames and evaluator, in process, from seeds.

The clock of everything is the market's, as it is on a live venue.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.price_feed.adapters.binance.parse import parse
from services.price_feed.freshness import Freshness
from services.price_feed.guards import GuardLimits, QuoteGuard
from services.price_feed.price_book import PriceBook
from shared.contracts.frames import PriceFrame, encode_frame
from shared.contracts.prices import PricesSnapshotted
from tests.services.price_feed.lying_venue import LIES, START, STEP_MS, TrueMarket, symbol_of
from tests.services.price_feed.scripted_venue import clock, quote
from tests.services.strategy_evaluator.messages import instruments, position, strategy
from tests.services.strategy_evaluator.world import World

MS = 1_000_000
ASSETS = tuple(START)
BELIEVE_EVERYTHING = GuardLimits(jump_factor=1e300, confirmations=1)
RULES: tuple[dict[str, Any], ...] = (
    {"rebalance": {"threshold": "5"}},
    {"rebalance": {"threshold": "20"}},
    {"rebalance": {"threshold": "5"}, "stop_loss": "-30"},
    {"rebalance": {"threshold": "5"}, "take_profit": "30"},
    {"rebalance": {"interval": "1d"}},
)


@dataclass
class Pipeline:
    """A feed and an evaluator with one balanced strategy per rule and pair of assets.

    ``truth``: nothing further than 1 % from these prices may leave the feed, for an evaluator or an executor.
    """

    limits: GuardLimits = field(default_factory=GuardLimits)
    rules: tuple[dict[str, Any], ...] = RULES
    acted: list[tuple[str, str]] = field(default_factory=list)
    snapshots: list[PricesSnapshotted] = field(default_factory=list)
    truth: dict[str, float] | None = None

    def __post_init__(self) -> None:
        self.book = PriceBook("paper", "e1", Freshness(3_000 * MS), QuoteGuard(self.limits))
        self.listed = instruments(*ASSETS).instruments
        self.book.list_instruments(self.listed)
        self.world = World()
        self.world.tell(instruments(*ASSETS))
        self.loaded = False

    def load(self) -> None:
        """Strategies that hold exactly their targets at the first prices."""
        for number, rule in enumerate(self.rules):
            for first, second in zip(ASSETS, (*ASSETS[1:], ASSETS[0]), strict=True):
                name = f"s{number}{first}"
                targets = {first: "40", second: "40", "USDT": "20"}
                held = {first: f"{480 / START[first]:.8f}", second: f"{480 / START[second]:.8f}", "USDT": "240"}
                self.world.tell(strategy(name, targets=targets, **rule), position(name, held))
        self.world.evaluation.enable()
        self.loaded = True

    def hear(self, message: str, at_ms: int) -> None:
        """One message of the venue, and what becomes of it."""
        self.world.now_ns = at_ms * MS
        self.book.receive(parse(message), at_ms * MS)
        if self.book.changed and (frame := self.book.take_frame()):
            self._compare(frame)
            self.world.evaluation.take_frame(encode_frame(frame))
            self._note()

    def second(self, at_ms: int) -> None:
        """What the feed does once a second: a heartbeat and a snapshot."""
        self.world.now_ns = at_ms * MS
        if frame := self.book.take_frame():
            self.world.evaluation.take_frame(encode_frame(frame))
        snapshot = self.book.snapshot(at_ms * MS)
        if snapshot is not None:
            self.snapshots.append(snapshot)
            self.world.evaluation.take_snapshot(snapshot)
        if not self.loaded:
            self.load()
        self._note()

    def _compare(self, frame: PriceFrame) -> None:
        for told in frame.quotes if self.truth else ():
            true = (self.truth or {})[told.asset]
            assert abs(float(told.bid) / true - 1) < 0.01, told
            assert abs(float(told.ask) / true - 1) < 0.01, told

    def _note(self) -> None:
        self.world.look()
        for plan in self.world.plans():
            self.acted.append((plan.strategy.strategy_id, plan.plan.code))
        for ask in self.world.asks():
            self.acted.append((ask.strategy_id, ask.decision.code))


def tell(pipeline: Pipeline, market: TrueMarket, ticks: int, lies_every: float = 0.0, seed: int = 1) -> Counter[str]:
    """So many ticks of the market, and among them the lies; how many of each were told.

    Half of the lies come besides a true tick, half instead of it; one in ten is told three times in a row.
    """
    dice = random.Random(seed)
    told: Counter[str] = Counter()
    for number, (asset, messages) in enumerate(market.ticks()):
        if number == ticks:
            return told
        *before, true = messages
        for message in before:
            pipeline.hear(message, market.ms)
        is_lied = number > 400 and dice.random() < lies_every
        if is_lied:
            name = dice.choice(sorted(LIES))
            for _ in range(3 if dice.random() < 0.1 else 1):
                told[name] += 1
                pipeline.hear(LIES[name](market, asset, dice), market.ms)
        if not is_lied or dice.random() < 0.5:
            pipeline.hear(true, market.ms)
        if market.ms % 1_000 == 0:
            pipeline.second(market.ms)
    raise AssertionError("a market ends never")


def test_ten_thousand_lies_when_the_true_market_causes_nothing_cause_nothing() -> None:
    market = TrueMarket(1, step=0.0005)
    pipeline = Pipeline(truth=market.prices)
    told = tell(pipeline, market, 23_000, lies_every=0.4)
    assert told.total() >= 10_000
    assert min(told.values()) > 200, "every lie has to be told often"
    assert pipeline.acted == []
    assert pipeline.world.evaluation.ticks > 10_000, "the true ticks were believed"
    refused = pipeline.book.guard.refused
    assert set(refused) >= {
        "zero", "negative", "not_finite", "unparsable", "crossed", "unknown_symbol", "jump", "time_jump",
        "time_backwards", "out_of_order", "not_json",
    }  # fmt: skip
    assert pipeline.snapshots[-1].refused == refused


@pytest.mark.parametrize("seed", [2, 3])
def test_lies_when_the_true_market_causes_plans_cause_no_others(seed: int) -> None:
    drift = {"BTC": 0.0006, "DOGE": -0.0006}
    clean, lied_to = Pipeline(), Pipeline()
    tell(clean, TrueMarket(seed, 0.0005, drift), 6_000)
    told = tell(lied_to, TrueMarket(seed, 0.0005, drift), 6_000, lies_every=0.4, seed=seed)
    assert told.total() > 2_000
    assert len(set(clean.acted)) > 10
    assert set(lied_to.acted) == set(clean.acted)


def test_lies_when_nothing_is_guarded_cause_plans_so_that_this_test_can_fail() -> None:
    pipeline = Pipeline(BELIEVE_EVERYTHING)
    tell(pipeline, TrueMarket(1, step=0.0005), 3_000, lies_every=0.4)
    assert len(pipeline.acted) > 10


class Fault:
    """What a venue tells from some moment on, instead of the truth; None: nothing."""

    def __init__(self, change: Callable[[TrueMarket, str, str], str | None]) -> None:
        self.change = change


def _without_time(_market: TrueMarket, _asset: str, message: str) -> str | None:
    return None if "miniTicker" in message else message


def _only(kind: str, asset: str, lie: Callable[[TrueMarket, str], str | None]) -> Fault:
    def change(market: TrueMarket, told: str, message: str) -> str | None:
        return lie(market, told) if told == asset and kind in message else message

    return Fault(change)


def _frozen_price(market: TrueMarket, asset: str) -> str:
    return quote(symbol_of(asset), f"{START[asset] * 0.99:.10f}", f"{START[asset] * 1.01:.10f}", market.number)


def _frozen_time(market: TrueMarket, asset: str, message: str) -> str:
    return clock(symbol_of(asset), market.ms - market.ms % 100_000, "1") if "miniTicker" in message else message


FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "everything is mute": (Fault(lambda *_: None), {"no_prices"}),
    "one pair is mute": (_only("bookTicker", "ETH", lambda *_: None), {"mute"}),
    "no time is told": (Fault(_without_time), {"clock_stands"}),
    "time stands": (Fault(_frozen_time), {"clock_stands"}),
    "one price for ever": (_only("bookTicker", "ETH", _frozen_price), {"repeated"}),
    "ten times the price": (_only("bookTicker", "ETH", lambda m, a: m.message(a, 10)), {"doubted"}),
    "a thousandth of the price": (_only("bookTicker", "ETH", lambda m, a: m.message(a, 0.001)), {"doubted"}),
    "zero": (_only("bookTicker", "ETH", lambda m, a: quote(symbol_of(a), "0", "0", m.number)), {"doubted"}),
    "web pages": (Fault(lambda *_: "<html>"), {"no_prices"}),
}


@pytest.mark.parametrize(("fault", "reasons"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_when_a_feed_is_muted_frozen_or_lying_is_noticed_within_five_seconds_and_causes_nothing(
    fault: Fault, reasons: set[str]
) -> None:
    pipeline, market = Pipeline(), TrueMarket(4, step=0.0005)
    tell(pipeline, market, 2_411)
    assert pipeline.snapshots[-1].stale == ()
    began_ms = at_ms = market.ms
    noticed_ms = 0
    for number, (asset, messages) in enumerate(market.ticks()):
        at_ms = began_ms + (number + 1) * STEP_MS
        for message in messages:
            changed = fault.change(market, asset, message)
            if changed is not None:
                pipeline.hear(changed, at_ms)
        if at_ms % 1_000 == 0:
            pipeline.second(at_ms)
            if pipeline.snapshots[-1].stale and not noticed_ms:
                noticed_ms = at_ms
                assert set(pipeline.snapshots[-1].stale_because.values()) <= reasons
        if at_ms - began_ms >= 25_000:
            break
    assert noticed_ms
    assert noticed_ms - began_ms <= 5_000
    assert pipeline.snapshots[-1].stale, "a fault that lasts stays noticed"
    assert pipeline.acted == []


def test_fault_when_a_pair_is_halted_or_delisted_is_known_with_the_next_snapshot() -> None:
    pipeline, market = Pipeline(), TrueMarket(5, step=0.0005)
    tell(pipeline, market, 1_000)
    halted = [one.model_copy(update={"tradable": one.base != "ETH"}) for one in pipeline.listed if one.base != "SOL"]
    pipeline.book.list_instruments(halted)
    tell(pipeline, market, 40)
    assert pipeline.snapshots[-1].stale_because == {"ETH": "not_tradable", "SOL": "not_tradable"}
    assert pipeline.book.guard.refused["unknown_symbol"] > 10

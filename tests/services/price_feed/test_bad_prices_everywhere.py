"""Bad prices in every venue's own words: real parser, guards, book and frames, to the evaluator and to the executor.

``test_bad_prices`` tells more lies in Binance's words; here each venue tells as many as make 10,000 together.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.order_executor.market_view import MarketView
from services.price_feed.freshness import Freshness
from services.price_feed.guards import GuardLimits, QuoteGuard
from services.price_feed.price_book import PriceBook
from services.price_feed.venue_events import FromVenue, Several, TimeReceived
from shared.contracts.frames import encode_frame
from shared.contracts.prices import PricesSnapshotted
from tests.services.price_feed.venue_scripts import FOO, SCRIPTS, T_MS, Talk, VenueScript
from tests.services.strategy_evaluator.messages import instruments, position, strategy
from tests.services.strategy_evaluator.world import World

MS = 1_000_000
STEP_MS = 20
TICKS = 2_900  # the scripts' clocks show one minute
LIES_EACH = 1_500
START = {"BTC": 60_000.0, "ETH": 2_500.0, "ONE": 0.0155}
TIMED = [script for script in SCRIPTS if script.name != "binance"]
BELIEVE_EVERYTHING = GuardLimits(jump_factor=1e300, confirmations=1)


def name_of(script: VenueScript) -> str:
    """The id of a test."""
    return script.name


@dataclass
class Chain:
    """From a venue's words to plans, and to the quotes that an executor would trade on."""

    script: VenueScript
    limits: GuardLimits = field(default_factory=GuardLimits)
    prices: dict[str, float] = field(default_factory=lambda: dict(START))
    acted: list[str] = field(default_factory=list)
    snapshots: list[PricesSnapshotted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.assets = tuple(START)
        self.symbols = dict(zip(self.assets, self.script.symbols, strict=True))
        self.parse: Callable[[bytes], FromVenue] = self.script.dialect().parse
        self.talk = Talk()
        self.book = PriceBook("paper", "e1", Freshness(3_000 * MS), QuoteGuard(self.limits))
        listed = [
            one.model_copy(update={"symbol": self.symbols[one.base]}) for one in instruments(*self.assets).instruments
        ]
        self.book.list_instruments(listed)
        self.world, self.executor = World(), MarketView(10.0)
        self.world.tell(instruments(*self.assets))
        self.is_loaded = False

    def ticks(self, seed: int) -> Iterator[tuple[int, str]]:
        """For a minute: the number of milliseconds and the asset whose price has moved a little."""
        dice = random.Random(seed)
        for number in range(1, TICKS + 1):
            asset = self.assets[number % len(self.assets)]
            self.prices[asset] *= 1 + dice.uniform(-0.0003, 0.0003)
            yield number * STEP_MS, asset

    def quote(self, asset: str, ms: int, bid: float | str, ask: float | str) -> str:
        """The venue's message."""
        words = [price if isinstance(price, str) else f"{price:.8f}" for price in (bid, ask)]
        return self.script.quote(self.talk, self.symbols[asset], words[0], words[1], ms)

    def true(self, asset: str, ms: int) -> str:
        """The truth."""
        return self.quote(asset, ms, self.prices[asset] * 0.9999, self.prices[asset] * 1.0001)

    def hear(self, message: str, ms: int) -> None:
        """One message, and what becomes of it."""
        now_ns = (T_MS + ms) * MS
        self.world.now_ns = now_ns
        told = self.parse(message.encode())
        if not self.script.tells_time:  # as the session does
            self.book.receive(TimeReceived("", T_MS + ms), now_ns)
        for event in told.events if isinstance(told, Several) else (told,):
            self.book.receive(event, now_ns)
        if self.book.changed and (frame := self.book.take_frame()):
            data = encode_frame(frame)
            self.world.evaluation.take_frame(data)
            self.executor.on_frame(data)
            self._note()

    def second(self, ms: int) -> None:
        """What the feed does once a second."""
        self.world.now_ns = (T_MS + ms) * MS
        snapshot = self.book.snapshot(self.world.now_ns)
        if snapshot is not None:
            self.snapshots.append(snapshot)
            self.world.evaluation.take_snapshot(snapshot)
            if not self.is_loaded and not snapshot.stale:
                self._load()
        self._note()

    def _load(self) -> None:
        for first, second in zip(self.assets, (*self.assets[1:], self.assets[0]), strict=True):
            held = {name: f"{480 / START[name]:.8f}" for name in (first, second)}
            targets = {first: "40", second: "40", "USDT": "20"}
            wanted = strategy(f"s{first}", targets=targets, rebalance={"threshold": "5"})
            self.world.tell(wanted, position(f"s{first}", {**held, "USDT": "240"}))
        self.world.evaluation.enable()
        self.is_loaded = True

    def _note(self) -> None:
        self.world.look()
        self.acted += [plan.strategy.strategy_id for plan in self.world.plans()]
        self.acted += [ask.strategy_id for ask in self.world.asks()]

    def worst_error(self) -> float:
        """How far the executor's quotes are from the truth, as a fraction."""
        quotes = self.executor.look(self.assets).quotes
        return max((abs(float(quote.mid) / self.prices[asset] - 1) for asset, quote in quotes.items()), default=0.0)


Lie = Callable[[Chain, str, int, random.Random], str]


def _word(word: str) -> Lie:
    def lie(chain: Chain, asset: str, ms: int, dice: random.Random) -> str:
        truth = f"{chain.prices[asset]:.8f}"
        words = (word, truth) if dice.random() < 0.5 else (truth, word)
        return chain.quote(asset, ms, *words)

    return lie


def _times(factor: float) -> Lie:
    return lambda chain, asset, ms, _: chain.quote(
        asset, ms, chain.prices[asset] * factor, chain.prices[asset] * factor * 1.0001
    )


def _other(chain: Chain, asset: str, ms: int, dice: random.Random) -> str:
    other = dice.choice([each for each in chain.assets if each != asset])
    return chain.true(asset, ms).replace(chain.symbols[asset], chain.symbols[other])


LIES: dict[str, Lie] = {
    "zero": _word("0"),
    "negative": _word("-1.5"),
    "not a number": _word("NaN"),
    "infinite": _word("Infinity"),
    "1e400": _word("1e400"),
    "nothing": _word(""),
    "crossed": lambda c, a, ms, _: c.quote(a, ms, c.prices[a] * 1.01, c.prices[a] * 0.99),
    "one side x10": lambda c, a, ms, _: c.quote(a, ms, c.prices[a], c.prices[a] * 10),
    "x10": _times(10),
    "x1000": _times(1000),
    "x0.1": _times(0.1),
    "x0.001": _times(0.001),
    "another symbol": _other,
    "unknown symbol": lambda c, a, ms, _: c.true(a, ms).replace(c.symbols[a], c.symbols[a].replace(a, FOO)),
    "cut short": lambda c, a, ms, dice: (whole := c.true(a, ms))[: dice.randrange(len(whole))],
    "web page": lambda *_: "<html>502 Bad Gateway</html>",
}


def tell(chain: Chain, lies: int, seed: int = 1) -> Counter[str]:
    """A minute of the market, and among it so many lies; how many of each were told."""
    dice = random.Random(seed)
    told: Counter[str] = Counter()
    for ms, asset in chain.ticks(seed):
        if ms > 4_000 and told.total() < lies and dice.random() < 0.6:
            name = dice.choice(sorted(LIES))
            told[name] += 1
            chain.hear(LIES[name](chain, asset, ms, dice), ms)
        if ms <= 4_000 or dice.random() < 0.6:
            chain.hear(chain.true(asset, ms), ms)
        if ms % 1_000 == 0:
            chain.second(ms)
        assert chain.worst_error() < 0.01 or chain.limits is BELIEVE_EVERYTHING
    return told


@pytest.mark.parametrize("script", TIMED, ids=name_of)
def test_lies_when_told_in_a_venues_own_words_cause_no_plan_and_reach_no_executor(script: VenueScript) -> None:
    chain = Chain(script)
    told = tell(chain, LIES_EACH)
    assert told.total() == LIES_EACH
    assert len(told) == len(LIES)
    assert chain.is_loaded
    assert chain.world.evaluation.ticks > 500, "the true ticks were believed"
    assert chain.acted == []
    assert sum(chain.book.guard.refused.values()) > LIES_EACH / 2


def test_lies_when_nothing_is_guarded_cause_plans_so_that_this_test_can_fail() -> None:
    chain = Chain(TIMED[-1], BELIEVE_EVERYTHING)
    tell(chain, LIES_EACH)
    assert len(chain.acted) > 3


Told = Callable[[Chain, str, int], str | None]
FAULTS: dict[str, Told] = {
    "everything is mute": lambda *_: None,
    "one pair is mute": lambda c, a, ms: None if a == "ETH" else c.true(a, ms),
    "one price for ever": lambda c, a, ms: c.quote(a, ms, 2_499.0, 2_501.0) if a == "ETH" else c.true(a, ms),
    "ten times the price": lambda c, a, ms: _times(10)(c, a, ms, random.Random(0)) if a == "ETH" else c.true(a, ms),
    "zero": lambda c, a, ms: c.quote(a, ms, "0", "0") if a == "ETH" else c.true(a, ms),
    "web pages": lambda *_: "<html>",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("script", TIMED, ids=name_of)
def test_fault_when_a_venues_feed_is_muted_frozen_or_lying_is_noticed_within_five_seconds(
    script: VenueScript, fault: Told
) -> None:
    chain, began_ms, noticed_ms = Chain(script), 20_000, 0
    for ms, asset in chain.ticks(3):  # to the end, if nothing is noticed
        message: Any = chain.true(asset, ms) if ms <= began_ms else fault(chain, asset, ms)
        if message is not None:
            chain.hear(message, ms)
        if ms % 1_000 == 0:
            chain.second(ms)
            is_stale = bool(chain.snapshots and chain.snapshots[-1].stale)
            assert ms < 5_000 or ms > began_ms or not is_stale, (ms, chain.snapshots[-1].stale_because)
            if ms > began_ms and is_stale:
                noticed_ms = ms
                break
    assert began_ms < noticed_ms <= began_ms + 5_000
    assert chain.acted == []

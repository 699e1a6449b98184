"""The drift index against brute force over many strategies of every rule: the same fire on the same tick, always.

    just check-index [--strategy-ticks 100000000] [--strategies 10000] [--seed 1]

A strategy-tick is one strategy at one tick. Brute force looks at every strategy after every tick. It does so in two
steps: floats for all of them at once say about which a rule could act (``tests.core.brute_force``), and those are
decided exactly. The other side looks only when a certificate is broken. Both must act on the same strategies at the
same tick, for the same reason, and raise the same peaks.

Why that is independent: the first step is made from the definitions of the rules, with formulas of its own, and shares
nothing with ``certificates`` and ``drift_index``; it knows no reference prices, no bands and no waiting, and has no
memory but the confirmations. Were it too narrow, a look of the other side would act where it sees nothing: that is an
error too. ``decide`` is shared: it is what "firing" means.
"""

import argparse
import gzip
import json
import math
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any

from shared.core.bulk_certificates import PlainCase, plain_boxes, plain_case
from shared.core.certificates import OWN_SHARE, barriers, certificate_after
from shared.core.decisions import CycleDue, Decision, ExitRequested, Plan, decide
from shared.core.drift import assets_concerned
from shared.core.drift_index import DriftIndex
from shared.core.situation import NONE_YET, ExitConfirmations, Market, Situation
from tests.core.brute_force import NEVER_MS, BruteForce, Tick, Venue
from tests.core.portfolio_samples import AT
from tests.core.random_strategies import acts, after, random_situation

RANDOM_RUNS = 8
TAKEN_OVER_EVERY = 100
"""Ticks after which all that can be is watched anew by boxes that were made without a look."""


class Looked:
    """The strategies as an evaluator keeps them: each looked at when its certificate is broken."""

    def __init__(self, situations: list[Situation], venue: Venue) -> None:
        self.venue, self.index = venue, DriftIndex()
        self.ids = {asset: n for n, asset in enumerate(venue.assets)}
        self.confirmations: list[ExitConfirmations] = [NONE_YET] * len(situations)
        self.due_ms = [0] * len(situations)
        self.due = [(0, slot) for slot in range(len(situations))]
        self.waiting: dict[str, set[int]] = {asset: set() for asset in venue.assets}
        self.waits = [""] * len(situations)

    def hits(self) -> set[int]:
        """The slots to look at after this tick."""
        venue = self.venue
        found = {slot for asset in venue.moved for slot in self.index.apply(self.ids[asset], venue.logs[asset])}
        for asset in venue.moved | venue.freshened:
            found |= self.waiting[asset]
        while self.due and self.due[0][0] <= venue.now_ms():
            due_ms, slot = heappop(self.due)
            if self.due_ms[slot] == due_ms:
                found.add(slot)
        return found

    def certify(self, slot: int, decision: Decision, situation: Situation, market: Market) -> None:
        """The certificate after a look."""
        self.confirmations[slot] = decision.confirmations
        certificate = certificate_after(decision, situation, market)
        if certificate.assets and math.isfinite(certificate.log_band):
            self.index.put(slot, [self.ids[asset] for asset in certificate.assets], *barriers(certificate))
        else:
            self.index.remove(slot)
        self._wait(slot, certificate.until, certificate.waits_for_price)

    def _wait(self, slot: int, until: datetime | None, price: str) -> None:
        self.look_at(slot, NEVER_MS if until is None else -((AT - until) // timedelta(milliseconds=1)))
        self.waiting.get(self.waits[slot], set()).discard(slot)
        self.waits[slot] = price
        if price:
            self.waiting[price].add(slot)

    def take_over(self, situations: list[Situation], market: Market, slots: Iterable[int]) -> int:
        """What an evaluator does that takes over many: boxes without a look, where there are any; how many."""
        bids: dict[str, float] = {}
        alike: dict[tuple[int, int], list[tuple[int, PlainCase]]] = {}
        for slot in slots:
            case = plain_case(situations[slot], market, bids)
            if case is not None:
                cash = case.assets.index("USDT") if "USDT" in case.assets else -1
                alike.setdefault((len(case.assets), cash), []).append((slot, case))
        return sum(self._box(members, cash) for (_, cash), members in alike.items())

    def _box(self, members: list[tuple[int, PlainCase]], cash: int) -> int:
        boxed = 0
        all_ups, all_downs = plain_boxes([case for _, case in members], cash)
        for (slot, case), ups, downs in zip(members, all_ups.tolist(), all_downs.tolist(), strict=True):
            columns = [column for column in range(len(case.assets)) if column != cash]
            band = min(min(ups[column], downs[column]) for column in columns)
            if not band:
                continue
            boxed += 1
            logs = [math.log(bid) for bid in case.bids]
            if math.isfinite(band):
                lowers, uppers = [logs[n] - downs[n] for n in columns], [logs[n] + ups[n] for n in columns]
                self.index.put(slot, [self.ids[case.assets[n]] for n in columns], lowers, uppers)
            else:
                self.index.remove(slot)
            self._wait(slot, case.until, "")
        return boxed

    def look_at(self, slot: int, due_ms: int) -> None:
        """Look at a strategy at this time, whatever else."""
        self.due_ms[slot] = due_ms
        if due_ms != NEVER_MS:
            heappush(self.due, (due_ms, slot))


@dataclass
class Soak:
    """One run: strategies over a path. ``run`` raises AssertionError at the first difference."""

    situations: list[Situation]
    venue: Venue
    stale_share: float = 0.0
    strategy_ticks: int = 0
    looks: int = 0
    suspected: int = 0
    acted: int = 0
    cycles: int = 0
    boxed: int = 0

    def run(self, ticks: Iterator[Tick]) -> "Soak":
        """Take every tick of a path."""
        brute, looked = BruteForce(self.situations, self.venue), Looked(self.situations, self.venue)
        confirmations, counting = [NONE_YET] * len(self.situations), set[int]()
        for number, tick in enumerate(ticks, 1):
            market = self.venue.step(tick, self.stale_share)
            hits, suspects = looked.hits(), set(brute.suspects().tolist())
            for slot in counting - suspects:
                confirmations[slot] = NONE_YET
            counting &= suspects
            for slot in suspects | hits:
                before = confirmations[slot]
                expected = self._decide(slot, market, before)
                assert slot in suspects or not _does(expected), f"brute force saw nothing of {expected}"
                confirmations[slot] = expected.confirmations
                if expected.confirmations != NONE_YET:
                    counting.add(slot)
                situation = self.situations[slot]
                if slot in hits:
                    same = looked.confirmations[slot] == before
                    decision = expected if same else self._decide(slot, market, looked.confirmations[slot])
                    assert _does(decision) == _does(expected), (slot, decision, expected)
                    looked.certify(slot, decision, situation, market)
                else:
                    assert not _does(expected), f"strategy {slot} was not looked at: {expected}"
                if _does(expected):
                    self._carry_out(slot, expected, market)
                    confirmations[slot] = looked.confirmations[slot] = NONE_YET
                    looked.look_at(slot, self.venue.now_ms())
                    brute.note(slot, self.situations[slot])
            if number % TAKEN_OVER_EVERY == 0:
                idle = [slot for slot, one in enumerate(looked.confirmations) if one == confirmations[slot] == NONE_YET]
                self.boxed += looked.take_over(self.situations, market, idle)
            self.looks += len(hits)
            self.suspected += len(suspects)
            self.strategy_ticks += len(self.situations)
        return self

    def _decide(self, slot: int, market: Market, confirmations: ExitConfirmations) -> Decision:
        situation = self.situations[slot]
        assert situation.position is not None
        concerned = assets_concerned(situation.position.holdings, situation.strategy.definition.targets)
        quoted = not self.venue.moved.isdisjoint(concerned)
        return decide(situation, market, confirmations, by_new_quote=quoted)

    def _carry_out(self, slot: int, decision: Decision, market: Market) -> None:
        situation = self.situations[slot]
        if decision.peak is not None:
            situation = replace(situation, strategy=replace(situation.strategy, peak=decision.peak))
        if isinstance(decision, Plan | ExitRequested | CycleDue):
            self.acted += 1
            self.cycles += isinstance(decision, CycleDue)
            situation = after(situation, decision, market, self.venue.rng, asked_for=self.venue.assets)
        self.situations[slot] = situation


def _does(decision: Decision) -> tuple[Any, ...] | None:
    """What is done: the code of a plan, an exit or a cycle, and a new peak."""
    return (acts(decision), decision.peak) if acts(decision) or decision.peak is not None else None


def random_path(rng: random.Random, assets: list[str], jump_share: float) -> Iterator[Tick]:
    """A random walk with jumps, repeated prices and an asset that is quoted only after a while, without end."""
    prices = {asset: rng.choice([0.00001234, 0.5, 7.0, 61234.5]) for asset in assets}
    yield 1, {asset: price for asset, price in prices.items() if asset != assets[-1]}
    quoted = assets[:-1]
    while True:
        if len(quoted) < len(assets) and rng.random() < 0.01:
            quoted = assets
        bids = {}
        for asset in rng.sample(quoted, rng.randint(1, 2)):
            size = 0.1 if rng.random() < jump_share else rng.choice([0.0, 0.0003, 0.0003])
            prices[asset] = min(max(prices[asset] * math.exp(rng.gauss(0, size)), 1e-9), 1e9)
            bids[asset] = prices[asset]
        yield rng.choice([1, 1, 5, 60]), bids


def scissors_path(rng: random.Random, assets: list[str]) -> Iterator[Tick]:
    """Straight to the corners of the boxes: one asset moves one way and all the others against it (or with it), each as
    fast as certificates lean, for a while; without end. Here a band a little too wide is found out.
    """
    prices = {asset: rng.choice([0.0123, 0.5, 7.0, 61234.5]) for asset in assets}
    yield 1, dict(prices)
    while True:
        step = rng.choice([0.0001, 0.001])
        own, others = rng.choice([(OWN_SHARE, OWN_SHARE - 1), (-OWN_SHARE, 1 - OWN_SHARE), (1, -1), (1, 1), (-1, -1)])
        one = rng.choice(assets)
        for _ in range(rng.choice([50, 150])):
            for asset in assets:
                prices[asset] *= math.exp(step * (own if asset == one else others))
            yield 1, dict(prices)


def real_daily_path(folder: Path) -> tuple[list[str], Iterator[Tick]]:
    """Daily closes, one row a tick; assets without a price at first are quoted later."""
    header, *rows = (folder / "daily" / "binance_daily_close_2018-2026.csv").read_text().splitlines()
    assets = header.split(",")[1:]
    return assets, (
        (86_400, {a: float(text) for a, text in zip(assets, row.split(",")[1:], strict=True) if text}) for row in rows
    )


def real_tick_path(folder: Path) -> tuple[list[str], Iterator[Tick]]:
    """Best bids of BTC and ETH as they were quoted, in the order of arrival, a second apart."""
    quotes: list[tuple[int, str, float]] = []
    for asset in ("BTC", "ETH"):
        with gzip.open(folder / "ticks" / f"{asset.lower()}usdt_20240808_raw.gz", "rt") as lines:
            for line in lines:
                if "@bookTicker" in line:
                    at, body = line.split(" ", 1)
                    quotes.append((int(at), asset, float(json.loads(body)["data"]["b"])))
    return ["BTC", "ETH"], ((1, {asset: bid}) for _, asset, bid in sorted(quotes))


def soak(seed: int, strategies: int, assets: list[str], ticks: Iterator[Tick], stale_share: float = 0.0) -> Soak:
    """Random strategies of every rule over a path."""
    rng = random.Random(seed)
    situations = [random_situation(rng, assets, slot, fewer_waiting=True, investing=True) for slot in range(strategies)]
    return Soak(situations, Venue(assets, rng), stale_share).run(ticks)


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where recorded prices are, if anywhere."""
    return Path(environment.get("TRIMTAB_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def main() -> None:
    """Soak until so many strategy-ticks have been compared; ends with an error at the first difference."""
    parser = argparse.ArgumentParser(description="The drift index against brute force, for long.")
    parser.add_argument("--strategy-ticks", type=int, default=100_000_000)
    parser.add_argument("--strategies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if not (data_folder() / "ticks").is_dir():
        sys.stdout.write(f"real prices are left out: there is no {data_folder()} (set TRIMTAB_TEST_DATA)\n")
    total = 0
    with ProcessPoolExecutor() as pool:
        for done in as_completed(
            [pool.submit(run) for run in _runs(given.seed, given.strategies, given.strategy_ticks)]
        ):
            total += done.result()
    sys.stdout.write(f"{total:,} strategy-ticks: the same strategies fired on the same tick, always\n")


def _runs(seed: int, strategies: int, strategy_ticks: int) -> Iterator[Callable[[], int]]:
    """What to do, the longest first: an eighth of it by jumps, through corners and over real prices."""
    ticks = -(-strategy_ticks // strategies)
    part = ticks - 2 * (ticks // 16)
    for number in range(RANDOM_RUNS):
        yield partial(_random_run, seed + number, strategies, -(-part // RANDOM_RUNS), 0.0005)
    yield partial(_random_run, seed, strategies, ticks // 16, 0.01)
    yield partial(_scissors_run, seed, 1000, 10 * (ticks // 16))
    if (data_folder() / "ticks").is_dir():
        yield partial(_real_ticks_run, seed)
        yield partial(_real_days_run, seed)


def _random_run(seed: int, strategies: int, ticks: int, jump_share: float) -> int:
    assets = [f"A{n}" for n in range(12)]
    path = islice(random_path(random.Random(seed), assets, jump_share), ticks)
    return _told(f"random prices, {100 * jump_share} % jumps", soak(seed, strategies, assets, path, 0.001))


def _scissors_run(seed: int, strategies: int, ticks: int) -> int:
    assets = [f"A{n}" for n in range(6)]
    path = islice(scissors_path(random.Random(seed), assets), ticks)
    return _told("through the corners", soak(seed, strategies, assets, path))


def _real_ticks_run(seed: int) -> int:
    assets, path = real_tick_path(data_folder())
    return _told("real BTC and ETH ticks", soak(seed, 1000, assets, islice(path, 10_000)))


def _real_days_run(seed: int) -> int:
    assets, path = real_daily_path(data_folder())
    return _told("real daily closes", soak(seed, 200, assets, path))


def _told(name: str, done: Soak) -> int:
    sys.stdout.write(
        f"{name}: {done.strategy_ticks:,} strategy-ticks of {len(done.situations):,} strategies, {done.looks:,} looks, "
        f"{done.boxed:,} boxes without one, "
        f"{done.suspected:,} exact decisions by brute force, {done.acted:,} fired ({done.cycles:,} cycles)\n"
    )
    sys.stdout.flush()
    return done.strategy_ticks


if __name__ == "__main__":
    main()

"""About which strategies could a rule act now? Asked of all at every tick, from the words of the rules alone.

A strategy is suspected when some asset is within 1e-9 of a bound or beyond it, the value at a level, a price missing or
stale, the first purchase or a request open, a date of Auto-Invest past; with an interval, what counts once a run is
due. Too many is no error, too few is one.
"""

import math
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from shared.core.auto_invest import Period
from shared.core.market import Quote
from shared.core.position import PlanOutcome
from shared.core.rules import ExitLevel, When
from shared.core.situation import Market, Situation
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, instrument

D = Decimal
COLUMNS = 8
NEVER_MS = 2**62
NEAR_ENOUGH = 1e-9
_RUN_AGAIN = frozenset({PlanOutcome.EXPIRED, PlanOutcome.STALE, PlanOutcome.PARTIAL})

Tick = tuple[int, dict[str, float]]
"""Seconds since the tick before, and new bids by asset."""


@dataclass
class Venue:
    """Quotes of some assets, changed tick by tick; one that is stale is so until its next quote."""

    assets: list[str]
    rng: random.Random
    now: Any = AT
    quotes: dict[str, Quote] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    logs: dict[str, float] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    freshened: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        least = D("0.0000001")
        self.rules = {a: instrument(a, min_notional=D(10), lot_step=least, min_quantity=least) for a in self.assets}
        self.bids = np.full(len(self.assets) + 1, np.nan)
        self.bids[-1] = 1.0  # the quote currency
        self.is_stale = np.zeros(len(self.assets) + 1, dtype=bool)

    def step(self, tick: Tick, stale_share: float = 0.0) -> Market:
        """Take a tick; now and then an asset that is not in it becomes stale."""
        seconds, bids = tick
        self.now += timedelta(seconds=seconds)
        for asset, price in bids.items():
            bid = D(f"{price:.18f}") if price < 1 else D(repr(price))
            self.quotes[asset] = Quote(bid, bid * self.rng.choice((D(1), D(1), D("1.0005"))), self.now)
            self.logs[asset] = math.log(float(bid))
            self.bids[self.assets.index(asset)] = float(bid)
        self.moved = set(bids)
        before, self.stale = self.stale, self.stale - self.moved
        if self.stale and self.rng.random() < 0.5:
            self.stale = set()
        if self.rng.random() < stale_share:
            self.stale = {self.rng.choice(self.assets)} - self.moved
        self.freshened = before - self.stale - self.moved
        self.is_stale[:-1] = [asset in self.stale for asset in self.assets]
        return Market(self.quotes, self.rules, "USDT", self.now, self.stale)

    def now_ms(self) -> int:
        """Market time."""
        return int((self.now - AT) / timedelta(milliseconds=1))


class BruteForce:
    """Every strategy's figures as columns; ``suspects`` are those about which a rule could act."""

    def __init__(self, situations: list[Situation], venue: Venue) -> None:
        count = len(situations)
        self.venue, self.number = venue, {asset: n for n, asset in enumerate([*venue.assets, "USDT"])}
        self.ids = np.full((count, COLUMNS), len(venue.assets), dtype=np.int64)
        self.held, self.targets = np.zeros((count, COLUMNS)), np.zeros((count, COLUMNS))
        self.widths = np.full((count, COLUMNS), np.inf)  # at any time
        self.run_widths = np.full((count, COLUMNS), np.inf)  # when a run of the interval is due
        self.due_ms = np.full(count, NEVER_MS)
        self.up, self.down = np.full(count, np.inf), np.full(count, -np.inf)
        self.loss = np.full(count, -np.inf)  # the value at which Auto-Invest adds money, from ``loss_from_ms`` on
        self.loss_from_ms, self.date_ms = np.full(count, NEVER_MS), np.full(count, NEVER_MS)
        self.start_above, self.start_below = np.full(count, np.nan), np.full(count, np.nan)
        self.start_id = np.full(count, len(venue.assets), dtype=np.int64)
        self.open = np.zeros(count, dtype=bool)
        for slot, situation in enumerate(situations):
            self.note(slot, situation)

    def note(self, slot: int, situation: Situation) -> None:
        """A strategy's new figures."""
        strategy, position = situation.strategy, situation.position
        assert position is not None
        definition = strategy.definition
        names = [*definition.targets, *(a for a in position.holdings if a not in definition.targets)]
        self.ids[slot], self.held[slot], self.targets[slot] = self.number["USDT"], 0.0, 0.0
        self.widths[slot] = self.run_widths[slot] = np.inf
        building = strategy.status is StrategyStatus.BUILDING
        self.open[slot] = strategy.request is not None or (building and definition.start is None)
        self.start_above[slot] = self.start_below[slot] = np.nan
        if building and definition.start is not None:
            self.start_id[slot] = self.number[definition.start.asset]
            which = self.start_above if definition.start.above else self.start_below
            which[slot] = float(definition.start.price)
        widths = _widths(situation, names)
        rule = definition.rule
        for column, name in enumerate(names):
            self.ids[slot, column] = self.number[name]
            self.held[slot, column] = float(position.holdings.get(name, 0))
            self.targets[slot, column] = float(definition.targets.get(name, 0))
            if building or not (name in definition.targets or position.holdings[name] > 0):
                continue
            if rule.threshold is not None and rule.when is When.ANY:
                self.widths[slot, column] = widths[name]
            if rule.interval is not None:
                least = math.inf if rule.min_drift is None else float(rule.min_drift)
                forced = 0.0 if rule.when is When.ANY and rule.min_drift is None else least
                self.run_widths[slot, column] = widths[name] if rule.when is When.ALL else forced
        self.due_ms[slot] = NEVER_MS if building else _due_ms(situation)
        self.up[slot], self.down[slot] = (math.inf, -math.inf) if building else _levels(situation)
        self.loss[slot], self.loss_from_ms[slot] = (-math.inf, NEVER_MS) if building else _loss(situation)
        self.date_ms[slot] = NEVER_MS if building else _date_ms(situation)

    def suspects(self) -> Any:
        """The slots about which a rule could act now."""
        venue = self.venue
        bids = venue.bids[self.ids]
        values = self.held * bids
        total = values.sum(axis=1)
        drift = np.abs(100.0 * values - self.targets * total[:, None])
        due = (self.due_ms <= venue.now_ms())[:, None]
        widths = np.where(due, np.minimum(self.widths, self.run_widths), self.widths)
        with np.errstate(invalid="ignore"):
            reached = (drift >= (widths * (1 - NEAR_ENOUGH) - NEAR_ENOUGH) * total[:, None]).any(axis=1)
            reached |= total >= self.up * (1 - NEAR_ENOUGH)
            reached |= total <= self.down * (1 + NEAR_ENOUGH)
            reached |= (total <= self.loss * (1 + NEAR_ENOUGH)) & (self.loss_from_ms <= venue.now_ms())
            start = venue.bids[self.start_id]
            reached |= start >= self.start_above * (1 - NEAR_ENOUGH)
            reached |= start <= self.start_below * (1 + NEAR_ENOUGH)
        unusable = (np.isnan(bids) | venue.is_stale[self.ids]).any(axis=1)
        return np.flatnonzero(reached | unusable | self.open | (self.date_ms <= venue.now_ms()))


def _widths(situation: Situation, names: list[str]) -> dict[str, float]:
    """d of each asset, from the words of the rule."""
    band, targets = situation.strategy.definition.rule.threshold, situation.strategy.definition.targets
    if band is None:
        return dict.fromkeys(names, math.inf)
    factor, points = float(band.factor_pct) / 100, float(band.points)
    smallest = min(map(float, targets.values()))
    return {
        name: float(band.per_asset[name])
        if name in band.per_asset
        else max(float(targets.get(name, smallest)) * factor, points)
        for name in names
    }


def _due_ms(situation: Situation) -> int:
    """When the next run of the interval is due, or (after one that may count for nothing) could be."""
    interval, since = situation.strategy.definition.rule.interval, situation.strategy.active_since
    if interval is None or since is None:
        return NEVER_MS
    progress = situation.progress
    runs = ((progress.last_closed_at or since) - since) // interval
    again = progress.last_outcome in _RUN_AGAIN
    return int((since + (runs + (0 if again else 1)) * interval - AT) / timedelta(milliseconds=1))


def _levels(situation: Situation) -> tuple[float, float]:
    """Values at or above, and at or below which take-profit, stop-loss or a new peak could act."""
    definition, position, recorded = situation.strategy.definition, situation.position, situation.strategy.peak
    assert position is not None
    contributed, ups, downs = float(position.contributed), [math.inf], [-math.inf]
    peak = -math.inf if recorded is None else float(recorded.profit_pct)
    if recorded is not None and position.contributed > recorded.contributed:
        peak *= float(recorded.contributed) / contributed

    def value(percent: float) -> float:
        return contributed * (1 + percent / 100)

    profit, loss = definition.take_profit, definition.stop_loss
    if profit is not None and profit.trailing is None:
        ups.append(value(float(profit.percent)))
    elif profit is not None:
        ups.append(value(_next_peak(float(profit.percent), float(profit.trailing or 0) / 10, peak)))
        if peak >= float(profit.percent):
            downs.append(value(peak - float(profit.trailing or 0)))
    if loss is not None:
        downs.append(_stop_value(loss, value(max(peak, 0.0)), contributed))
        if loss.from_peak:
            ups.append(value(_next_peak(-float(loss.percent) / 10, -float(loss.percent) / 10, peak)))
    return min(ups), max(downs)


def _loss(situation: Situation) -> tuple[float, int]:
    """The value at or below which a drawdown makes a cycle due, and from when on."""
    strategy, position = situation.strategy, situation.position
    plan, state = strategy.definition.auto_invest, strategy.auto_invest
    if plan is None or plan.drawdown is None or state is None or position is None:
        return -math.inf, NEVER_MS
    last = [at for at in (state.last_made_at, state.left_out_at) if at is not None]
    since = max(last) + plan.drawdown.min_interval if last else AT
    return float(position.contributed) * (1 - float(plan.drawdown.loss_pct) / 100), _ms(since)


def _date_ms(situation: Situation) -> int:
    """The first date of Auto-Invest that is not settled: of every so many hours, or of every so many days at a time."""
    plan, state = situation.strategy.definition.auto_invest, situation.strategy.auto_invest
    if plan is None or plan.schedule is None or state is None:
        return NEVER_MS
    schedule, settled = plan.schedule, state.settled_until or state.since
    if schedule.period is Period.HOURS:
        step = timedelta(hours=schedule.every)
        return _ms(state.since + ((settled - state.since) // step + 1) * step)
    zone = {"Asia/Kolkata": timedelta(hours=5, minutes=30)}[schedule.zone]
    first = state.since + zone
    at = first.replace(hour=schedule.at.hour, minute=schedule.at.minute) - zone
    while at <= settled:
        at += timedelta(days=schedule.every)
    return _ms(at)


def _ms(moment: datetime) -> int:
    return int((moment - AT) / timedelta(milliseconds=1))


def _stop_value(loss: ExitLevel, at_peak: float, contributed: float) -> float:
    return (at_peak if loss.from_peak else contributed) * (1 + float(loss.percent) / 100)


def _next_peak(first: float, step: float, peak: float) -> float:
    """The lowest of first, first + step, ... above the peak, a little early."""
    if peak < first:
        return first
    return first + step * (math.floor((peak - first) / step - 1e-6) + 1)

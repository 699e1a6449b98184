"""What a strategy should have decided on each day of a run, computed anew from prices, fills and its file alone.

One ``Expectation`` per strategy, asked day by day in order. Nothing of the system's rules is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

QUOTE = "USDT"
TAKER_FEE = Decimal("0.001")
HALF_SPREAD = Decimal("0.0001")
NEAR = Decimal("0.1")
"""So near to a bound that depends on the venue's rounding (in parts of the bound), either answer is right."""
DEFAULT_CONFIRM = 3
GRACE = timedelta(days=1)
MOST_PUT_IN = Decimal(200_000)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

Holdings = dict[str, Decimal]
Values = Mapping[str, Decimal]


def holdings_at(start: Holdings, fills: Sequence[Mapping[str, Any]], until: datetime, *, inclusive: bool) -> Holdings:
    """What was put in, after the fills before a time (or up to it)."""
    holdings = dict(start)

    def add(asset: str, change: Decimal) -> None:
        holdings[asset] = holdings.get(asset, Decimal(0)) + change

    for fill in fills:
        if fill["market_time"] < until or (inclusive and fill["market_time"] == until):
            sign = 1 if fill["side"] == "BUY" else -1
            add(fill["asset"], sign * fill["quantity"])
            add(QUOTE, -sign * fill["quote_quantity"])
            add(fill["fee_asset"], -fill["fee"])
    return {asset: held for asset, held in holdings.items() if held}


def duration(text: str) -> timedelta:
    """ "7d", "12h", "5m"."""
    return int(text[:-1]) * _UNITS[text[-1]]


@dataclass(frozen=True, slots=True)
class Day:
    """One day as the strategy found it: bids by asset and what it held, before anything was traded that day."""

    at: datetime
    bids: Mapping[str, Decimal]
    holdings: Holdings

    @property
    def values(self) -> dict[str, Decimal]:
        """In USDT, by asset held."""
        return {
            asset: held * (Decimal(1) if asset == QUOTE else self.bids[asset]) for asset, held in self.holdings.items()
        }


@dataclass(slots=True)
class _Count:
    """Days in a row on which a level was reached."""

    reason: str = ""
    days: int = 0


@dataclass(slots=True)
class Expectation:
    """Follows one strategy. ``minimum`` is the venue's smallest order in USDT; ``since`` the first purchase.

    ``wallet``: what Auto-Invest can take of its asset. ``money``: what it has taken, by day.
    """

    document: Mapping[str, Any]
    minimum: Decimal
    wallet: Decimal = Decimal(0)
    money: list[tuple[datetime, str, Decimal]] = field(default_factory=list)
    since: datetime | None = None
    last_plan: datetime | None = None
    put_in: Decimal = Decimal(0)
    ended: bool = False
    paused: bool = False
    _invested: Decimal = Decimal(0)
    _carried: Decimal = Decimal(0)
    _cycle_at: datetime | None = None
    _decided_until: datetime | None = None
    _invests: bool = True
    _loss_days: int = 0
    _exit: _Count = field(default_factory=_Count)
    _climb: _Count = field(default_factory=_Count)
    _climbed_to: Decimal = Decimal(0)
    _peak: Decimal | None = None

    @property
    def targets(self) -> dict[str, Decimal]:
        """Percent by asset."""
        return {asset: Decimal(weight) for asset, weight in self.document["targets"].items()}

    def on(self, day: Day) -> list[str]:
        """The codes of which one must be recorded for the day: mostly one, several where a rounding decides."""
        if not self.put_in:
            self.put_in = sum(day.values.values(), Decimal(0))
        if self.since is None:
            return self._before_the_first_purchase(day)
        if self.paused:
            return ["paused"]
        codes = self._exits(day) or self._cycles(day) or self._rebalances(day)
        if codes in (["take_profit"], ["stop_loss"]):
            level = self.document[codes[0]]
            self.paused = isinstance(level, Mapping) and level.get("action") == "pause"
            self.ended = not self.paused
        return codes

    def cycle_decided(self, day: Day) -> bool:
        """A cycle was due on that day: whether it was made. The money is then put in; see ``money``."""
        plan = self.document["auto_invest"]
        asset, self._decided_until, self._loss_days = plan.get("asset", self.document["funding_asset"]), day.at, 0
        amount = Decimal(plan["amount"]) + self._carried
        worth = (amount * (Decimal(1) if asset == QUOTE else day.bids[asset])).quantize(Decimal("1e-8"))
        if self.put_in + worth > MOST_PUT_IN:
            return self._left_out(plan.get("over_limit", "stop"), amount)
        if amount > self.wallet:
            return self._left_out(plan.get("short_balance", "stop"), amount)
        self.wallet -= amount
        self.put_in += worth
        self._invested += worth
        self._carried, self._cycle_at = Decimal(0), day.at
        self._invests = self._invested < Decimal(plan.get("pause_at_total", "Infinity"))
        self.money.append((day.at, asset, amount))
        return True

    def has_traded(self, at: datetime) -> None:
        """A plan was carried out on that day (also one in which nothing was tradable)."""
        self.last_plan = at

    def weights(self, day: Day) -> dict[str, Decimal]:
        """Percent by asset, targets that are not held included."""
        values = day.values
        total = sum(values.values())
        return {asset: 100 * values.get(asset, Decimal(0)) / total for asset in {**self.targets, **values}}

    def drifts(self, day: Day) -> dict[str, Decimal]:
        """Percentage points off target."""
        return {asset: abs(weight - self.targets.get(asset, Decimal(0))) for asset, weight in self.weights(day).items()}

    def width(self, asset: str) -> Decimal | None:
        """The band of one asset in points; None without a threshold."""
        rule = self.document["rebalance"].get("threshold")
        if rule is None:
            return None
        if not isinstance(rule, Mapping):
            return Decimal(rule)
        if asset in rule.get("per_asset", {}):
            return Decimal(rule["per_asset"][asset])
        target = self.targets.get(asset, min(self.targets.values()))
        kinds = [Decimal(rule[name]) for name in ("points", "floor") if name in rule]
        kinds += [target * Decimal(rule[name]) / 100 for name in ("relative", "factor") if name in rule]
        return max(kinds)

    def aim(self, day: Day) -> dict[str, Decimal]:
        """The weights a rebalance of the threshold leads to, in percent."""
        destination = self.document["rebalance"].get("destination", "target")
        weights = self.weights(day)
        if destination == "target":
            return {asset: self.targets.get(asset, Decimal(0)) for asset in weights}
        keep = {"band_edge": Decimal(1), "halfway": Decimal("0.5")}[destination]
        steps = {asset: self._step(asset, weight, keep) for asset, weight in weights.items()}
        excess = sum(steps.values()) - 100
        sign = 1 if excess > 0 else -1
        room = {
            asset: max(Decimal(0), sign * (to - self.targets.get(asset, Decimal(0)))) for asset, to in steps.items()
        }
        roomy = sum(room.values())
        return {asset: to - (excess * room[asset] / roomy if roomy else 0) for asset, to in steps.items()}

    def _step(self, asset: str, weight: Decimal, keep: Decimal) -> Decimal:
        target, width = self.targets.get(asset, Decimal(0)), self.width(asset)
        assert width is not None
        if abs(weight - target) < width:
            return weight
        if asset not in self.targets:
            return Decimal(0)
        return target + keep * width if weight > target else target - keep * width

    def _before_the_first_purchase(self, day: Day) -> list[str]:
        start = self.document.get("start")
        if start is not None:
            bid = day.bids[start["asset"]]
            if "at_or_below" in start and bid > Decimal(start["at_or_below"]):
                return [f"awaiting_start_price:{start['asset']}"]
            if "at_or_above" in start and bid < Decimal(start["at_or_above"]):
                return [f"awaiting_start_price:{start['asset']}"]
        self.since = day.at
        return ["initial_purchase"]

    def _left_out(self, answer: str, amount: Decimal) -> bool:
        self._invests = answer != "stop"
        self._carried = amount if answer == "carry_over" else self._carried
        return False

    def _cycles(self, day: Day) -> list[str]:
        """A date of the schedule since the last cycle, or enough days in a row with the loss."""
        plan = self.document.get("auto_invest")
        if plan is None or not self._invests:
            return []
        assert self.since is not None
        if "schedule" in plan:
            due = _newest_date(plan["schedule"], self._decided_until or self.since, day.at, self.since)
            if due is not None:
                return ["auto_invest_due" if day.at < due + GRACE else "auto_invest_missed"]
        if "drawdown" in plan:
            return self._drawdown(plan["drawdown"], day)
        return []

    def _drawdown(self, rule: Mapping[str, Any], day: Day) -> list[str]:
        waits = self._cycle_at is not None and day.at - self._cycle_at < duration(rule["min_interval"])
        loss = 100 * (1 - sum(day.values.values()) / self.put_in)
        if waits or loss < Decimal(rule["loss"]):
            self._loss_days = 0
            return []
        self._loss_days += 1
        is_confirmed = self._loss_days >= int(rule.get("confirm", DEFAULT_CONFIRM))
        return ["auto_invest_drawdown" if is_confirmed else "confirming_drawdown"]

    def _exits(self, day: Day) -> list[str]:
        """Take-profit before stop-loss; each must be seen on so many days in a row."""
        profit = 100 * (sum(day.values.values()) / self.put_in - 1)
        reached = self._exit_reached(profit)
        self._climbs(profit)
        if reached is None:
            self._exit = _Count()
            return []
        reason, confirm = reached
        if self._exit.reason != reason:
            self._exit = _Count(reason)
        self._exit.days += 1
        return [reason if self._exit.days >= confirm else f"confirming_{reason}"]

    def _exit_reached(self, profit: Decimal) -> tuple[str, int] | None:
        for reason in ("take_profit", "stop_loss"):
            if reason not in self.document:
                continue
            percent, trailing, confirm = self._level(reason)
            if reason == "take_profit" and trailing is not None:
                reached = self._peak is not None and self._peak >= percent and profit <= self._peak - Decimal(trailing)
            elif reason == "take_profit":
                reached = profit >= percent
            else:
                peak = max(self._peak or Decimal(0), Decimal(0)) if trailing else Decimal(0)
                reached = 100 * ((100 + profit) / (100 + peak) - 1) <= percent
            if reached:
                return reason, confirm
        return None

    def _level(self, reason: str) -> tuple[Decimal, str | None, int]:
        level = self.document[reason]
        if not isinstance(level, Mapping):
            return Decimal(level), None, DEFAULT_CONFIRM
        return Decimal(level["percent"]), level.get("trailing"), int(level.get("confirm", DEFAULT_CONFIRM))

    def _climbs(self, profit: Decimal) -> None:
        """The peak moves in steps, each seen on so many days in a row."""
        ladders = []
        confirm = 0
        for reason in ("take_profit", "stop_loss"):
            if reason in self.document:
                percent, trailing, needed = self._level(reason)
                if trailing is not None:
                    step = -percent / 10 if reason == "stop_loss" else Decimal(trailing) / 10
                    ladders.append((step if reason == "stop_loss" else percent, step))
                    confirm = max(confirm, needed)
        steps = [first + (profit - first) // step * step for first, step in ladders if profit >= first]
        highest = max(steps, default=None)
        if highest is None or (self._peak is not None and highest <= self._peak):
            self._climb = _Count()
            return
        self._climbed_to = min(highest, self._climbed_to) if self._climb.days else highest
        self._climb.days += 1
        if self._climb.days >= confirm:
            self._peak, self._climb = self._climbed_to, _Count()

    def _rebalances(self, day: Day) -> list[str]:
        rule, drifts = self.document["rebalance"], self.drifts(day)
        if rule.get("hold"):
            return ["hold_mode"]
        outside = {asset: off for asset, off in drifts.items() if (w := self.width(asset)) is not None and off >= w}
        fired = f"threshold_reached:{max(outside, key=outside.__getitem__)}" if outside else ""
        if "interval" in rule:
            return [self._with_interval(rule, day, fired, max(drifts.values()))]
        if not fired:
            return ["within_band"]
        assert self.since is not None
        last = self.last_plan or self.since
        if day.at < last + duration(rule.get("cooldown", "5m")):
            return ["cooldown"]
        return self._passing_minimum(day, fired) if "cost_guard" not in rule else self._worth_it(day, fired)

    def _with_interval(self, rule: Mapping[str, Any], day: Day, fired: str, furthest: Decimal) -> str:
        assert self.since is not None
        interval, last = duration(rule["interval"]), self.last_plan or self.since
        is_due = (day.at - self.since) // interval > (last - self.since) // interval
        if rule.get("when") == "all":
            return "interval_not_due" if not is_due else "interval_due" if fired else "within_band"
        if is_due and furthest >= Decimal(rule.get("min_drift", "0")):
            return "interval_due"
        if "threshold" in rule:
            return fired or "within_band"
        return "below_min_drift" if is_due else "interval_not_due"

    def _passing_minimum(self, day: Day, fired: str) -> list[str]:
        weights, total, drifts = self.weights(day), sum(day.values.values()), self.drifts(day)
        largest = max(abs(to - weights[asset]) * total / 100 for asset, to in self.aim(day).items() if asset != QUOTE)
        held = f"below_minimum:{max(drifts, key=drifts.__getitem__)}"
        if abs(largest / self.minimum - 1) < NEAR:
            return [fired, held]
        return [fired if largest > self.minimum else held]

    def _worth_it(self, day: Day, fired: str) -> list[str]:
        weights, total, aim = self.weights(day), sum(day.values.values()), self.aim(day)
        benefit = cost = Decimal(0)
        for asset, weight in weights.items():
            target = self.targets.get(asset, Decimal(0))
            benefit += total / 100 * (weight - target) ** 2 / (weight + target)
            gap = (aim[asset] - weight) * total / 100
            if asset != QUOTE:
                cost += -gap * TAKER_FEE if gap < 0 else gap * ((1 + 2 * HALF_SPREAD) / (1 - TAKER_FEE) - 1)
        factor = Decimal(self.document["rebalance"]["cost_guard"])
        if abs(benefit / cost / factor - 1) < NEAR:
            return [fired, "cost_guard"]
        return [fired if benefit > factor * cost else "cost_guard"]


def _newest_date(rule: Mapping[str, Any], after: datetime, until: datetime, since: datetime) -> datetime | None:
    """The newest date of a schedule later than ``after`` and not later than ``until``; day by day, by the local clock.

    None of the schedules here has a time that its zone leaves out or has twice.
    """
    zone = ZoneInfo(rule.get("zone", "UTC"))
    hour, minute = map(int, rule["at"].split(":"))
    first, newest = since.astimezone(zone).date(), None
    for number in count():
        local = first + timedelta(days=number)
        moment = datetime(local.year, local.month, local.day, hour, minute, tzinfo=zone)
        if moment > until:
            return newest
        if "monthly" in rule:
            last = (local.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
            fits = local.day == min(int(rule["monthly"]), last.day)
        elif rule["every"] in WEEKDAYS:
            fits = local.weekday() == WEEKDAYS.index(rule["every"])
        else:
            fits = number % duration(rule["every"]).days == 0
        if fits and moment > after:
            newest = moment
    return newest

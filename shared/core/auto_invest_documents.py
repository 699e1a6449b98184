"""Auto-Invest as it is written in strategy files: read with every problem told, and written back.

```yaml
auto_invest:
  amount: "50"
  schedule: {every: friday, at: "14:00", zone: Europe/Berlin}
  drawdown: {loss: "5", min_interval: 7d}
```

``schedule``: ``every`` names a weekday, days ("3d") or hours ("6h"), or ``monthly`` a day of the month; ``at`` is 00:00
and ``zone`` UTC unless given, and hours have neither. ``schedule: friday`` is short for ``schedule: {every: friday}``.
"""

import re
from collections.abc import Mapping
from datetime import time, timedelta
from decimal import Decimal

from shared.core.auto_invest import DEFAULT_GRACE, MAX_TOTAL_USDT, Answer, AutoInvest, Drawdown, Period, Schedule
from shared.core.document_fields import (
    MIN_INTERVAL,
    Collector,
    fields_of,
    interval_text,
    parse_between,
    parse_choice,
    parse_confirm,
    parse_duration,
    parse_interval,
    parse_whole,
)
from shared.core.errors import Problem, Refused, shown
from shared.core.money import HUNDRED, ZERO, parse_asset, plain
from shared.core.time_zones import parse_zone

AUTO_INVEST_FIELDS = (
    "amount", "asset", "schedule", "drawdown", "pause_at_total", "short_balance", "over_limit", "composition_change",
    "grace",
)  # fmt: skip
SCHEDULE_FIELDS = ("every", "monthly", "at", "zone")
DRAWDOWN_FIELDS = ("loss", "min_interval", "confirm")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ANSWERS: Mapping[str, tuple[Answer, ...]] = {
    "short_balance": (Answer.STOP, Answer.SKIP, Answer.CARRY_OVER),
    "over_limit": (Answer.STOP, Answer.SKIP, Answer.CARRY_OVER),
    "composition_change": (Answer.STOP, Answer.CONTINUE),
}
"""What may be answered where; the first is the default."""
MAX_EVERY = {Period.DAYS: 366, Period.HOURS: 8784}
MAX_GRACE = timedelta(days=30)
TIME_OF_DAY = r"([01][0-9]|2[0-3]):([0-5][0-9])"

_DOCUMENT = 'a mapping as in {amount: "50", schedule: {every: friday, at: "14:00", zone: Europe/Berlin}}'
_SCHEDULE = '{every: friday}, {every: 3d}, {every: 6h} or {monthly: "31"}, with at: "14:00" and zone: Europe/Berlin'
_DRAWDOWN = 'a mapping as in {loss: "5", min_interval: 7d}'
_EVERY = f'a weekday ("friday"), "1d" to "{MAX_EVERY[Period.DAYS]}d" or "1h" to "{MAX_EVERY[Period.HOURS]}h"'
_COUNTED = re.compile(r"(0|[1-9][0-9]{0,6})([dh])")
_MOST = Decimal(10) ** 18


def parse_auto_invest(value: object, funding_asset: str) -> AutoInvest | None:
    """The ``auto_invest`` of a strategy file, its asset ``funding_asset`` unless given. None when there is none.

    Raises Refused with every problem.
    """
    if value is None:
        return None
    collector = Collector()
    take = collector.take
    given = fields_of(value, "auto_invest", AUTO_INVEST_FIELDS, _DOCUMENT, collector)
    asset = funding_asset
    if "asset" in given:
        asset = take(lambda: parse_asset(given["asset"], "auto_invest.asset"), "")
    if "schedule" not in given and "drawdown" not in given:
        neither = Problem("auto_invest", "neither", "schedule, drawdown or both", "would never invest")
        collector.problems.append(neither)
    total = given.get("pause_at_total")
    found = AutoInvest(
        amount=take(lambda: _parse_amount(given.get("amount"), asset), ZERO),
        asset=asset,
        schedule=take(lambda: _parse_schedule(given.get("schedule")), None),
        drawdown=take(lambda: _parse_drawdown(given.get("drawdown")), None),
        pause_at_total=take(lambda: _parse_total(total), None),
        short_balance=take(lambda: _parse_answer(given, "short_balance"), Answer.STOP),
        over_limit=take(lambda: _parse_answer(given, "over_limit"), Answer.STOP),
        composition_change=take(lambda: _parse_answer(given, "composition_change"), Answer.STOP),
        grace=take(lambda: _parse_grace(given.get("grace")), DEFAULT_GRACE),
    )
    collector.done()
    return found


def auto_invest_document(auto_invest: AutoInvest, funding_asset: str) -> dict[str, object]:
    """The file form: ``parse_auto_invest`` reads it back to an equal one. What is as by default is left out."""
    document: dict[str, object] = {"amount": plain(auto_invest.amount)}
    if auto_invest.asset != funding_asset:
        document["asset"] = auto_invest.asset
    if auto_invest.schedule is not None:
        document["schedule"] = _schedule_document(auto_invest.schedule)
    if auto_invest.drawdown is not None:
        document["drawdown"] = _drawdown_document(auto_invest.drawdown)
    if auto_invest.pause_at_total is not None:
        document["pause_at_total"] = plain(auto_invest.pause_at_total)
    answers = {
        "short_balance": auto_invest.short_balance,
        "over_limit": auto_invest.over_limit,
        "composition_change": auto_invest.composition_change,
    }
    document |= {name: answer.value for name, answer in answers.items() if answer is not Answer.STOP}
    if auto_invest.grace != DEFAULT_GRACE:
        document["grace"] = interval_text(auto_invest.grace)
    return document


def _parse_amount(value: object, asset: str) -> Decimal:
    limit = f"less than {plain(MAX_TOTAL_USDT)} USDT in value"
    allowed = f"more than 0 and {limit}"
    most = MAX_TOTAL_USDT if asset == "USDT" else _MOST
    return parse_between(_there(value, "auto_invest.amount", allowed), "auto_invest.amount", allowed, most, below=True)


def _parse_total(value: object) -> Decimal | None:
    allowed = f"more than 0, at most {plain(MAX_TOTAL_USDT)} (in the quote currency)"
    return None if value is None else parse_between(value, "auto_invest.pause_at_total", allowed, MAX_TOTAL_USDT)


def _parse_answer(given: Mapping[str, object], name: str) -> Answer:
    return parse_choice(given.get(name), f"auto_invest.{name}", ANSWERS[name], Answer.STOP)


def _parse_grace(value: object) -> timedelta:
    return DEFAULT_GRACE if value is None else parse_duration(value, "auto_invest.grace", MIN_INTERVAL, MAX_GRACE)


def _parse_schedule(value: object) -> Schedule | None:
    if value is None:
        return None
    field = "auto_invest.schedule"
    collector = Collector()
    written = {"every": value} if isinstance(value, str) else value
    given = fields_of(written, field, SCHEDULE_FIELDS, _SCHEDULE, collector)
    counted = Schedule(Period.DAYS)
    if ("every" in given) == ("monthly" in given):
        both = "every and monthly" if "every" in given else "neither every nor monthly"
        collector.problems.append(Problem(field, both, _SCHEDULE, "is not one schedule"))
    elif "monthly" in given:
        day = collector.take(lambda: parse_whole(given["monthly"], f"{field}.monthly", 31, "the day of the month"), 1)
        counted = Schedule(Period.MONTHLY, day=day)
    else:
        counted = collector.take(lambda: _parse_every(given["every"], f"{field}.every"), counted)
    if counted.period is Period.HOURS:
        collector.problems += [
            Problem(
                f"{field}.{name}", shown(given[name]), "a schedule of weekdays, days or months", "does not fit hours"
            )
            for name in ("at", "zone")
            if name in given
        ]
    at = collector.take(lambda: _parse_time(given.get("at"), f"{field}.at"), time(0))
    zone = collector.take(lambda: parse_zone(given.get("zone", "UTC"), f"{field}.zone"), "UTC")
    collector.done()
    return Schedule(counted.period, at, zone, counted.weekday, counted.day, counted.every)


def _parse_every(value: object, field: str) -> Schedule:
    if isinstance(value, str) and value in WEEKDAYS:
        return Schedule(Period.WEEKLY, weekday=WEEKDAYS.index(value))
    match = _COUNTED.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Refused.one(field, value, _EVERY, "is neither a weekday nor days nor hours")
    period = Period.DAYS if match[2] == "d" else Period.HOURS
    if not 1 <= int(match[1]) <= MAX_EVERY[period]:
        raise Refused.one(field, value, _EVERY, "is out of range")
    return Schedule(period, every=int(match[1]))


def _parse_time(value: object, field: str) -> time:
    if value is None:
        return time(0)
    match = re.fullmatch(TIME_OF_DAY, value) if isinstance(value, str) else None
    if match is None:
        raise Refused.one(field, value, 'a time of day from "00:00" to "23:59", as text', "is not a time of day")
    return time(int(match[1]), int(match[2]))


def _schedule_document(schedule: Schedule) -> dict[str, object]:
    if schedule.period is Period.HOURS:
        return {"every": f"{schedule.every}h"}
    document: dict[str, object] = {"every": f"{schedule.every}d"}
    if schedule.period is Period.WEEKLY:
        document = {"every": WEEKDAYS[schedule.weekday]}
    elif schedule.period is Period.MONTHLY:
        document = {"monthly": str(schedule.day)}
    if schedule.at != time(0):
        document["at"] = f"{schedule.at:%H:%M}"
    if schedule.zone != "UTC":
        document["zone"] = schedule.zone
    return document


def _parse_drawdown(value: object) -> Drawdown | None:
    if value is None:
        return None
    field = "auto_invest.drawdown"
    collector = Collector()
    take = collector.take
    given = fields_of(value, field, DRAWDOWN_FIELDS, _DRAWDOWN, collector)
    loss_pct = take(lambda: _parse_loss(given.get("loss"), f"{field}.loss"), ZERO)
    interval = take(lambda: _parse_min_interval(given.get("min_interval"), f"{field}.min_interval"), MIN_INTERVAL)
    confirm = take(lambda: parse_confirm(given.get("confirm"), f"{field}.confirm"), None)
    collector.done()
    return Drawdown(loss_pct, interval, confirm)


def _parse_loss(value: object, field: str) -> Decimal:
    allowed = "more than 0 and less than 100 (percent of the money put in)"
    return parse_between(_there(value, field, allowed), field, allowed, HUNDRED, below=True)


def _parse_min_interval(value: object, field: str) -> timedelta:
    return parse_interval(_there(value, field, 'an interval, as in "7d"'), field)


def _drawdown_document(drawdown: Drawdown) -> dict[str, object]:
    document: dict[str, object] = {
        "loss": plain(drawdown.loss_pct),
        "min_interval": interval_text(drawdown.min_interval),
    }
    if drawdown.confirm is not None:
        document["confirm"] = str(drawdown.confirm)
    return document


def _there(value: object, field: str, allowed: str) -> object:
    if value is None:
        raise Refused.one(field, "(missing)", allowed, "is missing")
    return value

"""The dates of an Auto-Invest as people read them: local time with its zone, UTC, and what is odd about each. Pure."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta

from services.gateway.history_replies import DateReply
from shared.core.auto_invest import Period, Schedule
from shared.core.schedule import dates
from shared.core.time_zones import zone_of

_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def calendar_of(schedule: Schedule, since: datetime, after: datetime, count: int) -> list[DateReply]:
    """The next ``count`` dates later than both ``since`` and ``after``, with remarks."""
    found = dates(schedule, since, after, count)
    zone = zone_of(schedule.zone)
    previous = max(since, after).astimezone(zone)
    told = []
    for moment in found:
        local = moment.astimezone(zone)
        told.append(
            DateReply(
                local=local.isoformat(),
                weekday=_DAY_NAMES[local.weekday()],
                zone=schedule.zone,
                utc=moment.astimezone(UTC),
                remarks=[] if schedule.period is Period.HOURS else _remarks(schedule, previous, local),
            )
        )
        previous = local
    return told


def remarks_on(schedule: Schedule | None, *, has_drawdown: bool) -> list[str]:
    """What is to be said of the dates as a whole."""
    if schedule is None and has_drawdown:
        return ["It has no schedule: a cycle is made whenever the loss is large enough."]
    if schedule is None:
        return ["It has no schedule."]
    found = ["Dates are market time: in a replay they come as its days pass."]
    if has_drawdown:
        found.append("Further cycles may come in between, when the loss is large enough.")
    return found


def _remarks(schedule: Schedule, previous: datetime, local: datetime) -> list[str]:
    """What is odd about a date: a shorter month, a time of day that the clocks skip or show twice, another offset."""
    found = []
    last_day = monthrange(local.year, local.month)[1]
    if schedule.period is Period.MONTHLY and schedule.day > last_day:
        found.append(f"this month has {last_day} days, so on its last day instead of the {_ordinal(schedule.day)}")
    if local.time() != schedule.at:
        told = f"{schedule.at:%H:%M} does not exist on this day, the clocks go forward"
        found.append(f"{told}: at the first moment after it")
    elif local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset():
        found.append(f"the clocks show {schedule.at:%H:%M} twice on this day: the first time")
    elif local.utcoffset() != previous.utcoffset():
        found.append(f"the clocks have changed since the date before: now {_offset(local)}")
    return found


def _offset(local: datetime) -> str:
    minutes = (local.utcoffset() or timedelta(0)) // timedelta(minutes=1)
    sign, minutes = ("-" if minutes < 0 else "+"), abs(minutes)
    return f"UTC{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def _ordinal(day: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th") if day not in {11, 12, 13} else "th"
    return f"{day}{ending}"

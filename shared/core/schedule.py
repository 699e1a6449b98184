"""When a schedule falls due. Pure; every moment is aware, every date that is returned is in UTC.

    WEEKLY     each ``weekday`` at ``at``, local time
    MONTHLY    each month's ``day`` at ``at``; of a shorter month the last day
    DAYS       the local date of ``since`` and each ``every`` days from there, at ``at``: local dates, not 24 hours
    HOURS      ``since`` plus each multiple of ``every`` hours, as time passes

A local time that the clocks leave out falls due at the first moment after the gap; one that they show twice, the first
time. When two dates fall on one moment (a zone that leaves out a whole day), that is one date.
"""

from bisect import bisect_left
from calendar import monthrange
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shared.core.auto_invest import Period, Schedule
from shared.core.time_zones import zone_of

NEWEST_KEPT = 100

_WEEK = timedelta(days=7)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class DatesPassed:
    """The newest of the dates in a stretch of time, oldest first, and how many there were in all."""

    newest: tuple[datetime, ...] = ()
    count: int = 0


def next_date(schedule: Schedule, since: datetime, after: datetime) -> datetime:
    """The first date later than both ``since`` and ``after``. Raises TypeError for a moment without a zone."""
    start = max(since, after)
    if schedule.period is Period.HOURS:
        step, first = timedelta(hours=schedule.every), since.astimezone(UTC)
        return first + ((start - first) // step + 1) * step
    zone = zone_of(schedule.zone)
    days = _days(schedule, since.astimezone(zone).date(), start.astimezone(zone).date())
    return next(found for found in (_moment(day, schedule.at, zone) for day in days) if found > start)


def dates(schedule: Schedule, since: datetime, after: datetime, count: int) -> tuple[datetime, ...]:
    """The first ``count`` dates later than both ``since`` and ``after``."""
    found: list[datetime] = []
    for _ in range(count):
        after = next_date(schedule, since, after)
        found.append(after)
    return tuple(found)


def dates_between(
    schedule: Schedule, since: datetime, after: datetime, until: datetime, *, keep: int = NEWEST_KEPT
) -> DatesPassed:
    """The dates d with after < d <= until (and d > since): at most ``keep`` (>= 1) of them, the newest, and the count.

    However long ago ``after`` is, this costs in proportion to the days between, never to the hours.
    """
    found = next_date(schedule, since, after)
    if found > until:
        return DatesPassed()
    if schedule.period is Period.HOURS:
        step = timedelta(hours=schedule.every)
        further = (until - found) // step
        kept = range(max(0, further + 1 - keep), further + 1)
        return DatesPassed(tuple(found + number * step for number in kept), further + 1)
    newest: deque[datetime] = deque(maxlen=keep)
    count = 0
    while found <= until:
        newest.append(found)
        count += 1
        found = next_date(schedule, since, found)
    return DatesPassed(tuple(newest), count)


def _days(schedule: Schedule, first: date, start: date) -> Iterator[date]:
    """The schedule's local dates, in order, from the first one that may fall due on or after the local date ``start``.

    ``first``: the local date of ``since``. An earlier date cannot fall due later than a moment of ``start``.
    """
    if schedule.period is Period.MONTHLY:
        year, month = start.year, start.month
        while True:
            yield date(year, month, min(schedule.day, monthrange(year, month)[1]))
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    if schedule.period is Period.WEEKLY:
        step, day = _WEEK, start + timedelta(days=(schedule.weekday - start.weekday()) % 7)
    else:
        step = timedelta(days=schedule.every)
        day = first - (first - start) // step * step
    while True:
        yield day
        day += step


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """When the clocks of ``zone`` first show this local time, or have passed it; see the module."""
    wall = datetime.combine(day, at, zone)
    before, behind = wall.utcoffset(), wall.replace(fold=1).utcoffset()
    if before is not None and behind is not None and behind > before:
        return _end_of_gap(wall.replace(tzinfo=UTC), before, behind, zone)
    return wall.astimezone(UTC)


def _end_of_gap(wall: datetime, before: timedelta, behind: timedelta, zone: ZoneInfo) -> datetime:
    """The moment at which the offset changes from ``before`` to ``behind``, for a local time left out by that."""
    early, seconds = wall - behind, (behind - before) // _SECOND

    def has_changed(second: int) -> bool:
        return (early + second * _SECOND).astimezone(zone).utcoffset() == behind

    return early + bisect_left(range(seconds), True, key=has_changed) * _SECOND

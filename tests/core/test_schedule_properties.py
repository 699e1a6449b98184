"""Schedules against clocks that are watched minute by minute, and what holds of every schedule."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.auto_invest import Period, Schedule
from shared.core.schedule import DatesPassed, dates, dates_between, next_date
from shared.core.time_zones import zone_of
from tests.core.test_schedule import (
    APIA,
    BERLIN,
    KATHMANDU,
    LORD_HOWE,
    NEW_YORK,
    SAO_PAULO,
    ST_JOHNS,
    days,
)

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@cache
def watched(zone: str, first: date, last: date) -> list[tuple[datetime, datetime]]:
    """Each minute's moment in UTC with what the zone's clock shows then, as plain local time."""
    start = datetime.combine(first - 2 * DAY, time(0), UTC)
    found = []
    for minute in range((last - first).days * 1440 + 4 * 1440):
        moment = start + minute * MINUTE
        found.append((moment, moment.astimezone(zone_of(zone)).replace(tzinfo=None)))
    return found


def shown_first(zone: str, first: date, last: date, wanted: datetime) -> datetime:
    """The first moment at which the clock shows ``wanted`` or has passed it."""
    return next(moment for moment, shown in watched(zone, first, last) if shown >= wanted)


WEEKS = [
    (BERLIN, date(2026, 3, 27), date(2026, 4, 1)),
    (BERLIN, date(2026, 10, 23), date(2026, 10, 28)),
    (NEW_YORK, date(2026, 3, 6), date(2026, 3, 10)),
    (NEW_YORK, date(2026, 10, 30), date(2026, 11, 3)),
    (LORD_HOWE, date(2026, 4, 3), date(2026, 4, 7)),
    (LORD_HOWE, date(2026, 10, 2), date(2026, 10, 6)),
    (KATHMANDU, date(1985, 12, 30), date(1986, 1, 3)),
    (APIA, date(2011, 12, 28), date(2012, 1, 2)),
    (ST_JOHNS, date(2010, 11, 5), date(2010, 11, 9)),
    (SAO_PAULO, date(2018, 11, 2), date(2018, 11, 6)),
    ("Africa/Casablanca", date(2026, 2, 13), date(2026, 2, 17)),
    ("Antarctica/Troll", date(2026, 3, 27), date(2026, 3, 31)),
]


@pytest.mark.parametrize(("zone", "first", "last"), WEEKS)
def test_dates_when_clocks_change_are_those_of_a_watched_clock(zone: str, first: date, last: date) -> None:
    since = datetime.combine(first, time(0), zone_of(zone)) - timedelta(seconds=1)
    until = datetime.combine(last, time(0), UTC)
    for quarter in range(96):
        at = time(quarter // 4, quarter % 4 * 15)
        walls = [datetime.combine(first + number * DAY, at) for number in range((last - first).days + 1)]
        watched_dates = sorted({shown_first(zone, first, last, wall) for wall in walls})
        expected = [moment for moment in watched_dates if since < moment <= until]
        assert list(dates_between(days(1, f"{at:%H:%M}", zone), since, since, until).newest) == expected


ZONES = st.sampled_from(
    [
        "UTC",
        BERLIN,
        NEW_YORK,
        LORD_HOWE,
        KATHMANDU,
        APIA,
        ST_JOHNS,
        SAO_PAULO,
        "Africa/Casablanca",
        "Pacific/Kiritimati",
    ]
)
AT = st.builds(time, st.integers(0, 23), st.integers(0, 59))
SCHEDULES = st.one_of(
    st.builds(Schedule, st.just(Period.WEEKLY), AT, ZONES, weekday=st.integers(0, 6)),
    st.builds(Schedule, st.just(Period.MONTHLY), AT, ZONES, day=st.integers(1, 31)),
    st.builds(Schedule, st.just(Period.DAYS), AT, ZONES, every=st.integers(1, 40)),
    st.builds(Schedule, st.just(Period.HOURS), every=st.integers(1, 200)),
)
MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
STRETCHES = st.timedeltas(timedelta(0), timedelta(days=400))


@settings(deadline=None)
@given(SCHEDULES, MOMENTS, STRETCHES)
def test_dates_when_in_order_are_the_same_however_they_are_asked_for(
    schedule: Schedule, since: datetime, stretch: timedelta
) -> None:
    after = since + stretch
    found = dates(schedule, since, after, 8)
    assert found[0] > after
    assert list(found) == sorted(set(found))
    assert found == dates(schedule, since, after, 8)
    # Every moment between two dates leads to the later one.
    for earlier, later in zip((after, *found), found, strict=False):
        between = earlier + (later - earlier) / 2
        assert {next_date(schedule, since, moment) for moment in (earlier, between, later - timedelta.resolution)} == {
            later
        }
    # A date as the start changes nothing: what follows from it is what followed before, unless it is counted from.
    if schedule.period in {Period.WEEKLY, Period.MONTHLY}:
        assert dates(schedule, found[0], since, 7) == found[1:]


@settings(deadline=None)
@given(SCHEDULES, MOMENTS, STRETCHES, STRETCHES, st.integers(1, 5))
def test_dates_between_when_compared_with_one_after_another_are_those(
    schedule: Schedule, since: datetime, stretch: timedelta, further: timedelta, keep: int
) -> None:
    after, until = since + stretch, since + stretch + further / 10
    expected: list[datetime] = []
    while (found := next_date(schedule, since, expected[-1] if expected else after)) <= until:
        expected.append(found)
    passed = dates_between(schedule, since, after, until, keep=keep)
    assert passed == DatesPassed(tuple(expected[-keep:]), len(expected))


@settings(deadline=None)
@given(SCHEDULES.filter(lambda one: one.period is not Period.HOURS), MOMENTS, STRETCHES)
def test_dates_when_local_are_on_the_right_day_at_the_right_time_or_where_the_clocks_jump(
    schedule: Schedule, since: datetime, stretch: timedelta
) -> None:
    zone = zone_of(schedule.zone)
    first = since.astimezone(zone).date()
    for found in dates(schedule, since, since + stretch, 6):
        local = found.astimezone(zone)
        if local.time() != schedule.at:
            just_before = (found - timedelta.resolution).astimezone(zone)
            assert local.utcoffset() > just_before.utcoffset()  # type: ignore[operator]
            assert just_before.time() < schedule.at or just_before.date() < local.date()
        elif schedule.period is Period.WEEKLY:
            assert local.weekday() == schedule.weekday
        elif schedule.period is Period.MONTHLY:
            assert local.day == schedule.day or (local.day < schedule.day and (local + DAY).day == 1)
        else:
            assert (local.date() - first).days % schedule.every == 0

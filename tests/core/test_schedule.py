"""When schedules fall due: one row a case.

Expected moments are in UTC and were taken from the published changes of the zones.
"""

from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from shared.core.auto_invest import Period, Schedule
from shared.core.errors import Refused
from shared.core.schedule import DatesPassed, dates, dates_between, next_date
from shared.core.time_zones import parse_zone, zone_names, zone_of

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
KATHMANDU, APIA, ST_JOHNS, SAO_PAULO = "Asia/Kathmandu", "Pacific/Apia", "America/St_Johns", "America/Sao_Paulo"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def clock(text: str) -> time:
    return time.fromisoformat(text)


def weekly(weekday: int, at: str, zone: str = "UTC") -> Schedule:
    return Schedule(Period.WEEKLY, clock(at), zone, weekday=weekday)


def monthly(day: int, at: str = "00:00", zone: str = "UTC") -> Schedule:
    return Schedule(Period.MONTHLY, clock(at), zone, day=day)


def days(every: int, at: str = "00:00", zone: str = "UTC") -> Schedule:
    return Schedule(Period.DAYS, clock(at), zone, every=every)


def hours(every: int) -> Schedule:
    return Schedule(Period.HOURS, every=every)


# schedule, since, after, the dates that follow
CASES: dict[str, tuple[Schedule, str, str, list[str]]] = {
    "friday in winter and in summer": (
        weekly(4, "14:00", BERLIN),
        "2026-03-01 00:00",
        "2026-03-20 13:00",
        ["2026-03-27 13:00", "2026-04-03 12:00"],
    ),
    "friday, one moment before": (
        weekly(4, "14:00"),
        "2026-03-01 00:00",
        "2026-03-27 13:59:59.999999",
        ["2026-03-27 14:00"],
    ),
    "friday, at the very moment": (weekly(4, "14:00"), "2026-03-01 00:00", "2026-03-27 14:00", ["2026-04-03 14:00"]),
    "since at the very moment": (weekly(4, "14:00"), "2026-03-27 14:00", "2026-01-01 00:00", ["2026-04-03 14:00"]),
    "since later on the day": (weekly(4, "14:00"), "2026-03-27 14:01", "2026-01-01 00:00", ["2026-04-03 14:00"]),
    "since earlier on the day": (weekly(4, "14:00"), "2026-03-27 13:59", "2026-01-01 00:00", ["2026-03-27 14:00"]),
    "monday there is sunday in UTC": (
        weekly(0, "03:00", KATHMANDU),
        "2026-01-01 00:00",
        "2026-01-01 00:00",
        ["2026-01-04 21:15", "2026-01-11 21:15"],
    ),
    "gap: 02:30 is 03:00 in summer": (
        weekly(6, "02:30", BERLIN),
        "2026-03-20 00:00",
        "2026-03-22 12:00",
        ["2026-03-29 01:00", "2026-04-05 00:30"],
    ),
    "gap: its first moment": (
        days(1, "02:00", BERLIN),
        "2026-03-27 23:30",
        "2026-03-28 12:00",
        ["2026-03-29 01:00", "2026-03-30 00:00"],
    ),
    "gap: its end is no gap": (
        days(1, "03:00", BERLIN),
        "2026-03-27 23:30",
        "2026-03-28 12:00",
        ["2026-03-29 01:00", "2026-03-30 01:00"],
    ),
    "overlap: the first 02:30": (
        weekly(6, "02:30", BERLIN),
        "2026-10-01 00:00",
        "2026-10-24 00:00",
        ["2026-10-25 00:30", "2026-11-01 01:30"],
    ),
    "overlap: between the two": (
        weekly(6, "02:30", BERLIN),
        "2026-10-01 00:00",
        "2026-10-25 01:00",
        ["2026-11-01 01:30"],
    ),
    "overlap: since between the two": (
        days(1, "02:30", BERLIN),
        "2026-10-25 01:00",
        "2026-10-01 00:00",
        ["2026-10-26 01:30"],
    ),
    "overlap: its end": (days(1, "03:00", BERLIN), "2026-10-24 00:00", "2026-10-24 12:00", ["2026-10-25 02:00"]),
    "New York's gap": (
        days(1, "02:30", NEW_YORK),
        "2026-03-07 06:00",
        "2026-03-07 12:00",
        ["2026-03-08 07:00", "2026-03-09 06:30"],
    ),
    "half an hour of summer, gap": (
        days(1, "02:15", LORD_HOWE),
        "2026-10-02 00:00",
        "2026-10-03 00:00",
        ["2026-10-03 15:30", "2026-10-04 15:15"],
    ),
    "half an hour of summer, overlap": (
        days(1, "01:45", LORD_HOWE),
        "2026-04-02 00:00",
        "2026-04-04 00:00",
        ["2026-04-04 14:45", "2026-04-05 15:15"],
    ),
    "midnight left out": (
        days(1, "00:00", SAO_PAULO),
        "2018-11-02 03:00",
        "2018-11-03 12:00",
        ["2018-11-04 03:00", "2018-11-05 02:00"],
    ),
    "day left out": (
        days(1, "14:00", APIA),
        "2011-12-28 00:00",
        "2011-12-29 00:00",
        ["2011-12-30 00:00", "2011-12-30 10:00", "2011-12-31 00:00"],
    ),
    "day left out, midnight: one date": (
        days(1, "00:00", APIA),
        "2011-12-28 00:00",
        "2011-12-29 00:00",
        ["2011-12-29 10:00", "2011-12-30 10:00", "2011-12-31 10:00"],
    ),
    "weekday left out": (
        weekly(4, "09:00", APIA),
        "2011-12-01 00:00",
        "2011-12-24 00:00",
        ["2011-12-30 10:00", "2012-01-05 19:00"],
    ),
    "month's day left out": (
        monthly(30, "09:00", APIA),
        "2011-12-01 00:00",
        "2011-12-01 00:00",
        ["2011-12-30 10:00", "2012-01-29 19:00"],
    ),
    "clocks back over midnight": (
        days(1, "23:30", ST_JOHNS),
        "2010-11-07 02:15",
        "2010-11-07 02:45",
        ["2010-11-08 03:00"],
    ),
    "since before the clocks go back over midnight": (
        days(1, "23:30", ST_JOHNS),
        "2010-11-07 02:30:30",
        "2010-11-07 02:40",
        ["2010-11-08 03:00"],
    ),
    "31st": (
        monthly(31, "14:00", BERLIN),
        "2026-01-01 00:00",
        "2026-01-15 00:00",
        ["2026-01-31 13:00", "2026-02-28 13:00", "2026-03-31 12:00", "2026-04-30 12:00"],
    ),
    "30th in February": (monthly(30), "2027-01-01 00:00", "2027-02-01 00:00", ["2027-02-28 00:00", "2027-03-30 00:00"]),
    "29th in February": (monthly(29), "2027-01-01 00:00", "2027-02-01 00:00", ["2027-02-28 00:00", "2027-03-29 00:00"]),
    "29 February": (monthly(29), "2028-01-01 00:00", "2028-02-01 00:00", ["2028-02-29 00:00", "2028-03-29 00:00"]),
    "29 February by the 31st": (monthly(31), "2028-01-01 00:00", "2028-02-01 00:00", ["2028-02-29 00:00"]),
    "29 February of a century": (monthly(31), "2100-01-01 00:00", "2100-02-01 00:00", ["2100-02-28 00:00"]),
    "last day passed": (monthly(31), "2026-02-28 00:00", "2026-02-28 00:00", ["2026-03-31 00:00"]),
    "over the new year": (
        monthly(1, "00:00", KATHMANDU),
        "2026-12-01 00:00",
        "2026-12-02 00:00",
        ["2026-12-31 18:15", "2027-01-31 18:15"],
    ),
    "monthly in the overlap": (
        monthly(25, "02:30", BERLIN),
        "2026-10-01 00:00",
        "2026-10-01 00:00",
        ["2026-10-25 00:30", "2026-11-25 01:30"],
    ),
    "days: later on the first day": (
        days(3, "14:00"),
        "2026-01-01 13:00",
        "2026-01-01 13:00",
        ["2026-01-01 14:00", "2026-01-04 14:00"],
    ),
    "days: the first day passed": (
        days(3, "14:00"),
        "2026-01-01 15:00",
        "2026-01-01 15:00",
        ["2026-01-04 14:00", "2026-01-07 14:00"],
    ),
    "days: counted from the local date": (
        days(2, "14:00", KATHMANDU),
        "2026-01-01 20:00",
        "2026-01-01 20:00",
        ["2026-01-02 08:15", "2026-01-04 08:15"],
    ),
    "days: many later": (days(7, "14:00"), "2026-01-01 13:00", "2027-01-01 00:00", ["2027-01-07 14:00"]),
    "days: a leap day is one": (days(30), "2028-02-01 00:00", "2028-02-01 00:00", ["2028-03-02 00:00"]),
    "hours": (
        hours(6),
        "2026-01-01 01:30:15.25",
        "2026-01-01 13:30:15.25",
        ["2026-01-01 19:30:15.25", "2026-01-02 01:30:15.25"],
    ),
    "hours: never the start": (hours(6), "2026-01-01 01:30", "2020-01-01 00:00", ["2026-01-01 07:30"]),
    "hours: one moment before": (hours(6), "2026-01-01 01:30", "2026-01-01 07:29:59.999999", ["2026-01-01 07:30"]),
    "hours: passing, not shown": (
        hours(24),
        "2026-03-28 13:00",
        "2026-03-28 13:00",
        ["2026-03-29 13:00", "2026-03-30 13:00"],
    ),
}


@pytest.mark.parametrize(("schedule", "since", "after", "expected"), CASES.values(), ids=CASES)
def test_dates_when_of_each_kind_are_as_the_clocks_show(
    schedule: Schedule, since: str, after: str, expected: list[str]
) -> None:
    found = dates(schedule, utc(since), utc(after), len(expected))
    assert [each.isoformat() for each in found] == [utc(each).isoformat() for each in expected]
    assert all(each.tzinfo is UTC for each in found)


@pytest.mark.parametrize("schedule", [weekly(4, "14:00", BERLIN), hours(6), days(3), monthly(31)])
def test_moments_when_in_another_zone_give_the_same_dates(schedule: Schedule) -> None:
    since, after = utc("2026-03-01 00:00"), utc("2026-03-28 23:45")
    tokyo = timezone(timedelta(hours=9))
    same = next_date(schedule, since.astimezone(tokyo), after.astimezone(ZoneInfo(NEW_YORK)))
    assert same == next_date(schedule, since, after)
    assert same.tzinfo is UTC


@pytest.mark.parametrize("schedule", [weekly(4, "14:00", BERLIN), hours(6)])
def test_moment_when_without_a_zone_is_an_error(schedule: Schedule) -> None:
    aware, naive = utc("2026-03-01 00:00"), datetime(2026, 3, 1)  # noqa: DTZ001
    for since, after in ((naive, aware), (aware, naive), (naive, naive)):
        with pytest.raises(TypeError):
            next_date(schedule, since, after)


PASSED = [
    (days(1), "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-01 23:59", 9, [], 0),
    (days(1), "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-02 00:00", 9, ["2026-01-02"], 1),
    (days(1), "2026-01-01 00:00", "2026-01-02 00:00", "2026-01-02 00:00", 9, [], 0),
    (days(1), "2026-01-01 00:00", "2026-01-05 00:00", "2026-01-02 00:00", 9, [], 0),
    (days(1), "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-05 00:00", 2, ["2026-01-04", "2026-01-05"], 4),
    (days(1), "2026-01-03 12:00", "2026-01-01 00:00", "2026-01-05 00:00", 9, ["2026-01-04", "2026-01-05"], 2),
    (days(1, "00:00", APIA), "2011-12-28 00:00", "2011-12-28 00:00", "2011-12-31 10:00", 1, ["2011-12-31 10:00"], 4),
    (hours(12), "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-01 11:59", 9, [], 0),
    (hours(12), "2026-01-01 00:00", "2026-01-01 00:00", "2026-01-02 00:00", 9, ["2026-01-01 12:00", "2026-01-02"], 2),
    (hours(12), "2026-01-01 00:00", "2026-01-01 13:00", "2026-01-03 11:00", 2, ["2026-01-02 12:00", "2026-01-03"], 3),
    (hours(1), "1926-01-01 00:00", "1926-01-01 00:00", "2026-01-01 00:30", 1, ["2026-01-01 00:00"], 876_600),
]


@pytest.mark.parametrize(("schedule", "since", "after", "until", "keep", "newest", "count"), PASSED)
def test_dates_between_when_many_passed_keep_the_newest_and_count_all(
    schedule: Schedule, since: str, after: str, until: str, keep: int, newest: list[str], count: int
) -> None:
    found = dates_between(schedule, utc(since), utc(after), utc(until), keep=keep)
    assert found == DatesPassed(tuple(utc(each) for each in newest), count)


def test_dates_between_when_a_century_of_hours_passed_is_bounded() -> None:
    found = dates_between(hours(1), utc("1926-01-01 00:00"), utc("1926-01-01 00:00"), utc("2026-01-01 00:00"))
    assert (len(found.newest), found.count) == (100, 876_600)


def test_zone_when_read_is_of_that_name_and_read_once() -> None:
    assert len(zone_names()) > 400
    assert zone_of(BERLIN) is zone_of(BERLIN)
    assert zone_of(BERLIN).key == BERLIN
    for name in sorted(zone_names()):
        assert zone_of(name).utcoffset(datetime(2026, 1, 1)) is not None  # noqa: DTZ001


@pytest.mark.parametrize(
    "name", ["", "Berlin", "europe/berlin", "Europe/Berlin ", "../UTC", "/UTC", "right/UTC", "Europe"]
)
def test_zone_when_not_a_name_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        parse_zone(name, "zone")
    with pytest.raises(Refused):
        zone_of(name)

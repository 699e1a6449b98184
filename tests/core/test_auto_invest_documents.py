"""Every form Auto-Invest may have in a file: one row a case, outcome last."""

from datetime import time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.auto_invest import Answer, AutoInvest, Drawdown, Period, Schedule
from shared.core.auto_invest_documents import WEEKDAYS, auto_invest_document, parse_auto_invest
from shared.core.errors import Refused
from shared.core.strategy import parse_strategy, strategy_document, warnings_of
from tests.core.portfolio_samples import BIGONE

D = Decimal
DAY, WEEK, HOUR = timedelta(days=1), timedelta(days=7), timedelta(hours=1)
FRIDAY = Schedule(Period.WEEKLY, weekday=4)
FIFTY = AutoInvest(D(50), "USDT", FRIDAY)


def scheduled(**changes: Any) -> dict[str, Any]:
    return {"amount": "50", "schedule": "friday", **changes}


def on(schedule: object) -> dict[str, Any]:
    return {"amount": "50", "schedule": schedule}


def at_a_loss(**changes: Any) -> dict[str, Any]:
    return {"amount": "50", "drawdown": {"loss": "5", "min_interval": "7d", **changes}}


def made_on(schedule: Schedule) -> AutoInvest:
    return AutoInvest(D(50), "USDT", schedule)


ACCEPTED: list[tuple[dict[str, Any], AutoInvest]] = [
    (scheduled(), FIFTY),
    (on({"every": "friday"}), FIFTY),
    (on({"every": "friday", "at": "00:00", "zone": "UTC"}), FIFTY),
    (
        on({"every": "monday", "at": "14:00", "zone": "Europe/Berlin"}),
        made_on(Schedule(Period.WEEKLY, time(14), "Europe/Berlin")),
    ),
    (on({"every": "sunday", "at": "23:59"}), made_on(Schedule(Period.WEEKLY, time(23, 59), weekday=6))),
    (on({"monthly": "31", "at": "09:05"}), made_on(Schedule(Period.MONTHLY, time(9, 5), day=31))),
    (
        on({"monthly": 1, "zone": "Australia/Lord_Howe"}),
        made_on(Schedule(Period.MONTHLY, zone="Australia/Lord_Howe", day=1)),
    ),
    (on("1d"), made_on(Schedule(Period.DAYS))),
    (
        on({"every": "3d", "at": "14:00", "zone": "Asia/Kathmandu"}),
        made_on(Schedule(Period.DAYS, time(14), "Asia/Kathmandu", every=3)),
    ),
    (on("366d"), made_on(Schedule(Period.DAYS, every=366))),
    (on("6h"), made_on(Schedule(Period.HOURS, every=6))),
    (on({"every": "8784h"}), made_on(Schedule(Period.HOURS, every=8784))),
    (at_a_loss(), AutoInvest(D(50), "USDT", None, Drawdown(D(5), WEEK))),
    (
        at_a_loss(loss="99.9", min_interval="1m", confirm=3),
        AutoInvest(D(50), "USDT", None, Drawdown(D("99.9"), HOUR / 60, 3)),
    ),
    (
        at_a_loss(min_interval="366d", confirm="1") | {"schedule": "friday"},
        AutoInvest(D(50), "USDT", FRIDAY, Drawdown(D(5), 366 * DAY, 1)),
    ),
    (scheduled(amount="199999.99"), AutoInvest(D("199999.99"), "USDT", FRIDAY)),
    (scheduled(asset="BTC", amount="200000"), AutoInvest(D(200_000), "BTC", FRIDAY)),
    (scheduled(asset="USDT"), FIFTY),
    (scheduled(pause_at_total="100000"), AutoInvest(D(50), "USDT", FRIDAY, pause_at_total=D(100_000))),
    (scheduled(pause_at_total="200000"), AutoInvest(D(50), "USDT", FRIDAY, pause_at_total=D(200_000))),
    (scheduled(short_balance="stop", over_limit="stop", composition_change="stop", grace="1d"), FIFTY),
    (
        scheduled(short_balance="skip", over_limit="carry_over", composition_change="continue", grace="90m"),
        AutoInvest(D(50), "USDT", FRIDAY, None, None, Answer.SKIP, Answer.CARRY_OVER, Answer.CONTINUE, 1.5 * HOUR),
    ),
    (
        scheduled(short_balance="carry_over", over_limit="skip", grace="30d"),
        AutoInvest(D(50), "USDT", FRIDAY, None, None, Answer.CARRY_OVER, Answer.SKIP, grace=30 * DAY),
    ),
]


@pytest.mark.parametrize(("written", "auto_invest"), ACCEPTED)
def test_auto_invest_when_allowed_is_read_and_written_back_equal(
    written: dict[str, Any], auto_invest: AutoInvest
) -> None:
    definition = parse_strategy({**BIGONE, "auto_invest": written})
    assert definition.auto_invest == auto_invest
    assert parse_strategy(strategy_document(definition)) == definition


def test_auto_invest_when_not_given_is_none_and_not_written() -> None:
    for document in (BIGONE, {**BIGONE, "auto_invest": None}):
        definition = parse_strategy(document)
        assert definition.auto_invest is None
        assert "auto_invest" not in strategy_document(definition)


def test_fields_when_given_without_a_value_are_as_if_left_out() -> None:
    nothing = {"drawdown": None, "asset": None, "pause_at_total": None, "short_balance": None, "grace": None}
    written = scheduled(**nothing, schedule={"every": "friday", "monthly": None, "at": None, "zone": None})
    assert parse_auto_invest(written, "USDT") == FIFTY


def test_asset_when_not_given_is_the_funding_asset() -> None:
    document = {**BIGONE, "funding_asset": "BTC", "amount": "1", "auto_invest": scheduled(amount="0.01")}
    definition = parse_strategy(document)
    assert definition.auto_invest == AutoInvest(D("0.01"), "BTC", FRIDAY)
    assert strategy_document(definition)["auto_invest"] == {"amount": "0.01", "schedule": {"every": "friday"}}


REFUSED: list[tuple[object, list[str]]] = [
    ("50", [""]),
    ([], [""]),
    ({}, ["", ".amount"]),
    ({"amount": "50"}, [""]),
    ({"schedule": "friday"}, [".amount"]),
    (scheduled(amount="0"), [".amount"]),
    (scheduled(amount="-5"), [".amount"]),
    (scheduled(amount="200000"), [".amount"]),
    (scheduled(amount=50.5), [".amount"]),
    (scheduled(amount="NaN"), [".amount"]),
    (scheduled(asset="usdt"), [".asset"]),
    (scheduled(moon="1"), [".moon"]),
    (on([]), [".schedule"]),
    (on({}), [".schedule"]),
    (on({"at": "14:00"}), [".schedule"]),
    (on({"every": "friday", "monthly": "31"}), [".schedule"]),
    (on({"every": "friday", "moon": "1"}), [".schedule.moon"]),
    (on("Friday"), [".schedule.every"]),
    (on("fri"), [".schedule.every"]),
    (on("0d"), [".schedule.every"]),
    (on("0h"), [".schedule.every"]),
    (on("367d"), [".schedule.every"]),
    (on("8785h"), [".schedule.every"]),
    (on("15m"), [".schedule.every"]),
    (on("-1d"), [".schedule.every"]),
    (on({"every": 3}), [".schedule.every"]),
    (on({"monthly": "0"}), [".schedule.monthly"]),
    (on({"monthly": "32"}), [".schedule.monthly"]),
    (on({"monthly": "1.5"}), [".schedule.monthly"]),
    (on({"monthly": True}), [".schedule.monthly"]),
    (on({"every": "3d", "at": "24:00"}), [".schedule.at"]),
    (on({"every": "3d", "at": "14:60"}), [".schedule.at"]),
    (on({"every": "3d", "at": "9:00"}), [".schedule.at"]),
    (on({"every": "3d", "at": "14:00:00"}), [".schedule.at"]),
    (on({"every": "3d", "at": "14:00\n"}), [".schedule.at"]),
    (on({"every": "3d", "at": 840}), [".schedule.at"]),
    (on({"every": "3d", "zone": "Berlin"}), [".schedule.zone"]),
    (on({"every": "3d", "zone": "europe/berlin"}), [".schedule.zone"]),
    (on({"every": "3d", "zone": "../../etc/passwd"}), [".schedule.zone"]),
    (on({"every": "3d", "zone": "+02:00"}), [".schedule.zone"]),
    (on({"every": "3d", "zone": 2}), [".schedule.zone"]),
    (on({"every": "6h", "at": "14:00"}), [".schedule.at"]),
    (on({"every": "6h", "at": ["x"], "zone": "Europe/Berlin"}), [".schedule.at", ".schedule.zone", ".schedule.at"]),
    (at_a_loss(loss="0"), [".drawdown.loss"]),
    (at_a_loss(loss="-5"), [".drawdown.loss"]),
    (at_a_loss(loss="100"), [".drawdown.loss"]),
    (at_a_loss(loss=None), [".drawdown.loss"]),
    (at_a_loss(min_interval="0m"), [".drawdown.min_interval"]),
    (at_a_loss(min_interval="367d"), [".drawdown.min_interval"]),
    (at_a_loss(min_interval=None), [".drawdown.min_interval"]),
    (at_a_loss(confirm="0"), [".drawdown.confirm"]),
    (at_a_loss(confirm="101"), [".drawdown.confirm"]),
    ({"amount": "50", "drawdown": "5"}, [".drawdown"]),
    ({"amount": "50", "drawdown": {"every": "5"}}, [".drawdown.every", ".drawdown.loss", ".drawdown.min_interval"]),
    (scheduled(pause_at_total="0"), [".pause_at_total"]),
    (scheduled(pause_at_total="200000.01"), [".pause_at_total"]),
    (scheduled(short_balance="continue"), [".short_balance"]),
    (scheduled(over_limit="continue"), [".over_limit"]),
    (scheduled(composition_change="skip"), [".composition_change"]),
    (scheduled(composition_change="carry_over"), [".composition_change"]),
    (scheduled(short_balance=["stop"]), [".short_balance"]),
    (scheduled(grace="0m"), [".grace"]),
    (scheduled(grace="31d"), [".grace"]),
    (
        {
            "amount": "0", "asset": "x", "schedule": {"every": "0d", "at": "24:00", "zone": "Mars"}, "moon": "1",
            "drawdown": {"loss": "100", "min_interval": "x"}, "pause_at_total": "-1", "over_limit": "no", "grace": 1,
        },
        [
            ".moon", ".asset", ".amount", ".schedule.every", ".schedule.at", ".schedule.zone", ".drawdown.loss",
            ".drawdown.min_interval", ".pause_at_total", ".over_limit", ".grace",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("written", "fields"), REFUSED)
def test_auto_invest_when_out_of_range_refuses_naming_every_field(written: object, fields: list[str]) -> None:
    with pytest.raises(Refused) as refusal:
        parse_strategy({**BIGONE, "auto_invest": written})
    problems = refusal.value.problems
    assert [problem.field for problem in problems] == [f"auto_invest{field}" for field in fields]
    assert all(problem.value and problem.allowed and problem.message for problem in problems)


def test_auto_invest_when_wrong_is_told_with_what_else_is_wrong() -> None:
    with pytest.raises(Refused) as refusal:
        parse_strategy({**BIGONE, "funding_asset": "usdt", "amount": "0", "auto_invest": {"amount": "0"}})
    fields = [problem.field for problem in refusal.value.problems]
    assert fields == ["funding_asset", "amount", "auto_invest", "auto_invest.amount"]


def test_zone_when_only_its_place_is_written_names_the_zone() -> None:
    with pytest.raises(Refused, match="Europe/Berlin") as refusal:
        parse_strategy({**BIGONE, "auto_invest": on({"every": "friday", "zone": "berlin"})})
    assert refusal.value.problems[0].allowed == "Europe/Berlin"


STOPPED_AT_8: dict[str, Any] = {"stop_loss": "-8"}
WARNED: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (scheduled(), {}, []),
    (scheduled(pause_at_total="50.01"), {}, []),
    (scheduled(pause_at_total="50"), {}, ["pauses after its first cycle"]),
    (scheduled(pause_at_total="10"), {}, ["pauses after its first cycle"]),
    (scheduled(pause_at_total="10", asset="BTC"), {}, []),
    (scheduled(amount="198799.99"), {}, []),
    (scheduled(amount="198800"), {}, ["can make no cycle"]),
    (scheduled(amount="198800", asset="BTC"), {}, []),
    (on("6h"), {}, []),
    (on("6h") | {"grace": "6h"}, {}, []),
    (on("6h") | {"grace": "7h"}, {}, ["grace 7h is longer than the 6h between"]),
    (on("1d") | {"grace": "30d"}, {}, []),
    (at_a_loss(loss="7.9"), STOPPED_AT_8, []),
    (at_a_loss(loss="8"), STOPPED_AT_8, ["stop-loss acts first, at -8 %"]),
    (at_a_loss(min_interval="1h"), {}, []),
    (at_a_loss(min_interval="59m"), {}, ["invests 50 USDT every 59m"]),
]


@pytest.mark.parametrize(("written", "changes", "warned"), WARNED)
def test_warnings_when_auto_invest_is_hardly_meant_say_so(
    written: dict[str, Any], changes: dict[str, Any], warned: list[str]
) -> None:
    found = warnings_of(parse_strategy({**BIGONE, **changes, "auto_invest": written}))
    assert len(found) == len(warned)
    assert all(part in text for part, text in zip(warned, found, strict=True))


EVERYTHING = st.builds(
    AutoInvest,
    amount=st.decimals("0.01", "199999.99", places=2),
    asset=st.sampled_from(["USDT", "BTC"]),
    schedule=st.one_of(
        st.builds(
            Schedule,
            st.just(Period.WEEKLY),
            st.builds(time, st.integers(0, 23), st.integers(0, 59)),
            st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+12"]),
            weekday=st.integers(0, len(WEEKDAYS) - 1),
        ),
        st.builds(Schedule, st.just(Period.MONTHLY), st.builds(time, st.integers(0, 23)), day=st.integers(1, 31)),
        st.builds(Schedule, st.just(Period.DAYS), every=st.integers(1, 366)),
        st.builds(Schedule, st.just(Period.HOURS), every=st.integers(1, 8784)),
    ),
    drawdown=st.none()
    | st.builds(
        Drawdown,
        st.decimals("0.01", "99.99", places=2),
        st.integers(1, 366 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)),
        st.none() | st.integers(1, 100),
    ),
    pause_at_total=st.none() | st.decimals("0.01", "200000", places=2),
    short_balance=st.sampled_from([Answer.STOP, Answer.SKIP, Answer.CARRY_OVER]),
    over_limit=st.sampled_from([Answer.STOP, Answer.SKIP, Answer.CARRY_OVER]),
    composition_change=st.sampled_from([Answer.STOP, Answer.CONTINUE]),
    grace=st.integers(1, 30 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)),
)


@given(EVERYTHING, st.sampled_from(["USDT", "BTC", "ETH"]))
def test_auto_invest_when_written_reads_back_equal(auto_invest: AutoInvest, funding_asset: str) -> None:
    assert parse_auto_invest(auto_invest_document(auto_invest, funding_asset), funding_asset) == auto_invest


TEXT = st.text("aZ0159dhm:/-. \n\0é", max_size=9)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
ANYTHING = SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(TEXT, SCALAR, max_size=3)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("amount", "schedule", "drawdown", "grace"), ANYTHING)))
def test_auto_invest_when_given_anything_refuses_and_never_crashes(anything: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        parse_auto_invest({**anything, "over_limit": "moon"}, "USDT")

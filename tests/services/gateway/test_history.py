"""What a strategy was, is and will be: versions, its file, the dates of Auto-Invest; and notifications."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.command_line.strategy_file import parse_document
from services.gateway.strategy_file import file_text, wanted_format
from services.gateway.wording import change_sentence
from shared.contracts import subjects
from shared.contracts.lifecycle import NotificationRaised, Severity
from shared.core.errors import Refused
from shared.core.strategy import StrategyStatus
from tests.services.gateway.registry_stand_in import StandInWorld, running_stand_in
from tests.services.gateway.test_event_feed import feed
from tests.services.strategy_evaluator import messages
from tests.services.strategy_registry.world import document

pytestmark = pytest.mark.servers

EVERY_FIELD = document(
    name='[red] "Majors": 50 % — yes # no',
    targets={"BTC": "40", "1INCH": "30", "NO": "30"},
    rebalance={"threshold": {"factor": "20", "floor": "2.5", "per_asset": {"BTC": "6"}}, "interval": "7d"},
    take_profit={"percent": "15", "confirm": "5"},
    stop_loss="-8",
    auto_invest={"amount": "50", "schedule": {"monthly": "31", "at": "08:00"}, "composition_change": "continue"},
)


@pytest.fixture(scope="module")
def world() -> Iterator[StandInWorld]:
    with running_stand_in() as running:
        yield running


def test_versions_when_asked_come_newest_first_in_pages_and_in_words(world: StandInWorld) -> None:
    strategy = world.running("with a history")
    world.http.patch(f"/strategies/{strategy}", json={"revision": 1, "changes": {"take_profit": "15"}})
    world.http.post(f"/strategies/{strategy}/pause")
    first = world.http.get(f"/strategies/{strategy}/versions", params={"limit": 2}).json()
    assert [(one["version"], one["revision"], one["sentence"]) for one in first["versions"]] == [
        (6, 2, "Paused"),
        (5, 2, "The definition was edited: take profit"),
    ]
    assert first["versions"][1]["fields"] == [{"field": "take_profit", "before": "", "after": '"15"'}]
    assert (first["versions"][0]["changed_by"], first["versions"][0]["status"]) == ("user", "paused")
    second = world.http.get(f"/strategies/{strategy}/versions", params={"before": first["next"]}).json()
    assert [one["version"] for one in second["versions"]] == [4]
    assert second["next"] == 0


MONEY = [
    ("money_added", {"asset": "USDT", "amount": "50", "worth": "50"}, "on its way from the wallet: 50 USDT"),
    ("withdrawal_requested", {"asset": "BTC", "percent": "10"}, "was asked for: 10 % of the value, in BTC"),
    ("withdrawal_paid", {"asset": "USDT", "amount": "50", "paid": "49"}, "paid out to the wallet: 49 USDT"),
    ("withdrawal_refused", {"asset": "USDT"}, "A withdrawal was refused"),
]


@pytest.mark.parametrize(("change", "inputs", "ending"), MONEY)
def test_change_when_it_is_about_money_tells_how_much(change: str, inputs: dict[str, str], ending: str) -> None:
    state = messages.strategy("s1").model_copy(update={"change": change, "inputs": inputs})
    assert change_sentence(state, []).endswith(ending)


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "before=-1", "before=x"])
def test_versions_when_the_query_is_bad_are_refused(world: StandInWorld, query: str) -> None:
    answer = world.http.get(f"/strategies/{world.running('with a history')}/versions?{query}")
    assert (answer.status_code, answer.json()["error"]["problems"][0]["field"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize("path", ["versions", "file", "calendar"])
def test_strategy_when_unknown_is_404(world: StandInWorld, path: str) -> None:
    assert world.http.get(f"/strategies/st1/{path}").status_code == 404


def test_file_when_asked_is_read_back_as_it_was(world: StandInWorld) -> None:
    strategy = world.running("exported", revision=3)
    answer = world.http.get(f"/strategies/{strategy}/file")
    assert answer.headers["content-type"].startswith("application/yaml")
    assert f'filename="{strategy}.yaml"' in answer.headers["content-disposition"]
    assert answer.text.startswith(f"# revision 3 of {strategy}\n")
    assert parse_document(answer.content, "x") == document(name="exported")
    assert list(parse_document(answer.content, "x"))[:3] == ["name", "venue", "funding_asset"]
    told = world.http.get(f"/strategies/{strategy}/file", headers={"Accept": "application/json"})
    assert told.headers["content-type"].startswith("application/json")
    assert told.json() == world.http.get(f"/strategies/{strategy}/file?format=json").json() == document(name="exported")
    refused = world.http.get(f"/strategies/{strategy}/file?format=toml")
    assert (refused.status_code, refused.json()["error"]["problems"][0]["allowed"]) == (422, "yaml, json")


def test_file_text_when_every_field_is_there_reads_back_to_the_same_texts() -> None:
    assert parse_document(file_text(EVERY_FIELD, "yaml", "about").encode(), "x") == EVERY_FIELD
    assert json.loads(file_text(EVERY_FIELD, "json")) == EVERY_FIELD


def test_file_text_when_read_by_another_reader_keeps_numbers_as_text_and_names_as_names() -> None:
    import yaml

    assert yaml.safe_load(file_text(EVERY_FIELD, "yaml")) == EVERY_FIELD
    held = document(rebalance={"hold": True})
    assert yaml.safe_load(file_text(held, "yaml")) == held


@pytest.mark.parametrize(
    ("format_", "accept", "wanted"),
    [
        ("", "", "yaml"),
        ("", "*/*", "yaml"),
        ("", "application/json", "json"),
        ("", "application/json, */*;q=0.5", "json"),
        ("", "application/json;q=0.5, application/yaml", "yaml"),
        ("", "text/html", "yaml"),
        ("yaml", "application/json", "yaml"),
        ("json", "application/yaml", "json"),
    ],
)
def test_format_when_asked_for_in_several_ways_is_the_one_wanted_most(format_: str, accept: str, wanted: str) -> None:
    assert wanted_format(format_, accept) == wanted


def test_format_when_unknown_is_refused() -> None:
    with pytest.raises(Refused, match="yaml, json"):
        wanted_format("xml", "")


def test_calendar_of_a_strategy_when_it_runs_begins_after_what_is_settled(world: StandInWorld) -> None:
    strategy = world.auto_investing("dated", cycle=2, settled_until=datetime(2026, 1, 9, 13, tzinfo=UTC))
    found = world.http.get(f"/strategies/{strategy}/calendar", params={"count": 2}).json()
    assert [(one["local"], one["weekday"], one["zone"], one["utc"]) for one in found["dates"]] == [
        ("2026-01-16T14:00:00+01:00", "Friday", "Europe/Berlin", "2026-01-16T13:00:00Z"),
        ("2026-01-23T14:00:00+01:00", "Friday", "Europe/Berlin", "2026-01-23T13:00:00Z"),
    ]
    assert found["since"] == "2026-01-01T12:00:00Z"


def test_calendar_of_a_strategy_when_it_stands_or_has_none_says_so(world: StandInWorld) -> None:
    stopped = world.auto_investing("dated and stopped", status="stopped", reason="short_balance")
    found = world.http.get(f"/strategies/{stopped}/calendar").json()
    assert (len(found["dates"]), "Auto-Invest is stopped" in found["remarks"][-1]) == (10, True)
    none = world.http.get(f"/strategies/{world.running('undated')}/calendar").json()
    assert (none["dates"], none["remarks"]) == ([], ["It has no Auto-Invest."])


@pytest.mark.parametrize(
    ("status", "dates", "remark"),
    [("closed", 0, "It is closed: no cycle will come."), ("paused", 10, "The strategy is paused: ")],
)
def test_calendar_of_a_strategy_when_no_cycle_comes_by_itself_says_so(
    world: StandInWorld, status: str, dates: int, remark: str
) -> None:
    one = world.auto_investing(f"dated and {status}")
    state = world.stand_in.states[one][-1].model_copy(update={"version": 9, "status": StrategyStatus(status)})
    world.publish(subjects.strategies(one), state, f"{one}.9")
    world.until(lambda: world.http.get(f"/strategies/{one}").json()["version"] == 9, "the newest state")
    found = world.http.get(f"/strategies/{one}/calendar").json()
    assert (len(found["dates"]), found["remarks"][-1].startswith(remark)) == (dates, True)


SPRING, AUTUMN = "the clocks go forward", "twice on this day"
CALENDARS: list[tuple[dict[str, Any], str, list[tuple[str, str]]]] = [
    # schedule, since, local times with a part of their remarks
    (
        {"monthly": 31, "at": "08:00", "zone": "Europe/Berlin"},
        "2026-01-01T00:00:00Z",
        [
            ("2026-01-31T08:00:00+01:00", ""),
            ("2026-02-28T08:00:00+01:00", "28 days, so on its last day instead of the 31st"),
            ("2026-03-31T08:00:00+02:00", "the clocks have changed since the date before: now UTC+02:00"),
            ("2026-04-30T08:00:00+02:00", "30 days"),
        ],
    ),
    (
        {"every": "1d", "at": "02:30", "zone": "Europe/Berlin"},
        "2026-03-28T12:00:00Z",
        [("2026-03-29T03:00:00+02:00", SPRING), ("2026-03-30T02:30:00+02:00", "")],
    ),
    (
        {"every": "sunday", "at": "02:30", "zone": "Europe/Berlin"},
        "2026-10-20T00:00:00Z",
        [("2026-10-25T02:30:00+02:00", AUTUMN), ("2026-11-01T02:30:00+01:00", "now UTC+01:00")],
    ),
    ({"every": "6h"}, "2026-03-29T00:00:00Z", [("2026-03-29T06:00:00+00:00", ""), ("2026-03-29T12:00:00+00:00", "")]),
    (
        {"monthly": 1, "zone": "America/St_Johns"},
        "2026-10-20T00:00:00Z",
        [("2026-11-01T00:00:00-02:30", ""), ("2026-12-01T00:00:00-03:30", "now UTC-03:30")],
    ),
]


@pytest.mark.parametrize(("schedule", "since", "wanted"), CALENDARS, ids=[str(row[0]) for row in CALENDARS])
def test_calendar_when_dates_are_odd_remarks_on_each(
    world: StandInWorld, schedule: dict[str, Any], since: str, wanted: list[tuple[str, str]]
) -> None:
    body = {"auto_invest": {"amount": "50", "schedule": schedule}, "since": since, "count": len(wanted)}
    answer = world.http.post("/strategies/calendar", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()["dates"]
    assert [one["local"] for one in found] == [local for local, _ in wanted]
    for one, (local, remark) in zip(found, wanted, strict=True):
        assert datetime.fromisoformat(one["utc"]) == datetime.fromisoformat(local)
        assert remark in "; ".join(one["remarks"])
        assert bool(one["remarks"]) == bool(remark), one


def test_calendar_when_there_is_only_a_drawdown_has_no_dates(world: StandInWorld) -> None:
    body = {"auto_invest": {"amount": "50", "drawdown": {"loss": "5", "min_interval": "7d"}}}
    found = world.http.post("/strategies/calendar", json=body).json()
    assert found["dates"] == []
    assert "no schedule" in found["remarks"][0]


FRIDAYS = {"amount": "50", "schedule": {"every": "friday"}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "auto_invest"),
        ({"auto_invest": None}, "auto_invest"),
        ({"auto_invest": {"amount": "50"}}, "auto_invest"),
        ({"auto_invest": {**FRIDAYS, "schedule": {"every": "someday"}}}, "auto_invest.schedule.every"),
        ({"auto_invest": {**FRIDAYS, "amount": 5.5}}, "auto_invest.amount"),
        ({"auto_invest": FRIDAYS, "since": "2026-01-01"}, "since"),
        ({"auto_invest": FRIDAYS, "since": "yesterday"}, "since"),
        ({"auto_invest": FRIDAYS, "since": 5}, "since"),
        ({"auto_invest": FRIDAYS, "count": 0}, "count"),
        ({"auto_invest": FRIDAYS, "count": 101}, "count"),
        ({"auto_invest": FRIDAYS, "count": "5"}, "count"),
        ({"auto_invest": FRIDAYS, "until": "x"}, "until"),
    ],
)
def test_calendar_when_asked_badly_is_refused(world: StandInWorld, body: dict[str, Any], field: str) -> None:
    answer = world.http.post("/strategies/calendar", json=body)
    assert answer.status_code == 422, answer.text
    assert [one["field"] for one in answer.json()["error"]["problems"]] == [field]


def told(strategy: str, number: int) -> NotificationRaised:
    return NotificationRaised(
        strategy_id=strategy,
        strategy_version=number,
        kind="cycle_left_out",
        severity=Severity.WARNING,
        text=f"a cycle is left out ({number})",
        reason="cycle_missed",
        inputs={"cycle": str(number)},
    )


def test_notifications_when_asked_come_newest_first_of_one_or_of_all(world: StandInWorld) -> None:
    one, other = world.running("told of"), world.running("told of, too")
    for number, strategy in enumerate((one, other, one)):
        world.publish(subjects.notifications(strategy), told(strategy, number), f"note.{number}")

    def texts(**query: Any) -> list[str]:
        found = world.http.get("/notifications", params=query).json()["notifications"]
        return [notification["text"] for notification in found]

    every = [f"a cycle is left out ({number})" for number in (2, 1, 0)]
    world.until(lambda: texts() == every, "all of them")
    assert texts(strategy=one) == [every[0], every[2]]
    assert texts(limit=1) == every[:1]
    newest = world.http.get("/notifications").json()["notifications"][0]
    assert newest.items() >= {
        "id": "note.2", "strategy_id": one, "strategy_name": "told of", "severity": "warning", "kind": "cycle_left_out",
        "reason": "cycle_missed", "inputs": {"cycle": "2"}, "strategy_version": 2,
    }.items()  # fmt: skip
    world.publish(subjects.notifications(one), told(one, 3), "note.3")
    world.until(lambda: texts(limit=1) == ["a cycle is left out (3)"], "the newest one")


def test_notifications_in_the_event_feed_are_events_like_others(world: StandInWorld) -> None:
    strategy = world.running("told of in the feed")
    with feed(world, stream="NOTIFICATIONS", strategy_id=strategy) as events:
        world.publish(subjects.notifications(strategy), told(strategy, 7), "note.feed")
        _, event = next(events)
    assert (event["type"], event["id"], event["data"]["strategy_version"]) == (
        "trimtab.notification.raised",
        "note.feed",
        7,
    )


@pytest.mark.parametrize(("query", "field"), [("limit=0", "limit"), ("limit=501", "limit"), ("strategy=*", "strategy")])
def test_notifications_when_the_query_is_bad_are_refused(world: StandInWorld, query: str, field: str) -> None:
    answer = world.http.get(f"/notifications?{query}")
    assert (answer.status_code, answer.json()["error"]["problems"][0]["field"]) == (422, field)

"""The event stream: CloudEvents over server-sent events, filtered, resumable without loss or repetition."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from shared.contracts import subjects
from shared.contracts.strategies import StrategyChanged
from tests.services.strategy_registry.world import TOKEN, World, decision, document, position

pytestmark = pytest.mark.servers


@contextmanager
def feed(world: World, last_event_id: str = "", **query: Any) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """An open feed: pairs of id and CloudEvent."""
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    with (
        httpx.Client(trust_env=False, timeout=20) as client,
        client.stream("GET", f"{world.url}/events", params=query, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert next(lines) == ": connected"
        yield events_in(lines)


def events_in(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    event_id = ""
    for line in lines:
        if line.startswith("id: "):
            event_id = line[4:]
        if line.startswith("data: "):
            yield event_id, json.loads(line[6:])


def created(world: World) -> str:
    preview = world.http.post("/strategies/preview", json=document()).json()
    return str(world.http.post("/strategies", json={"preview_id": preview["preview_id"]}).json()["id"])


def decide(world: World, strategy_id: str, *codes: str) -> None:
    for code in codes:
        world.publish(subjects.evaluations(strategy_id), decision(strategy_id, code), f"{strategy_id}.{code}")


def codes(events: Iterator[tuple[str, dict[str, Any]]], number: int) -> list[str]:
    return [next(events)[1]["data"]["code"] for _ in range(number)]


def test_feed_when_open_brings_new_events_as_cloud_events(world: World) -> None:
    with feed(world, stream="STRATEGIES") as events:
        strategy_id = created(world)
        event_id, event = next(events)
    assert event["data"]["strategy_id"] == strategy_id
    assert (event["specversion"], event["id"]) == ("1.0", f"{strategy_id}.1")
    assert (event["type"], event["source"]) == ("trimtab.strategy.changed", "trimtab/strategy_registry")
    assert event["subject"] == f"strategies.{strategy_id}"
    assert event_id == f"STRATEGIES:{event['sequence']}"
    assert event["data"]["document"] == document()


def test_feed_when_resumed_misses_nothing_and_repeats_nothing(world: World) -> None:
    strategy_id = created(world)
    query = {"strategy_id": strategy_id, "stream": "EVALUATIONS"}
    with feed(world, **query) as events:
        decide(world, strategy_id, "a", "b")
        assert next(events)[1]["data"]["code"] == "a"
        last_id, _ = next(events)
    decide(world, strategy_id, "c", "d")
    with feed(world, last_id, **query) as events:
        assert codes(events, 2) == ["c", "d"]
        decide(world, strategy_id, "e")
        assert codes(events, 1) == ["e"]


def test_feed_when_resumed_over_all_streams_goes_on_in_each(world: World) -> None:
    strategy_id = created(world)
    with feed(world, strategy_id=strategy_id) as events:
        decide(world, strategy_id, "a")
        last_id, _ = next(events)
    assert last_id.count(":") == 10
    world.publish(subjects.positions(strategy_id), position(strategy_id, 1, "1200", USDT="1200"))
    decide(world, strategy_id, "b")
    with feed(world, last_id, strategy_id=strategy_id) as events:
        types = {next(events)[1]["type"] for _ in range(2)}
    assert types == {"trimtab.position.changed", "trimtab.decision.recorded"}


def test_feed_since_all_tells_the_whole_story_of_a_strategy_and_nothing_else(world: World) -> None:
    strategy_id = created(world)
    created(world)
    world.http.post(f"/strategies/{strategy_id}/stop")
    decide(world, strategy_id, "a")
    with feed(world, strategy_id=strategy_id, since="all") as events:
        found = [next(events)[1] for _ in range(3)]
    assert {event["data"]["strategy_id"] for event in found} == {strategy_id}
    assert [event["data"]["change"] for event in found if "change" in event["data"]] == ["confirmed", "exit_requested"]


def test_feed_since_all_merges_the_streams_in_order_of_storage(world: World) -> None:
    strategy_id = created(world)
    world.until(lambda: world.published(StrategyChanged, strategy_id), "confirmed")
    for number in range(1, 4):
        world.publish(
            subjects.positions(f"{strategy_id}"), position(strategy_id, number, "1200"), f"{strategy_id}p{number}"
        )
        decide(world, strategy_id, f"code{number}")
    with feed(world, strategy_id=strategy_id, since="all") as events:
        found = [next(events)[1] for _ in range(5)]
    # POSITIONS keeps the last value of each subject only.
    assert [event["stream"] for event in found] == [
        "STRATEGIES",
        "EVALUATIONS",
        "EVALUATIONS",
        "POSITIONS",
        "EVALUATIONS",
    ]


def test_feed_since_a_moment_begins_there(world: World) -> None:
    strategy_id = created(world)
    decide(world, strategy_id, *(f"old{number}" for number in range(20)))
    moment = datetime.now(UTC)
    decide(world, strategy_id, "new1", "new2")
    with feed(world, strategy_id=strategy_id, stream="EVALUATIONS", since=moment.isoformat()) as events:
        assert codes(events, 2) == ["new1", "new2"]


def test_feed_when_filtered_by_type_brings_only_that_type(world: World) -> None:
    strategy_id = created(world)
    query = {"strategy_id": strategy_id, "type": "trimtab.decision.recorded", "since": "all"}
    decide(world, strategy_id, "a")
    with feed(world, **query) as events:
        assert next(events)[1]["type"] == "trimtab.decision.recorded"


def test_feed_when_the_place_is_beyond_the_end_starts_over(world: World) -> None:
    strategy_id = created(world)
    decide(world, strategy_id, "a")
    with feed(world, "EVALUATIONS:999999999", strategy_id=strategy_id, stream="EVALUATIONS") as events:
        assert codes(events, 1) == ["a"]


def test_last_event_id_when_not_ours_is_refused(world: World) -> None:
    answer = world.http.get("/events", headers={"Last-Event-ID": "17"})
    assert answer.status_code == 422
    assert answer.json()["error"]["problems"][0]["field"] == "Last-Event-ID"

"""Bad input through the real API: each refused with field, value and allowed, and nothing changed."""

import json
from typing import Any

import httpx
import pytest

from shared.contracts import subjects
from tests.services.gateway.paper_venue import Faucet
from tests.services.strategy_registry.world import World, document, wallet

pytestmark = pytest.mark.servers

ELEVEN = ["BTC", "ETH", "SOL", "ONE", "ADA", "XRP", "BNB", "DOT", "AVAX", "LINK", "UNI"]
HALVES = {"BTC": "50", "ETH": "50"}


class Raw(str):
    """JSON to be written as it is: a number no encoder would make."""

    __slots__ = ()


def written(body: Any) -> bytes:
    """JSON with ``Raw`` parts as they are."""
    raws: list[str] = []

    def mark(value: Any) -> Any:
        if isinstance(value, Raw):
            raws.append(str(value))
            return f"@@{len(raws) - 1}@@"
        if isinstance(value, dict):
            return {name: mark(one) for name, one in value.items()}
        return value

    text = json.dumps(mark(body))
    for number, raw in enumerate(raws):
        text = text.replace(f'"@@{number}@@"', raw)
    return text.encode()


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    # what, changes, field, part of what is allowed
    ("weights 99.99", {"targets": {"BTC": "49.99", "ETH": "50"}}, "targets", "exactly 100"),
    ("weights 100.01", {"targets": {"BTC": "50.01", "ETH": "50"}}, "targets", "exactly 100"),
    ("one asset", {"targets": {"BTC": "100"}}, "targets", "2 to 10"),
    ("no asset", {"targets": {}}, "targets", "2 to 10"),
    ("eleven assets", {"targets": dict.fromkeys(ELEVEN, "9")}, "targets", "2 to 10"),
    ("unknown asset", {"targets": {"BTC": "50", "NOPE": "50"}}, "targets.NOPE", "BTC"),
    ("halted asset", {"targets": {"BTC": "50", "HALT": "50"}}, "targets.HALT", "BTC"),
    ("lower case asset", {"targets": {"btc": "50", "ETH": "50"}}, "targets", "capital letters"),
    ("weight zero", {"targets": {"BTC": "0", "ETH": "60", "SOL": "40"}}, "targets.BTC", "more than 0"),
    ("weight negative", {"targets": {"BTC": "-10", "ETH": "60", "SOL": "50"}}, "targets.BTC", "more than 0"),
    ("weight as a float", {"targets": {"BTC": 50.5, "ETH": "49.5"}}, "targets.BTC", "more than 0"),
    ("weight as a list", {"targets": {"BTC": ["50"], "ETH": "50"}}, "targets.BTC", "more than 0"),
    ("targets as a list", {"targets": ["BTC", "ETH"]}, "targets", "a mapping"),
    ("amount negative", {"amount": "-1"}, "amount", "more than 0"),
    ("amount zero", {"amount": "0"}, "amount", "more than 0"),
    ("amount 200000", {"amount": "200000"}, "amount", "less than 200000 USDT"),
    ("amount far too large", {"amount": "9" * 38}, "amount", "less than 200000 USDT"),
    ("amount of too many digits", {"amount": "9" * 60}, "amount", "less than 200000 USDT"),
    ("amount in coins worth 200000", {"funding_asset": "BTC", "amount": "4"}, "amount", "less than 200000 USDT"),
    ("amount too small", {"amount": "10"}, "amount", "at least 105 USDT"),
    ("amount NaN", {"amount": "NaN"}, "amount", "more than 0"),
    ("amount a bare NaN", {"amount": Raw("NaN")}, "amount", "more than 0"),
    ("amount a bare Infinity", {"amount": Raw("-Infinity")}, "amount", "more than 0"),
    ("amount 1e400", {"amount": "1e400"}, "amount", "more than 0"),
    ("amount a bare 1e400", {"amount": Raw("1e400")}, "amount", "more than 0"),
    ("amount a float", {"amount": 1200.5}, "amount", "more than 0"),
    ("amount a boolean", {"amount": True}, "amount", "more than 0"),
    ("amount a list", {"amount": ["1200"]}, "amount", "more than 0"),
    ("amount of 19 decimals", {"amount": "1200.0000000000000000001"}, "amount", "more than 0"),
    ("amount missing", {"amount": None}, "amount", "must be given"),
    ("funding asset unknown", {"funding_asset": "NOPE"}, "funding_asset", "BTC"),
    ("funding asset a number", {"funding_asset": 5}, "funding_asset", "capital letters"),
    ("threshold 0", {"rebalance": {"threshold": "0"}}, "rebalance.threshold", "more than 0"),
    ("threshold 100", {"rebalance": {"threshold": "100"}}, "rebalance.threshold", "less than 100"),
    ("threshold a float", {"rebalance": {"threshold": 5.5}}, "rebalance.threshold", "more than 0"),
    ("interval of nothing", {"rebalance": {"interval": "0d"}}, "rebalance.interval", "366d"),
    ("interval too long", {"rebalance": {"interval": "367d"}}, "rebalance.interval", "366d"),
    ("hold and a rule", {"rebalance": {"hold": True, "interval": "7d"}}, "rebalance", "hold: true alone"),
    (
        "two thresholds",
        {"rebalance": {"threshold": {"points": "5", "relative": "5"}}},
        "rebalance.threshold",
        "{points",
    ),
    ("when without both", {"rebalance": {"interval": "7d", "when": "all"}}, "rebalance.when", "interval and threshold"),
    ("start of no target", {"start": {"asset": "BNB", "at_or_below": "5"}}, "start.asset", "BTC, ETH"),
    ("confirmed by no quote", {"stop_loss": {"percent": "-8", "confirm": "0"}}, "stop_loss.confirm", "1 to 100"),
    ("no rule", {"rebalance": {}}, "rebalance", "either"),
    ("take-profit 0", {"take_profit": "0"}, "take_profit", "more than 0"),
    ("stop-loss positive", {"stop_loss": "8"}, "stop_loss", "less than 0"),
    ("stop-loss of everything", {"stop_loss": "-100"}, "stop_loss", "more than -100"),
    ("venue unknown", {"venue": "elsewhere"}, "venue", "paper"),
    ("venue with a dot", {"venue": "paper.x"}, "venue", "configured venue"),
    ("name empty", {"name": " "}, "name", "1 to 80"),
    ("name too long", {"name": "x" * 81}, "name", "1 to 80"),
    ("name with a line break", {"name": "a\nb"}, "name", "1 to 80"),
    ("field unknown", {"leverage": "10"}, "leverage", "funding_asset"),
]


def state(world: World) -> list[tuple[Any, ...]]:
    tables = ("previews", "strategies", "strategy_versions", "outbox")
    counts = ", ".join(f"(SELECT count(*) FROM registry.{table})" for table in tables)  # noqa: S608 - constant names
    return [tuple(row) for row in world.rows(f"SELECT {counts}")]


@pytest.mark.parametrize(("changes", "field", "allowed"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_preview_when_input_is_bad_is_refused(world: World, changes: dict[str, Any], field: str, allowed: str) -> None:
    before = state(world)
    answer = world.http.post("/strategies/preview", content=written(document(**changes)))
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["kind"] == "refused"
    (problem,) = error["problems"]
    assert problem["field"] == field
    assert allowed in problem["allowed"]
    assert problem["message"]
    assert state(world) == before


def test_preview_when_several_things_are_wrong_tells_all_of_them(world: World) -> None:
    bad = document(amount="-1", name="", targets={"BTC": "60", "ETH": "60"}, stop_loss="5")
    problems = world.http.post("/strategies/preview", json=bad).json()["error"]["problems"]
    assert {one["field"] for one in problems} == {"amount", "name", "targets", "stop_loss"}


BODIES: list[tuple[str, bytes, str]] = [
    ("asset twice", b'{"targets": {"BTC": "50", "ETH": "20", "BTC": "30"}}', "BTC"),
    ("field twice", b'{"amount": "1200", "amount": "100"}', "amount"),
    ("empty", b"", "body"),
    ("broken", b'{"amount": ', "body"),
    ("not UTF-8", b'{"name": "\xff"}', "body"),
    ("a list", b"[]", "body"),
    ("a number", b"5", "body"),
    ("deep", b'{"a":' * 10_000, "body"),
    ("a very long number", b'{"amount": ' + b"9" * 5000 + b"}", "body"),
]


@pytest.mark.parametrize(("body", "field"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
@pytest.mark.parametrize("path", ["/strategies/preview", "/strategies", "/wallets/paper/deposits"])
def test_body_when_not_a_plain_object_is_refused(world: World, path: str, body: bytes, field: str) -> None:
    answer = world.http.post(path, content=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["problems"][0]["field"] == field


def test_body_when_too_large_is_refused_before_it_is_read(world: World) -> None:
    answer = world.http.post("/strategies/preview", content=b'{"name": "' + b"x" * 70_000 + b'"}')
    assert answer.status_code == 413
    assert answer.json()["error"]["problems"][0]["allowed"] == "at most 65536 bytes"
    assert world.http.get("/strategies").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "preview_id"),
        ({"preview_id": 5}, 422, "preview_id"),
        ({"preview_id": "pv'; drop table registry.previews; --"}, 422, "preview_id"),
        ({"preview_id": "pv" + "0" * 26, "amount": "1"}, 422, "amount"),
        ({"preview_id": "pv" + "0" * 26}, 404, ""),
    ],
)
def test_confirmation_when_bad_is_refused(world: World, body: dict[str, Any], status: int, field: str) -> None:
    before = state(world)
    answer = world.http.post("/strategies", json=body)
    assert answer.status_code == status, answer.text
    assert [one["field"] for one in answer.json()["error"]["problems"]] == ([field] if field else [])
    assert state(world) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"asset": "USDT"}, "amount"),
        ({"amount": "5"}, "asset"),
        ({"asset": "usdt", "amount": "5"}, "asset"),
        ({"asset": "USDT", "amount": "0"}, "amount"),
        ({"asset": "USDT", "amount": "-5"}, "amount"),
        ({"asset": "USDT", "amount": 5.5}, "amount"),
        ({"asset": "USDT", "amount": "NaN"}, "amount"),
        ({"asset": "USDT", "amount": "5", "id": ""}, "id"),
        ({"asset": "USDT", "amount": "5", "id": 7}, "id"),
        ({"asset": "USDT", "amount": "5", "to": "me"}, "to"),
    ],
)
def test_deposit_when_bad_is_refused_and_not_passed_on(
    world: World, faucet: Faucet, body: dict[str, Any], field: str
) -> None:
    answer = world.http.post("/wallets/paper/deposits", json=body)
    assert answer.status_code == 422, answer.text
    assert [one["field"] for one in answer.json()["error"]["problems"]] == [field]
    assert faucet.asked == []


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "a\tb"])
def test_idempotency_key_when_malformed_is_refused(world: World, key: str) -> None:
    answer = world.http.post("/strategies/preview", json=document(), headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["error"]["problems"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("/strategies?limit=0", "limit"),
        ("/strategies?limit=x", "limit"),
        ("/strategies?status=dead", "0"),
        ("/strategies?after=stnone", "after"),
        ("/events?stream=NOPE", "stream"),
        ("/events?since=yesterday", "since"),
        ("/events?since=2026-01-01T00:00:00", "since"),
        ("/events?strategy_id=*", "strategy_id"),
    ],
)
def test_query_when_bad_is_refused(world: World, query: str, field: str) -> None:
    answer = world.http.get(query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["problems"][0]["field"] == field


@pytest.mark.parametrize("token", [None, "", "Bearer", "Bearer wrong", "Basic eDp5", "Bearer " + "x" * 5000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/strategies"),
        ("POST", "/strategies"),
        ("POST", "/strategies/preview"),
        ("POST", "/strategies/st1/stop"),
        ("PATCH", "/strategies/st1"),
        ("POST", "/strategies/st1/withdraw"),
        ("GET", "/strategies/st1/versions"),
        ("POST", "/strategies/calendar"),
        ("GET", "/notifications"),
        ("GET", "/strategies/st1/decisions"),
        ("GET", "/wallets"),
        ("POST", "/wallets/paper/deposits"),
        ("GET", "/venues/paper/prices"),
        ("GET", "/events"),
    ],
)
def test_route_when_token_is_missing_or_wrong_is_closed(
    world: World, method: str, path: str, token: str | None
) -> None:
    headers = {} if token is None else {"Authorization": token}
    answer = httpx.request(method, f"{world.url}{path}", headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["kind"] == "unauthorized"
    # "Bearer" alone and another scheme show no token; what is shown and wrong is said to be wrong.
    is_wrong = token is not None and token.startswith("Bearer ")
    assert ("the token is wrong" in answer.json()["error"]["message"]) is is_wrong
    assert ("there is no token" in answer.json()["error"]["message"]) is not is_wrong
    assert ("invalid_token" in answer.headers["WWW-Authenticate"]) is is_wrong


@pytest.mark.parametrize(
    "path", ["/nothing", "/strategies/st1", "/strategies/st%00", "/wallets/nowhere", "/venues/nowhere/prices"]
)
def test_thing_when_not_there_is_404(world: World, path: str) -> None:
    world.publish(subjects.wallets("paper"), wallet(1, USDT="1"))
    answer = world.http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["kind"] == "not_found"

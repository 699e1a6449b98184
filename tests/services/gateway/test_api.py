"""The API when all is well: previews, views, decisions, deposits, idempotency, documentation."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from shared.contracts import subjects
from shared.contracts.strategies import StrategyChanged
from tests.services.gateway.paper_venue import Faucet
from tests.services.strategy_registry.world import (
    VENUE,
    World,
    decision,
    document,
    position,
    progressed,
    wallet,
)

pytestmark = pytest.mark.servers


def created(world: World, **changes: Any) -> str:
    preview = world.http.post("/strategies/preview", json=document(**changes)).json()
    return str(world.http.post("/strategies", json={"preview_id": preview["preview_id"]}).json()["id"])


def until_shown(world: World, strategy_id: str, field: str, value: Any) -> dict[str, Any]:
    def shown() -> dict[str, Any] | None:
        found: dict[str, Any] = world.http.get(f"/strategies/{strategy_id}").json()
        return found if found[field] == value else None

    found: dict[str, Any] = world.until(shown, f"{field} = {value}")
    return found


def test_preview_when_good_tells_what_would_happen(world: World) -> None:
    found = world.http.post("/strategies/preview", json=document(amount=1200)).json()
    assert found["document"] == document()
    assert [(one["side"], one["asset"]) for one in found["first_orders"]] == [
        ("buy", "BTC"),
        ("buy", "ETH"),
        ("buy", "SOL"),
    ]
    assert (found["value_usdt"], found["minimum_amount"]) == ("1200", "105")


def test_preview_when_prices_are_stale_is_to_be_retried(world: World) -> None:
    answer = world.http.post("/strategies/preview", json=document(targets={"BTC": "50", "STALE": "50"}))
    assert answer.status_code == 503
    assert answer.json()["error"]["kind"] == "retry_later"
    assert int(answer.headers["Retry-After"]) >= 1


def test_create_when_repeated_with_or_without_the_key_is_the_same_strategy(world: World) -> None:
    preview = world.http.post("/strategies/preview", json=document(), headers={"Idempotency-Key": "p1"}).json()
    again = world.http.post("/strategies/preview", json=document(), headers={"Idempotency-Key": "p1"}).json()
    assert again == preview
    body = {"preview_id": preview["preview_id"]}
    answers = [
        world.http.post("/strategies", json=body, headers={"Idempotency-Key": key}) for key in ("c1", "c1", "c2")
    ]
    answers.append(world.http.post("/strategies", json=body))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_key_when_used_for_another_request_is_refused(world: World) -> None:
    headers = {"Idempotency-Key": "k1"}
    assert world.http.post("/strategies/preview", json=document(), headers=headers).status_code == 200
    answer = world.http.post("/strategies/preview", json=document(amount="1300"), headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["problems"][0]["field"] == "idempotency_key"


def test_strategy_when_just_created_is_shown_at_once(world: World) -> None:
    strategy_id = created(world)
    shown = world.http.get(f"/strategies/{strategy_id}").json()
    assert (shown["status"], shown["value"], shown["last_plan"]) == ("funding", None, None)
    assert [one["asset"] for one in shown["assets"]] == ["BTC", "ETH", "SOL"]


def test_strategy_when_it_holds_money_shows_weights_bands_and_profit(world: World) -> None:
    strategy_id = created(world, take_profit="15")
    holdings = position(strategy_id, 4, "1200", BTC="0.0101", ETH="0.144", SOL="3.6", USDT="0")
    world.publish(subjects.positions(strategy_id), holdings)
    world.publish(subjects.positions(strategy_id), position(strategy_id, 3, "1", BTC="1"))
    world.publish(subjects.plan_results(strategy_id), progressed(strategy_id, 2, "closed", kind="rebalance", fills=3))
    shown = until_shown(world, strategy_id, "position_version", 4)
    # BTC 0.0101 * 50000 = 505, ETH 0.144 * 2500 = 360, SOL 3.6 * 100 = 360
    assert (shown["value"], shown["contributed"], shown["profit"]) == ("1225", "1200", "25")
    assert shown["profit_pct"] == "2.08333333"
    bitcoin = shown["assets"][0]
    assert bitcoin["value"] == "505"
    assert bitcoin["actual_pct"] == "41.2244898"
    assert (bitcoin["target_pct"], bitcoin["lower_pct"], bitcoin["upper_pct"]) == ("40", "35", "45")
    # Each stream is followed by itself: the plan may be shown later than the position.
    world.until(lambda: world.http.get(f"/strategies/{strategy_id}").json()["last_plan"], "the plan")
    shown = world.http.get(f"/strategies/{strategy_id}").json()
    assert (shown["open_plan_id"], shown["last_plan"]["kind"]) == (None, "rebalance")


def test_strategies_when_listed_come_newest_first_in_pages(world: World) -> None:
    ids = [created(world, name=f"page {number}") for number in range(3)]
    first = world.http.get("/strategies", params={"limit": 2}).json()
    assert [one["id"] for one in first["strategies"]] == [ids[2], ids[1]]
    second = world.http.get("/strategies", params={"limit": 1, "after": first["next"]}).json()
    assert [one["id"] for one in second["strategies"]] == [ids[0]]
    everything = world.http.get("/strategies", params={"limit": 1000}).json()
    assert everything["next"] == ""
    none = world.http.get("/strategies", params={"status": "closed"}).json()
    assert none == {"strategies": [], "next": ""}


def test_decisions_when_asked_come_newest_first_and_follow(world: World) -> None:
    strategy_id = created(world)
    for number, code in enumerate(("awaiting_funds", "within_band", "threshold_reached:BTC")):
        message = decision(strategy_id, code, number + 1)
        world.publish(subjects.evaluations(strategy_id), message, f"{strategy_id}.d{number}")
    found = world.http.get(f"/strategies/{strategy_id}/decisions", params={"limit": 2}).json()["decisions"]
    assert [(one["code"], one["count"]) for one in found] == [("threshold_reached:BTC", 3), ("within_band", 2)]
    world.publish(subjects.evaluations(strategy_id), decision(strategy_id, "cooldown"), f"{strategy_id}.d4")
    world.until(
        lambda: world.http.get(f"/strategies/{strategy_id}/decisions").json()["decisions"][0]["code"] == "cooldown",
        "the newest decision",
    )
    assert world.http.get(f"/strategies/{created(world)}/decisions").json()["decisions"] == []


def test_decisions_when_asked_about_a_time_answer_for_it_in_plain_words(world: World) -> None:
    strategy_id = created(world)
    inputs = {"weight.BTC": "33.1", "target.BTC": "30", "weight.ETH": "66.9", "target.ETH": "70", "threshold": "5"}
    for day, code, given in ((1, "initial_purchase", {}), (3, "within_band", inputs), (5, "cooldown", {})):
        at = datetime(2024, 1, day, tzinfo=UTC)
        message = decision(strategy_id, code).model_copy(update={"first_at": at, "last_at": at, "inputs": given})
        world.publish(subjects.evaluations(strategy_id), message, f"{strategy_id}.at{day}")

    def told(at: str) -> list[tuple[str, str]]:
        found = world.http.get(f"/strategies/{strategy_id}/decisions", params={"at": at})
        return [(one["code"], one["sentence"]) for one in found.json()["decisions"]]

    world.until(lambda: told("2024-01-06")[0][0] == "cooldown", "the last decision")
    off = "BTC was at 33.1 % against a target of 30 %: 3.1 points off, the threshold is 5, so nothing was done."
    assert (
        told("2024-01-03") == told("2024-01-04T23:59:59Z") == told("2024-01-03T01:00+01:00") == [("within_band", off)]
    )
    assert told("2024-01-02T12:00")[0][0] == "initial_purchase"
    assert told("2023-12-31") == []
    refused = world.http.get(f"/strategies/{strategy_id}/decisions", params={"at": "yesterday"})
    assert refused.status_code == 422
    assert refused.json()["error"]["problems"][0]["field"] == "at"


def test_wallet_when_it_changes_is_shown(world: World) -> None:
    world.publish(subjects.wallets(VENUE), wallet(7, USDT="1000.50"))
    world.until(lambda: world.http.get(f"/wallets/{VENUE}").json()["version"] == 7, "the wallet")
    assert world.http.get("/wallets").json()["wallets"] == [
        {"venue": VENUE, "version": 7, "balances": {"USDT": "1000.5"}, "dust": {}}
    ]


def test_deposit_when_repeated_has_the_same_id(world: World, faucet: Faucet) -> None:
    body = {"asset": "USDT", "amount": "1200"}
    answers = [
        world.http.post(f"/wallets/{VENUE}/deposits", json=body, headers={"Idempotency-Key": "dep1"}) for _ in "ab"
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert faucet.asked == [("/control/deposits", "faucet", {"id": "dep1", **body})] * 2
    assert answers[0].json() == {"id": "dep1", "venue": VENUE, **body}


def test_deposit_when_there_is_no_faucet_is_refused_with_the_reason(world: World) -> None:
    answer = world.http.post("/wallets/binance/deposits", json={"asset": "USDT", "amount": "1200"})
    (problem,) = answer.json()["error"]["problems"]
    assert (answer.status_code, problem["field"], problem["allowed"]) == (422, "venue", "paper")
    assert "no paper money" in problem["message"]


def test_deposit_when_the_venue_refuses_or_fails_says_so(world: World, faucet: Faucet) -> None:
    body = {"asset": "NOPE", "amount": "1"}
    faucet.status = 422
    problem = {"field": "asset", "value": "NOPE", "allowed": "BTC, ...", "message": "is not listed"}
    faucet.answer = {"error": {"problems": [problem]}}
    try:
        answer = world.http.post(f"/wallets/{VENUE}/deposits", json=body)
        assert (answer.status_code, answer.json()["error"]["problems"]) == (422, [problem])
        faucet.answer = {}
        assert world.http.post(f"/wallets/{VENUE}/deposits", json=body).status_code == 422
        faucet.status = 500
        assert world.http.post(f"/wallets/{VENUE}/deposits", json=body).status_code == 503
    finally:
        faucet.status, faucet.answer = 200, {}


def test_venue_when_asked_tells_instruments_and_prices(world: World) -> None:
    listed = world.http.get(f"/venues/{VENUE}/instruments").json()
    assert {"symbol": "BTCUSDT", "min_notional": "5", "tradable": True}.items() <= listed["instruments"][0].items()
    quotes = {one["asset"]: one for one in world.http.get(f"/venues/{VENUE}/prices").json()["prices"]}
    assert (quotes["BTC"]["bid"], quotes["BTC"]["stale"], quotes["STALE"]["stale"]) == ("50000", False, True)


def test_documentation_when_asked_without_a_token_covers_every_route(world: World) -> None:
    schema = httpx.get(f"{world.url}/openapi.json", trust_env=False).json()
    assert httpx.get(f"{world.url}/docs", trust_env=False).status_code == 200
    assert httpx.get(f"{world.url}/healthz", trust_env=False).json()["healthy"] is True
    routes = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    assert ("post", "/strategies/{strategy_id}/stop") in routes
    assert len(routes) == 39
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert {"401", "422", "503"} <= set(operation["responses"]) or path == "/healthz", (method, path)
            assert operation["summary"]
            if method in {"post", "patch"} and not path.endswith(("/pause", "/resume", "/rebalance")):
                assert operation["requestBody"]["content"]["application/json"]["schema"]["properties"]


def test_stop_when_strategy_is_unknown_is_404(world: World) -> None:
    assert world.http.post(f"/strategies/st{'0' * 26}/stop").status_code == 404


def test_commands_when_the_registry_is_away_are_to_be_retried_and_then_work(world: World) -> None:
    strategy_id = created(world)
    world.call(world._end_registry())
    try:
        answer = world.http.post(f"/strategies/{strategy_id}/stop")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "retry_later")
        assert world.http.get(f"/strategies/{strategy_id}").status_code == 200
    finally:
        world.call(world._start_registry())
    assert world.http.post(f"/strategies/{strategy_id}/stop").json()["exit_reason"] == "stopped_by_user"
    world.until(lambda: len(world.published(StrategyChanged, strategy_id)) == 2, "the wish to stop")


@pytest.mark.parametrize(
    ("rule", "bands"),
    [
        # targets 40, 30, 30
        ({"threshold": "5"}, [("35", "45"), ("25", "35"), ("25", "35")]),
        ({"threshold": {"relative": "15"}}, [("34", "46"), ("25.5", "34.5"), ("25.5", "34.5")]),
        ({"threshold": {"factor": "20", "floor": "7"}}, [("32", "48"), ("23", "37"), ("23", "37")]),
        ({"threshold": {"points": "5", "per_asset": {"SOL": "3"}}}, [("35", "45"), ("25", "35"), ("27", "33")]),
        ({"threshold": {"relative": "300"}}, [("0", "100"), ("0", "100"), ("0", "100")]),
        ({"interval": "7d", "threshold": "5", "when": "all"}, [("35", "45"), ("25", "35"), ("25", "35")]),
        ({"interval": "7d"}, [(None, None)] * 3),
        ({"hold": True}, [(None, None)] * 3),
    ],
)
def test_strategy_when_its_rule_is_of_any_kind_shows_where_it_fires(
    world: World, rule: dict[str, Any], bands: list[tuple[str | None, str | None]]
) -> None:
    shown = world.http.get(f"/strategies/{created(world, rebalance=rule)}").json()
    assert shown["document"]["rebalance"] == rule
    assert [(one["lower_pct"], one["upper_pct"]) for one in shown["assets"]] == bands


def test_openapi_when_asked_has_the_schema_of_strategies(world: World) -> None:
    paths = world.http.get("/openapi.json").json()["paths"]
    schema = paths["/strategies/preview"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["targets"]["maxProperties"] == 10
    assert "cost_guard" in schema["properties"]["rebalance"]["oneOf"][0]["properties"]

"""What may be asked of a strategy that runs: the command that goes out, the answer, and what is refused."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from shared.contracts import lifecycle, subjects
from shared.contracts.strategies import PreviewStrategy, RequestMade, RequestStage, StopStrategy
from shared.core.errors import Conflict
from shared.core.rules import ExitAction
from shared.core.situation import RequestKind
from shared.core.strategy import StrategyStatus
from tests.services.gateway.registry_stand_in import MADE_AT, StandInWorld, running_stand_in
from tests.services.strategy_registry.world import MARKET_TIME, document, position

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def world() -> Iterator[StandInWorld]:
    with running_stand_in() as running:
        yield running


def problem_of(answer: Any, status: int = 422) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    (problem,) = answer.json()["error"]["problems"]
    return dict(problem)


def test_edit_when_made_for_the_newest_revision_answers_with_the_state_after(world: StandInWorld) -> None:
    strategy = world.running("edited")
    body = {"revision": 1, "changes": {"take_profit": "15", "name": "Renamed"}, "rebalance": False}
    answer = world.http.patch(f"/strategies/{strategy}", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["revision"], found["change"], found["changed_by"]) == (2, "edited", "user")
    assert (found["document"]["take_profit"], found["name"]) == ("15", "Renamed")
    command = world.last_asked()
    assert command == lifecycle.EditStrategy(
        strategy_id=strategy, revision=1, changes={"take_profit": "15", "name": "Renamed"}, rebalance=False
    )
    assert world.http.get(f"/strategies/{strategy}").json()["revision"] == 2


def test_edit_when_made_for_an_older_revision_is_a_conflict_that_names_the_newest(world: StandInWorld) -> None:
    strategy = world.running("edited twice", revision=3)
    answer = world.http.patch(f"/strategies/{strategy}", json={"revision": 2, "changes": {"name": "x"}})
    assert answer.json()["error"]["kind"] == "conflict"
    problem = problem_of(answer, 409)
    assert (problem["field"], problem["value"], problem["allowed"]) == ("revision", "2", "3")
    assert world.http.get(f"/strategies/{strategy}").json()["revision"] == 3


def test_edit_when_repeated_with_its_key_is_made_once(world: StandInWorld) -> None:
    strategy = world.running("edited once")
    body = {"revision": 1, "changes": {"stop_loss": None}}
    answers = [
        world.http.patch(f"/strategies/{strategy}", json=body, headers={"Idempotency-Key": "edit-1"}) for _ in range(2)
    ]
    assert [one.json()["revision"] for one in answers] == [2, 2]
    assert [meta.message_id for _, meta in world.stand_in.asked[-2:]] == ["api.edit-1"] * 2


ASKED: list[tuple[str, dict[str, Any] | None, dict[str, Any], type[Any]]] = [
    # path, body, fields of the command beside the id, its type
    ("add", {"amount": "500"}, {"amount": "500", "asset": ""}, lifecycle.AddMoney),
    ("add", {"amount": 500, "asset": "BTC"}, {"amount": "500", "asset": "BTC"}, lifecycle.AddMoney),
    ("withdraw", {"amount": "0.5"}, {"amount": "0.5"}, lifecycle.WithdrawMoney),
    ("withdraw", {"percent": "25", "asset": "BTC"}, {"percent": "25", "asset": "BTC"}, lifecycle.WithdrawMoney),
    ("pause", None, {"reason": "paused_by_user"}, lifecycle.PauseStrategy),
    ("resume", {}, {}, lifecycle.ResumeStrategy),
    ("rebalance", None, {}, lifecycle.RebalanceNow),
    ("stop", None, {"reason": "stopped_by_user", "action": ExitAction.SELL}, StopStrategy),
    ("stop", {}, {"reason": "stopped_by_user", "action": ExitAction.SELL}, StopStrategy),
    ("stop", {"action": "keep"}, {"reason": "stopped_by_user", "action": ExitAction.KEEP}, StopStrategy),
]


@pytest.mark.parametrize(("path", "body", "fields", "kind"), ASKED, ids=[f"{row[0]} {row[1]}" for row in ASKED])
def test_command_when_asked_reaches_the_registry_as_it_was_meant(
    world: StandInWorld, path: str, body: dict[str, Any] | None, fields: dict[str, Any], kind: type[Any]
) -> None:
    strategy = world.running(f"{path} {body}")
    answer = world.http.post(f"/strategies/{strategy}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == 5
    assert world.last_asked() == kind(strategy_id=strategy, **fields)


BAD: list[tuple[str, str, Any, str, str]] = [
    # method, path, body, field, part of what is allowed
    ("PATCH", "", {"changes": {"name": "x"}}, "revision", "whole number"),
    ("PATCH", "", {"revision": True, "changes": {"name": "x"}}, "revision", "whole number"),
    ("PATCH", "", {"revision": "1", "changes": {"name": "x"}}, "revision", "whole number"),
    ("PATCH", "", {"revision": 0, "changes": {"name": "x"}}, "revision", "whole number"),
    ("PATCH", "", {"revision": 1}, "changes", "by field"),
    ("PATCH", "", {"revision": 1, "changes": {}}, "changes", "by field"),
    ("PATCH", "", {"revision": 1, "changes": ["name"]}, "changes", "by field"),
    ("PATCH", "", {"revision": 1, "changes": {"venue": "binance"}}, "venue", "take_profit"),
    ("PATCH", "", {"revision": 1, "changes": {"amount": "5"}}, "amount", "targets"),
    ("PATCH", "", {"revision": 1, "name": "x"}, "name", "changes"),
    ("PATCH", "", {"revision": 1, "changes": {"take_profit": 15.5}}, "take_profit", "text"),
    ("PATCH", "", {"revision": 1, "changes": {"targets": {"BTC": 50.5, "ETH": "49.5"}}}, "targets.BTC", "text"),
    ("PATCH", "", {"revision": 1, "changes": {"name": "x"}, "rebalance": "no"}, "rebalance", "true or false"),
    ("POST", "/add", {}, "amount", "more than 0"),
    ("POST", "/add", {"amount": "0"}, "amount", "more than 0"),
    ("POST", "/add", {"amount": 5.5}, "amount", "more than 0"),
    ("POST", "/add", {"amount": "1e5"}, "amount", "more than 0"),
    ("POST", "/add", {"amount": "5", "asset": "btc"}, "asset", "capital"),
    ("POST", "/add", {"amount": "5", "percent": "5"}, "percent", "amount, asset"),
    ("POST", "/withdraw", {}, "amount", "exactly one"),
    ("POST", "/withdraw", {"amount": "5", "percent": "5"}, "amount", "exactly one"),
    ("POST", "/withdraw", {"amount": "-5"}, "amount", "more than 0"),
    ("POST", "/withdraw", {"percent": "100"}, "percent", "to take out all, stop it"),
    ("POST", "/withdraw", {"percent": "0"}, "percent", "more than 0"),
    ("POST", "/withdraw", {"percent": 12.5}, "percent", "more than 0"),
    ("POST", "/pause", {"until": "tomorrow"}, "until", "no body"),
    ("POST", "/resume", {"force": True}, "force", "no body"),
    ("POST", "/rebalance", {"targets": {}}, "targets", "no body"),
    ("POST", "/stop", {"action": "burn"}, "action", "sell, keep"),
    ("POST", "/stop", {"action": "pause"}, "action", "sell, keep"),
    ("POST", "/stop", {"action": ["sell"]}, "action", "sell, keep"),
    ("POST", "/stop", {"how": "sell"}, "how", "action"),
    ("POST", "/clone", {"leverage": "2"}, "leverage", "funding_asset"),
    ("POST", "/clone", {"amount": "-1"}, "amount", "more than 0"),
    ("POST", "/clone", {"amount": 5.5}, "amount", "more than 0"),
    ("POST", "/clone", {"name": None}, "name", "must be given"),
]


@pytest.mark.parametrize(("method", "path", "body", "field", "allowed"), BAD, ids=[f"{r[1]} {r[2]}" for r in BAD])
def test_body_when_bad_is_refused_and_not_passed_on(
    world: StandInWorld, method: str, path: str, body: Any, field: str, allowed: str
) -> None:
    strategy = world.running("bad bodies")
    before = len(world.stand_in.asked)
    problem = problem_of(world.http.request(method, f"/strategies/{strategy}{path}", json=body))
    assert problem["field"] == field
    assert allowed in problem["allowed"]
    assert problem["message"]
    assert len(world.stand_in.asked) == before


def test_edit_when_nested_without_end_is_refused(world: StandInWorld) -> None:
    strategy = world.running("deep")
    body = b'{"revision": 1, "changes": {"targets": ' + b'{"BTC": ' * 60 + b"5" + b"}" * 62
    answer = world.http.patch(f"/strategies/{strategy}", content=body)
    assert "too deeply" in problem_of(answer)["message"]


@pytest.mark.parametrize("path", ["add", "withdraw", "pause", "resume", "rebalance", "stop", "clone", "calendar"])
def test_body_when_not_an_object_is_refused(world: StandInWorld, path: str) -> None:
    route = "/strategies/calendar" if path == "calendar" else f"/strategies/{world.running('bad bodies')}/{path}"
    assert problem_of(world.http.post(route, content=b"[]"))["field"] == "body"
    twice = b'{"amount": "1", "amount": "2"}'
    assert problem_of(world.http.post(route, content=twice))["field"] == "amount"


@pytest.mark.parametrize("strategy", [f"st{'0' * 26}", "st1", "st*"])
@pytest.mark.parametrize("path", ["add", "withdraw", "pause", "resume", "rebalance", "stop", "clone"])
def test_strategy_when_unknown_is_404(world: StandInWorld, strategy: str, path: str) -> None:
    body = {"amount": "5"} if path in {"add", "withdraw"} else None
    answer = world.http.post(f"/strategies/{strategy}/{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "not_found")


def test_command_when_the_strategy_is_not_in_the_state_for_it_is_a_conflict(world: StandInWorld) -> None:
    strategy = world.running("paused already", status=StrategyStatus.PAUSED)
    world.stand_in.refusal = Conflict.one("status", "paused", "active", "does not allow this: resume it first")
    problem = problem_of(world.http.post(f"/strategies/{strategy}/rebalance"), 409)
    assert (problem["field"], problem["allowed"]) == ("status", "active")


def test_clone_when_nothing_is_said_previews_the_same_with_another_name(world: StandInWorld) -> None:
    strategy = world.running("Original " + "x" * 71, document={"take_profit": "15"})
    found = world.http.post(f"/strategies/{strategy}/clone").json()
    assert found["document"] == document(name=f"Original {'x' * 64} (copy)", take_profit="15")
    assert len(found["document"]["name"]) == 80
    assert isinstance(world.last_asked(), PreviewStrategy)


def test_clone_when_fields_are_given_puts_them_in_place_of_the_originals(world: StandInWorld) -> None:
    strategy = world.running("Original", document={"take_profit": "15", "stop_loss": "-8"})
    body = {"name": "Second", "amount": "500", "take_profit": None, "targets": {"BTC": "50", "ETH": "50"}}
    found = world.http.post(f"/strategies/{strategy}/clone", json=body).json()
    wanted = document(name="Second", amount="500", targets={"BTC": "50", "ETH": "50"}, stop_loss="-8")
    assert found["document"] == wanted


def test_strategy_when_things_are_under_way_tells_them_in_order_and_in_words(world: StandInWorld) -> None:
    def asked(number: int, kind: RequestKind, stage: RequestStage, **more: Any) -> RequestMade:
        made = {"request_id": f"rq{number}", "kind": kind, "stage": stage, "cause": "user", "asked_at": MADE_AT, **more}
        return RequestMade(**made)

    requests = (
        asked(1, RequestKind.WITHDRAW, RequestStage.HOLDING, percent="12.5"),
        asked(2, RequestKind.INVEST, RequestStage.FUNDING, amount="50", asset="BTC", cause="schedule"),
        asked(3, RequestKind.REBALANCE, RequestStage.OPEN, cause="edit"),
    )
    shown = world.http.get(f"/strategies/{world.running('busy', requests=requests)}").json()["requests"]
    assert [one["sentence"] for one in shown] == [
        "Withdraw 12.5 % of the value, in USDT: sold what was needed, waits until no plan is open",
        "Put in 50 BTC (Auto-Invest, scheduled): its money is on its way from the wallet",
        "Rebalance to the targets (the targets were edited): waits for what was asked before",
    ]
    assert [(one["asset"], one["amount"], one["percent"]) for one in shown] == [
        ("USDT", None, "12.5"),
        ("BTC", "50", None),
        ("", None, None),
    ]


@pytest.mark.parametrize(
    ("progress", "words", "dates"),
    [
        ({}, "Waits for cycle 1", 3),
        ({"cycle": 4, "carried": "50"}, "Waits for cycle 5, with 50 USDT left from before", 3),
        ({"cycle": 4, "pending": True}, "Cycle 4: its money is on its way", 3),
        ({"status": "stopped", "reason": "short_balance"}, "Stopped: the wallet held too little for a cycle", 0),
        ({"status": "paused", "reason": "total_reached"}, "Paused: the set total has been invested", 0),
    ],
)
def test_auto_invest_when_shown_says_whether_it_goes_on(
    world: StandInWorld, progress: dict[str, Any], words: str, dates: int
) -> None:
    strategy = world.auto_investing(f"invests {words}", invested="200.5", **progress)
    shown = world.http.get(f"/strategies/{strategy}").json()["auto_invest"]
    assert shown["sentence"].startswith(words)
    assert shown["invested"] == "200.5"
    # The market is at Thursday, 1 January 2026, noon; two in Berlin is one in UTC.
    every = ["2026-01-02T13:00:00Z", "2026-01-09T13:00:00Z", "2026-01-16T13:00:00Z"]
    assert shown["next_dates"] == every[:dates]


def moved(world: StandInWorld, strategy: str, contributed: str, **holdings: str) -> dict[str, Any]:
    """The strategy once its position tells of 1500 put in and 300.25 taken out."""
    made = position(strategy, 9, contributed, **holdings)
    world.publish(
        subjects.positions(strategy),
        made.model_copy(update={"contributed_in": Decimal(1500), "withdrawn": Decimal("300.25")}),
    )

    def shown() -> dict[str, Any] | None:
        found: dict[str, Any] = world.http.get(f"/strategies/{strategy}").json()
        return found if found["position_version"] == 9 else None

    found: dict[str, Any] = world.until(shown, "the position")
    return found


def test_strategy_when_money_went_in_and_out_tells_both_and_the_whole_profit(world: StandInWorld) -> None:
    shown = moved(world, world.running("moved"), "1210", BTC="0.0101", ETH="0.144", SOL="3.6")
    assert (shown["contributed_in"], shown["withdrawn"]) == ("1500", "300.25")
    # worth 1225: 15 more than what is left in it, 25.25 more than all that went in less all that went out
    assert (shown["value"], shown["profit"], shown["total_profit"]) == ("1225", "15", "25.25")


@pytest.mark.parametrize(
    ("released", "inputs", "profit", "percent"),
    [
        ({"USDT": "1250"}, {}, "50.25", "3.35"),
        ({"USDT": "1000"}, {}, "-199.75", "-13.31666667"),
        ({"BTC": "0.02", "USDT": "100"}, {"profit": "-99.75", "contributed_in": "1500"}, "-99.75", "-6.65"),
        ({"BTC": "0.02", "USDT": "100"}, {}, None, None),
        ({}, {}, None, None),
    ],
)
def test_strategy_when_closed_shows_its_final_profit_or_none(
    world: StandInWorld, released: dict[str, str], inputs: dict[str, str], profit: str | None, percent: str | None
) -> None:
    name = f"closed with {len(inputs)} figures, {profit}, {sorted(released)}"
    state = {"status": StrategyStatus.CLOSED, "change": "closed", "released": released, "inputs": inputs}
    shown = moved(world, world.running(name, **state), "0")
    assert (shown["profit"], shown["profit_pct"], shown["total_profit"]) == (profit, percent, profit)
    assert shown["released"] == released


def test_strategies_when_filtered_by_the_new_statuses_lists_them(world: StandInWorld) -> None:
    paused = world.running("resting", status=StrategyStatus.PAUSED, reason="paused_by_user")
    failed = world.running("failed", status=StrategyStatus.FAILED, reason="refused by the ledger")
    found = world.http.get("/strategies", params={"status": ["paused", "failed"], "limit": 1000}).json()["strategies"]
    assert {paused, failed} <= {one["id"] for one in found}
    assert {one["status"] for one in found} == {"paused", "failed"}
    assert MARKET_TIME.isoformat()[:10] in str(found[0]["active_since"])

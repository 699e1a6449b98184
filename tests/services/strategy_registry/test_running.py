"""Commands to a running strategy on real servers; the test plays evaluator, executor and ledger."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.strategy_registry import payouts
from shared.contracts import subjects
from shared.contracts.books import FundStrategy, ReleaseStrategy, WithdrawFromStrategy
from shared.contracts.lifecycle import (
    AddMoney,
    EditStrategy,
    ListVersions,
    NotificationRaised,
    PauseStrategy,
    RebalanceNow,
    ResumeStrategy,
    RunAutoInvest,
    WithdrawMoney,
)
from shared.contracts.plans import FreeStrategy, HoldStrategy, SealStrategy
from shared.contracts.strategies import StopStrategy, StrategyChanged
from shared.core.auto_invest import Cause
from shared.core.errors import Conflict, Refused
from shared.core.identity import transfer_id
from shared.core.rules import ExitAction
from tests.services.strategy_registry.test_commands import ask
from tests.services.strategy_registry.test_sagas import created, say_progressed, say_settled, until_change
from tests.services.strategy_registry.world import MARKET_TIME, World, position, progressed, settled

pytestmark = pytest.mark.servers

AUTO_INVEST = {"amount": "50", "schedule": {"every": "1d", "at": "12:00"}, "short_balance": "carry_over"}


def running(world: World, **changes: Any) -> str:
    """An active strategy worth 1200 USDT."""
    strategy_id = created(world, **changes)
    say_settled(world, strategy_id, "fund")
    say_progressed(world, strategy_id, 1, "closed", kind="initial", fills=3)
    until_change(world, strategy_id, "activated")
    held = position(strategy_id, 5, "1200", BTC="0.0096", ETH="0.144", SOL="3.6")
    world.publish(subjects.positions(strategy_id), held.model_copy(update={"contributed_in": Decimal(1200)}))
    return strategy_id


def answered(world: World, strategy_id: str, sequence: int, request_id: str, kind: str) -> None:
    """The executor has carried out the plan of a request."""
    word = progressed(strategy_id, sequence, "closed", kind=kind, fills=4)
    assert word.last_closed is not None
    closed = word.last_closed.model_copy(update={"answers": request_id})
    world.publish(subjects.plan_results(strategy_id), word.model_copy(update={"last_closed": closed}))


def say_held(world: World, strategy_id: str, sequence: int, hold_id: str) -> None:
    word = progressed(strategy_id, sequence, "held" if hold_id else "freed", kind="withdraw", fills=4)
    world.publish(subjects.plan_results(strategy_id), word.model_copy(update={"held_for": hold_id}))


def say_paid(world: World, strategy_id: str, transfer: str, **words: Any) -> None:
    message = settled(strategy_id, transfer, "withdraw").model_copy(update=words)
    world.publish(subjects.transfers(strategy_id), message)


def notifications(world: World, strategy_id: str) -> list[tuple[str, str]]:
    rows = world.rows(
        "SELECT convert_from(payload, 'utf8') AS text FROM registry.outbox WHERE subject = $1 ORDER BY id",
        subjects.notifications(strategy_id),
    )
    found = [NotificationRaised.model_validate_json(row["text"]) for row in rows]
    return [(one.kind, one.text) for one in found]


def test_withdrawal_when_asked_is_traded_for_held_paid_and_freed(world: World) -> None:
    strategy_id = running(world)
    asked = ask(world, WithdrawMoney(strategy_id=strategy_id, amount=Decimal(100)), f"{strategy_id}.w")
    (request,) = asked.requests
    assert (request.stage, request.asset, request.cause) == ("open", "USDT", "user")
    answered(world, strategy_id, 2, request.request_id, "withdraw")
    (hold,) = world.until(lambda: world.published(HoldStrategy, strategy_id), "HoldStrategy")
    assert hold.hold_id == request.request_id
    world.restart_registry()
    say_held(world, strategy_id, 3, hold.hold_id)
    (payout,) = world.until(lambda: world.published(WithdrawFromStrategy, strategy_id), "WithdrawFromStrategy")
    assert payout.transfer_id == transfer_id(strategy_id, "withdraw", 1)
    assert (payout.amount, payout.percent, payout.fills_required) == (Decimal(100), None, 4)
    assert payout.prices == {"USDT": 1, "BTC": 50_000, "ETH": 2500, "SOL": 100}
    say_paid(world, strategy_id, payout.transfer_id, amounts={"USDT": Decimal("99.5")}, position_version=9)
    (free,) = world.until(lambda: world.published(FreeStrategy, strategy_id), "FreeStrategy")
    assert (free.hold_id, free.position_version) == (hold.hold_id, 9)
    say_held(world, strategy_id, 4, "")
    assert until_change(world, strategy_id, "request_done").requests == ()
    ((kind, text),) = notifications(world, strategy_id)
    assert (kind, "99.5 USDT were paid out" in text, "less than the 100" in text) == ("withdrawal_paid", True, True)


def test_stop_when_a_hold_is_asked_for_frees_it_only_once_it_is_in_force(world: World) -> None:
    strategy_id = running(world)
    asked = ask(world, WithdrawMoney(strategy_id=strategy_id, percent=Decimal(10)), f"{strategy_id}.w")
    answered(world, strategy_id, 2, asked.requests[0].request_id, "withdraw")
    (hold,) = world.until(lambda: world.published(HoldStrategy, strategy_id), "HoldStrategy")
    stopped = ask(world, StopStrategy(strategy_id=strategy_id, reason="stopped_by_user"), f"{strategy_id}.s")
    assert (stopped.status, stopped.requests) == ("exiting", ())
    assert not world.rows("SELECT 1 FROM registry.outbox WHERE message_id = $1", f"{hold.hold_id}.free")
    say_held(world, strategy_id, 3, hold.hold_id)
    (free,) = world.until(lambda: world.published(FreeStrategy, strategy_id), "FreeStrategy")
    assert free.position_version == 0
    assert not world.published(WithdrawFromStrategy, strategy_id)


def test_stop_when_money_is_on_its_way_releases_only_after_it_has_settled(world: World) -> None:
    strategy_id = running(world)
    added = ask(world, AddMoney(strategy_id=strategy_id, amount=Decimal(100)), f"{strategy_id}.a")
    assert [one.stage.value for one in added.requests] == ["funding"]
    stop = StopStrategy(strategy_id=strategy_id, reason="stopped_by_user", action=ExitAction.KEEP)
    assert ask(world, stop, f"{strategy_id}.s").exit_action is ExitAction.KEEP
    world.until(lambda: world.published(SealStrategy, strategy_id), "SealStrategy")
    with pytest.raises(Conflict):
        ask(world, stop.model_copy(update={"action": ExitAction.SELL}), f"{strategy_id}.s2")
    say_progressed(world, strategy_id, 2, "sealed", kind="initial", fills=3, sealed=True)
    fund = world.published(FundStrategy, strategy_id)[-1]
    assert fund.transfer_id == transfer_id(strategy_id, "fund", 1)
    sealed = "SELECT 1 FROM registry.strategies WHERE id = $1 AND sealed_fills IS NOT NULL"
    world.until(lambda: world.rows(sealed, strategy_id), "the seal to be known")
    assert not world.published(ReleaseStrategy, strategy_id)
    world.publish(subjects.transfers(strategy_id), settled(strategy_id, fund.transfer_id, "fund"))
    world.until(lambda: world.published(ReleaseStrategy, strategy_id), "ReleaseStrategy")
    until_change(world, strategy_id, "sealed")
    changes = [one.change for one in world.published(StrategyChanged, strategy_id)]
    assert changes[-2:] == ["money_arrived", "sealed"]
    say_settled(world, strategy_id, "release", reason="the books do not allow it")
    until_change(world, strategy_id, "failed")
    ask(world, stop, f"{strategy_id}.s3")
    world.until(lambda: len(world.published(ReleaseStrategy, strategy_id)) == 2, "a second release")
    again = world.published(ReleaseStrategy, strategy_id)[-1]
    released = settled(strategy_id, again.transfer_id, "release").model_copy(
        update={"amounts": {"USDT": Decimal(1310), "BTC": Decimal("0.001")}}
    )
    world.publish(subjects.transfers(strategy_id), released)
    closed = until_change(world, strategy_id, "closed")
    assert closed.released == {"USDT": Decimal(1310), "BTC": Decimal("0.001")}
    assert closed.inputs == {"contributed_in": "1200", "withdrawn": "0", "returned": "1360", "profit": "160"}


@pytest.mark.parametrize(
    ("action", "inputs"), [(ExitAction.SELL, {}), (ExitAction.KEEP, {"price.BTC": "40000"})], ids=["sold", "kept"]
)
def test_closing_when_the_market_has_moved_on_counts_at_the_prices_of_the_end(
    world: World, action: ExitAction, inputs: dict[str, str]
) -> None:
    strategy_id = running(world)
    stop = StopStrategy(strategy_id=strategy_id, reason="take_profit", action=action, inputs=inputs)
    ask(world, stop, f"{strategy_id}.s")
    if action is ExitAction.SELL:
        word = progressed(strategy_id, 2, "closed", kind="exit", fills=6)
        assert word.last_closed is not None
        sold = word.last_closed.model_copy(update={"prices": {"BTC": Decimal(40000)}})
        world.publish(subjects.plan_results(strategy_id), word.model_copy(update={"last_closed": sold}))
    world.until(lambda: world.published(SealStrategy, strategy_id), "SealStrategy")
    say_progressed(world, strategy_id, 3, "sealed", kind="initial", fills=6, sealed=True)
    (release,) = world.until(lambda: world.published(ReleaseStrategy, strategy_id), "ReleaseStrategy")
    amounts = {"USDT": Decimal(1300), "BTC": Decimal("0.001")}
    released = settled(strategy_id, release.transfer_id, "release").model_copy(update={"amounts": amounts})
    world.publish(subjects.transfers(strategy_id), released)
    assert until_change(world, strategy_id, "closed").inputs["returned"] == "1340"


def test_edit_when_valid_is_a_revision_with_its_differences_and_a_rebalance(world: World) -> None:
    strategy_id = running(world, stop_loss={"percent": "-10", "trailing": True})
    maker = {"style": "maker", "patience": "2m"}
    changes = {"targets": {"BTC": "50", "ETH": "50"}, "stop_loss": None, "name": "Two", "orders": maker}
    command = EditStrategy(strategy_id=strategy_id, revision=1, changes=changes)
    edited = ask(world, command, f"{strategy_id}.e")
    assert (edited.revision, edited.change, edited.document["name"]) == (2, "edited", "Two")
    assert [(one.kind.value, one.cause) for one in edited.requests] == [("rebalance", "edit")]
    with pytest.raises(Conflict, match="revision"):
        ask(world, command, f"{strategy_id}.e2")
    assert ask(world, command, f"{strategy_id}.e") == edited, "the same command is answered the same"
    listed = ask(world, ListVersions(strategy_id=strategy_id, limit=2), f"{strategy_id}.v")
    newest = listed.versions[0]
    assert {one.field: (one.before, one.after) for one in newest.fields} == {
        "name": ('"Three majors"', '"Two"'),
        "targets.BTC": ('"40"', '"50"'),
        "targets.ETH": ('"30"', '"50"'),
        "targets.SOL": ('"30"', ""),
        "stop_loss.percent": ('"-10"', ""),
        "stop_loss.trailing": ("true", ""),
        "orders.style": ("", '"maker"'),
        "orders.patience": ("", '"2m"'),
    }
    assert (newest.state.version, newest.state.changed_by, listed.following) == (4, "test", 3)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": "Three majors"}, "changes", "changes nothing"),
        ({"amount": "5"}, "amount", "cannot be edited"),
        ({"targets": None}, "targets", "cannot be taken away"),
        ({"targets": {"BTC": "50", "HALT": "50"}}, "targets.HALT", "cannot be traded"),
        ({"targets": {"BTC": "99.9", "ETH": "0.1"}}, "targets", "needs a value of at least"),
        ({"rebalance": {"threshold": "0.1"}}, "rebalance", "needs a value of at least"),
    ],
)
def test_edit_when_not_possible_is_refused_with_its_field(
    world: World, changes: dict[str, Any], field: str, message: str
) -> None:
    strategy_id = running(world)
    with pytest.raises(Refused, match=message) as refused:
        ask(world, EditStrategy(strategy_id=strategy_id, revision=1, changes=changes), f"{strategy_id}.e")
    assert refused.value.problems[0].field == field


MONEY: dict[str, Callable[[str], Any]] = {
    "nothing": lambda one: AddMoney(strategy_id=one, amount=Decimal(0)),
    "too little": lambda one: AddMoney(strategy_id=one, amount=Decimal(1)),
    "too much": lambda one: AddMoney(strategy_id=one, amount=Decimal(198_800)),
    "no such asset": lambda one: AddMoney(strategy_id=one, amount=Decimal(5), asset="NOPE"),
    "both": lambda one: WithdrawMoney(strategy_id=one, amount=Decimal(9), percent=Decimal(9)),
    "neither": lambda one: WithdrawMoney(strategy_id=one),
    "all of it": lambda one: WithdrawMoney(strategy_id=one, percent=Decimal(100)),
    "all and more": lambda one: WithdrawMoney(strategy_id=one, amount=Decimal(1500)),
    "crumbs": lambda one: WithdrawMoney(strategy_id=one, percent=Decimal("0.01")),
}


def test_money_when_out_of_range_is_refused(world: World) -> None:
    strategy_id = running(world)
    for name, command in MONEY.items():
        with pytest.raises(Refused):
            ask(world, command(strategy_id), f"{strategy_id}.{name}")
    assert until_change(world, strategy_id, "activated").requests == ()


def test_pause_when_running_lets_payouts_through_and_nothing_else(world: World) -> None:
    strategy_id = running(world)
    ask(world, AddMoney(strategy_id=strategy_id, amount=Decimal(100)), f"{strategy_id}.a")
    pause = PauseStrategy(strategy_id=strategy_id, reason="take_profit", inputs={"profit_pct": "15.2"})
    assert ask(world, pause, f"{strategy_id}.p").status == "paused"
    with pytest.raises(Conflict, match="resume it first"):
        ask(world, RebalanceNow(strategy_id=strategy_id), f"{strategy_id}.r")
    asked = ask(world, WithdrawMoney(strategy_id=strategy_id, amount=Decimal(50)), f"{strategy_id}.w")
    assert [one.kind.value for one in asked.requests] == ["withdraw", "invest"]
    assert "by its take-profit at 15.2 %" in notifications(world, strategy_id)[0][1]
    resumed = ask(world, ResumeStrategy(strategy_id=strategy_id), f"{strategy_id}.u")
    assert (resumed.status, resumed.reason, resumed.inputs) == ("active", "", {})
    with pytest.raises(Conflict):
        ask(world, ResumeStrategy(strategy_id=strategy_id), f"{strategy_id}.u2")


@pytest.mark.parametrize(
    ("level", "what_now", "resumes"),
    [
        ({"stop_loss": {"percent": "-8", "action": "pause"}}, "1400", False),  # 1,200 of 1,400: -14.28 %
        ({"stop_loss": {"percent": "-8", "action": "pause"}}, "1200", True),
        ({"take_profit": {"percent": "15", "action": "pause"}}, "1000", False),
        ({"take_profit": "15"}, "1000", True),  # it will sell: that is what was asked for
    ],
)
def test_resume_when_a_level_that_pauses_is_reached_is_refused_with_what_to_change(
    world: World, level: dict[str, Any], what_now: str, resumes: bool
) -> None:
    strategy_id = running(world, **level)
    field = next(iter(level))
    held = position(strategy_id, 6, what_now, BTC="0.0096", ETH="0.144", SOL="3.6")
    world.publish(subjects.positions(strategy_id), held)
    ask(world, PauseStrategy(strategy_id=strategy_id, reason=field), f"{strategy_id}.p")
    if not resumes:
        with pytest.raises(Conflict, match=f"edit {field} first") as refused:
            ask(world, ResumeStrategy(strategy_id=strategy_id), f"{strategy_id}.u")
        assert refused.value.problems[0].value in {"profit now -14.28 %", "profit now 20 %"}
        edit = EditStrategy(strategy_id=strategy_id, revision=1, changes={field: None})
        ask(world, edit, f"{strategy_id}.e")
    assert ask(world, ResumeStrategy(strategy_id=strategy_id), f"{strategy_id}.u2").status == "active"


@pytest.mark.parametrize(("percent", "told"), [(10, []), (99, ["withdrawal_requested"])])
def test_withdrawal_when_it_leaves_too_little_is_made_with_a_warning(
    world: World, percent: int, told: list[str]
) -> None:
    strategy_id = running(world)
    ask(world, WithdrawMoney(strategy_id=strategy_id, percent=Decimal(percent)), f"{strategy_id}.w")
    found = notifications(world, strategy_id)
    assert [kind for kind, _ in found] == told
    assert all("the payout leaves 12 USDT, less than the" in text for _, text in found)


def test_payout_when_it_waits_for_a_price_is_told_once_and_paid_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payouts, "TOLD_AFTER_S", 0.0)
    strategy_id = running(world)
    asked = ask(world, WithdrawMoney(strategy_id=strategy_id, percent=Decimal(10)), f"{strategy_id}.w")
    world.publish(subjects.positions(strategy_id), position(strategy_id, 6, "1200", BTC="0.02", UNKNOWN="1"))
    answered(world, strategy_id, 2, asked.requests[0].request_id, "withdraw")
    world.until(lambda: world.published(HoldStrategy, strategy_id), "HoldStrategy")
    say_held(world, strategy_id, 3, asked.requests[0].request_id)
    world.until(lambda: notifications(world, strategy_id), "the notification")
    assert not world.published(WithdrawFromStrategy, strategy_id)
    world.publish(subjects.positions(strategy_id), position(strategy_id, 7, "1200", BTC="0.02"))
    world.until(lambda: world.published(WithdrawFromStrategy, strategy_id), "WithdrawFromStrategy")
    ((kind, text),) = notifications(world, strategy_id)
    assert (kind, "UNKNOWN" in text) == ("withdrawal_waits", True)


def test_drawdown_when_its_money_is_refused_is_told_as_left_out_at_that_time(world: World) -> None:
    plan = {"amount": "50", "drawdown": {"loss": "5", "min_interval": "7d"}, "short_balance": "skip"}
    strategy_id = running(world, auto_invest=plan)
    at = MARKET_TIME + timedelta(hours=5)
    due = RunAutoInvest(strategy_id=strategy_id, cycle=1, cause=Cause.DRAWDOWN, due_at=at, market_time=at)
    ask(world, due, f"{strategy_id}.ai.1")
    first = transfer_id(strategy_id, "fund", 1)
    world.publish(subjects.transfers(strategy_id), settled(strategy_id, first, "fund", reason="too little there"))
    state = until_change(world, strategy_id, "cycle_left_out").auto_invest
    assert state is not None
    assert (state.left_out_at, state.last_made_at, state.settled_until, state.carried) == (at, None, None, Decimal(0))


def test_cycle_when_its_price_is_told_is_worth_so_whatever_the_market_is_by_now(world: World) -> None:
    plan = {"amount": "0.01", "asset": "BTC", "schedule": {"every": "1d", "at": "12:00"}}
    strategy_id = running(world, auto_invest=plan)
    due = RunAutoInvest(
        strategy_id=strategy_id,
        cycle=1,
        cause=Cause.SCHEDULE,
        due_at=MARKET_TIME,
        market_time=MARKET_TIME,
        price=Decimal("12345.678"),
    )
    assert ask(world, due, f"{strategy_id}.ai.1").inputs["worth"] == "123.45678"


def test_auto_invest_when_due_is_decided_once_and_made_when_its_money_is_there(world: World) -> None:
    strategy_id = running(world, auto_invest=AUTO_INVEST)
    state = until_change(world, strategy_id, "activated").auto_invest
    assert state is not None
    assert (state.since, state.cycle) == (MARKET_TIME, 0)
    due = MARKET_TIME + timedelta(days=1)

    def run(cycle: int, **words: Any) -> StrategyChanged:
        command = RunAutoInvest(
            strategy_id=strategy_id, cycle=cycle, cause=Cause.SCHEDULE, due_at=due, market_time=due, **words
        )
        changed: StrategyChanged = ask(world, command, f"{strategy_id}.ai.{cycle}")
        return changed

    ask(world, PauseStrategy(strategy_id=strategy_id, reason="paused_by_user"), f"{strategy_id}.p")
    assert run(1).change == "paused", "it is not heard"
    ask(world, ResumeStrategy(strategy_id=strategy_id), f"{strategy_id}.u")
    assert run(1).change == "money_added", "the same id is heard now"
    assert run(1).version == run(2).version, "neither again nor another while its money is on its way"
    first, second = (transfer_id(strategy_id, "fund", n) for n in (1, 2))
    world.publish(subjects.transfers(strategy_id), settled(strategy_id, first, "fund", reason="too little there"))
    left_out = until_change(world, strategy_id, "cycle_left_out").auto_invest
    assert left_out is not None
    assert (left_out.carried, left_out.pending, left_out.cycle) == (Decimal(50), False, 1)
    assert run(2).inputs["amount"] == "100"
    world.publish(subjects.transfers(strategy_id), settled(strategy_id, second, "fund"))
    made = until_change(world, strategy_id, "cycle_made").auto_invest
    assert made is not None
    assert (made.invested, made.carried, made.last_made_at) == (Decimal(100), Decimal(0), due)
    assert run(3, made=False).reason == "cycle_missed"


def test_closing_when_its_own_rule_ended_it_is_worth_what_led_to_that(world: World) -> None:
    strategy_id = running(world)
    figures = {"profit_pct": "15", "price.BTC": "60000", "weight.BTC": "40"}
    stop = StopStrategy(strategy_id=strategy_id, reason="take_profit", inputs=figures, action=ExitAction.KEEP)
    ask(world, stop, f"{strategy_id}.s")
    say_progressed(world, strategy_id, 4, "sealed", kind="initial", fills=3, sealed=True)
    until_change(world, strategy_id, "sealed")
    release = settled(strategy_id, transfer_id(strategy_id, "release", 0), "release")
    amounts = {"BTC": Decimal("0.02"), "USDT": Decimal(10)}
    world.publish(subjects.transfers(strategy_id), release.model_copy(update={"amounts": amounts}))
    closed = until_change(world, strategy_id, "closed")
    assert (closed.inputs["returned"], closed.inputs["profit"]) == ("1210", "10")
    assert notifications(world, strategy_id)[-1][1].endswith("profit 10 USDT on 1200 USDT put in.")

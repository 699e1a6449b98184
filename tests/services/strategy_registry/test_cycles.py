"""What becomes of a cycle of Auto-Invest and of an edit, one row a case: BigONE's 100,000 and 200,000 among them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.strategy_registry import editing, life, requests
from services.strategy_registry.cycles import CycleMoney
from services.strategy_registry.records import MAX_REQUESTS, Advance, Status, StrategyRecord
from shared.contracts.lifecycle import EditStrategy, NotificationRaised, RunAutoInvest
from shared.contracts.strategies import StopStrategy
from shared.core.auto_invest import AutoInvestStatus, Cause
from shared.core.errors import Refused
from shared.core.identity import transfer_id
from shared.core.situation import RequestKind
from tests.services.strategy_registry.world import document, progressed, settled

AT = datetime(2026, 1, 2, 13, tzinfo=UTC)
FRIDAYS = {"every": "friday", "at": "14:00", "zone": "Europe/Berlin"}
MADE = ("cycle_made", "running", "", "0")


def _active(invested: str = "0", **changes: Any) -> StrategyRecord:
    """An active strategy that puts 5,000 USDT in every Friday, and has put in so much already."""
    plan = {"amount": "5000", "schedule": FRIDAYS, **changes}
    record = life.confirmed("pv1", document(auto_invest=plan), Decimal(1200), AT).record
    funded = life.with_transfer(record, settled(record.strategy_id, transfer_id(record.strategy_id, "fund", 0), "fund"))
    bought = life.with_progress(funded, progressed(record.strategy_id, 1, "closed", kind="initial", fills=3))
    record = life.advance(bought).record
    assert record.auto_invest is not None
    return replace(record, auto_invest=replace(record.auto_invest, invested=Decimal(invested)))


def _run(record: StrategyRecord, put_in: str = "1200") -> Advance:
    assert record.auto_invest is not None
    cycle = record.auto_invest.cycle + 1
    command = RunAutoInvest(
        strategy_id=record.strategy_id, cycle=cycle, cause=Cause.SCHEDULE, due_at=AT, market_time=AT
    )
    return requests.cycle_run(record, command, CycleMoney(Decimal(5000), Decimal(put_in)), AT)


def _settled(record: StrategyRecord, reason: str = "") -> Advance:
    wanted = record.transfers[-1].transfer_id
    return life.advance(life.with_transfer(record, settled(record.strategy_id, wanted, "fund", reason=reason)))


def _state(made: Advance) -> tuple[str, str, str, str]:
    state = made.record.auto_invest
    assert state is not None
    return made.record.change, state.status.value, state.reason, str(state.carried)


def _told(made: Advance) -> list[str]:
    return [one.message.text for one in made.outgoing if isinstance(one.message, NotificationRaised)]


TOTALS = [
    # the set total, invested before, then; the cycle is never cut
    ("100000", "94999.99", ("cycle_made", "running", "", "0"), "99999.99"),
    ("100000", "95000", ("auto_invest_paused", "paused", "total_reached", "0"), "100000"),
    ("100000", "97500", ("auto_invest_paused", "paused", "total_reached", "0"), "102500"),
    (None, "97500", ("cycle_made", "running", "", "0"), "102500"),
]


@pytest.mark.parametrize(("total", "before", "state", "invested"), TOTALS)
def test_total_when_reached_by_a_cycle_pauses_auto_invest(
    total: str | None, before: str, state: tuple[str, str, str, str], invested: str
) -> None:
    record = _active(before, **({} if total is None else {"pause_at_total": total}))
    made = _settled(_run(record).record)
    assert made.record.auto_invest is not None
    assert (_state(made), made.record.auto_invest.invested) == (state, Decimal(invested))
    assert made.record.status is Status.ACTIVE, "the strategy itself goes on"
    assert len(_told(made)) == (state[1] == "paused")


def test_total_when_reached_before_puts_nothing_in() -> None:
    made = _run(_active("100000", pause_at_total="100000"))
    assert (_state(made), made.record.transfers) == (("auto_invest_paused", "paused", "total_reached", "0"), ())


LIMITS = [
    # put in so far, on its way, the answer, then
    ("195000", "0", "stop", None),
    ("195000.01", "0", "stop", ("auto_invest_stopped", "stopped", "over_limit", "0")),
    ("190000", "5000", "stop", None),
    ("190000", "5000.01", "stop", ("auto_invest_stopped", "stopped", "over_limit", "0")),
    ("195000.01", "0", "skip", ("cycle_left_out", "running", "", "0")),
    ("195000.01", "0", "carry_over", ("auto_invest_stopped", "stopped", "over_limit", "0")),
    ("190000", "5000.01", "carry_over", ("cycle_left_out", "running", "", "5000")),
]


@pytest.mark.parametrize(("put_in", "arriving", "answer", "state"), LIMITS)
def test_cycle_when_it_passes_200000_in_all_is_answered_as_set(
    put_in: str, arriving: str, answer: str, state: tuple[str, str, str, str] | None
) -> None:
    record = _active(over_limit=answer)
    if Decimal(arriving):
        money = requests.NewMoney("USDT", Decimal(arriving), Decimal(arriving))
        record = requests.money_added(record, money, AT, {}).record
    made = _run(record, put_in)
    assert made.record.auto_invest is not None
    assert made.record.auto_invest.pending is (state is None)
    if state is not None:
        assert _state(made) == state
        (text,) = _told(made)
        assert "over 200000 USDT" in text


@pytest.mark.parametrize("answer", ["stop", "skip", "carry_over"])
def test_cycle_when_what_was_carried_is_too_much_goes_on_without_that(answer: str) -> None:
    """Carried over because the wallet was short; were it kept, not even an edit could make a cycle fit again."""
    record = _active(over_limit=answer)
    assert record.auto_invest is not None
    record = replace(record, auto_invest=replace(record.auto_invest, carried=Decimal(10_000)))
    made = _run(record, "195000.01")
    assert made.record.auto_invest is not None
    assert made.record.auto_invest.carried == 0


SHORT = [
    ("stop", ("auto_invest_stopped", "stopped", "short_balance", "0")),
    ("skip", ("cycle_left_out", "running", "", "0")),
    ("carry_over", ("cycle_left_out", "running", "", "5000")),
]


@pytest.mark.parametrize(("answer", "state"), SHORT)
def test_cycle_when_the_wallet_is_short_is_answered_as_set(answer: str, state: tuple[str, str, str, str]) -> None:
    made = _settled(_run(_active(short_balance=answer)).record, "wallet holds 10 USDT, needs 5000")
    assert (_state(made), made.record.requests) == (state, ())
    (text,) = _told(made)
    assert "wallet holds 10 USDT, needs 5000" in text
    if answer != "stop":
        assert _run(made.record).record.transfers[-1].amount == (10_000 if answer == "carry_over" else 5000)


EDITS: list[tuple[str, dict[str, Any], str, str]] = [
    # composition_change, the edit, then
    ("stop", {"targets": {"BTC": "50", "ETH": "20", "SOL": "30"}}, "stopped", "composition_changed"),
    ("continue", {"targets": {"BTC": "50", "ETH": "20", "SOL": "30"}}, "running", ""),
    ("stop", {"name": "another"}, "running", ""),
    ("stop", {"rebalance": {"threshold": "4"}}, "running", ""),
    ("stop", {"auto_invest": {"amount": "75", "schedule": FRIDAYS}}, "running", ""),
]


@pytest.mark.parametrize(("answer", "changes", "status", "reason"), EDITS)
def test_edit_when_the_composition_changes_stops_auto_invest_as_set(
    answer: str, changes: dict[str, Any], status: str, reason: str
) -> None:
    record = _active(composition_change=answer)
    edit = editing.edit_of(record, EditStrategy(strategy_id=record.strategy_id, revision=1, changes=changes), 10)
    made = editing.edited(record, edit, rebalance=True, at=AT, market_time=AT)
    assert _state(made)[1:3] == (status, reason)


def test_amount_when_edited_while_a_cycle_is_on_its_way_counts_from_the_next() -> None:
    record = _run(_active()).record
    changes = {"auto_invest": {"amount": "75", "schedule": FRIDAYS}}
    edit = editing.edit_of(record, EditStrategy(strategy_id=record.strategy_id, revision=1, changes=changes), 10)
    made = _settled(editing.edited(record, edit, rebalance=True, at=AT, market_time=AT).record)
    assert _state(made) == MADE
    assert made.record.auto_invest is not None
    assert made.record.auto_invest.invested == 5000
    assert _run(made.record).record.transfers[-1].amount == 75


@pytest.mark.parametrize("change", ["paused", "exiting", "stopped", "another cycle", "again"])
def test_cycle_when_none_may_be_decided_now_is_not_heard(change: str) -> None:
    record = _active()
    match change:
        case "paused":
            record = replace(record, status=Status.PAUSED)
        case "exiting":
            stop = StopStrategy(strategy_id=record.strategy_id, reason="stopped_by_user")
            record = life.advance(life.with_stop(record, stop)).record
        case "stopped":
            assert record.auto_invest is not None
            record = replace(record, auto_invest=replace(record.auto_invest, status=AutoInvestStatus.STOPPED))
        case "another cycle":
            assert record.auto_invest is not None
            due = RunAutoInvest(
                strategy_id=record.strategy_id, cycle=2, cause=Cause.SCHEDULE, due_at=AT, market_time=AT
            )
            assert requests.cycle_run(record, due, CycleMoney(Decimal(5000), Decimal(0)), AT) == Advance(record)
            return
        case _:
            record = _run(record).record
    assert _run(record) == Advance(record)


def test_cycle_when_its_money_arrives_in_an_exit_is_counted_and_nothing_more() -> None:
    record = _run(_active("95000", pause_at_total="100000")).record
    stop = StopStrategy(strategy_id=record.strategy_id, reason="stopped_by_user")
    made = _settled(life.advance(life.with_stop(record, stop)).record)
    assert (made.record.status, _state(made)[0], made.record.transfers) == (Status.EXITING, "cycle_made", ())
    assert made.record.requests == ()


def test_pause_when_dates_pass_meanwhile_makes_the_newest_only_once_resumed() -> None:
    record = _run(_active()).record
    made = _settled(record).record
    assert made.auto_invest is not None
    assert made.auto_invest.settled_until == AT
    later = AT + timedelta(days=14)
    command = RunAutoInvest(
        strategy_id=made.strategy_id,
        cycle=2,
        cause=Cause.SCHEDULE,
        due_at=later,
        market_time=later,
        left_out=(AT + timedelta(days=7),),
    )
    money = CycleMoney(Decimal(5000), Decimal(6200))
    assert requests.cycle_run(replace(made, status=Status.PAUSED), command, money, AT).record.version == made.version
    run = requests.cycle_run(made, command, money, AT)
    (text,) = _told(run)
    assert "leaves out those of 2026-01-09 13:00" in text


def test_withdrawal_when_a_paused_strategy_has_all_the_requests_it_may_have_is_taken_all_the_same() -> None:
    """They wait until it is resumed, so they must not keep its owner from the money."""
    record = replace(_active(), status=Status.PAUSED)
    for _ in range(MAX_REQUESTS):
        record = requests.money_added(record, requests.NewMoney("USDT", Decimal(10), Decimal(10)), AT, {}).record
    with pytest.raises(Refused, match="at most 20"):
        requests.money_added(record, requests.NewMoney("USDT", Decimal(10), Decimal(10)), AT, {})
    made = requests.withdrawal_asked(record, "USDT", Decimal(50), None, AT).record
    assert made.requests[0].kind is RequestKind.WITHDRAW
    for _ in range(MAX_REQUESTS - 1):
        made = requests.withdrawal_asked(made, "USDT", Decimal(50), None, AT).record
    with pytest.raises(Refused, match="at most 20"):
        requests.withdrawal_asked(made, "USDT", Decimal(50), None, AT)

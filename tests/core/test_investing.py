"""Auto-Invest: when a cycle is due, made, missed or confirmed, and what it comes before and after: one row a case."""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.core.auto_invest import AutoInvestState, AutoInvestStatus, Cause
from shared.core.certificates import UNBOUNDED, certificate_after
from shared.core.decisions import CycleDue, Decision, ExitRequested, Hold, decide
from shared.core.explanations import explain
from shared.core.situation import NONE_YET, ExitConfirmations, Market, Request, RequestKind, Situation
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, BIGONE, market, situation

D = Decimal
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}
FRIDAY = datetime(2026, 1, 2, 14, tzinfo=UTC)  # AT, when it became active, is Thursday, 1 January
SCHEDULED = {"amount": "50", "schedule": {"every": "friday", "at": "14:00"}}
AT_A_LOSS = {"amount": "50", "drawdown": {"loss": "5", "min_interval": "7d"}}
BOTH = {**SCHEDULED, **AT_A_LOSS}
RUNNING = AutoInvestState(AutoInvestStatus.RUNNING, AT)


def _investing(auto_invest: Any, state: AutoInvestState | None = RUNNING, **changes: Any) -> Situation:
    document = {**BIGONE, "rebalance": {"hold": True}, "auto_invest": auto_invest}
    made = situation(BALANCED, document, **changes)
    return replace(made, strategy=replace(made.strategy, auto_invest=state))


def _at(price: str, now: datetime = AT, **changes: Any) -> Market:
    return market(dict.fromkeys(PRICES, price), now, **changes)


def _settled(until: datetime, **changes: Any) -> AutoInvestState:
    return replace(RUNNING, cycle=3, settled_until=until, **changes)


WEEK = 7 * DAY
SCHEDULES = [
    # state, now, code, due at, left out
    ("before the first date", RUNNING, FRIDAY - HOUR, "hold_mode", None, 0),
    ("at the date", RUNNING, FRIDAY, "auto_invest_due", FRIDAY, 0),
    ("late, within the grace", RUNNING, FRIDAY + DAY - HOUR, "auto_invest_due", FRIDAY, 0),
    ("late by the grace", RUNNING, FRIDAY + DAY, "auto_invest_missed", FRIDAY, 0),
    ("settled", _settled(FRIDAY), FRIDAY + HOUR, "hold_mode", None, 0),
    ("the next one", _settled(FRIDAY), FRIDAY + WEEK, "auto_invest_due", FRIDAY + WEEK, 0),
    ("two have passed: the newest is made", _settled(FRIDAY), FRIDAY + 2 * WEEK, "auto_invest_due",
     FRIDAY + 2 * WEEK, 1),
    ("three have passed, all too late", _settled(FRIDAY), FRIDAY + 3 * WEEK + 2 * DAY, "auto_invest_missed",
     FRIDAY + 3 * WEEK, 2),
    ("market time went back", _settled(FRIDAY), AT, "hold_mode", None, 0),
    ("on its way", replace(RUNNING, pending=True), FRIDAY, "hold_mode", None, 0),
    ("stopped", replace(RUNNING, status=AutoInvestStatus.STOPPED), FRIDAY, "hold_mode", None, 0),
    ("paused at its total", replace(RUNNING, status=AutoInvestStatus.PAUSED), FRIDAY, "hold_mode", None, 0),
    ("not begun", None, FRIDAY, "hold_mode", None, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "now", "code", "due_at", "left_out"), [row[1:] for row in SCHEDULES], ids=[row[0] for row in SCHEDULES]
)
def test_schedule_when_dates_have_passed_makes_the_newest_or_none(
    state: AutoInvestState | None, now: datetime, code: str, due_at: datetime | None, left_out: int
) -> None:
    decision = decide(_investing(SCHEDULED, state), _at("1", now))
    assert decision.code == code
    if isinstance(decision, CycleDue):
        assert (decision.cause, decision.due_at, decision.market_time) == (Cause.SCHEDULE, due_at, now)
        assert len(decision.left_out) == left_out
        assert decision.cycle == (1 if state is RUNNING else 4)
        assert decision.made is (code == "auto_invest_due")
        assert explain(code, decision.figures.as_text()).startswith(f"Cycle {decision.cycle} of Auto-Invest was due")


LOSSES = [
    ("exactly there", RUNNING, "0.95", AT, True),
    ("not quite", RUNNING, "0.9500000001", AT, False),
    ("made a week ago", _settled(AT, last_made_at=AT), "0.5", AT + WEEK, True),
    ("made less than a week ago", _settled(AT, last_made_at=AT), "0.5", AT + WEEK - timedelta(milliseconds=1), False),
    ("left out less than a week ago", _settled(AT, left_out_at=AT + DAY), "0.5", AT + WEEK, False),
    ("left out, but made since", _settled(AT, left_out_at=AT, last_made_at=AT + DAY), "0.5", AT + WEEK, False),
    ("on its way", replace(RUNNING, pending=True), "0.5", AT, False),
]


@pytest.mark.parametrize(
    ("state", "price", "now", "fires"), [row[1:] for row in LOSSES], ids=[row[0] for row in LOSSES]
)
def test_drawdown_when_confirmed_after_its_interval_is_due(
    state: AutoInvestState, price: str, now: datetime, fires: bool
) -> None:
    made, market_now = _investing(AT_A_LOSS, state), _at(price, now)
    first = decide(made, market_now)
    last = first
    for _ in range(2):
        last = decide(made, market_now, last.confirmations)
    expected = ("confirming_drawdown", "auto_invest_drawdown") if fires else ("hold_mode", "hold_mode")
    assert (first.code, last.code) == expected
    if isinstance(last, CycleDue):
        assert (last.cause, last.due_at, last.cycle) == (Cause.DRAWDOWN, now, state.cycle + 1)
        assert "Auto-Invest puts more in at a loss of 5 %" in explain(last.code, last.figures.as_text())
        assert "seen on 1 of the 3" in explain(first.code, first.figures.as_text())


def test_drawdown_when_nothing_was_put_in_never_fires() -> None:
    assert decide(_investing(AT_A_LOSS, contributed="0"), _at("0.1")).code == "hold_mode"


def _counts(made: Situation, frames: Iterable[tuple[Market, bool]]) -> list[tuple[int, int]]:
    """Of stop-loss and drawdown after each frame."""
    confirmations, counts = NONE_YET, []
    for now, by_new_quote in frames:
        confirmations = decide(made, now, confirmations, by_new_quote=by_new_quote).confirmations
        counts.append((confirmations.count, confirmations.drawdown_count))
    return counts


def test_drawdown_and_stop_loss_when_both_are_reached_count_each_for_itself() -> None:
    made = _investing({**AT_A_LOSS, "drawdown": {"loss": "5", "min_interval": "7d", "confirm": "4"}}, stop_loss="-8")
    down, low, stale = _at("0.94"), _at("0.9"), _at("0.9", stale={"ETH"})
    assert _counts(made, [(down, True), (low, True), (down, True), (low, True)]) == [(0, 1), (1, 2), (0, 3), (1, 4)]
    # without a new quote nothing is counted and nothing is lost; a quote beside a stale price breaks both
    frames = [(low, True), (low, False), (stale, False), (low, True), (stale, True), (low, True)]
    assert _counts(made, frames) == [(1, 1), (1, 1), (1, 1), (2, 2), (0, 0), (1, 1)]
    assert _counts(made, [(low, True), (_at("1"), True), (low, True)]) == [(1, 1), (0, 0), (1, 1)]


def test_stop_loss_when_confirmed_comes_before_a_cycle() -> None:
    made, low = _investing(BOTH, stop_loss="-8"), _at("0.9", FRIDAY)
    assert decide(made, low).code == "confirming_stop_loss"
    confirmed = ExitConfirmations(decide(made, low).confirmations.reason, 2, drawdown_count=3)
    assert isinstance(decide(made, low, confirmed), ExitRequested)


def test_cycle_when_due_comes_before_the_rule_and_after_a_request() -> None:
    made = _investing(SCHEDULED, rebalance={"interval": "1h"})
    assert decide(made, _at("1", FRIDAY)).code == "auto_invest_due"
    asked = replace(made.strategy, request=Request("rq", RequestKind.REBALANCE), requests_open=1)
    assert decide(replace(made, strategy=asked), _at("1", FRIDAY)).code == "rebalance_now"
    waiting = replace(made.strategy, requests_open=1)  # a request whose turn has not come: no cycle beside it
    assert decide(replace(made, strategy=waiting), _at("1", FRIDAY)).code == "interval_due"
    paused = replace(made.strategy, status=StrategyStatus.PAUSED)
    assert decide(replace(made, strategy=paused), _at("1", FRIDAY)).code == "paused"


def test_cycle_when_its_coin_has_no_usable_price_waits_for_it_but_not_for_ever() -> None:
    made = _investing({**SCHEDULED, "asset": "DOT"})
    missing = decide(made, _at("1", FRIDAY))
    assert (missing.code, certificate_after(missing, made, _at("1", FRIDAY)).waits_for_price) == (
        "missing_price:DOT",
        "DOT",
    )
    assert isinstance(missing, Hold)
    assert missing.until == FRIDAY + DAY  # the end of its grace
    known = market({**PRICES, "DOT": "5"}, FRIDAY)
    assert decide(made, known).code == "auto_invest_due"
    assert decide(made, replace(known, stale={"DOT"})).code == "stale_price:DOT"
    assert decide(made, _at("1", FRIDAY + DAY)).code == "auto_invest_missed"
    at_a_loss = _investing({**AT_A_LOSS, "asset": "DOT"})
    assert _counts(at_a_loss, [(_at("0.9"), True), (market({**dict.fromkeys(PRICES, "0.9"), "DOT": "5"}), True)]) == [
        (0, 0),
        (0, 1),
    ]


def test_cycle_when_an_earlier_one_was_carried_over_tells_both_amounts() -> None:
    decision = decide(_investing(SCHEDULED, replace(RUNNING, carried=D(50))), _at("1", FRIDAY))
    assert decision.figures.as_text()["amount"] == "100"


CERTIFICATES = [
    ("a date", SCHEDULED, RUNNING, AT, FRIDAY, UNBOUNDED),
    ("the next date", SCHEDULED, _settled(FRIDAY), FRIDAY, FRIDAY + WEEK, UNBOUNDED),
    ("a loss", AT_A_LOSS, RUNNING, AT, None, -math.log(0.95)),
    ("a loss, once the interval has passed", AT_A_LOSS, _settled(AT, last_made_at=AT), AT + DAY, AT + WEEK, UNBOUNDED),
    ("both", BOTH, RUNNING, AT, FRIDAY, -math.log(0.95)),
    ("both, the interval ends first", BOTH, _settled(FRIDAY, last_made_at=FRIDAY - HOUR), FRIDAY, FRIDAY + WEEK - HOUR,
     UNBOUNDED),
    ("on its way", BOTH, replace(RUNNING, pending=True), AT, None, UNBOUNDED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("auto_invest", "state", "now", "until", "band"),
    [row[1:] for row in CERTIFICATES],
    ids=[row[0] for row in CERTIFICATES],
)
def test_certificate_when_auto_invest_waits_ends_when_something_can_be_due(
    auto_invest: Any, state: AutoInvestState, now: datetime, until: datetime | None, band: float
) -> None:
    made, market_now = _investing(auto_invest, state), _at("1", now)
    certificate = certificate_after(decide(made, market_now), made, market_now)
    assert certificate.until == until
    assert certificate.log_band == pytest.approx(band, rel=1e-8)


@pytest.mark.parametrize("price", ["1", "0.9"])
def test_certificate_when_a_cycle_is_asked_for_or_confirmed_looks_at_every_quote(price: str) -> None:
    made, now = _investing(BOTH), _at(price, FRIDAY if price == "1" else AT)
    decision: Decision = decide(made, now)
    assert decision.code == ("auto_invest_due" if price == "1" else "confirming_drawdown")
    assert certificate_after(decision, made, now).log_band == 0.0

"""Every trigger and every guard of ``decide``: one row a case, outcome last."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.core.decisions import Decision, ExitRequested, Hold, Plan, decide
from shared.core.market import Quote
from shared.core.position import PlanOutcome, PlanProgress
from shared.core.situation import NONE_YET
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, BIGONE, MINUTE, instrument, market, situation

D = Decimal
DAY = timedelta(days=1)
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1", "DOT": "1"}
DOCUMENT = {**BIGONE, "targets": {"ONE": "60", "BTC": "30", "DOT": "10"}}
ON_TARGET = ("600", "300", "100")


def _held(one: str, btc: str, dot: str, **others: str) -> dict[str, str]:
    return {"ONE": one, "BTC": btc, "DOT": dot, **others}


def _rule(**rule: Any) -> dict[str, Any]:
    return {**DOCUMENT, "rebalance": rule}


def _closed(at: datetime, outcome: PlanOutcome = PlanOutcome.COMPLETED) -> PlanProgress:
    return PlanProgress("s1", None, "pl0", outcome, at, 0, False)


RELATIVE, HYBRID = {"relative": "15"}, {"factor": "20", "floor": "3"}
PER_ASSET = {"points": "9", "per_asset": {"BTC": "3"}}
BANDS = [
    # relative 15 % of 60, 30, 10: widths 9, 4.5, 1.5
    ("relative, high side just inside", RELATIVE, ("600", "285.001", "114.999"), "within_band"),
    ("relative, exactly at the high side", RELATIVE, ("600", "285", "115"), "threshold_reached:DOT"),
    ("relative, exactly at the low side", RELATIVE, ("605", "310", "85"), "threshold_reached:DOT"),
    ("relative, low side just inside", RELATIVE, ("604.999", "310", "85.001"), "within_band"),
    ("relative, the large one may move more", RELATIVE, ("620", "280", "100"), "within_band"),
    ("relative, the furthest of those outside is named", RELATIVE, ("520", "360", "120"), "threshold_reached:BTC"),
    # hybrid max(20 % of target, 3): widths 12, 6, 3
    ("hybrid, the floor counts for the small one", HYBRID, ("600", "271", "129"), "within_band"),
    ("hybrid, exactly at the floor", HYBRID, ("600", "270", "130"), "threshold_reached:DOT"),
    ("hybrid, exactly at the factor", HYBRID, ("560", "360", "80"), "threshold_reached:BTC"),
    ("hybrid, just inside the factor", HYBRID, ("560.1", "359.9", "80"), "within_band"),
    # 9 points, BTC 3
    ("per asset, its own is reached", PER_ASSET, ("630", "270", "100"), "threshold_reached:BTC"),
    ("per asset, its own is not reached", PER_ASSET, ("629", "271", "100"), "within_band"),
    ("per asset, further but within its own", PER_ASSET, ("685", "269", "46"), "threshold_reached:BTC"),
    ("per asset, the others have the common one", PER_ASSET, ("690", "280", "30"), "threshold_reached:ONE"),
]


@pytest.mark.parametrize(("threshold", "values", "code"), [row[1:] for row in BANDS], ids=[row[0] for row in BANDS])
def test_threshold_when_of_any_kind_fires_exactly_there(
    threshold: dict[str, Any], values: tuple[str, str, str], code: str
) -> None:
    held = situation(_held(*values), _rule(threshold=threshold), contributed="1000")
    assert decide(held, market(PRICES)).code == code


@pytest.mark.parametrize(
    ("threshold", "cash", "code"),
    [
        (RELATIVE, "15.2", "within_band"),  # the narrowest width is 1.5 points: 15.22842639... of 1015.2
        (RELATIVE, "15.3", "threshold_reached:USDT"),
        (HYBRID, "30", "within_band"),  # 3 points: 30.9278...
        (HYBRID, "31", "threshold_reached:USDT"),
        (PER_ASSET, "98", "within_band"),  # the common width of 9 points: 98.901...
        (PER_ASSET, "99", "threshold_reached:USDT"),
        (RELATIVE, "0", "within_band"),
    ],
)
def test_threshold_when_cash_is_no_target_gives_it_the_narrowest_width(threshold: Any, cash: str, code: str) -> None:
    held = situation(_held(*ON_TARGET, USDT=cash), _rule(threshold=threshold), contributed="1000")
    assert decide(held, market(PRICES)).code == code


ANY, ALL = {"interval": "7d", "threshold": "5"}, {"interval": "7d", "threshold": "5", "when": "all"}
LEAST, BOTH = {"interval": "7d", "min_drift": "3"}, {"interval": "7d", "threshold": "5", "min_drift": "3"}
OFF_2, OFF_4, OFF_6 = ("620", "280", "100"), ("640", "260", "100"), ("660", "240", "100")
HOLD = {"hold": True}
TRIGGERS = [
    ("any, neither", ANY, AT + 6 * DAY, ON_TARGET, "within_band"),
    ("any, threshold", ANY, AT + 6 * DAY, OFF_6, "threshold_reached:ONE"),
    ("any, interval, forced", ANY, AT + 7 * DAY, ON_TARGET, "interval_due"),
    ("any, both", ANY, AT + 7 * DAY, OFF_6, "interval_due"),
    ("all, neither", ALL, AT + 6 * DAY, ON_TARGET, "interval_not_due"),
    ("all, threshold alone", ALL, AT + 6 * DAY, OFF_6, "interval_not_due"),
    ("all, interval alone", ALL, AT + 7 * DAY, OFF_4, "within_band"),
    ("all, both", ALL, AT + 7 * DAY, OFF_6, "interval_due"),
    ("all, both, days later", ALL, AT + 11 * DAY, OFF_6, "interval_due"),
    ("least drift, not due", LEAST, AT + 6 * DAY, OFF_6, "interval_not_due"),
    ("least drift, due and not reached", LEAST, AT + 7 * DAY, OFF_2, "below_min_drift"),
    ("least drift, due and reached", LEAST, AT + 7 * DAY, OFF_4, "interval_due"),
    ("least drift, due and exactly reached", LEAST, AT + 7 * DAY, ("630", "270", "100"), "interval_due"),
    ("least drift, reached while the run is still due", LEAST, AT + 9 * DAY, OFF_4, "interval_due"),
    ("least drift or threshold, due, none", BOTH, AT + 7 * DAY, OFF_2, "within_band"),
    ("least drift or threshold, due, least", BOTH, AT + 7 * DAY, OFF_4, "interval_due"),
    ("least drift or threshold, not due, less", BOTH, AT + 6 * DAY, OFF_4, "within_band"),
    ("least drift or threshold, not due, more", BOTH, AT + 6 * DAY, OFF_6, "threshold_reached:ONE"),
    ("hold mode, whatever the drift", HOLD, AT + 7 * DAY, ("1000", "0", "0"), "hold_mode"),
]


@pytest.mark.parametrize(
    ("rule", "now", "values", "code"), [row[1:] for row in TRIGGERS], ids=[row[0] for row in TRIGGERS]
)
def test_trigger_when_interval_and_threshold_go_together_is_the_table(
    rule: dict[str, Any], now: datetime, values: tuple[str, str, str], code: str
) -> None:
    held = situation(_held(*values), _rule(**rule), contributed="1000")
    assert decide(held, market(PRICES, now)).code == code


@pytest.mark.parametrize(
    ("rule", "closed", "reason", "now", "values", "code"),
    [
        # a threshold plan that expired is no run of the interval; one of the interval leaves its run due
        (ANY, AT + 3 * DAY, "threshold_reached:ONE", AT + 4 * DAY, ON_TARGET, "within_band"),
        (ANY, AT + 7 * DAY, "interval_due", AT + 7 * DAY + MINUTE, ON_TARGET, "interval_due"),
        (ALL, AT + 8 * DAY, "interval_due", AT + 8 * DAY + MINUTE, OFF_6, "interval_due"),
        (ALL, AT + 8 * DAY, "interval_due", AT + 8 * DAY + MINUTE, OFF_4, "within_band"),
    ],
)
def test_run_when_its_plan_expired_stays_due(
    rule: dict[str, Any], closed: datetime, reason: str, now: datetime, values: tuple[str, str, str], code: str
) -> None:
    progress = _closed(closed, PlanOutcome.EXPIRED)
    held = situation(_held(*values), _rule(**rule), contributed="1000", progress=progress, last_kind="rebalance")
    assert decide(replace(held, last_closed_reason=reason), market(PRICES, now)).code == code


@pytest.mark.parametrize(
    ("rule", "now", "until"),
    [
        (ANY, AT + DAY, AT + 7 * DAY),
        (ALL, AT + DAY, AT + 7 * DAY),
        (ALL, AT + 8 * DAY, None),
        (LEAST, AT + DAY, AT + 7 * DAY),
        (LEAST, AT + 8 * DAY, None),
        ({"threshold": "5"}, AT + DAY, None),
        (HOLD, AT + DAY, None),
    ],
)
def test_hold_when_time_will_change_it_tells_when(rule: dict[str, Any], now: datetime, until: datetime | None) -> None:
    decision = decide(situation(_held(*ON_TARGET), _rule(**rule), contributed="1000"), market(PRICES, now))
    assert isinstance(decision, Hold)
    assert decision.until == until


@pytest.mark.parametrize(
    ("cooldown", "after", "code"),
    [
        ("0m", timedelta(0), "threshold_reached:ONE"),
        ("1m", timedelta(seconds=59), "cooldown"),
        ("1m", MINUTE, "threshold_reached:ONE"),
        ("5m", 4 * MINUTE, "cooldown"),
        ("2d", 47 * 60 * MINUTE, "cooldown"),
        ("2d", 48 * 60 * MINUTE, "threshold_reached:ONE"),
    ],
)
def test_cooldown_when_set_is_kept(cooldown: str, after: timedelta, code: str) -> None:
    held = situation(_held(*OFF_6), _rule(threshold="5", cooldown=cooldown), contributed="1000", progress=_closed(AT))
    assert decide(held, market(PRICES, AT + after)).code == code


@pytest.mark.parametrize(
    ("outcome", "kind", "minimum", "code"),
    [
        # 60 of ONE to sell; BTC needs 60
        (PlanOutcome.COMPLETED, "rebalance", "60", "threshold_reached:ONE"),
        (PlanOutcome.PARTIAL, "rebalance", "60", "threshold_reached:ONE"),
        (PlanOutcome.NOTHING_TRADABLE, "rebalance", "60", "below_minimum:ONE"),
        (PlanOutcome.NOTHING_TRADABLE, "rebalance", "57.15", "below_minimum:ONE"),
        (PlanOutcome.NOTHING_TRADABLE, "rebalance", "57.14", "threshold_reached:ONE"),  # 1.05 x 57.14 = 59.997
        (PlanOutcome.NOTHING_TRADABLE, "initial", "60", "threshold_reached:ONE"),
    ],
)
def test_latch_when_nothing_was_tradable_asks_for_more_than_the_minimum(
    outcome: PlanOutcome, kind: str, minimum: str, code: str
) -> None:
    progress = _closed(AT - DAY, outcome)
    held = situation(_held(*OFF_6), _rule(threshold="5"), contributed="1000", progress=progress, last_kind=kind)
    instruments = {asset: instrument(asset, min_notional=D(minimum)) for asset in PRICES}
    assert decide(held, market(PRICES, instruments=instruments)).code == code


@pytest.mark.parametrize(
    ("rule", "now", "aims"),
    [
        ({"threshold": "5"}, AT, ["60", "30", "10"]),
        ({"threshold": "5", "destination": "halfway"}, AT, ["62.5", "27.5", "10"]),
        ({"threshold": "5", "destination": "band_edge"}, AT, ["65", "25", "10"]),
        ({"threshold": {"relative": "10"}, "destination": "band_edge"}, AT, ["63", "27", "10"]),
        # a forced run goes to the targets; one that the threshold must allow goes where the threshold's go
        ({**ANY, "destination": "band_edge"}, AT + 7 * DAY, ["60", "30", "10"]),
        ({**ALL, "destination": "band_edge"}, AT + 7 * DAY, ["65", "25", "10"]),
    ],
)
def test_destination_when_set_is_what_the_plan_aims_at(rule: dict[str, Any], now: datetime, aims: list[str]) -> None:
    decision = decide(situation(_held(*OFF_6), _rule(**rule), contributed="1000"), market(PRICES, now))
    assert isinstance(decision, Plan)
    assert [line.target_pct for line in decision.draft.valuation.lines] == [D(aim) for aim in aims]
    texts = decision.figures.as_text()
    assert texts["target.ONE"] == "60"
    assert texts.get("aim.ONE") == (aims[0] if aims[0] != "60" else None)
    assert texts.get("destination", "target") == rule.get("destination", "target")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (("650", "250", "100"), "below_minimum:ONE"),  # exactly at the edge: nothing to move
        (("654.9", "245.1", "100"), "below_minimum:ONE"),
        (("655", "245", "100"), "threshold_reached:ONE"),  # 5 beyond the edge: the minimum
    ],
)
def test_band_edge_when_little_is_beyond_it_waits_for_an_order(values: tuple[str, str, str], code: str) -> None:
    held = situation(_held(*values), _rule(threshold="5", destination="band_edge"), contributed="1000")
    assert decide(held, market(PRICES)).code == code


def test_halted_when_it_need_not_move_does_not_hold_back() -> None:
    """DOT is within its band and stays: that it cannot be traded is no matter, unlike on the way to the targets."""
    held = _held("660", "242", "98")
    now = market(PRICES)
    halted = replace(now, instruments={**now.instruments, "DOT": instrument("DOT", tradable=False)})
    to_target = decide(situation(held, _rule(threshold="5"), contributed="1000"), halted)
    elsewhere = _rule(threshold={"points": "9", "per_asset": {"ONE": "5", "BTC": "5"}}, destination="halfway")
    values = _held("650", "250", "98")
    assert to_target.code == "not_tradable:DOT"
    assert decide(situation(values, elsewhere, contributed="998"), halted).code == "not_tradable:DOT"  # it must give
    balanced = situation(_held("650", "250", "100"), elsewhere, contributed="1000")
    assert decide(balanced, halted).code == "threshold_reached:ONE"


@pytest.mark.parametrize(
    ("factor", "ask", "code"),
    [
        # off by 6 of 60 and 6 of 30: benefit 1000 x (0.0036 / 1.26 + 0.0036 / 0.54) = 9.52; fees 60 x 0.002 = 0.12
        ("2", "1", "threshold_reached:ONE"),
        ("79", "1", "threshold_reached:ONE"),
        ("80", "1", "cost_guard"),
        ("2", "1.07", "threshold_reached:ONE"),  # the spread: 60 x 0.07 = 4.2
        ("2", "1.08", "cost_guard"),
    ],
)
def test_cost_guard_when_the_benefit_is_too_small_waits(factor: str, ask: str, code: str) -> None:
    quotes = {asset: Quote(D(1), D(ask), AT) for asset in PRICES}
    held = situation(_held(*OFF_6), _rule(threshold="5", cost_guard=factor), contributed="1000")
    decision = decide(held, market(PRICES, quotes=quotes))
    assert decision.code == code
    if isinstance(decision, Hold):
        texts = decision.figures.as_text()
        assert texts["benefit"].startswith("9.52380952")
        assert D(texts["cost"]) * D(factor) > D(texts["benefit"])
        assert texts["cost_guard"] == factor


@pytest.mark.parametrize(
    ("start", "price", "code"),
    [
        ({"asset": "BTC", "at_or_below": "50000"}, "50000.01", "awaiting_start_price:BTC"),
        ({"asset": "BTC", "at_or_below": "50000"}, "50000", "initial_purchase"),
        ({"asset": "BTC", "at_or_below": "50000"}, "1", "initial_purchase"),
        ({"asset": "BTC", "at_or_above": "50000"}, "49999.99", "awaiting_start_price:BTC"),
        ({"asset": "BTC", "at_or_above": "50000"}, "50000", "initial_purchase"),
        (None, "50000", "initial_purchase"),
    ],
)
def test_start_when_a_price_is_awaited_buys_only_there(start: Any, price: str, code: str) -> None:
    document = {**DOCUMENT, "start": start}
    held = situation({"USDT": "1000"}, document, status=StrategyStatus.BUILDING, contributed="1000")
    assert decide(held, market({**PRICES, "BTC": price})).code == code


def test_start_when_reached_once_and_bought_is_never_asked_again() -> None:
    document = {**DOCUMENT, "start": {"asset": "BTC", "at_or_below": "0.5"}}
    assert (
        decide(situation(_held(*OFF_6), document, contributed="1000"), market(PRICES)).code == "threshold_reached:ONE"
    )


@pytest.mark.parametrize(("confirm", "looks"), [(None, 3), ("1", 1), ("2", 2), ("5", 5)])
def test_confirm_when_set_is_how_many_quotes_a_level_must_hold(confirm: str | None, looks: int) -> None:
    level = {"percent": "-8"} if confirm is None else {"percent": "-8", "confirm": confirm}
    held = situation(_held(*ON_TARGET), DOCUMENT, contributed="1000", stop_loss=level)
    down, confirmations, decisions = market(dict.fromkeys(PRICES, "0.9")), NONE_YET, list[Decision]()
    while not decisions or not isinstance(decisions[-1], ExitRequested):
        decisions.append(decide(held, down, confirmations))
        confirmations = decisions[-1].confirmations
    assert len(decisions) == looks


def test_exit_levels_when_it_holds_still_fire() -> None:
    held = situation(_held(*ON_TARGET), _rule(**HOLD), contributed="1000", take_profit="15")
    assert decide(held, market(dict.fromkeys(PRICES, "2"))).code == "confirming_take_profit"

"""Every rule of ``decide``: one row a case, outcome last."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.core.decisions import Decision, ExitRequested, Hold, Plan, decide
from shared.core.identity import plan_id
from shared.core.market import Quote
from shared.core.position import PlanOutcome, PlanProgress
from shared.core.reasons import ACTING, Reason, code_of, reason_of
from shared.core.situation import NONE_YET, ExitConfirmations
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, BIGONE, MINUTE, instrument, market, situation

D = Decimal
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}
CLOSED = PlanProgress("s1", None, "pl0", PlanOutcome.COMPLETED, AT, 0, False)


def _decide(holdings: dict[str, str], prices: dict[str, str] = PRICES, **changes: Any) -> Decision:
    return decide(situation(holdings, **changes), market(prices))


@pytest.mark.parametrize(
    ("one", "btc", "eth", "code"),
    [
        # BTC, target 30, threshold 5: fires at >= 35 or <= 25, not before
        ("3501", "3499", "3000", "within_band"),
        ("3500", "3500", "3000", "threshold_reached:ONE"),  # ONE at exactly 35, BTC at exactly 35: first in order
        ("3550", "3500", "2950", "threshold_reached:BTC"),  # exactly 35.00
        ("3550.5", "3499.9999999999", "2949.5000000001", "within_band"),  # 34.999999999999
        ("4499", "2501", "3000", "within_band"),
        ("4450", "2500", "3050", "threshold_reached:BTC"),  # exactly 25.00
        ("4500", "2500", "3000", "threshold_reached:ONE"),
        ("4000", "3000", "3000", "within_band"),
    ],
)
def test_threshold_when_weights_are_exactly_there_fires(one: str, btc: str, eth: str, code: str) -> None:
    decision = _decide({"ONE": one, "BTC": btc, "ETH": eth}, contributed="10000")
    assert decision.code == code
    assert isinstance(decision, Plan if code.startswith("threshold") else Hold)


@pytest.mark.parametrize(
    ("eth_price", "weight", "code"),
    [
        ("1.256", "34.99", "within_band"),
        ("1.2564102564102564102564102564102564102", "35.00 less a trifle", "within_band"),
        ("1.2564102564102564102564102564102564103", "35.00 and a trifle", "threshold_reached:ETH"),
    ],
)
def test_bigone_example_when_one_price_rises_fires_at_35_percent(eth_price: str, weight: str, code: str) -> None:
    """1,200 USDT at 40/30/30; ETH rises until its weight is 35: 360 p / (840 + 360 p) = 0.35 at p = 1.25641025..."""
    assert _decide(BALANCED, {**PRICES, "ETH": eth_price}).code == code


def test_bigone_example_when_one_is_at_40_and_another_at_20_plans_both() -> None:
    decision = _decide({"ONE": "480", "BTC": "480", "ETH": "240"})
    assert isinstance(decision, Plan)
    draft = decision.draft
    assert (decision.code, draft.kind, draft.valuation.total) == ("threshold_reached:BTC", "rebalance", 1200)
    assert [(line.asset, line.value, line.target_pct) for line in draft.valuation.lines] == [
        ("ONE", D(480), D(40)),
        ("BTC", D(480), D(30)),
        ("ETH", D(240), D(30)),
    ]
    assert draft.plan_id == plan_id("s1", 7, "")
    assert (draft.position_version, draft.fills_seen, draft.previous_plan_id) == (7, 0, "")
    inputs = decision.figures.as_text()
    assert inputs["weight.BTC"] == "40"
    assert (inputs["drift"], inputs["asset"], inputs["threshold"]) == ("10", "BTC", "5")


@pytest.mark.parametrize(
    ("holdings", "code"),
    [
        ({**BALANCED, "USDT": "63.157894"}, "within_band"),  # surplus cash of 4.99999... %
        ({**BALANCED, "USDT": "63.157895"}, "threshold_reached:USDT"),
        ({**BALANCED, "DOGE": "80"}, "threshold_reached:DOGE"),  # held, not a target: target 0
        ({"ONE": "1200"}, "threshold_reached:ONE"),
    ],
)
def test_threshold_when_cash_or_strangers_are_held_counts_them(holdings: dict[str, str], code: str) -> None:
    assert _decide(holdings, {**PRICES, "DOGE": "1"}).code == code


def test_threshold_when_cash_is_a_target_watches_it_too() -> None:
    document = {**BIGONE, "targets": {"BTC": "50", "USDT": "50"}}
    assert _decide({"BTC": "600", "USDT": "600"}, document=document).code == "within_band"
    assert _decide({"BTC": "660", "USDT": "540"}, document=document).code == "threshold_reached:BTC"


CASH, NONE = {"USDT": "1200"}, {"USDT": "0"}
FUNDING, BUILDING, EXITING = StrategyStatus.FUNDING, StrategyStatus.BUILDING, StrategyStatus.EXITING


def _state(
    status: StrategyStatus, holdings: dict[str, str], progress: PlanProgress | None = None, kind: str = ""
) -> Any:
    return {"status": status, "holdings": holdings, "progress": progress, "last_kind": kind}


def _ended(outcome: PlanOutcome) -> PlanProgress:
    return replace(CLOSED, last_outcome=outcome, last_closed_at=AT - timedelta(minutes=1))


COMPLETED, PARTIAL, EXPIRED = _ended(PlanOutcome.COMPLETED), _ended(PlanOutcome.PARTIAL), _ended(PlanOutcome.EXPIRED)
BOUGHT = replace(PARTIAL, last_fills=1)
NOTHING, OPEN = _ended(PlanOutcome.NOTHING_TRADABLE), replace(CLOSED, open_plan_id="pl1")
UNPOSTED, SEALED = replace(CLOSED, fills_total=1), replace(CLOSED, sealed=True)
ACTIVE = StrategyStatus.ACTIVE

STATES = [
    ("funding", _state(FUNDING, NONE), "awaiting_funds"),
    ("closed", _state(StrategyStatus.CLOSED, NONE), "not_running"),
    ("building, no money yet", _state(BUILDING, NONE), "awaiting_funds"),
    ("building, funded", _state(BUILDING, CASH), "initial_purchase"),
    ("building, bought", _state(BUILDING, BALANCED, COMPLETED, "initial"), "awaiting_activation"),
    ("building, bought in part", _state(BUILDING, BALANCED, BOUGHT, "initial"), "awaiting_activation"),
    ("building, every order came to nothing", _state(BUILDING, CASH, PARTIAL, "initial"), "cooldown"),
    ("building, plan expired", _state(BUILDING, CASH, EXPIRED, "initial"), "initial_purchase"),
    ("building, nothing tradable a minute ago", _state(BUILDING, CASH, NOTHING, "initial"), "cooldown"),
    ("active, plan open", _state(ACTIVE, BALANCED, OPEN), "plan_open"),
    ("active, fill not posted", _state(ACTIVE, BALANCED, UNPOSTED), "fills_pending"),
    ("active, sealed", _state(ACTIVE, BALANCED, SEALED), "sealed"),
    ("exiting", _state(EXITING, BALANCED), "stopped_by_user"),
    ("exiting, in cash already", _state(EXITING, CASH), "stopped_by_user"),
    ("exiting, plan open", _state(EXITING, BALANCED, OPEN), "plan_open"),
    ("exiting, sealed", _state(EXITING, BALANCED, SEALED), "sealed"),
    ("exiting, sold", _state(EXITING, BALANCED, COMPLETED, "exit"), "awaiting_release"),
    ("exiting, nothing tradable", _state(EXITING, BALANCED, NOTHING, "exit"), "awaiting_release"),
    ("exiting, sold in part", _state(EXITING, BALANCED, PARTIAL, "exit"), "stopped_by_user"),
    ("exiting right after a rebalance", _state(EXITING, BALANCED, COMPLETED, "rebalance"), "stopped_by_user"),
]


@pytest.mark.parametrize(("state", "code"), [row[1:] for row in STATES], ids=[row[0] for row in STATES])
def test_state_when_something_is_awaited_holds(state: dict[str, Any], code: str) -> None:
    assert _decide(**state).code == code


def test_position_when_none_is_known_awaits_funds() -> None:
    assert decide(replace(situation(BALANCED), position=None), market(PRICES)).code == "awaiting_funds"


def test_exit_when_coins_are_held_aims_at_the_funding_asset_only() -> None:
    stopped = situation({**BALANCED, "USDT": "3"}, status=StrategyStatus.EXITING)
    stopped = replace(stopped, strategy=replace(stopped.strategy, exit_reason="take_profit"))
    decision = decide(stopped, market(PRICES))
    assert isinstance(decision, Plan)
    assert (decision.code, decision.draft.kind) == ("take_profit", "exit")
    targets = {line.asset: line.target_pct for line in decision.draft.valuation.lines}
    assert targets == {"USDT": D(100), "ONE": D(0), "BTC": D(0), "ETH": D(0)}


def test_exit_when_a_target_is_not_held_needs_no_price_of_it() -> None:
    decision = _decide({"BTC": "5", "USDT": "1"}, {"BTC": "9"}, status=StrategyStatus.EXITING)
    assert isinstance(decision, Plan)


@pytest.mark.parametrize(
    ("status", "changes", "code"),
    [
        (StrategyStatus.ACTIVE, {"stale": frozenset({"BTC"})}, "stale_price:BTC"),
        (StrategyStatus.ACTIVE, {"stale": frozenset({"DOGE"})}, "threshold_reached:ONE"),
        (StrategyStatus.EXITING, {"stale": frozenset({"ONE"})}, "stale_price:ONE"),
        (StrategyStatus.BUILDING, {"stale": frozenset({"ETH"})}, "stale_price:ETH"),
        (StrategyStatus.ACTIVE, {"quotes": market({"ONE": "1", "ETH": "1"}).quotes}, "missing_price:BTC"),
        (StrategyStatus.ACTIVE, {"quotes": market({**PRICES, "BTC": "0"}).quotes}, "missing_price:BTC"),
        (StrategyStatus.ACTIVE, {"instruments": {}}, "not_tradable:ONE"),
    ],
)
def test_price_when_unusable_holds_whatever_the_drift(
    status: StrategyStatus, changes: dict[str, Any], code: str
) -> None:
    held = situation({"ONE": "1200"}, status=status, stop_loss="-1", contributed="9999999")
    if code in {"threshold_reached:ONE", "not_tradable:ONE"}:
        held = situation({"ONE": "1200"}, status=status)
    assert decide(held, replace(market(PRICES), **changes)).code == code


def test_stop_loss_when_a_price_is_zero_or_stale_never_counts() -> None:
    losing = situation(BALANCED, stop_loss="-8")
    confirmed = ExitConfirmations(Reason.STOP_LOSS, 2)
    zero = decide(losing, market({**PRICES, "BTC": "0"}), confirmed)
    stale = decide(losing, replace(market({**PRICES, "BTC": "0.1"}), stale={"ETH"}), confirmed)
    assert (zero.code, zero.confirmations) == ("missing_price:BTC", NONE_YET)
    assert (stale.code, stale.confirmations) == ("stale_price:ETH", NONE_YET)


@pytest.mark.parametrize(
    ("price", "code"),
    [
        ("1.15", "confirming_take_profit"),  # exactly +15 %
        ("1.1499999999", "within_band"),
        ("0.92", "confirming_stop_loss"),  # exactly -8 %
        ("0.9200000001", "within_band"),
    ],
)
def test_exit_levels_when_exactly_reached_are_confirmed(price: str, code: str) -> None:
    prices = dict.fromkeys(PRICES, price)
    assert _decide(BALANCED, prices, take_profit="15", stop_loss="-8").code == code


def test_take_profit_when_it_holds_on_three_new_quotes_asks_for_the_exit() -> None:
    rich, up = situation(BALANCED, take_profit="15"), market(dict.fromkeys(PRICES, "1.2"))
    first = decide(rich, up)
    second = decide(rich, up, first.confirmations)
    by_an_event = decide(rich, up, second.confirmations, by_new_quote=False)
    third = decide(rich, up, by_an_event.confirmations)
    again = decide(rich, up, third.confirmations)
    assert [d.confirmations.count for d in (first, second, by_an_event, third)] == [1, 2, 2, 3]
    assert first.code == second.code == by_an_event.code == "confirming_take_profit"
    assert first.figures.as_text()["confirmations"] == "1"
    for decision in (third, again):
        assert isinstance(decision, ExitRequested)
        assert decision.reason is Reason.TAKE_PROFIT
        assert decision.figures.as_text()["profit_pct"] == "20"


def test_stop_loss_when_one_quote_recovers_counts_from_the_beginning() -> None:
    losing = situation(BALANCED, stop_loss="-8")
    down, up = market(dict.fromkeys(PRICES, "0.9")), market(PRICES)
    confirmations, counts = NONE_YET, []
    for now in (down, down, up, down, down, down):
        decision = decide(losing, now, confirmations)
        confirmations = decision.confirmations
        counts.append(confirmations.count)
    assert counts == [1, 2, 0, 1, 2, 3]
    assert isinstance(decision, ExitRequested)


def test_exit_levels_when_nothing_was_put_in_never_fire() -> None:
    assert _decide(BALANCED, contributed="0", take_profit="1").code == "within_band"


def test_exit_levels_when_in_cooldown_still_fire() -> None:
    decision = _decide(BALANCED, dict.fromkeys(PRICES, "2"), progress=CLOSED, take_profit="15")
    assert decision.code == "confirming_take_profit"


WEEKLY = {**BIGONE, "rebalance": {"interval": "7d"}}
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("now", "last_closed", "outcome", "code"),
    [
        (AT, None, None, "interval_not_due"),
        (AT + 7 * DAY - timedelta(milliseconds=1), None, None, "interval_not_due"),
        (AT + 7 * DAY, None, None, "interval_due"),
        (AT + 7 * DAY, AT, PlanOutcome.COMPLETED, "interval_due"),
        # the grid stays fixed: a plan that closed late does not move the next one
        (AT + 8 * DAY, AT + 7 * DAY + 5 * MINUTE, PlanOutcome.COMPLETED, "interval_not_due"),
        (AT + 14 * DAY, AT + 7 * DAY + 5 * MINUTE, PlanOutcome.COMPLETED, "interval_due"),
        # missed runs are made up once
        (AT + 40 * DAY, AT + 7 * DAY, PlanOutcome.COMPLETED, "interval_due"),
        (AT + 40 * DAY + 5 * MINUTE, AT + 40 * DAY, PlanOutcome.COMPLETED, "interval_not_due"),
        # nothing to trade counts as a run, an expired plan does not
        (AT + 8 * DAY, AT + 7 * DAY, PlanOutcome.NOTHING_TRADABLE, "interval_not_due"),
        (AT + 7 * DAY + MINUTE, AT + 7 * DAY, PlanOutcome.EXPIRED, "interval_due"),
        (AT + 7 * DAY + MINUTE, AT + 7 * DAY, PlanOutcome.STALE, "interval_due"),
        # a plan of before the strategy was active (its first purchase) is no run
        (AT + DAY, AT - DAY, PlanOutcome.COMPLETED, "interval_not_due"),
    ],
)
def test_interval_when_a_grid_point_has_passed_is_due(
    now: datetime, last_closed: datetime | None, outcome: PlanOutcome | None, code: str
) -> None:
    progress = PlanProgress("s1", None, "pl0", outcome, last_closed, 0, False)
    held = situation({"ONE": "1200"}, WEEKLY, progress=progress, last_kind="rebalance")
    assert decide(held, market(PRICES, now)).code == code


def test_interval_when_due_is_forced_without_any_drift() -> None:
    decision = decide(situation(BALANCED, WEEKLY), market(PRICES, AT + 7 * DAY))
    assert isinstance(decision, Plan)


@pytest.mark.parametrize(
    ("outcome", "fills", "minutes", "code"),
    [
        (PlanOutcome.PARTIAL, 0, 5, "interval_due"),  # every order was refused: the run is not lost for a week
        (PlanOutcome.PARTIAL, 0, 4, "cooldown"),
        (PlanOutcome.PARTIAL, 2, 5, "interval_not_due"),
        (PlanOutcome.NOTHING_TRADABLE, 0, 5, "interval_not_due"),
    ],
)
def test_interval_when_a_run_was_refused_stays_due(outcome: PlanOutcome, fills: int, minutes: int, code: str) -> None:
    ran_at = AT + 7 * DAY
    progress = replace(CLOSED, last_outcome=outcome, last_closed_at=ran_at, last_fills=fills)
    held = situation(BALANCED, WEEKLY, progress=progress, last_kind="rebalance")
    assert decide(held, market(PRICES, ran_at + minutes * MINUTE)).code == code


def test_interval_when_not_due_tells_when() -> None:
    decision = decide(situation(BALANCED, WEEKLY), market(PRICES, AT + DAY))
    assert isinstance(decision, Hold)
    assert decision.until == AT + 7 * DAY


@pytest.mark.parametrize(
    ("now", "outcome", "code"),
    [
        (AT + 5 * MINUTE - timedelta(milliseconds=1), PlanOutcome.COMPLETED, "cooldown"),
        (AT + 5 * MINUTE, PlanOutcome.COMPLETED, "threshold_reached:ONE"),
        (AT + MINUTE, PlanOutcome.PARTIAL, "cooldown"),
        (AT + MINUTE, PlanOutcome.NOTHING_TRADABLE, "cooldown"),
        (AT + MINUTE, PlanOutcome.EXPIRED, "threshold_reached:ONE"),
        (AT + MINUTE, PlanOutcome.STALE, "threshold_reached:ONE"),
    ],
)
def test_cooldown_when_a_plan_closed_lately_waits_five_minutes(now: datetime, outcome: PlanOutcome, code: str) -> None:
    decision = decide(situation({"ONE": "1200"}, progress=replace(CLOSED, last_outcome=outcome)), market(PRICES, now))
    assert decision.code == code
    if isinstance(decision, Hold):
        assert decision.until == AT + 5 * MINUTE


@pytest.mark.parametrize(
    ("holdings", "minimum", "code"),
    [
        ({"ONE": "46", "BTC": "27", "ETH": "27"}, "6.01", "below_minimum:ONE"),
        ({"ONE": "46", "BTC": "27", "ETH": "27"}, "6", "threshold_reached:ONE"),
        ({"ONE": "40", "BTC": "34", "ETH": "26"}, "1", "within_band"),
        ({"USDT": "100"}, "41", "below_minimum:USDT"),
        ({"USDT": "100"}, "40", "threshold_reached:USDT"),
    ],
)
def test_minimum_when_no_order_would_reach_it_holds(holdings: dict[str, str], minimum: str, code: str) -> None:
    now = market(PRICES)
    instruments = {asset: instrument(asset, min_notional=D(minimum)) for asset in PRICES}
    assert decide(situation(holdings, contributed="100"), replace(now, instruments=instruments)).code == code


def test_purchase_when_priced_is_sized_at_ask() -> None:
    """40 of ONE at bid 1 is 40 pieces; at ask 2 only 20, worth 40 again: the filters see the ask."""
    now = market(PRICES)
    quotes = {**now.quotes, "ONE": Quote(D(1), D(2), AT)}
    instruments = {
        asset: instrument(asset, min_quantity=D(21), min_notional=D("0.01") if asset == "ONE" else D(1000))
        for asset in PRICES
    }
    decision = decide(situation({"USDT": "100"}), replace(now, quotes=quotes, instruments=instruments))
    assert decision.code == "below_minimum:USDT"


def test_codes_when_parsed_come_back() -> None:
    for reason in Reason:
        assert reason_of(code_of(reason)) == (reason, "")
        assert reason_of(code_of(reason, "BTC")) == (reason, "BTC")
    with pytest.raises(ValueError, match="whim"):
        reason_of("whim")
    assert Reason.WITHIN_BAND not in ACTING

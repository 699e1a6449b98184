"""What a strategy is asked to do, what keeps it waiting, and what a pause and a payout keep out: one row a case."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.core.certificates import UNBOUNDED, certificate_after
from shared.core.decisions import ExitRequested, Hold, Plan, decide
from shared.core.explanations import explain
from shared.core.matching import Side
from shared.core.position import PlanOutcome, PlanProgress
from shared.core.rules import ExitAction
from shared.core.situation import Request, RequestKind, Situation
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, BIGONE, MINUTE, instrument, market, situation

D = Decimal
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1", "DOT": "1"}
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}
NOW = Request("rq1", RequestKind.REBALANCE)
MONEY = Request("rq1", RequestKind.INVEST, "USDT", D(120), position_version=7)
PAYOUT = Request("rq1", RequestKind.WITHDRAW, "USDT", D(100))
ACTIVE, PAUSED, EXITING = StrategyStatus.ACTIVE, StrategyStatus.PAUSED, StrategyStatus.EXITING


def _asked(held: dict[str, str], request: Request | None, document: Any = BIGONE, **changes: Any) -> Situation:
    of_view = {
        name: changes.pop(name) for name in ("money_arriving", "money_leaving", "exit_action") if name in changes
    }
    answers = changes.pop("answers", "")
    made = situation(held, document, **changes)
    view = replace(made.strategy, request=request, requests_open=int(request is not None), **of_view)
    return replace(made, strategy=view, last_closed_answers=answers)


def _closed(outcome: PlanOutcome, fills: int = 0, minutes: int = 1, **changes: Any) -> PlanProgress:
    at = AT - timedelta(minutes=minutes)
    return PlanProgress("s1", None, "pl0", outcome, at, last_fills=fills, **changes)


HOLD = {**BIGONE, "rebalance": {"hold": True}}
GUARDED = {**BIGONE, "rebalance": {"threshold": "5", "cooldown": "1h", "cost_guard": "1000"}}
JUST, DONE = _closed(PlanOutcome.COMPLETED, 1), _closed(PlanOutcome.PARTIAL, 1)
NO_FILL, NO_FILL_LONG_AGO = _closed(PlanOutcome.PARTIAL), _closed(PlanOutcome.PARTIAL, minutes=5)
CASES = [
    # rebalance now: whatever the rule says
    ("now, on target", BALANCED, NOW, {}, "rebalance_now"),
    ("now, in hold mode", BALANCED, NOW, {"document": HOLD}, "rebalance_now"),
    ("now, in the cooldown, too dear", BALANCED, NOW, {"document": GUARDED, "progress": JUST}, "rebalance_now"),
    ("now, one halted", {"ONE": "1200"}, NOW, {"halted": {"ONE"}}, "rebalance_now"),
    ("now, a plan is open", BALANCED, NOW, {"progress": replace(JUST, open_plan_id="pl1")}, "plan_open"),
    ("now, done by a plan", BALANCED, NOW, {"progress": DONE, "answers": "rq1"}, "awaiting_registry"),
    ("now, every order refused", BALANCED, NOW, {"progress": NO_FILL, "answers": "rq1"}, "awaiting_registry"),
    ("now, expired", BALANCED, NOW, {"progress": _closed(PlanOutcome.EXPIRED), "answers": "rq1"}, "rebalance_now"),
    ("now, another request was done", BALANCED, NOW, {"progress": DONE, "answers": "rq0"}, "rebalance_now"),
    ("now, a price is stale", BALANCED, NOW, {"stale": {"BTC"}}, "stale_price:BTC"),
    # new money
    ("money", BALANCED | {"USDT": "120"}, MONEY, {}, "new_money:USDT"),
    ("money, drifted", {"ONE": "1200", "USDT": "120"}, MONEY, {}, "new_money:USDT"),
    ("money, not in the position", BALANCED, replace(MONEY, position_version=8), {}, "awaiting_position"),
    ("money, too little to trade", BALANCED | {"USDT": "120"}, replace(MONEY, amount=D(1)), {}, "new_money:USDT"),
    ("money, its coin stale", BALANCED | {"DOT": "9"}, replace(MONEY, asset="DOT"), {"stale": {"DOT"}},
     "stale_price:DOT"),
    ("money, on its way", {"ONE": "1200"}, None, {"money_arriving": True}, "money_arriving"),
    ("money, nothing tradable", BALANCED, MONEY,
     {"progress": _closed(PlanOutcome.NOTHING_TRADABLE), "answers": "rq1"}, "awaiting_registry"),
    ("money, every order refused", BALANCED, MONEY, {"progress": NO_FILL, "answers": "rq1"}, "cooldown"),
    ("money, refused long ago", BALANCED, MONEY, {"progress": NO_FILL_LONG_AGO, "answers": "rq1"}, "new_money:USDT"),
    ("money, stale plan", BALANCED, MONEY, {"progress": _closed(PlanOutcome.STALE), "answers": "rq1"},
     "new_money:USDT"),
    # payouts
    ("payout", BALANCED, PAYOUT, {}, "withdrawal:USDT"),
    ("payout, cash is there", BALANCED | {"USDT": "150"}, PAYOUT, {}, "withdrawal:USDT"),
    ("payout, in a coin without a price", BALANCED, replace(PAYOUT, asset="SOL"), {}, "missing_price:SOL"),
    ("payout, every order refused", BALANCED, PAYOUT, {"progress": NO_FILL, "answers": "rq1"}, "cooldown"),
    ("payout, being paid", {"ONE": "1200"}, None, {"money_leaving": True}, "money_leaving"),
    ("payout, plans held off", {"ONE": "1200"}, None, {"progress": replace(JUST, held=True)}, "money_leaving"),
    ("payout, paid but not known", {"ONE": "1200"}, None, {"progress": PlanProgress("s1", position_required=8)},
     "awaiting_position"),
    ("payout, paid and known", {"ONE": "1200"}, None, {"progress": PlanProgress("s1", position_required=7)},
     "threshold_reached:ONE"),
    # paused
    ("paused, drifted", {"ONE": "1200"}, None, {"status": PAUSED}, "paused"),
    ("paused, a plan under way", BALANCED, None, {"status": PAUSED, "progress": replace(JUST, open_plan_id="p")},
     "plan_open"),
    ("paused, fills pending", BALANCED, None, {"status": PAUSED, "progress": replace(JUST, fills_total=1)},
     "fills_pending"),
    ("paused, rebalance now", BALANCED, NOW, {"status": PAUSED}, "paused"),
    ("paused, new money waits", BALANCED | {"USDT": "120"}, MONEY, {"status": PAUSED}, "paused"),
    ("paused, money on its way", BALANCED, None, {"status": PAUSED, "money_arriving": True}, "money_arriving"),
    ("paused, payout", BALANCED, PAYOUT, {"status": PAUSED}, "withdrawal:USDT"),
    ("paused, payout, stale", BALANCED, PAYOUT, {"status": PAUSED, "stale": {"ETH"}}, "stale_price:ETH"),
    ("paused, payout, planned", BALANCED, PAYOUT, {"status": PAUSED, "progress": DONE, "answers": "rq1"},
     "awaiting_registry"),
    ("paused, being paid", BALANCED, None, {"status": PAUSED, "money_leaving": True}, "money_leaving"),
    ("paused, stop-loss reached", BALANCED, None, {"status": PAUSED, "contributed": "9999", "stop_loss": "-1"},
     "paused"),
    # on its way out
    ("exit, whatever was asked", BALANCED, NOW, {"status": EXITING}, "stopped_by_user"),
    ("exit, while a payout is under way", BALANCED, None, {"status": EXITING, "progress": replace(JUST, held=True)},
     "money_leaving"),
    ("exit, coins kept: nothing is sold", BALANCED, None, {"status": EXITING, "exit_action": ExitAction.KEEP},
     "awaiting_release"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("held", "request_", "changes", "code"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_request_when_made_is_planned_or_waits_for_what_it_must(
    held: dict[str, str], request_: Request | None, changes: dict[str, Any], code: str
) -> None:
    now = market(PRICES, stale=changes.pop("stale", frozenset()))
    halted = {asset: instrument(asset, tradable=False) for asset in changes.pop("halted", ())}
    now = replace(now, instruments={**now.instruments, **halted})
    made = _asked(held, request_, **changes)
    decision = decide(made, now)
    assert decision.code == code
    if isinstance(decision, Plan) and request_ is not None and made.strategy.status is not EXITING:
        assert decision.draft.answers == "rq1"
    assert explain(code, decision.figures.as_text()) != f"{code}."


def test_take_profit_when_reached_comes_before_a_request() -> None:
    asked = _asked(BALANCED, NOW, take_profit="15")
    up = market(dict.fromkeys(PRICES, "2"))
    first = decide(asked, up, confirming_quotes=2)
    second = decide(asked, up, first.confirmations, confirming_quotes=2)
    assert (first.code, second.code) == ("confirming_take_profit", "take_profit")


@pytest.mark.parametrize("action", ExitAction)
def test_exit_level_when_confirmed_carries_its_action(action: ExitAction) -> None:
    made = situation(BALANCED, take_profit={"percent": "15", "confirm": "1", "action": action.value})
    decision = decide(made, market(dict.fromkeys(PRICES, "2")))
    assert isinstance(decision, ExitRequested)
    assert decision.action is action
    ends = {"sell": "everything was to be sold", "keep": "its coins returned as they were", "pause": "to be paused"}
    assert ends[action.value] in explain(decision.code, decision.figures.as_text())


def test_new_money_when_planned_buys_only_and_tells_its_aims() -> None:
    decision = decide(_asked({"ONE": "480", "BTC": "420", "ETH": "300", "USDT": "130"}, MONEY), market(PRICES))
    assert isinstance(decision, Plan)
    draft = decision.draft
    assert (draft.kind, draft.ways) == ("invest", dict.fromkeys((*BALANCED, "USDT"), Side.BUY))
    values = {line.asset: round(line.target_pct * draft.valuation.total / 100, 6) for line in draft.valuation.lines}
    assert values == {"ONE": 520, "BTC": 420, "ETH": 390, "USDT": 0}
    figures = decision.figures.as_text()
    assert (figures["amount"], figures["asset"], figures["worth"]) == ("120", "USDT", "120")
    assert figures["target.ETH"] == "30", "the figures are the targets, the aims are told beside them"
    assert figures["aim.ETH"].startswith("29.32330")


def test_new_money_when_it_is_a_coin_may_be_sold_and_nothing_else() -> None:
    coins = replace(MONEY, asset="DOT", amount=D(60))
    decision = decide(_asked({**BALANCED, "DOT": "60"}, coins), market(PRICES))
    assert isinstance(decision, Plan)
    assert decision.draft.ways == dict.fromkeys(BALANCED, Side.BUY)


def test_payout_when_planned_sells_only_what_is_missing() -> None:
    made = _asked({"ONE": "480", "BTC": "420", "ETH": "300", "USDT": "40"}, replace(PAYOUT, amount=D(99)))
    decision = decide(made, market(PRICES))
    assert isinstance(decision, Plan)
    draft = decision.draft
    assert (draft.kind, draft.ways) == ("withdraw", dict.fromkeys((*BALANCED, "USDT"), Side.SELL))
    sold = draft.valuation.lines[1]
    assert round(sold.value - sold.target_pct * draft.valuation.total / 100, 4) == D("59.1182")  # 59 / 0.998
    assert decision.figures.as_text()["wanted"] == "99 USDT"


def test_payout_when_it_is_a_share_is_of_the_whole_value() -> None:
    quarter = replace(PAYOUT, amount=None, percent=D(25))
    decision = decide(_asked(BALANCED, quarter), market({**PRICES, "ONE": "2"}))  # 960 + 360 + 360
    figures = decision.figures.as_text()
    assert (figures["wanted"], figures["worth"]) == ("25 %", "420")


def test_payout_when_in_a_coin_that_is_not_held_adds_its_line() -> None:
    decision = decide(_asked(BALANCED, replace(PAYOUT, asset="DOT", amount=D(10))), market(PRICES))
    assert isinstance(decision, Plan)
    line = decision.draft.valuation.lines[-1]
    assert (line.asset, line.quantity, line.bid) == ("DOT", 0, 1)
    assert line.target_pct > 0
    assert "DOT" not in decision.draft.ways


def test_plan_when_repeated_for_another_request_is_another_message_of_the_same_plan() -> None:
    first, second = decide(_asked(BALANCED, NOW), market(PRICES)), decide(_asked(BALANCED, PAYOUT), market(PRICES))
    assert isinstance(first, Plan)
    assert isinstance(second, Plan)
    assert first.draft.plan_id == second.draft.plan_id  # the executor takes one of them


@pytest.mark.parametrize(
    "changes",
    [
        {"status": PAUSED},
        {"money_leaving": True},
        {"progress": replace(JUST, held=True)},
        {"progress": PlanProgress("s1", position_required=8)},
        {"status": EXITING, "exit_action": ExitAction.KEEP},
    ],
)
def test_certificate_when_only_an_event_can_change_anything_watches_no_price(changes: dict[str, Any]) -> None:
    made, now = _asked({"ONE": "1200"}, None, take_profit="5", **changes), market(PRICES)
    certificate = certificate_after(decide(made, now), made, now)
    assert (certificate.log_band, certificate.until, certificate.waits_for_price) == (UNBOUNDED, None, "")


def test_certificate_when_a_request_waits_still_watches_the_value() -> None:
    for made in (
        _asked(BALANCED, replace(MONEY, position_version=8), stop_loss="-8"),
        _asked(BALANCED, None, money_arriving=True, stop_loss="-8"),
        _asked(BALANCED, replace(PAYOUT, asset="SOL"), stop_loss="-8"),
    ):
        decision = decide(made, market(PRICES))
        assert isinstance(decision, Hold)
        certificate = certificate_after(decision, made, market(PRICES))
        assert 0.08 < certificate.log_band < 0.084, decision.code
        assert certificate.waits_for_price == ("SOL" if decision.code == "missing_price:SOL" else "")


def test_certificate_when_a_refused_request_waits_has_the_end_of_the_cooldown() -> None:
    made, now = _asked(BALANCED, PAYOUT, progress=NO_FILL, answers="rq1"), market(PRICES)
    assert certificate_after(decide(made, now), made, now).until == AT + 4 * MINUTE

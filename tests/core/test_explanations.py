"""Every reason in plain words, with its figures."""

import string

import pytest

from shared.core.decisions import Hold, decide
from shared.core.explanations import SENTENCES, explain, furthest
from shared.core.reasons import Reason, code_of
from tests.core.portfolio_samples import BIGONE, market, situation

DRIFTED = {
    "weight.ONE": "38.2",
    "target.ONE": "40",
    "weight.BTC": "33.1",
    "target.BTC": "30",
    "weight.ETH": "28.7",
    "target.ETH": "30",
    "threshold": "5",
    "value": "1234.56789",
    "contributed": "1200",
    "profit_pct": "2.88065750",
}
OFF = "BTC was at 33.1 % against a target of 30 %: 3.1 points off"
CASES = [
    ("within_band", DRIFTED, f"{OFF}, the threshold is 5, so nothing was done."),
    ("within_band", {}, "No asset had reached the threshold, so nothing was done."),
    ("threshold_reached:BTC", {**DRIFTED, "threshold": "3"}, f"{OFF}, the threshold is 3, so a rebalance was planned."),
    (
        "threshold_reached:ETH",
        {**DRIFTED, "weight.ETH": "24.99999999"},
        "ETH was at 24.99999999 % against a target of 30 %: 5.00000001 points off, the threshold is 5, so a rebalance "
        "was planned.",
    ),
    (
        "cooldown",
        {**DRIFTED, "cooldown_until": "2024-01-31T14:05:00+00:00"},
        f"{OFF}, but it had just traded: nothing was done before 2024-01-31 14:05.",
    ),
    (
        "below_minimum:ETH",
        DRIFTED,
        "ETH was at 28.7 % against a target of 30 %: 1.3 points off, but no order towards the targets reached the "
        "venue's minimum, so nothing was done.",
    ),
    (
        "initial_purchase",
        DRIFTED,
        "The money was there, worth 1234.57, and nothing had been bought with it: the first purchase was planned.",
    ),
    (
        "interval_due",
        {**DRIFTED, "interval": "7d", "due_at": "2024-01-08T00:00:00+00:00"},
        "The rebalance of every 7d was due since 2024-01-08 00:00, so it was planned, whatever the drift; furthest off "
        "was BTC, by 3.1 points.",
    ),
    (
        "interval_not_due",
        {**DRIFTED, "interval": "7d", "due_at": "2024-01-08T00:00:00+00:00"},
        "It is rebalanced every 7d, next at 2024-01-08 00:00, so nothing was done; furthest off was BTC, by 3.1 "
        "points.",
    ),
    (
        "take_profit",
        {**DRIFTED, "take_profit": "2.5"},
        "The profit was 2.88 % of the 1200 put in; the take-profit at 2.5 % had been confirmed, so everything was to "
        "be sold.",
    ),
    (
        "confirming_stop_loss",
        {
            **DRIFTED,
            "profit_pct": "-8.1",
            "stop_loss": "-8",
            "confirmations": "2",
            "confirmations_required": "3",
        },
        "The profit was -8.1 % and the stop-loss is -8 %: seen on 2 of the 3 quotes in a row that it takes, so nothing "
        "was done yet.",
    ),
    (
        "fills_pending",
        {"fills_posted": "3", "fills_total": "5"},
        "3 of 5 fills were in the books: nothing is decided before all of them are.",
    ),
    (
        "interval_due",
        {**DRIFTED, "interval": "7d", "due_at": "2024-01-08T00:00:00+00:00", "when": "all"},
        "The rebalance of every 7d was due since 2024-01-08 00:00 and BTC was 3.1 points off its target, so it was "
        "planned.",
    ),
    (
        "below_min_drift",
        {**DRIFTED, "interval": "7d", "due_at": "2024-01-08T00:00:00+00:00", "min_drift": "4"},
        f"The rebalance of every 7d was due since 2024-01-08 00:00, but {OFF}, and it takes 4.",
    ),
    (
        "threshold_reached:ETH",
        {**DRIFTED, "weight.ETH": "25", "threshold": "max(15 % of target, 1)"},
        "ETH was at 25 % against a target of 30 %: 5 points off, the threshold is max(15 % of target, 1), so a "
        "rebalance was planned.",
    ),
    ("hold_mode", DRIFTED, "It holds what it has and never rebalances by itself; furthest off was BTC, by 3.1 points."),
    (
        "cost_guard",
        {**DRIFTED, "benefit": "0.40123", "cost": "0.3", "cost_guard": "2"},
        "A rebalance was due, but it was worth 0.4 and would have cost 0.3 in fees and spread: it must be worth 2 "
        "times its cost, so nothing was done.",
    ),
    (
        "awaiting_start_price:BTC",
        {"start": "at or below 50000", "bid": "50000.015 USDT"},
        "The first purchase was waiting for the price of BTC, which was 50000.015 USDT, to be at or below 50000.",
    ),
    (
        "take_profit",
        {**DRIFTED, "profit_pct": "15.1", "peak_pct": "18.3", "take_profit": "15", "take_profit_trailing": "3"},
        "The profit was 15.1 % of the 1200 put in and had been 18.3 %: the take-profit, armed at 15 %, lets it fall by "
        "3 points, so everything was to be sold.",
    ),
    (
        "stop_loss",
        {**DRIFTED, "profit_pct": "15", "peak_pct": "25", "stop_loss": "-8"},
        "The profit was 15 % of the 1200 put in and had been 25 %: the stop-loss at -8 % of the value at that peak had "
        "been confirmed, so everything was to be sold.",
    ),
    ("stale_price:ETH", {}, "The price of ETH was too old to rely on, so nothing was done."),
    ("not_running", {"status": "paused"}, "It was paused, so nothing was done."),
    ("a_code_of_tomorrow:BTC", DRIFTED, "a_code_of_tomorrow:BTC."),
]


@pytest.mark.parametrize(("code", "inputs", "sentence"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_explain_when_decided_says_it_with_its_figures(code: str, inputs: dict[str, str], sentence: str) -> None:
    assert explain(code, inputs) == sentence


def test_sentences_when_listed_are_one_for_every_reason() -> None:
    assert set(SENTENCES) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_explain_when_there_are_no_figures_still_says_why(reason: Reason) -> None:
    for code in (code_of(reason), code_of(reason, "BTC")):
        if reason is Reason.THRESHOLD_REACHED and ":" not in code:
            continue  # it always names its asset
        sentence = explain(code, {})
        assert sentence.endswith(".")
        assert sentence != f"{code}."
        assert "{" not in sentence


@pytest.mark.parametrize("reason", Reason)
def test_sentences_when_short_need_no_figures(reason: Reason) -> None:
    names = {name for _, name, _, _ in string.Formatter().parse(SENTENCES[reason].short) if name}
    assert names <= {"asset"}


def test_explain_when_drift_is_just_under_the_threshold_does_not_look_equal() -> None:
    inputs = {**DRIFTED, "weight.BTC": "34.9999", "weight.ETH": "26.8001"}
    assert explain("within_band", inputs).startswith(
        "BTC was at 34.9999 % against a target of 30 %: 4.9999 points off, the threshold is 5"
    )


def test_furthest_when_nothing_is_weighed_is_nobody() -> None:
    assert furthest({}) == ""
    assert furthest(DRIFTED) == "BTC"


def test_explain_when_decided_for_real_finds_every_figure_it_names() -> None:
    decision = decide(
        situation({"ONE": "480", "BTC": "360", "ETH": "360"}), market(dict.fromkeys(BIGONE["targets"], "1"))
    )
    assert isinstance(decision, Hold)
    assert "points off, the threshold is 5" in explain(decision.code, decision.figures.as_text())

"""Trailing take-profit and stop-loss: one row a case, outcome last."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shared.core.certificates import certificate_after
from shared.core.decisions import ExitRequested, decide
from shared.core.exits import bounds_of, rebased
from shared.core.situation import NONE_YET, Peak
from shared.core.strategy import parse_strategy
from tests.core.portfolio_samples import BIGONE, market, situation

D = Decimal
HELD = {"ONE": "400", "BTC": "300", "ETH": "300"}
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
QUIET = {**BIGONE, "rebalance": {"hold": True}}
TAKE = {"take_profit": {"percent": "15", "trailing": "3", "confirm": "1"}}
STOP = {"stop_loss": {"percent": "-8", "trailing": True, "confirm": "1"}}
BOTH = {**TAKE, **STOP}


def _situation(peak: str | None, **changes: Any) -> Any:
    made = situation(HELD, QUIET, contributed="1000", **changes)
    recorded = None if peak is None else Peak(D(peak), D(1000))
    return replace(made, strategy=replace(made.strategy, peak=recorded))


EXITS = [
    ("take, not armed", TAKE, None, "1.14", "hold_mode"),
    ("take, at the level: armed, not sold", TAKE, None, "1.15", "hold_mode"),
    ("take, armed and risen", TAKE, "18", "1.2", "hold_mode"),
    ("take, fallen almost far enough", TAKE, "18", "1.15000001", "hold_mode"),
    ("take, fallen exactly far enough", TAKE, "18", "1.15", "take_profit"),
    ("take, fallen through", TAKE, "18", "0.5", "take_profit"),
    ("take, a peak below the level arms nothing", TAKE, "14", "0.5", "hold_mode"),
    ("stop, no peak: from the money put in", STOP, None, "0.92", "stop_loss"),
    ("stop, no peak, not there", STOP, None, "0.92000001", "hold_mode"),
    ("stop, from the peak: 1250 x 0.92", STOP, "25", "1.15", "stop_loss"),
    ("stop, from the peak, not there", STOP, "25", "1.15000001", "hold_mode"),
    ("both, the take-profit comes first", BOTH, "25", "1.15", "take_profit"),
    ("both, not armed", BOTH, "10", "1.012", "stop_loss"),
]


@pytest.mark.parametrize(("levels", "peak", "price", "code"), [row[1:] for row in EXITS], ids=[row[0] for row in EXITS])
def test_trailing_when_fallen_from_the_peak_exits(levels: Any, peak: str | None, price: str, code: str) -> None:
    decision = decide(_situation(peak, **levels), market(dict.fromkeys(PRICES, price)))
    assert decision.code == code
    if isinstance(decision, ExitRequested):
        assert decision.figures.as_text()["peak_pct"] == (peak or "0")


PEAKS = [
    # steps of the take-profit: 15, 15.3, 15.6, ...; of the stop-loss: 0.8, 1.6, ...
    (TAKE, None, "1.1499", None),
    (TAKE, None, "1.15", "15"),
    (TAKE, None, "1.1559", "15.3"),
    (TAKE, "15", "1.15", None),
    (TAKE, "15", "1.1529", None),
    (TAKE, "15", "1.153", "15.3"),
    (TAKE, "15.3", "1.2", "19.8"),
    (STOP, None, "1.0079", None),
    (STOP, None, "1.008", "0.8"),
    (STOP, "0.8", "1.0161", "1.6"),
    (BOTH, None, "1.15", "15"),
    (BOTH, "15", "1.152", "15.2"),
    (BOTH, "15.2", "1.153", "15.3"),
    ({"take_profit": "50"}, None, "1.2", None),
]


@pytest.mark.parametrize(("levels", "peak", "price", "raised"), PEAKS)
def test_peak_when_a_step_is_reached_is_raised_to_it(
    levels: Any, peak: str | None, price: str, raised: str | None
) -> None:
    decision = decide(_situation(peak, **levels), market(dict.fromkeys(PRICES, price)))
    assert decision.peak == (None if raised is None else Peak(D(raised), D(1000)))


def test_peak_when_confirmed_is_the_lowest_of_the_quotes_that_confirm_it() -> None:
    made = _situation(None, take_profit={"percent": "15", "trailing": "3"})
    confirmations, raised = NONE_YET, []
    for price in ("1.5", "1.1", "1.3", "1.2", "1.4", "1.4"):
        decision = decide(made, market(dict.fromkeys(PRICES, price)), confirmations)
        confirmations = decision.confirmations
        raised.append(None if decision.peak is None else decision.peak.profit_pct)
    assert raised == [None, None, None, None, D("19.8"), D("19.8")]  # again and again until it is recorded
    by_an_event = decide(made, market(dict.fromkeys(PRICES, "1.5")), by_new_quote=False)
    assert (by_an_event.peak, by_an_event.confirmations.peak_count) == (None, 0)


def test_peak_when_looked_at_by_an_event_in_between_rests_on_the_quotes_alone() -> None:
    made = _situation("15", take_profit={"percent": "15", "trailing": "3", "confirm": "2"})
    confirmations = decide(made, market(dict.fromkeys(PRICES, "1.16")), by_new_quote=False).confirmations
    for price in ("1.3", "1.2"):
        decision = decide(made, market(dict.fromkeys(PRICES, price)), confirmations)
        confirmations = decision.confirmations
    assert decision.peak == Peak(D("19.8"), D(1000))


def test_peak_when_confirmed_does_not_keep_a_rebalance_waiting() -> None:
    made = situation({"ONE": "800", "BTC": "200", "ETH": "200"}, contributed="1000", **TAKE)
    decision = decide(made, market(PRICES))
    assert (decision.code, decision.peak) == ("threshold_reached:ONE", Peak(D("19.8"), D(1000)))


@pytest.mark.parametrize(
    ("contributed", "percent"),
    [("1000", "20"), ("2000", "10"), ("4000", "5"), ("500", "20")],
)
def test_peak_when_money_was_added_or_taken_out_is_of_the_money_put_in_now(contributed: str, percent: str) -> None:
    assert rebased(Peak(D(20), D(1000)), D(contributed)) == D(percent)


@pytest.mark.parametrize(
    ("levels", "peak", "ups", "downs"),
    [
        ({"take_profit": "15", "stop_loss": "-8"}, None, ["1150"], ["920"]),
        (TAKE, None, ["1150"], []),
        (TAKE, "15", ["1153"], ["1120"]),
        (STOP, None, ["1008"], ["920"]),
        (STOP, "25", ["1256"], ["1150"]),
        (BOTH, "25.2", ["1255", "1256"], ["1222", "1151.84"]),
    ],
)
def test_bounds_when_computed_are_the_next_values_to_look_at(
    levels: Any, peak: str | None, ups: list[str], downs: list[str]
) -> None:
    definition = parse_strategy({**QUIET, **levels})
    bounds = bounds_of(definition, None if peak is None else Peak(D(peak), D(1000)), D(1000))
    assert bounds.ups == tuple(map(D, ups))
    assert bounds.downs == tuple(map(D, downs))


def test_certificate_when_a_peak_is_being_confirmed_looks_at_every_quote() -> None:
    made, now = _situation(None, take_profit={"percent": "15", "trailing": "3"}), market(dict.fromkeys(PRICES, "1.2"))
    assert certificate_after(decide(made, now), made, now).log_band == 0.0

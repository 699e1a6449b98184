"""Certificates: inside the band no rule fires; just outside, the nearest rule can."""

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.certificates import (
    OWN_SHARE,
    UNBOUNDED,
    certificate_after,
    drift_box,
    fall_band,
    first_step_band,
    order_band,
    start_band,
    threshold_band,
    value_bands,
)
from shared.core.decisions import Hold, Plan, decide
from shared.core.destinations import aim_of, is_moving
from shared.core.drift import is_drifted, is_tradable_leg, value_at_bid
from shared.core.position import PlanOutcome, PlanProgress
from shared.core.reasons import Reason
from shared.core.rules import StartPrice
from shared.core.situation import ExitConfirmations
from shared.core.strategy import StrategyStatus, parse_strategy
from tests.core.portfolio_samples import AT, BIGONE, MINUTE, instrument, market, situation

D = Decimal
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}


def _valuation(holdings: Mapping[str, str], targets: Mapping[str, str]) -> Any:
    quotes = market({asset: "1" for asset in {*holdings, *targets} if asset != "USDT"}).quotes
    parsed = {asset: D(weight) for asset, weight in targets.items()}
    return value_at_bid({asset: D(held) for asset, held in holdings.items()}, parsed, quotes, "USDT")


@pytest.mark.parametrize(
    ("holdings", "targets", "points", "band"),
    [
        # at target: the smallest of ln[(t+d)(1-w) / (w(1-t-d))] / 2 and its mirror image
        ({"A": "50", "B": "50"}, {"A": "50", "B": "50"}, "5", math.log(55 / 45) / 2),
        ({"A": "40", "B": "60"}, {"A": "40", "B": "60"}, "5", math.log(45 * 60 / (40 * 55)) / 2),
        # away from target: what is left of it
        ({"A": "54", "B": "46"}, {"A": "50", "B": "50"}, "5", math.log(55 * 46 / (54 * 45)) / 2),
        ({"A": "55", "B": "45"}, {"A": "50", "B": "50"}, "5", 0.0),
        ({"A": "99", "B": "1"}, {"A": "50", "B": "50"}, "5", 0.0),
        # a threshold at or above a target: that side never fires while something is held
        ({"A": "3", "B": "97"}, {"A": "3", "B": "97"}, "3", math.log(6 * 97 / (3 * 94)) / 2),
        ({"A": "5", "B": "95"}, {"A": "5", "B": "95"}, "96", UNBOUNDED),
        # weight 0 with a lower bound above 0, and exactly at it
        ({"A": "0", "B": "100"}, {"A": "5", "B": "95"}, "4", 0.0),
        ({"A": "0", "B": "100"}, {"A": "5", "B": "95"}, "5", 0.0),
        # a single asset held: prices cannot change its weight
        ({"A": "7"}, {"A": "50", "B": "50"}, "60", UNBOUNDED),
        ({"A": "7"}, {"A": "50", "B": "50"}, "50", 0.0),
    ],
)
def test_threshold_band_when_computed_is_the_formula(
    holdings: dict[str, str], targets: dict[str, str], points: str, band: float
) -> None:
    assert threshold_band(_valuation(holdings, targets), D(points)) == pytest.approx(band, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("holdings", "take_profit", "stop_loss", "band"),
    [
        ({"A": "60", "B": "40"}, "10", None, math.log(1.1)),
        ({"A": "60", "B": "40"}, None, "-20", math.log(1 / 0.8)),
        ({"A": "60", "B": "40"}, "10", "-2", math.log(1 / 0.98)),
        ({"A": "60", "USDT": "40"}, "10", None, math.log(70 / 60)),
        ({"A": "60", "USDT": "40"}, None, "-20", math.log(60 / 40)),
        ({"A": "60", "USDT": "40"}, None, "-60", UNBOUNDED),  # the cash alone is worth more than the level
        ({"USDT": "100"}, "10", "-10", UNBOUNDED),
        ({"A": "110"}, "10", None, 0.0),
        ({"A": "70"}, None, "-20", 0.0),
    ],
)
def test_value_bands_when_computed_is_the_log_distance_to_the_level(
    holdings: dict[str, str], take_profit: str | None, stop_loss: str | None, band: float
) -> None:
    document = {**BIGONE, "take_profit": take_profit, "stop_loss": stop_loss}
    definition = parse_strategy(document)
    found = value_bands(_valuation(holdings, {"A": "60", "B": "40"}), definition, D(100), "USDT")
    assert min(found) == pytest.approx(band, rel=1e-12, abs=1e-15)


def test_value_bands_when_nothing_was_put_in_is_unbounded() -> None:
    definition = parse_strategy({**BIGONE, "take_profit": "1"})
    found = value_bands(_valuation({"A": "1"}, {"A": "60", "B": "40"}), definition, D(0), "USDT")
    assert found == (UNBOUNDED, UNBOUNDED)


def test_value_bands_when_only_one_side_has_a_level_leave_the_other_free() -> None:
    definition = parse_strategy({**BIGONE, "take_profit": "10"})
    up, down = value_bands(_valuation({"A": "100"}, {"A": "60", "B": "40"}), definition, D(100), "USDT")
    assert up == pytest.approx(math.log(1.1))
    assert down == UNBOUNDED


_WEIGHTS = st.lists(st.integers(min_value=0, max_value=1000), min_size=2, max_size=4).filter(any)


@settings(max_examples=300, deadline=None)
@given(
    values=_WEIGHTS,
    targets=st.lists(st.integers(min_value=1, max_value=1000), min_size=4, max_size=4),
    points=st.decimals(min_value="0.01", max_value=40, places=2),
    share=st.floats(min_value=0, max_value=0.999999),
)
def test_threshold_band_when_prices_stay_inside_never_fires(
    values: list[int], targets: list[int], points: Decimal, share: float
) -> None:
    """At every corner of the box e^(+-h): the worst case of the formula is one of them."""
    names = [f"A{n}" for n in range(len(values))]
    total = sum(targets[: len(values)])
    shares = {name: D(target * 10**6 // total) / 10**4 for name, target in zip(names, targets, strict=False)}
    held = dict(zip(names, map(D, values), strict=True))
    quotes = market(dict.fromkeys(names, "1")).quotes
    band = threshold_band(value_at_bid(held, shares, quotes, "USDT"), points)
    move = min(band, 50.0) * share * (1 - 1e-9)
    if band == 0.0:
        valued = value_at_bid(held, shares, quotes, "USDT")
        assert any(is_drifted(line, valued.total, points - D("1e-20")) for line in valued.lines)
        return
    for signs in product((-1, 1), repeat=len(names)):
        prices = {name: f"{math.exp(sign * move):.30f}" for name, sign in zip(names, signs, strict=True)}
        valued = value_at_bid(held, shares, market(prices).quotes, "USDT")
        assert not any(is_drifted(line, valued.total, points) for line in valued.lines)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.integers(min_value=0, max_value=300), min_size=3, max_size=3).filter(any),
    minimum=st.integers(min_value=1, max_value=60),
    lot=st.sampled_from(["0.01", "1", "25"]),
    spread=st.sampled_from(["1", "1.01"]),
    share=st.floats(min_value=0, max_value=0.999999),
)
def test_order_band_when_prices_stay_inside_no_order_becomes_large_enough(
    values: list[int], minimum: int, lot: str, spread: str, share: float
) -> None:
    from shared.core.drift import is_tradable_leg

    targets = {"A": D(50), "B": D(30), "USDT": D(20)}
    held = dict(zip(targets, map(D, values), strict=True))
    rules = {a: instrument(a, min_notional=D(minimum), lot_step=D(lot), min_quantity=D(lot)) for a in "AB"}
    band = order_band(value_at_bid(held, targets, market({"A": "1", "B": "1"}).quotes, "USDT"), rules, "USDT")
    move = min(band, 20.0) * share * (1 - 1e-9)
    for signs in product((-1, 0, 1), repeat=2):
        bids = {name: f"{math.exp(sign * move):.18f}" for name, sign in zip("AB", signs, strict=True)}
        quotes = {n: replace(q, ask=q.bid * D(spread)) for n, q in market(bids).quotes.items()}
        valued = value_at_bid(held, targets, quotes, "USDT")
        if band > 0.0:
            assert not any(is_tradable_leg(valued.lines[n], valued.total, rules[a]) for n, a in enumerate("AB"))


def _certificate(held: dict[str, str], prices: dict[str, str] = PRICES, **changes: Any) -> Any:
    made, now = situation(held, **changes), market(prices)
    return certificate_after(decide(made, now), made, now)


def test_certificate_when_within_band_is_cut_by_the_margin() -> None:
    certificate = _certificate(BALANCED)
    box = drift_box(_valuation(BALANCED, {"ONE": "40", "BTC": "30", "ETH": "30"}), dict.fromkeys(PRICES, D(5)))
    assert certificate.assets == ("ONE", "BTC", "ETH")
    for found, exact in ((certificate.ups, box.ups), (certificate.downs, box.downs)):
        assert found == tuple(each * (1 - 1e-9) - 1e-12 for each in exact)


def test_certificate_when_a_plan_was_made_waits_for_events_only() -> None:
    certificate = _certificate({"ONE": "1200"})
    assert (certificate.assets, certificate.log_band, certificate.until) == ((), UNBOUNDED, None)


def test_certificate_when_confirming_wants_every_quote() -> None:
    assert _certificate(BALANCED, dict.fromkeys(PRICES, "2"), take_profit="15").log_band == 0.0


def test_certificate_when_an_exit_is_asked_for_wants_every_quote() -> None:
    made, now = situation(BALANCED, take_profit="15"), market(dict.fromkeys(PRICES, "2"))
    decision = decide(made, now, ExitConfirmations(Reason.TAKE_PROFIT, 2))
    assert certificate_after(decision, made, now).log_band == 0.0


def test_certificate_when_in_cooldown_has_a_time_and_still_watches_the_value() -> None:
    closed = PlanProgress("s1", None, "pl0", PlanOutcome.COMPLETED, AT, 0, False)
    certificate = _certificate({"ONE": "1200"}, progress=closed, stop_loss="-8")
    assert certificate.until == AT + 5 * MINUTE
    assert certificate.log_band == pytest.approx(-math.log(0.92), rel=1e-8)


def test_certificate_when_an_interval_is_awaited_has_a_time_and_no_band() -> None:
    certificate = _certificate(BALANCED, rebalance={"interval": "1h"})
    assert (certificate.until, certificate.log_band) == (AT + 60 * MINUTE, UNBOUNDED)


@pytest.mark.parametrize(
    ("changes", "price", "instruments"),
    [
        ({"stale": {"BTC"}}, "BTC", False),
        ({"quotes": market({"ONE": "1", "BTC": "1"}).quotes}, "ETH", False),
        ({"instruments": {}}, "", True),
    ],
)
def test_certificate_when_something_is_missing_waits_for_it(
    changes: dict[str, Any], price: str, instruments: bool
) -> None:
    made, now = situation({"ONE": "1200"}), replace(market(PRICES), **changes)
    certificate = certificate_after(decide(made, now), made, now)
    assert (certificate.waits_for_price, certificate.waits_for_instrument) == (price, instruments)


def test_certificate_when_below_minimum_reaches_to_the_first_large_enough_order() -> None:
    """46 of 100 ONE, target 40: a sale of 6 is too small for a minimum of 7."""
    made = situation({"ONE": "46", "BTC": "27", "ETH": "27"}, contributed="100")
    rules = {asset: instrument(asset, min_notional=D(7)) for asset in PRICES}
    now = replace(market(PRICES), instruments=rules)
    decision = decide(made, now)
    assert isinstance(decision, Hold)
    certificate = certificate_after(decision, made, now)
    grown = math.exp(certificate.log_band)
    assert 0.6 * 46 * grown - 0.4 * 54 / grown == pytest.approx(7, rel=1e-8)
    assert certificate.waits_for_instrument
    assert not isinstance(decide(made, now), Plan)


def test_certificate_when_the_first_purchase_is_below_minimum_waits_for_instruments_too() -> None:
    certificate = _certificate({"USDT": "4"}, status=StrategyStatus.BUILDING)
    assert certificate.waits_for_instrument
    assert certificate.log_band == pytest.approx(math.log(5 / 1.6), rel=1e-8)


@pytest.mark.parametrize(
    ("threshold", "band"),
    [
        # widths 5, 5; 7.5, 7.5; 10, 10; 3 for A: the least of ln[(t+d)(1-t) / (t (1-t-d))] / 2 at 50 / 50
        ("5", math.log(55 / 45) / 2),
        ({"relative": "15"}, math.log(57.5 / 42.5) / 2),
        ({"factor": "20", "floor": "1"}, math.log(60 / 40) / 2),
        ({"factor": "20", "floor": "12"}, math.log(62 / 38) / 2),
        ({"points": "5", "per_asset": {"A": "3"}}, math.log(53 / 47) / 2),
        ({"relative": "100"}, UNBOUNDED),
    ],
)
def test_certificate_when_the_band_is_of_any_kind_is_the_formula_of_its_widths(threshold: Any, band: float) -> None:
    document = {**BIGONE, "targets": {"A": "50", "B": "50"}, "rebalance": {"threshold": threshold}}
    made, now = situation({"A": "50", "B": "50"}, document), market({"A": "1", "B": "1"})
    found = certificate_after(decide(made, now), made, now).log_band
    share = 2 * OWN_SHARE if isinstance(threshold, dict) and "per_asset" in threshold else 1.0
    assert found == pytest.approx(share * band, rel=1e-8)
    assert found < share * band or band == UNBOUNDED  # the margin


_SEVEN_DAYS = AT + 10_080 * MINUTE


@pytest.mark.parametrize(
    ("rule", "at", "bounded", "until"),
    [
        ({"interval": "7d"}, AT, False, _SEVEN_DAYS),
        ({"interval": "7d", "threshold": "5"}, AT, True, _SEVEN_DAYS),
        ({"interval": "7d", "threshold": "5", "when": "all"}, AT, False, _SEVEN_DAYS),
        ({"interval": "7d", "threshold": "5", "when": "all"}, _SEVEN_DAYS, True, None),
        ({"interval": "7d", "min_drift": "3"}, AT, False, _SEVEN_DAYS),
        ({"interval": "7d", "min_drift": "3"}, _SEVEN_DAYS, True, None),
        ({"hold": True}, AT, False, None),
    ],
)
def test_certificate_when_rules_go_together_waits_for_what_can_change_it(
    rule: dict[str, Any], at: Any, bounded: bool, until: Any
) -> None:
    made, now = situation(BALANCED, {**BIGONE, "rebalance": rule}), market(PRICES, at)
    certificate = certificate_after(decide(made, now), made, now)
    assert math.isfinite(certificate.log_band) is bounded
    assert certificate.until == until


def test_certificate_when_the_least_drift_is_nearer_than_the_threshold_is_its_band() -> None:
    rule = {"interval": "7d", "threshold": "5", "min_drift": "3"}
    made, now = situation(BALANCED, {**BIGONE, "rebalance": rule}), market(PRICES, _SEVEN_DAYS)
    found = certificate_after(decide(made, now), made, now).log_band
    box = drift_box(_valuation(BALANCED, {"ONE": "40", "BTC": "30", "ETH": "30"}), dict.fromkeys(PRICES, D(3)))
    assert found == pytest.approx(min(box.ups + box.downs), rel=1e-6)


def test_certificate_when_the_cost_guard_holds_back_looks_at_every_quote() -> None:
    made = situation({"ONE": "600", "BTC": "300", "ETH": "300"}, rebalance={"threshold": "5", "cost_guard": "1000"})
    decision = decide(made, market(PRICES))
    certificate = certificate_after(decision, made, market(PRICES))
    assert (decision.code, certificate.log_band) == ("cost_guard", 0.0)
    assert certificate.waits_for_instrument  # fees may change


@pytest.mark.parametrize(
    ("start", "bid", "band"),
    [
        (StartPrice("BTC", D(50), above=False), "100", math.log(2)),
        (StartPrice("BTC", D(50), above=True), "25", math.log(2)),
        (StartPrice("BTC", D(50), above=True), "50", 0.0),
    ],
)
def test_start_band_when_computed_is_the_log_distance_to_the_price(start: StartPrice, bid: str, band: float) -> None:
    assert start_band(start, D(bid)) == pytest.approx(band, abs=1e-15)


def test_certificate_when_a_start_price_is_awaited_watches_that_asset_alone() -> None:
    document = {**BIGONE, "start": {"asset": "BTC", "at_or_below": "0.5"}}
    made, now = situation({"USDT": "1200"}, document, status=StrategyStatus.BUILDING), market(PRICES)
    certificate = certificate_after(decide(made, now), made, now)
    assert certificate.assets == ("BTC",)
    assert certificate.log_band == pytest.approx(math.log(2), rel=1e-8)


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(st.integers(min_value=0, max_value=1000), min_size=3, max_size=4).filter(any),
    points=st.decimals(min_value="0.5", max_value=20, places=1),
    destination=st.sampled_from(["halfway", "band_edge"]),
    minimum=st.integers(min_value=1, max_value=60),
    share=st.floats(min_value=0, max_value=0.999999),
)
def test_first_step_band_when_prices_stay_inside_no_order_is_large_enough(
    values: list[int], points: Decimal, destination: str, minimum: int, share: float
) -> None:
    """At every corner of the box, as for the threshold: no leg towards the aim reaches the minimum notional."""
    targets = {"A": "50", "B": "30", "C": "20"}
    rule = {"threshold": str(points), "destination": destination}
    definition = parse_strategy({**BIGONE, "targets": targets, "rebalance": rule})
    held = dict(zip("ABCD", map(D, values), strict=False))
    rules = {asset: instrument(asset, min_notional=D(minimum)) for asset in "ABCD"}
    quotes = market(dict.fromkeys("ABCD", "1")).quotes
    band = first_step_band(value_at_bid(held, definition.targets, quotes, "USDT"), definition, rules, D(1))
    move = min(band, 50.0) * share * (1 - 1e-9)
    if band == 0.0:
        return
    for signs in product((-1, 1), repeat=4):
        prices = {name: f"{math.exp(sign * move):.30f}" for name, sign in zip("ABCD", signs, strict=True)}
        now = value_at_bid(held, definition.targets, market(prices).quotes, "USDT")
        assert definition.rule.threshold is not None
        aim = aim_of(now, definition.rule.threshold, definition.targets, definition.rule.destination)
        legs = [line for line in aim.lines if is_moving(line, aim.total)]
        assert not any(is_tradable_leg(line, aim.total, rules[line.asset]) for line in legs)


@pytest.mark.parametrize(
    ("held", "floor", "band"),
    [
        ({"A": "60", "B": "40"}, "95", -math.log(0.95)),
        ({"A": "60", "USDT": "40"}, "95", math.log(60 / 55)),
        ({"A": "60", "USDT": "40"}, "40", UNBOUNDED),  # the cash alone is worth that
        ({"A": "60", "B": "40"}, "100", 0.0),
        ({"A": "60", "B": "40"}, "120", 0.0),
        ({"USDT": "100"}, "120", UNBOUNDED),  # no price can change it
    ],
)
def test_fall_band_when_computed_is_the_log_distance_to_the_floor(
    held: dict[str, str], floor: str, band: float
) -> None:
    found = fall_band(_valuation(held, {"A": "60", "B": "40"}), D(floor), "USDT")
    assert found == pytest.approx(band, rel=1e-12, abs=1e-15)


def test_certificate_when_a_count_survives_a_stale_price_looks_at_every_quote() -> None:
    """An event found a price stale while a stop-loss was being confirmed: any new quote must break the count."""
    made, down = situation(BALANCED, stop_loss="-8"), market(dict.fromkeys(PRICES, "0.9"))
    stale = replace(down, stale={"ETH"})
    confirming = decide(made, down)
    by_an_event = decide(made, stale, confirming.confirmations, by_new_quote=False)
    certificate = certificate_after(by_an_event, made, stale)
    assert (by_an_event.confirmations.count, certificate.waits_for_price) == (1, "ETH")
    assert (certificate.assets, certificate.log_band) == (("ONE", "BTC", "ETH"), 0.0)
    by_a_quote = decide(made, stale, by_an_event.confirmations)
    assert by_a_quote.confirmations.count == 0
    assert certificate_after(by_a_quote, made, stale).log_band == UNBOUNDED

"""Valuation and the exact comparison."""

from decimal import Decimal, Inexact
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.drift import (
    distance_from_target,
    furthest_from_target,
    has_gained,
    has_lost,
    is_drifted,
    is_tradable_leg,
    never_rounded,
    profit_pct,
    value_at_bid,
    weight_pct,
    without_price,
)
from shared.core.market import Quote
from tests.core.portfolio_samples import AT, instrument, market

D = Decimal


def test_value_when_cash_and_strangers_are_held_counts_them_with_target_zero() -> None:
    quotes = {"BTC": Quote(D(100), D(101), AT), "DOGE": Quote(D("0.1"), D("0.2"), AT)}
    valued = value_at_bid({"BTC": D(2), "USDT": D(50), "DOGE": D(10)}, {"BTC": D(100)}, quotes, "USDT")
    assert [(line.asset, line.value, line.target_pct) for line in valued.lines] == [
        ("BTC", D(200), D(100)),
        ("DOGE", D(1), D(0)),
        ("USDT", D(50), D(0)),
    ]
    assert valued.total == D(251)


def test_value_when_a_target_is_not_held_has_a_line_of_zero() -> None:
    valued = value_at_bid({"USDT": D(50)}, {"BTC": D(60), "USDT": D(40)}, market({"BTC": "9"}).quotes, "USDT")
    assert [(line.asset, line.value) for line in valued.lines] == [("BTC", D(0)), ("USDT", D(50))]


def test_value_when_amounts_have_38_digits_is_exact() -> None:
    quantity, price = D("12345678901234567890.123456789012345678"), D("98765432109876543210.987654321098765432")
    valued = value_at_bid({"X": quantity}, {"X": D(50), "Y": D(50)}, {"X": Quote(price, price, AT), **_one("Y")}, "Q")
    assert Fraction(valued.total) == Fraction(quantity) * Fraction(price)


@pytest.mark.parametrize(
    ("quotes", "missing"),
    [
        ({"A": ("1", "1"), "B": ("1", "1")}, ""),
        ({"A": ("1", "1")}, "B"),
        ({"A": ("0", "1"), "B": ("1", "1")}, "A"),
        ({"A": ("1", "1"), "B": ("1", "0")}, "B"),
    ],
)
def test_without_price_when_missing_or_zero_names_the_asset(quotes: dict[str, tuple[str, str]], missing: str) -> None:
    made = {asset: Quote(D(bid), D(ask), AT) for asset, (bid, ask) in quotes.items()}
    assert without_price(["A", "USDT", "B"], made, "USDT") == missing


@given(
    values=st.lists(st.decimals(min_value=0, max_value=10**12, places=8), min_size=2, max_size=6),
    target=st.decimals(min_value=0, max_value=100, places=4),
    points=st.decimals(min_value="0.0001", max_value=99, places=4),
)
def test_is_drifted_when_compared_with_integer_arithmetic_agrees(
    values: list[Decimal], target: Decimal, points: Decimal
) -> None:
    names = [f"A{n}" for n in range(len(values))]
    quotes = {name: Quote(D(1), D(1), AT) for name in names}
    valued = value_at_bid(dict(zip(names, values, strict=True)), {"A0": target}, quotes, "USDT")
    scaled = [int(value.scaleb(8)) for value in values]
    left = abs(scaled[0] * 10**6 - int(target.scaleb(4)) * sum(scaled))
    assert is_drifted(valued.lines[0], valued.total, points) == (left >= int(points.scaleb(4)) * sum(scaled))


def test_furthest_when_two_are_equally_far_is_the_first() -> None:
    valued = value_at_bid({"A": D(60), "B": D(40)}, {"A": D(50), "B": D(50)}, {**_one("A"), **_one("B")}, "USDT")
    assert furthest_from_target(valued).asset == "A"
    assert distance_from_target(valued.lines[1], valued.total) == 1000


@pytest.mark.parametrize(
    ("total", "contributed", "gained_15", "lost_8"),
    [
        ("1380", "1200", True, False),
        ("1379.999999999999999999", "1200", False, False),
        ("1104", "1200", False, True),
        ("1104.000000000000000001", "1200", False, False),
        ("5", "0", False, False),
        ("0", "0", False, False),
    ],
)
def test_gain_and_loss_when_exactly_at_the_level_are_reached(
    total: str, contributed: str, gained_15: bool, lost_8: bool
) -> None:
    assert has_gained(D(total), D(contributed), D(15)) is gained_15
    assert has_lost(D(total), D(contributed), D(-8)) is lost_8


def test_shown_figures_when_periodic_are_rounded_to_8_decimals() -> None:
    valued = value_at_bid({"A": D(1), "B": D(2)}, {"A": D(50), "B": D(50)}, {**_one("A"), **_one("B")}, "USDT")
    assert weight_pct(valued.lines[0], valued.total) == D("33.33333333")
    assert profit_pct(D(2), D(3)) == D("-33.33333333")
    assert profit_pct(D(2), D(0)) == 0


@pytest.mark.parametrize(
    ("value", "filters", "tradable"),
    [
        ("55", {}, True),  # sells 5, the minimum notional exactly
        ("54.99", {}, False),
        ("45", {}, True),  # buys 5
        ("45.01", {}, False),
        ("50", {}, False),
        ("57", {"lot_step": D(4), "min_quantity": D(4)}, False),  # 7 becomes one lot of 4, worth less than 5
        ("58", {"lot_step": D(4), "min_quantity": D(4)}, True),
        ("58", {"min_quantity": D(9)}, False),
        ("59", {"min_quantity": D(9)}, True),
    ],
)
def test_leg_when_at_the_filters_is_tradable_from_the_minimum_on(
    value: str, filters: dict[str, Decimal], tradable: bool
) -> None:
    holdings = {"A": D(value), "USDT": 100 - D(value)}
    valued = value_at_bid(holdings, {"A": D(50), "USDT": D(50)}, _one("A"), "USDT")
    assert is_tradable_leg(valued.lines[0], valued.total, instrument("A", **filters)) is tradable


def test_exact_context_when_a_result_would_be_rounded_raises() -> None:
    with pytest.raises(Inexact):
        never_rounded(lambda: D(1) / D(3))()


def _one(asset: str) -> dict[str, Quote]:
    return {asset: Quote(D(1), D(1), AT)}

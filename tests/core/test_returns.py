"""Simple profit, and the money put in after some was taken out."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.core.errors import Refused
from shared.core.returns import (
    contributed_after_release,
    falls_to_profit,
    profit,
    profit_pct,
    reaches_profit,
    value_at_profit,
)

D = Decimal


@pytest.mark.parametrize(
    ("value", "contributed", "gain", "pct"),
    [
        ("1380", "1200", "180", "15"),
        ("1104", "1200", "-96", "-8"),
        ("1200", "1200", "0", "0"),
        ("0", "1200", "-1200", "-100"),
        ("50", "0", "50", None),
    ],
)
def test_profit_when_value_and_contribution_are_known_is_their_difference(
    value: str, contributed: str, gain: str, pct: str | None
) -> None:
    assert profit(D(value), D(contributed)) == D(gain)
    assert profit_pct(D(value), D(contributed)) == (None if pct is None else D(pct))


@pytest.mark.parametrize(
    ("value", "pct", "reached", "fallen"),
    [
        ("1380", "15", True, True),
        ("1379.999999999999999999", "15", False, True),
        ("1380.000000000000000001", "15", True, False),
        ("1104", "-8", True, True),
        ("1104.000000000000000001", "-8", True, False),
    ],
)
def test_level_when_exactly_reached_counts_and_one_unit_less_does_not(
    value: str, pct: str, reached: bool, fallen: bool
) -> None:
    assert reaches_profit(D(value), D(1200), D(pct)) is reached
    assert falls_to_profit(D(value), D(1200), D(pct)) is fallen


def test_level_when_nothing_is_put_in_is_never_reached() -> None:
    assert not reaches_profit(D(5), D(0), D(15))
    assert not falls_to_profit(D(0), D(0), D(-8))


def test_value_at_profit_when_given_a_level_reaches_it_exactly() -> None:
    value = value_at_profit(D("1200.000000000000000007"), D("15.3"))
    assert reaches_profit(value, D("1200.000000000000000007"), D("15.3"))
    assert falls_to_profit(value, D("1200.000000000000000007"), D("15.3"))


@pytest.mark.parametrize(
    ("contributed", "value", "released", "after"),
    [
        ("1000", "1500", "750", "500"),
        ("1000", "1500", "0", "1000"),
        ("1000", "1500", "1500", "0"),
        ("1000", "3", "1", "666.666666666666666666"),
        ("1000", "0", "0", "0"),
    ],
)
def test_contributed_when_part_is_released_falls_in_proportion(
    contributed: str, value: str, released: str, after: str
) -> None:
    assert contributed_after_release(D(contributed), D(value), D(released)) == D(after)


@pytest.mark.parametrize("released", ["-1", "1500.01"])
def test_contributed_when_more_is_released_than_there_is_is_refused(released: str) -> None:
    with pytest.raises(Refused, match="released"):
        contributed_after_release(D(1000), D(1500), D(released))


money = st.decimals(min_value=D("0.01"), max_value=D(200_000), places=8, allow_nan=False)


@given(contributed=money, value=money, share=st.integers(min_value=1, max_value=99))
def test_profit_pct_when_part_is_released_stays_the_same(contributed: Decimal, value: Decimal, share: int) -> None:
    released = (value * share / 100).quantize(D("1e-18"))
    assume(0 < released < value)
    after = contributed_after_release(contributed, value, released)
    exact = Fraction(contributed) * (1 - Fraction(released) / Fraction(value))
    assert 0 <= exact - Fraction(after) < Fraction(1, 10**18)

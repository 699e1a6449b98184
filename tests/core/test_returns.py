"""Returns against closed forms and against pyxirr, an independent implementation."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pyxirr
from hypothesis import given
from hypothesis import strategies as st

from shared.core.returns import Flow, Growth, simple_return, xirr

D = Decimal
START = datetime(2024, 1, 1, tzinfo=UTC)


def test_xirr_when_money_doubles_in_two_years_is_the_square_root_of_two() -> None:
    found = xirr([Flow(START, D(100))], D(200), START + timedelta(days=730))
    assert found is not None
    assert abs(found - (D(2).sqrt() - 1)) < D("1e-12")


@pytest.mark.parametrize(
    ("flows", "value", "days"),
    [
        ([], "100", 10),
        ([Flow(START, D(100))], "0", 10),
        ([Flow(START, D(100))], "120", 0),
        ([Flow(START, D(-5))], "120", 10),
    ],
)
def test_xirr_when_there_is_no_rate_is_none(flows: list[Flow], value: str, days: int) -> None:
    assert xirr(flows, D(value), START + timedelta(days=days)) is None


def test_xirr_when_the_gain_is_beyond_any_yearly_rate_is_none() -> None:
    assert xirr([Flow(START, D(100))], D(200), START + timedelta(seconds=1)) is None


@given(
    start=st.integers(1_000, 100_000),
    flows=st.lists(st.tuples(st.integers(1, 2_000), st.integers(-500, 5_000)), max_size=30),
    value=st.integers(10, 1_000_000),
)
def test_xirr_when_compared_with_pyxirr_is_the_same(start: int, flows: list[tuple[int, int]], value: int) -> None:
    made = [Flow(START, D(start)), *(Flow(START + timedelta(days=day), D(amount)) for day, amount in flows)]
    end = START + timedelta(days=2_001)
    ours = xirr(made, D(value), end)
    theirs = pyxirr.xirr(
        [*(flow.at.date() for flow in made), end.date()], [*(-float(flow.amount) for flow in made), float(value)]
    )
    if ours is None or theirs is None:  # so much lost in so few days that there is no telling by the year
        almost_all_lost = sum(f.amount * D("0.0001") ** (D((end - f.at).days) / D(365)) for f in made)
        assert almost_all_lost > value or any(amount < 0 for _, amount in flows)
        return
    if abs(float(ours) - theirs) > 1e-7:  # flows that change sign may have several rates: ours must be one of them
        grown = sum(f.amount * (1 + ours) ** (D((end - f.at).days) / D(365)) for f in made)
        assert abs(grown - value) < D("1e-6") * value
        assert any(amount < 0 for _, amount in flows)


def test_growth_when_money_comes_and_goes_is_that_of_the_holdings_alone() -> None:
    growth = Growth()
    growth.flow(D(0), D(100))
    growth.flow(D(110), D(90))  # 10 % up, then 90 put in
    growth.flow(D(180), D(-80))  # 10 % down, then 80 taken out
    assert growth.rate(D(200)) == D("1.1") * D("0.9") * 2 - 1


def test_growth_when_all_was_taken_out_and_put_in_again_goes_on() -> None:
    growth = Growth()
    growth.flow(D(0), D(100))
    growth.flow(D(150), D(-150))
    assert growth.rate(D(0)) == D("0.5")
    growth.flow(D(0), D(10))
    assert growth.rate(D(20)) == D(2)


def test_simple_return_when_nothing_was_put_in_is_none() -> None:
    assert simple_return(D(0), D(0), D(10)) is None
    assert simple_return(D(200), D(50), D(250)) == D("0.5")

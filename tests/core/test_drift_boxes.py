"""The boxes of thresholds: inside them no threshold is reached, and they lean away from the nearest bound."""

import math
from collections.abc import Mapping
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.bulk_certificates import threshold_boxes
from shared.core.certificates import OWN_SHARE, drift_band, drift_box
from shared.core.drift import is_drifted, value_at_bid
from tests.core.portfolio_samples import market

D = Decimal
_WEIGHTS = st.lists(st.integers(min_value=0, max_value=1000), min_size=2, max_size=4).filter(any)


def _valuation(holdings: Mapping[str, str], targets: Mapping[str, str]) -> Any:
    quotes = market(dict.fromkeys(holdings, "1")).quotes
    parsed = {asset: D(weight) for asset, weight in targets.items()}
    return value_at_bid({asset: D(held) for asset, held in holdings.items()}, parsed, quotes, "USDT")


@settings(max_examples=300, deadline=None)
@given(
    values=_WEIGHTS,
    targets=st.lists(st.integers(min_value=1, max_value=1000), min_size=4, max_size=4),
    points=st.lists(st.decimals(min_value="0.01", max_value=40, places=2), min_size=4, max_size=4),
    share=st.floats(min_value=0, max_value=0.999999),
)
def test_drift_box_when_prices_stay_inside_never_fires(
    values: list[int], targets: list[int], points: list[Decimal], share: float
) -> None:
    """At every corner of the box, and nowhere does it reach less far than it must."""
    names = [f"A{n}" for n in range(len(values))]
    total = sum(targets[: len(values)])
    shares = {name: D(target * 10**6 // total) / 10**4 for name, target in zip(names, targets, strict=False)}
    held = dict(zip(names, map(D, values), strict=True))
    widths = dict(zip(names, points, strict=False))
    valued = value_at_bid(held, shares, market(dict.fromkeys(names, "1")).quotes, "USDT")
    box, band = drift_box(valued, widths), drift_band(valued, widths)
    assert min(box.ups + box.downs) >= 0.8 * band * (1 - 1e-9)
    ups = [min(each, 50.0) * share * (1 - 1e-9) for each in box.ups]
    downs = [min(each, 50.0) * share * (1 - 1e-9) for each in box.downs]
    for corner in product((False, True), repeat=len(names)):
        moves = [up if rises else -down for rises, up, down in zip(corner, ups, downs, strict=True)]
        prices = {name: f"{math.exp(move):.30f}" for name, move in zip(names, moves, strict=True)}
        valued = value_at_bid(held, shares, market(prices).quotes, "USDT")
        assert band == 0.0 or not any(is_drifted(line, valued.total, widths[line.asset]) for line in valued.lines)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.integers(min_value=0, max_value=1000), min_size=3, max_size=3).filter(any),
    points=st.decimals(min_value="0.01", max_value=60, places=2),
)
def test_threshold_boxes_when_vectorised_equal_the_scalar_ones(values: list[int], points: Decimal) -> None:
    targets = {"A": "50", "B": "30", "C": "20"}
    valued = _valuation(dict(zip("ABC", map(str, values), strict=True)), targets)
    one = drift_box(valued, dict.fromkeys("ABC", points))
    ups, downs = threshold_boxes(np.array([values], float), np.array([[50.0, 30.0, 20.0]]), np.array([[float(points)]]))
    for scalar, many in ((one.ups, ups), (one.downs, downs)):
        expected = [max(0.0, each * (1 - 1e-9) - 1e-12) if math.isfinite(each) else each for each in scalar]
        assert many[0].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-11)


def test_drift_box_when_one_bound_is_nearest_leans_away_from_it() -> None:
    """A at 54 of 50 +- 5: its rise and the others' fall share the way to 55; the other moves may go much further."""
    held = _valuation({"A": "54", "B": "23", "C": "23"}, {"A": "50", "B": "25", "C": "25"})
    box = drift_box(held, dict.fromkeys("ABC", D(5)))
    way = math.log(55 * 46 / (54 * 45))
    assert box.ups[0] == pytest.approx(OWN_SHARE * way)
    assert box.downs[1:] == pytest.approx([(1 - OWN_SHARE) * way] * 2)
    assert min(box.ups[1], box.ups[2], box.downs[0]) > 2 * way


def test_drift_band_when_widths_differ_is_the_nearest() -> None:
    found = drift_band(_valuation({"A": "50", "B": "50"}, {"A": "50", "B": "50"}), {"A": D(9), "B": D(2)})
    assert found == pytest.approx(math.log(52 / 48) / 2, rel=1e-12)

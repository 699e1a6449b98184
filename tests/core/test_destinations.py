"""Where a rebalance leads, what it is worth and what it costs."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.costs import benefit_of, cost_of, is_worth
from shared.core.destinations import aim_of, is_moving
from shared.core.drift import Valuation, is_drifted, value_at_bid
from shared.core.market import Quote
from shared.core.rules import Band, Destination
from tests.core.portfolio_samples import AT, instrument, market

D = Decimal
TARGETS = {"ONE": D(40), "BTC": D(30), "ETH": D(30)}
FIVE = Band(D(5))
MOVED = ["32.857142857143", "30", "2.142857142857"]


def _valuation(values: dict[str, str], targets: dict[str, Decimal] = TARGETS) -> Valuation:
    quotes = market({asset: "1" for asset in values if asset != "USDT"}).quotes
    return value_at_bid({asset: D(value) for asset, value in values.items()}, targets, quotes, "USDT")


@pytest.mark.parametrize(
    ("values", "destination", "weights"),
    [
        # one is over: what it gives is taken by those under their targets, in proportion to what they lack
        ({"ONE": "36", "BTC": "38", "ETH": "26"}, "target", ["40", "30", "30"]),
        ({"ONE": "36", "BTC": "38", "ETH": "26"}, "band_edge", ["37.5", "35", "27.5"]),
        ({"ONE": "36", "BTC": "38", "ETH": "26"}, "halfway", ["38.75", "32.5", "28.75"]),
        # one is under: those over their targets give
        ({"ONE": "44", "BTC": "22", "ETH": "34"}, "band_edge", ["42.5", "25", "32.5"]),
        # two outside on opposite sides by the same: nobody else moves
        ({"ONE": "40", "BTC": "37", "ETH": "23"}, "band_edge", ["40", "35", "25"]),
        ({"ONE": "40", "BTC": "37", "ETH": "23"}, "halfway", ["40", "32.5", "27.5"]),
        # two outside, the over one gives more than the under one takes: it goes on beyond its edge
        ({"ONE": "48", "BTC": "25", "ETH": "27"}, "band_edge", ["45", "26.875", "28.125"]),
        # exactly at the edge: outside by the inclusive rule, but with nothing to move
        ({"ONE": "45", "BTC": "27", "ETH": "28"}, "band_edge", ["45", "27", "28"]),
        # what is no target goes whole
        ({"ONE": "38", "BTC": "28", "ETH": "28", "DOGE": "6"}, "band_edge", ["40", "30", "30", "0"]),
        ({"ONE": "36", "BTC": "28", "ETH": "28", "USDT": "8"}, "halfway", ["40", "30", "30", "0"]),
        # surplus cash within its band stays, unless somebody has to give
        ({"ONE": "33", "BTC": "34", "ETH": "30", "USDT": "3"}, "band_edge", ["35", *MOVED]),
    ],
)  # fmt: skip
def test_aim_when_assets_are_outside_their_bands_is_the_formula(
    values: dict[str, str], destination: str, weights: list[str]
) -> None:
    aim = aim_of(_valuation(values), FIVE, TARGETS, Destination(destination))
    assert [line.target_pct for line in aim.lines] == [D(weight) for weight in weights]


@settings(max_examples=400, deadline=None)
@given(
    values=st.lists(st.integers(min_value=0, max_value=10**9), min_size=5, max_size=5).filter(any),
    cuts=st.lists(st.integers(min_value=1, max_value=10**6), min_size=4, max_size=4),
    band=st.builds(
        Band, st.decimals(min_value="0.01", max_value=30, places=3), st.decimals(min_value=0, max_value=90, places=2)
    ),
    destination=st.sampled_from([Destination.BAND_EDGE, Destination.HALFWAY]),
)
def test_aim_when_computed_sums_to_100_and_nobody_passes_its_target(
    values: list[int], cuts: list[int], band: Band, destination: Destination
) -> None:
    names = ["A", "B", "C", "D"]
    shares = [D(cut * 10**8 // sum(cuts)) / 10**6 for cut in cuts]
    targets = dict(zip(names, [*shares[:3], 100 - sum(shares[:3])], strict=True))
    now = _valuation(dict(zip([*names, "X"], map(str, values), strict=True)), targets)
    aim = aim_of(now, band, targets, destination)
    assert sum(line.target_pct for line in aim.lines) == 100
    rounding = D("1e-10")
    for before, after in zip(now.lines, aim.lines, strict=True):
        weight, target, to = 100 * before.value / now.total, before.target_pct, after.target_pct
        assert min(weight, target) - rounding <= to <= max(weight, target) + rounding
        if is_drifted(before, now.total, band.width(before.asset, targets)):
            allowed = band.width(before.asset, targets) if before.asset in targets else 0
            assert abs(to - target) <= allowed + rounding
    if not any(is_drifted(line, now.total, band.width(line.asset, targets)) for line in now.lines):
        assert not any(is_moving(line, aim.total) for line in aim.lines)


def test_benefit_when_computed_is_the_formula() -> None:
    """40/40/20 of 1,200 against 40/30/30: 1200 x (0.01 / 0.7 + 0.01 / 0.5) = 41.142857..."""
    now = _valuation({"ONE": "480", "BTC": "480", "ETH": "240"})
    assert benefit_of(now, now).quantize(D("0.000001")) == D("41.142857")
    halfway = aim_of(now, FIVE, TARGETS, Destination.HALFWAY)
    left = 1200 * (D("0.025") ** 2 / D("0.625") + D("0.025") ** 2 / D("0.575"))
    assert benefit_of(now, halfway).quantize(D("0.000001")) == (D("41.1428571") - left).quantize(D("0.000001"))


def test_benefit_when_prices_come_back_is_half_of_what_rebalancing_would_have_gained() -> None:
    """Weights 50/50, one price rises 10 % and falls back: gained by rebalancing is V' x sum (w - t)^2 / w."""
    targets = {"A": D(50), "B": D(50)}
    quotes = market({"A": "1.1", "B": "1"}).quotes
    risen = value_at_bid({"A": D(500), "B": D(500)}, targets, quotes, "USDT")
    rebalanced = risen.total / 2 / D("1.1") + risen.total / 2
    gained = rebalanced - 1000
    assert benefit_of(risen, risen) == pytest.approx(gained / 2, rel=D("0.06"))


def test_benefit_when_an_asset_is_no_target_or_worth_nothing_is_finite() -> None:
    assert benefit_of(now := _valuation({"ONE": "0", "BTC": "50", "ETH": "0", "DOGE": "50"}), now) > 0
    on_target = _valuation({"ONE": "40", "BTC": "30", "ETH": "30"})
    assert benefit_of(on_target, on_target) == 0


def test_cost_when_spread_and_fees_are_known_is_the_formula() -> None:
    now = _valuation({"ONE": "480", "BTC": "480", "ETH": "240"})
    rules = {asset: instrument(asset, taker_fee=D("0.001")) for asset in TARGETS}
    sale, purchase = D(120) * D("0.001"), D(120) * (1 / D("0.999") - 1)
    assert cost_of(now, rules, "USDT") == pytest.approx(sale + purchase, rel=D("1e-20"))
    quotes = {asset: Quote(D(1), D("1.002"), AT) for asset in TARGETS}
    spread = value_at_bid({"ONE": D(480), "BTC": D(480), "ETH": D(240)}, TARGETS, quotes, "USDT")
    with_spread = sale + D(120) * (D("1.002") / D("0.999") - 1)
    assert cost_of(spread, rules, "USDT") == pytest.approx(with_spread, rel=D("1e-20"))


@pytest.mark.parametrize(
    ("benefit", "cost", "factor", "worth"),
    [("2", "1", "2", True), ("1.9999", "1", "2", False), ("0", "0", "2", True), ("0", "0.01", "0.1", False)],
)
def test_guard_when_benefit_is_exactly_enough_lets_it_pass(benefit: str, cost: str, factor: str, worth: bool) -> None:
    assert is_worth(D(benefit), D(cost), D(factor)) is worth

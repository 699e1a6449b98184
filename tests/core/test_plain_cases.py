"""First certificates in bulk: given only where a look would say ``within_band``, and no rule fires inside them."""

import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.bulk_certificates import plain_boxes, plain_case
from shared.core.certificates import certificate_after
from shared.core.decisions import Hold, decide
from shared.core.position import PlanOutcome, PlanProgress
from shared.core.reasons import Reason
from shared.core.situation import Market, Request, RequestKind, Situation
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, BIGONE, market, situation

D = Decimal
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
_AMOUNT = st.decimals(min_value=0, max_value=100_000, places=8).map(str)
_PRICE = st.decimals(min_value="0.00000001", max_value=100_000, places=8).map(str)


def _boxes(made: Situation, at: Market) -> tuple[tuple[str, ...], list[float], list[float]] | None:
    case = plain_case(made, at, {})
    if case is None:
        return None
    ups, downs = plain_boxes([case], case.assets.index("USDT") if "USDT" in case.assets else -1)
    return case.assets, ups[0].tolist(), downs[0].tolist()


@settings(max_examples=400, deadline=None)
@given(
    drift=st.lists(st.integers(min_value=-30, max_value=30), min_size=3, max_size=3),
    prices=st.lists(_PRICE, min_size=3, max_size=3),
    weights=st.sampled_from([("40", "30", "30"), ("96.5", "3", "0.5"), ("33.333333", "33.333333", "33.333334")]),
    cash=_AMOUNT | st.just("0"),
    points=st.decimals(min_value="0.01", max_value=60, places=2).map(str),
    share=st.sampled_from([0.5, 0.999999, 1 - 1e-9]),
)
def test_plain_boxes_when_prices_stay_inside_no_rule_fires(
    drift: list[int], prices: list[str], weights: tuple[str, ...], cash: str, points: str, share: float
) -> None:
    """In the middle and at every corner ``decide`` says within_band: what the box promises without having asked it."""
    names = ("ONE", "BTC", "ETH")
    targets = dict(zip(names, weights, strict=True))
    holdings = {
        name: f"{D(weight) * (100 + off) / D(price):.12f}"
        for name, weight, off, price in zip(names, weights, drift, prices, strict=True)
    } | {"USDT": cash}
    quoted = dict(zip(names, prices, strict=True))
    made = situation(holdings, targets=targets, rebalance={"threshold": points})
    found = _boxes(made, market(quoted))
    if found is None or min(found[1] + found[2]) <= 0.0:
        return
    assets, ups, downs = found
    moving = [(asset, up, down) for asset, up, down in zip(assets, ups, downs, strict=True) if asset != "USDT"]
    for corner in (None, *product((False, True), repeat=len(moving))):
        moves = [0.0] * len(moving)
        if corner is not None:
            sides = zip(corner, moving, strict=True)
            moves = [share * (min(up, 20.0) if rises else -min(down, 20.0)) for rises, (_, up, down) in sides]
        steps = zip(moving, moves, strict=True)
        moved = {asset: f"{D(quoted[asset]) * D(math.exp(move)):.40f}" for (asset, _, _), move in steps}
        decision = decide(made, market(moved))
        assert isinstance(decision, Hold)
        assert decision.reason is Reason.WITHIN_BAND


@settings(max_examples=200, deadline=None)
@given(
    held=st.lists(st.integers(min_value=0, max_value=1000), min_size=3, max_size=3),
    cash=st.integers(min_value=0, max_value=50),
    points=st.decimals(min_value="0.5", max_value=30, places=1).map(str),
)
def test_plain_case_when_a_look_is_made_is_held_and_watched_alike(held: list[int], cash: int, points: str) -> None:
    """Wherever there is a box wider than 0, the exact look holds, waits for nothing else and has the same box."""
    holdings = {**dict(zip(BALANCED, map(str, held), strict=True)), "USDT": str(cash)}
    made, at = situation(holdings, rebalance={"threshold": points}), market(PRICES)
    decision, found = decide(made, at), _boxes(made, at)
    if not isinstance(decision, Hold) or decision.reason is not Reason.WITHIN_BAND:
        assert found is None or min(found[1] + found[2]) == 0.0
        return
    if found is None or min(found[1] + found[2]) == 0.0:
        return
    assets, ups, downs = found
    exact = certificate_after(decision, made, at)
    assert (exact.until, exact.waits_for_price, exact.waits_for_instrument) == (None, "", False)
    kept = [column for column, asset in enumerate(assets) if asset != "USDT"]
    assert tuple(assets[column] for column in kept) == exact.assets
    if len(set(held)) == len(held):  # among equals either may be taken for the nearest
        assert [ups[column] for column in kept] == pytest.approx(exact.ups, rel=1e-8)
        assert [downs[column] for column in kept] == pytest.approx(exact.downs, rel=1e-8)


def _view(**changes: Any) -> Situation:
    made = situation(BALANCED)
    return replace(made, strategy=replace(made.strategy, **changes))


_REQUEST = Request("r1", RequestKind.REBALANCE)


@pytest.mark.parametrize(
    "made",
    [
        *(_view(status=status) for status in StrategyStatus if status is not StrategyStatus.ACTIVE),
        _view(active_since=None),
        _view(requests_open=1),
        _view(request=_REQUEST),
        _view(money_arriving=True),
        _view(money_leaving=True),
        situation(BALANCED, rebalance={"threshold": {"relative": "100"}}),  # a bound at a weight of 0
        situation(BALANCED, rebalance={"threshold": {"points": "5", "per_asset": {"BTC": "70"}}}),  # or of 100
        situation(BALANCED, rebalance={"threshold": "30"}),
        situation(BALANCED, rebalance={"threshold": "60"}),  # a bound at a weight of 100
        situation(dict.fromkeys(BALANCED, "0")),
        situation({**BALANCED, "BTC": "-1"}),
        situation({**BALANCED, "XRP": "1"}),  # no price
        replace(situation(BALANCED), position=None),
        *(
            situation(BALANCED, progress=progress)
            for progress in (
                PlanProgress("s1", open_plan_id="p1"),
                PlanProgress("s1", fills_total=1),
                PlanProgress("s1", sealed=True),
                PlanProgress("s1", held=True),
                PlanProgress("s1", position_required=8),
            )
        ),
    ],
)
def test_plain_case_when_more_may_be_wanted_is_none(made: Situation) -> None:
    assert plain_case(made, market(PRICES), {}) is None


@pytest.mark.parametrize("stale", ["ONE", "BTC", "ETH"])
def test_plain_case_when_a_price_cannot_be_used_is_none(stale: str) -> None:
    without = {asset: price for asset, price in PRICES.items() if asset != stale}
    assert plain_case(situation(BALANCED), market(PRICES, stale={stale}), {}) is None
    assert plain_case(situation(BALANCED), market(without), {}) is None


@pytest.mark.parametrize("outcome", list(PlanOutcome))
def test_plain_case_when_the_last_plan_just_ended_holds_all_the_same(outcome: PlanOutcome) -> None:
    """A cooldown, a plan that came to nothing: they matter only to a rule that has fired."""
    progress = PlanProgress("s1", last_closed_plan_id="p1", last_outcome=outcome, last_closed_at=AT - timedelta(1))
    made = situation(BALANCED, progress=progress, last_kind="rebalance")
    decision = decide(made, market(PRICES))
    assert isinstance(decision, Hold)
    assert decision.reason is Reason.WITHIN_BAND
    assert plain_case(made, market(PRICES), {}) is not None


def test_plain_boxes_when_a_weight_is_at_its_bound_have_no_width() -> None:
    """45 of 40 +- 5 fires, inclusive: such a strategy must be looked at."""
    found = _boxes(situation({"ONE": "45", "BTC": "28", "ETH": "27"}, BIGONE), market(PRICES))
    assert found is not None
    assert min(found[1] + found[2]) == 0.0

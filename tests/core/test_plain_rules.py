"""First certificates in bulk, for every rule: what they promise is what the exact look would, or less, never more."""

import math
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from shared.core.auto_invest import AutoInvestState, AutoInvestStatus
from shared.core.bulk_certificates import PlainCase, plain_boxes, plain_case
from shared.core.certificates import certificate_after
from shared.core.decisions import Hold, decide
from shared.core.position import PlanOutcome, PlanProgress, Position
from shared.core.reasons import Reason
from shared.core.situation import NONE_YET, Market, Peak, Situation
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, market, situation
from tests.core.random_strategies import random_situation

D = Decimal
ASSETS = ["A0", "A1", "A2", "A3"]
BALANCED = {"ONE": "480", "BTC": "360", "ETH": "360"}
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}
HELD = {Reason.WITHIN_BAND, Reason.INTERVAL_NOT_DUE, Reason.HOLD_MODE}
DAY = timedelta(days=1)


def _box(case: PlainCase) -> tuple[list[float], list[float]]:
    """How far each asset may rise and fall; the quote currency is left out."""
    cash = case.assets.index("USDT") if "USDT" in case.assets else -1
    ups, downs = plain_boxes([case], cash)
    kept = [column for column in range(len(case.assets)) if column != cash]
    return ups[0][kept].tolist(), downs[0][kept].tolist()


def _in_mid_life(rng: random.Random, slot: int, now: datetime, prices: dict[str, str]) -> Situation:
    """An active strategy of any rule, on average in balance, with a little profit or loss behind it."""
    made = random_situation(rng, ASSETS, slot, investing=True)
    definition, at = made.strategy.definition, now - timedelta(hours=rng.choice([0, 1, 3]))
    off = {asset: 1 + D(rng.randint(-100, 100)) / rng.choice([500, 5000]) for asset in definition.targets}
    worth = {asset: weight * off[asset] * rng.choice([10, 10, 10, 11]) for asset, weight in definition.targets.items()}
    holdings = {asset: value / D(prices.get(asset, "1")) for asset, value in worth.items()}
    if rng.random() < 0.3:
        holdings["USDT"] = holdings.get("USDT", D(0)) + rng.randint(1, 300)
    total = sum((held * D(prices.get(asset, "1")) for asset, held in holdings.items()), D(0))
    contributed = (total * D(rng.randint(960, 1040)) / 1000).quantize(D("0.01"))
    state = made.strategy.auto_invest
    if state is not None:
        settled, last = rng.choice([None, at]), rng.choice([None, at])
        status = rng.choice([*AutoInvestStatus, AutoInvestStatus.RUNNING])
        state = replace(state, status=status, settled_until=settled, last_made_at=last, pending=rng.random() < 0.1)
    levels = (definition.take_profit, definition.stop_loss)
    peak = (
        Peak(D(rng.choice(["0.6", "2.2", "3.9"])), contributed) if any(one and one.trails for one in levels) else None
    )
    view = replace(made.strategy, status=StrategyStatus.ACTIVE, auto_invest=state, peak=rng.choice([peak, peak, None]))
    outcome = rng.choice([None, *PlanOutcome])
    progress = PlanProgress(f"s{slot}") if outcome is None else PlanProgress(f"s{slot}", None, "p1", outcome, at)
    position = Position(f"s{slot}", 3, 0, holdings, contributed)
    return Situation(view, position, progress, rng.choice(["rebalance", "invest"]), "interval_due")


def _moved(rng: random.Random, case: PlainCase, prices: dict[str, str], share: float) -> list[dict[str, str]]:
    """Prices in the middle and at all corners of the box, just inside."""
    ups, downs = _box(case)
    assets = [asset for asset in case.assets if asset != "USDT"]
    found = [prices]
    for corner in product((False, True), repeat=len(assets)):
        sides = zip(assets, corner, ups, downs, strict=True)
        reach = {asset: min(up, 9.0) if rises else -min(down, 9.0) for asset, rises, up, down in sides}
        found.append(prices | {a: f"{D(prices[a]) * D(math.exp(share * move)):.40f}" for a, move in reach.items()})
    return rng.sample(found, min(len(found), 9))


@pytest.mark.parametrize("seed", range(5))
def test_plain_boxes_when_any_rule_has_one_nothing_is_done_or_counted_inside(seed: int) -> None:
    """At the corners, and until the last moment: ``decide`` holds, and begins no count of confirmations."""
    rng = random.Random(seed)
    seen, exact = Counter[str](), 0
    for slot in range(400):
        prices = {asset: f"{rng.choice([0.00001234, 0.5, 61234.5]) * rng.uniform(1, 2):.12f}" for asset in ASSETS}
        now = AT + timedelta(minutes=rng.randint(0, 600))
        made, at = _in_mid_life(rng, slot, now, prices), market(prices, now)
        case = plain_case(made, at, {})
        decision = decide(made, at)
        holds = isinstance(decision, Hold) and decision.reason in HELD and decision.confirmations == NONE_YET
        exact += holds
        if case is None or min(map(min, _box(case))) <= 0.0:
            continue
        assert holds, (slot, decision)
        certificate = certificate_after(decision, made, at)
        assert case.until == certificate.until
        assert min(map(min, _box(case))) == pytest.approx(certificate.log_band, rel=1e-8)
        share = rng.choice([0.5, 0.999999, 1 - 1e-9])
        for moved in _moved(rng, case, prices, share):
            for moment in (now, now if case.until is None else case.until - timedelta(milliseconds=1)):
                inside = decide(made, market(moved, moment))
                assert isinstance(inside, Hold)
                assert (inside.reason in HELD, inside.confirmations, inside.peak) == (True, NONE_YET, None), inside
        seen[decision.code] += 1
    assert set(seen) == {reason.value for reason in HELD}
    assert seen.total() > 0.7 * exact > 60  # the others are near a bound, or a band ends at 0


def _invests(state: dict[str, Any] | None = None, **plan: Any) -> Situation:
    made = situation(BALANCED, auto_invest={"amount": "50", **plan})
    running = replace(AutoInvestState(AutoInvestStatus.RUNNING, AT), **(state or {}))
    return replace(made, strategy=replace(made.strategy, auto_invest=running))


WEEK = AT + 7 * DAY
DRAWDOWN = {"loss": "10", "min_interval": "7d"}


@pytest.mark.parametrize(
    ("made", "after", "box", "until"),
    [
        # situation, time since it became active, least way to the box's edge, market time at which it ends
        (situation(BALANCED, rebalance={"threshold": {"relative": "12.5"}}), DAY, 0.0864, None),
        (situation(BALANCED, rebalance={"threshold": {"points": "9", "per_asset": {"BTC": "1"}}}), DAY, 0.0189, None),
        (situation(BALANCED, rebalance={"interval": "7d"}), DAY, math.inf, WEEK),
        (situation(BALANCED, rebalance={"interval": "7d", "threshold": "5"}), DAY, 0.0819, WEEK),
        (situation(BALANCED, rebalance={"interval": "7d", "threshold": "5", "when": "all"}), DAY, math.inf, WEEK),
        (situation(BALANCED, rebalance={"hold": True}), DAY, math.inf, None),
        (situation(BALANCED, rebalance={"hold": True}, take_profit="10"), DAY, math.log(1.1), None),
        (situation(BALANCED, rebalance={"hold": True}, stop_loss="-10"), DAY, -math.log(0.9), None),
        (situation(BALANCED, contributed="0", rebalance={"hold": True}, stop_loss="-10"), DAY, math.inf, None),
        (_invests(schedule={"every": "6h"}), timedelta(hours=5), 0.0819, AT + DAY / 4),
        (_invests(schedule={"every": "6h"}, state={"settled_until": AT + DAY / 4}), DAY / 4, 0.0819, AT + DAY / 2),
        (_invests(schedule={"every": "6h"}, state={"status": AutoInvestStatus.STOPPED}), DAY, 0.0819, None),
        (_invests(drawdown={**DRAWDOWN, "loss": "5"}), DAY, -math.log(0.95), None),
        (_invests(drawdown=DRAWDOWN, state={"last_made_at": AT}), DAY, 0.0819, WEEK),
    ],
)  # fmt: skip
def test_plain_case_when_a_rule_waits_is_watched_as_after_a_look(
    made: Situation, after: timedelta, box: float, until: datetime | None
) -> None:
    at = market(PRICES, AT + after)
    case, decision = plain_case(made, at, {}), decide(made, at)
    assert case is not None
    assert isinstance(decision, Hold)
    exact = certificate_after(decision, made, at)
    assert case.until == exact.until == until
    assert min(map(min, _box(case))) == pytest.approx(exact.log_band) == pytest.approx(box, abs=5e-5)


def _runs(rule: dict[str, str], **changes: Any) -> Situation:
    return situation(BALANCED, rebalance=rule, **changes)


@pytest.mark.parametrize(
    ("made", "after"),
    [
        (_runs({"interval": "7d"}), 7 * DAY),
        (_runs({"interval": "7d", "min_drift": "4"}), 7 * DAY),
        (_runs({"interval": "7d", "threshold": "5", "when": "all"}), 8 * DAY),
        (_invests(schedule={"every": "6h"}), DAY / 4),
        (_invests(schedule={"every": "6h"}, grace="1h"), DAY / 3),
        (_invests(schedule={"every": "6h"}, state={"pending": True}), DAY / 8),
    ],
)
def test_plain_case_when_something_is_due_is_none(made: Situation, after: timedelta) -> None:
    assert plain_case(made, market(PRICES, AT + after), {}) is None


HOLD = {"rebalance": {"hold": True}}
RICH = {"ONE": "120", "USDT": "1080"}


@pytest.mark.parametrize(
    "made",
    [
        situation(BALANCED, **HOLD, contributed="1000", take_profit="20"),
        situation(BALANCED, **HOLD, contributed="1500", stop_loss="-20"),
        situation(BALANCED, **HOLD, contributed="1000", take_profit={"percent": "20", "trailing": "3"}),
        situation(RICH, **HOLD, contributed="1000", take_profit="8"),  # the cash alone is at the level
        situation(RICH, **HOLD, contributed="1200", stop_loss="-10"),
        situation({"USDT": "1200"}, **HOLD, contributed="1000", take_profit="20"),
    ],
)
def test_plain_boxes_when_a_value_is_reached_or_as_much_as_the_cash_have_no_width(made: Situation) -> None:
    case = plain_case(made, market(PRICES), {})
    assert case is not None
    assert min(map(min, _box(case))) == 0.0


def test_plain_case_when_the_drawdown_is_reached_has_no_width() -> None:
    made = _invests(drawdown=DRAWDOWN)
    assert made.position is not None
    lost = replace(made, position=replace(made.position, contributed=D(1200) / D("0.9")))
    case = plain_case(lost, market(PRICES), {})
    assert case is not None
    assert min(map(min, _box(case))) == 0.0


def test_plain_boxes_when_the_cash_is_worth_more_than_a_stop_no_fall_matters() -> None:
    made: Situation = situation({"ONE": "120", "USDT": "1080"}, **HOLD, stop_loss="-50")
    at: Market = market(PRICES)
    case = plain_case(made, at, {})
    assert case is not None
    assert _box(case) == ([math.inf] * 3, [math.inf] * 3)

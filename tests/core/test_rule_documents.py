"""Every form a rule may have in a file: one row a case, outcome last."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.core.errors import Refused
from shared.core.rules import Band, Destination, ExitAction, ExitLevel, RebalanceRule, StartPrice, When, leg_widths
from shared.core.strategy import MAX_ASSETS, parse_strategy, strategy_document, warnings_of
from tests.core.portfolio_samples import BIGONE

D = Decimal
WEEK, MINUTES = timedelta(days=7), timedelta(minutes=1)
TARGETS = {"ONE": D(40), "BTC": D(30), "ETH": D(20), "DOT": D(4), "USDT": D(6)}
DOCUMENT = {**BIGONE, "targets": {asset: str(weight) for asset, weight in TARGETS.items()}}

RULES: list[tuple[dict[str, Any], RebalanceRule]] = [
    ({"threshold": "5"}, RebalanceRule(Band(D(5)))),
    ({"threshold": {"points": "5"}}, RebalanceRule(Band(D(5)))),
    ({"threshold": {"relative": "15"}}, RebalanceRule(Band(D(0), D(15)))),
    ({"threshold": {"factor": "20", "floor": "1"}}, RebalanceRule(Band(D(1), D(20)))),
    ({"threshold": {"points": "5", "per_asset": {"BTC": "3"}}}, RebalanceRule(Band(D(5), D(0), {"BTC": D(3)}))),
    (
        {"threshold": {"relative": "1000", "per_asset": {"USDT": "2"}}},
        RebalanceRule(Band(D(0), D(1000), {"USDT": D(2)})),
    ),
    ({"interval": "7d"}, RebalanceRule(interval=WEEK)),
    ({"interval": "7d", "min_drift": "0.5"}, RebalanceRule(interval=WEEK, min_drift=D("0.5"))),
    ({"interval": "7d", "threshold": "5"}, RebalanceRule(Band(D(5)), WEEK)),
    ({"interval": "7d", "threshold": "5", "when": "any"}, RebalanceRule(Band(D(5)), WEEK, When.ANY)),
    ({"interval": "7d", "threshold": "5", "when": "all"}, RebalanceRule(Band(D(5)), WEEK, When.ALL)),
    ({"interval": "7d", "threshold": "5", "min_drift": "3"}, RebalanceRule(Band(D(5)), WEEK, min_drift=D(3))),
    ({"hold": True}, RebalanceRule()),
    ({"hold": "true"}, RebalanceRule()),
    ({"threshold": "5", "cooldown": "0m"}, RebalanceRule(Band(D(5)), cooldown=timedelta(0))),
    ({"threshold": "5", "cooldown": "5m"}, RebalanceRule(Band(D(5)))),
    ({"threshold": "5", "cooldown": "12h"}, RebalanceRule(Band(D(5)), cooldown=720 * MINUTES)),
    ({"threshold": "5", "destination": "target"}, RebalanceRule(Band(D(5)))),
    ({"threshold": "5", "destination": "halfway"}, RebalanceRule(Band(D(5)), destination=Destination.HALFWAY)),
    ({"threshold": "5", "destination": "band_edge"}, RebalanceRule(Band(D(5)), destination=Destination.BAND_EDGE)),
    ({"threshold": "5", "cost_guard": "2"}, RebalanceRule(Band(D(5)), cost_guard=D(2))),
    ({"threshold": "5", "interval": None}, RebalanceRule(Band(D(5)))),
]


@pytest.mark.parametrize(("written", "rule"), RULES)
def test_rule_when_allowed_is_read_and_written_back_equal(written: dict[str, Any], rule: RebalanceRule) -> None:
    definition = parse_strategy({**DOCUMENT, "rebalance": written})
    assert definition.rule == rule
    assert parse_strategy(strategy_document(definition)) == definition


def test_documents_when_plain_are_written_as_before() -> None:
    """What was stored by an older version reads the same, and is written the same."""
    for changes in ({}, {"rebalance": {"interval": "12h"}}, {"take_profit": "15", "stop_loss": "-8"}):
        stored = {**BIGONE, **changes}
        assert strategy_document(parse_strategy(stored)) == stored


FIVE = {"threshold": "5"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"rebalance": {"threshold": {}}}, "rebalance.threshold"),
    ({"rebalance": {"threshold": {"points": "5", "relative": "5"}}}, "rebalance.threshold"),
    ({"rebalance": {"threshold": {"factor": "20"}}}, "rebalance.threshold"),
    ({"rebalance": {"threshold": {"floor": "1"}}}, "rebalance.threshold"),
    ({"rebalance": {"threshold": {"per_asset": {"BTC": "5"}}}}, "rebalance.threshold"),
    ({"rebalance": {"threshold": {"points": "100"}}}, "rebalance.threshold.points"),
    ({"rebalance": {"threshold": {"relative": "0"}}}, "rebalance.threshold.relative"),
    ({"rebalance": {"threshold": {"relative": "1000.1"}}}, "rebalance.threshold.relative"),
    ({"rebalance": {"threshold": {"factor": "20", "floor": "0"}}}, "rebalance.threshold.floor"),
    ({"rebalance": {"threshold": {"points": "5", "per_asset": {"DOGE": "3"}}}}, "rebalance.threshold.per_asset.DOGE"),
    ({"rebalance": {"threshold": {"points": "5", "per_asset": {"BTC": "0"}}}}, "rebalance.threshold.per_asset.BTC"),
    ({"rebalance": {"threshold": {"points": "5", "per_asset": ["BTC"]}}}, "rebalance.threshold.per_asset"),
    ({"rebalance": {"threshold": {"points": 5.5}}}, "rebalance.threshold.points"),
    ({"rebalance": {"threshold": {"moon": "5"}}}, "rebalance.threshold.moon"),
    ({"rebalance": {**FIVE, "when": "all"}}, "rebalance.when"),
    ({"rebalance": {**FIVE, "interval": "7d", "when": "sometimes"}}, "rebalance.when"),
    ({"rebalance": {**FIVE, "interval": "7d", "when": True}}, "rebalance.when"),
    ({"rebalance": {**FIVE, "min_drift": "1"}}, "rebalance.min_drift"),
    ({"rebalance": {**FIVE, "interval": "7d", "when": "all", "min_drift": "1"}}, "rebalance.min_drift"),
    ({"rebalance": {"interval": "7d", "destination": "halfway"}}, "rebalance.destination"),
    ({"rebalance": {**FIVE, "destination": "moon"}}, "rebalance.destination"),
    ({"rebalance": {**FIVE, "destination": ["halfway"]}}, "rebalance.destination"),
    ({"rebalance": {**FIVE, "cooldown": "31d"}}, "rebalance.cooldown"),
    ({"rebalance": {**FIVE, "cooldown": "-5m"}}, "rebalance.cooldown"),
    ({"rebalance": {**FIVE, "cooldown": 5}}, "rebalance.cooldown"),
    ({"rebalance": {**FIVE, "cost_guard": "0"}}, "rebalance.cost_guard"),
    ({"rebalance": {**FIVE, "cost_guard": "1001"}}, "rebalance.cost_guard"),
    ({"rebalance": {**FIVE, "hold": True}}, "rebalance"),
    ({"rebalance": {"hold": False}}, "rebalance.hold"),
    ({"rebalance": {"cooldown": "5m"}}, "rebalance"),
    ({"take_profit": {"percent": "-1"}}, "take_profit.percent"),
    ({"take_profit": {"confirm": "3"}}, "take_profit.percent"),
    ({"take_profit": {"percent": "15", "confirm": "1.5"}}, "take_profit.confirm"),
    ({"take_profit": {"percent": "15", "confirm": "101"}}, "take_profit.confirm"),
    ({"take_profit": {"percent": "15", "trailing": "15"}}, "take_profit.trailing"),
    ({"take_profit": {"percent": "15", "trailing": "0"}}, "take_profit.trailing"),
    ({"take_profit": {"percent": "15", "trailing": True}}, "take_profit.trailing"),
    ({"stop_loss": {"percent": "-8", "trailing": "3"}}, "stop_loss.trailing"),
    ({"stop_loss": {"percent": "8"}}, "stop_loss.percent"),
    ({"stop_loss": {"percent": "-8", "action": "hold"}}, "stop_loss.action"),
    ({"take_profit": {"percent": "15", "action": True}}, "take_profit.action"),
    ({"take_profit": {"action": "keep"}}, "take_profit.percent"),
    ({"stop_loss": {"percent": "-8", "moon": "1"}}, "stop_loss.moon"),
    ({"start": "50000"}, "start"),
    ({"start": {"asset": "BTC"}}, "start"),
    ({"start": {"asset": "BTC", "at_or_below": "1", "at_or_above": "2"}}, "start"),
    ({"start": {"asset": "DOGE", "at_or_below": "1"}}, "start.asset"),
    ({"start": {"asset": "BTC", "at_or_below": "0"}}, "start.at_or_below"),
    ({"start": {"asset": "BTC", "at_or_below": 50000.5}}, "start.at_or_below"),
]


@pytest.mark.parametrize(("changes", "field"), REFUSED)
def test_rule_when_out_of_range_refuses_naming_field_and_allowed(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_strategy({**DOCUMENT, **changes})
    assert [problem.field for problem in refusal.value.problems] == [field]
    assert all(problem.allowed and problem.message for problem in refusal.value.problems)


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"take_profit": "15"}, "take_profit", ExitLevel(D(15))),
        ({"take_profit": {"percent": "15"}}, "take_profit", ExitLevel(D(15))),
        ({"take_profit": {"percent": "15", "confirm": "5"}}, "take_profit", ExitLevel(D(15), 5)),
        ({"stop_loss": {"percent": "-8", "confirm": 1}}, "stop_loss", ExitLevel(D(-8), 1)),
        ({"take_profit": {"percent": "15", "trailing": "3"}}, "take_profit", ExitLevel(D(15), None, D(3))),
        ({"take_profit": {"percent": "15", "trailing": "3", "confirm": "2"}}, "take_profit", ExitLevel(D(15), 2, D(3))),
        ({"stop_loss": {"percent": "-8", "trailing": True}}, "stop_loss", ExitLevel(D(-8), from_peak=True)),
        ({"stop_loss": {"percent": "-8", "trailing": "true"}}, "stop_loss", ExitLevel(D(-8), from_peak=True)),
        ({"take_profit": {"percent": "15", "action": "sell"}}, "take_profit", ExitLevel(D(15))),
        ({"take_profit": {"percent": "15", "action": "keep"}}, "take_profit", ExitLevel(D(15), action=ExitAction.KEEP)),
        (
            {"take_profit": {"percent": "15", "trailing": "3", "confirm": "2", "action": "pause"}},
            "take_profit",
            ExitLevel(D(15), 2, D(3), action=ExitAction.PAUSE),
        ),
        (
            {"stop_loss": {"percent": "-8", "trailing": True, "action": "pause"}},
            "stop_loss",
            ExitLevel(D(-8), from_peak=True, action=ExitAction.PAUSE),
        ),
        ({"start": {"asset": "BTC", "at_or_below": "50000"}}, "start", StartPrice("BTC", D(50000), above=False)),
        ({"start": {"asset": "BTC", "at_or_above": "0.5"}}, "start", StartPrice("BTC", D("0.5"), above=True)),
        ({"start": None}, "start", None),
    ],
)
def test_levels_when_allowed_are_read_and_written_back_equal(changes: dict[str, Any], name: str, value: object) -> None:
    definition = parse_strategy({**DOCUMENT, **changes})
    assert getattr(definition, name) == value
    assert parse_strategy(strategy_document(definition)) == definition


WIDTHS = [
    # ONE 40, BTC 30, ETH 20, DOT 4, USDT 6; DOGE is none of them
    ({"points": "5"}, ["5", "5", "5", "5", "5", "5"]),
    ({"relative": "15"}, ["6", "4.5", "3", "0.6", "0.9", "0.6"]),
    ({"factor": "20", "floor": "1"}, ["8", "6", "4", "1", "1.2", "1"]),
    ({"points": "5", "per_asset": {"BTC": "3", "DOT": "9"}}, ["5", "3", "5", "9", "5", "5"]),
    ({"relative": "50", "per_asset": {"DOT": "3.5"}}, ["20", "15", "10", "3.5", "3", "2"]),
]


@pytest.mark.parametrize(("threshold", "widths"), WIDTHS)
def test_width_when_of_each_kind_is_the_formula(threshold: dict[str, Any], widths: list[str]) -> None:
    band = parse_strategy({**DOCUMENT, "rebalance": {"threshold": threshold}}).rule.threshold
    assert band is not None
    assert [band.width(asset, TARGETS) for asset in (*TARGETS, "DOGE")] == [D(width) for width in widths]


def test_width_when_decimals_are_many_is_exact() -> None:
    targets = {"A": D("33.333333333333333333"), "B": D("66.666666666666666667")}
    width = Band(D(0), D("0.000000000000000001")).width("A", targets)
    assert width == D("0.00000000000000000033333333333333333333")


@pytest.mark.parametrize(
    ("threshold", "warned"),
    [
        ("3.9", []),
        ("4", ["DOT"]),
        ("6", ["DOT", "USDT"]),
        ({"relative": "99.9"}, []),
        ({"relative": "100"}, ["ONE", "BTC", "ETH", "DOT", "USDT"]),
        ({"factor": "20", "floor": "4"}, ["DOT"]),
        ({"points": "2", "per_asset": {"ETH": "20"}}, ["ETH"]),
    ],
)
def test_warnings_when_a_band_reaches_down_to_zero_name_the_asset(threshold: Any, warned: list[str]) -> None:
    found = warnings_of(parse_strategy({**DOCUMENT, "rebalance": {"threshold": threshold}}))
    assert [next(asset for asset in TARGETS if f"of {asset} (" in text) for text in found] == warned


@pytest.mark.parametrize(
    ("destination", "widths"),
    [("target", {"A": "9", "B": "4"}), ("halfway", {"A": "4.5", "B": "2"}), ("band_edge", {"A": "0", "B": "0"})],
)
def test_leg_widths_when_a_threshold_fires_are_what_moves_at_least(destination: str, widths: dict[str, str]) -> None:
    rule = RebalanceRule(Band(D(0), D(15), {"B": D(4)}), destination=Destination(destination))
    assert leg_widths(rule, {"A": D(60), "B": D(40)}) == {asset: D(width) for asset, width in widths.items()}
    assert leg_widths(RebalanceRule(interval=WEEK), {"A": D(100)}) is None


def test_targets_when_more_than_allowed_are_refused_only_where_the_limit_is_asked_for() -> None:
    eleven = {f"A{n}": "9" for n in range(10)} | {"A10": "10"}
    assert len(parse_strategy({**BIGONE, "targets": eleven}).targets) == 11
    assert len(parse_strategy({**BIGONE, "targets": eleven}, max_assets=11).targets) == 11
    with pytest.raises(Refused, match="2 to 10 assets"):
        parse_strategy({**BIGONE, "targets": eleven}, max_assets=MAX_ASSETS)

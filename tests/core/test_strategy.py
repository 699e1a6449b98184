"""What a strategy file may say: one row a case, the outcome last."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.document_fields import interval_text, parse_interval
from shared.core.errors import Refused
from shared.core.rules import Band, ExitLevel, RebalanceRule
from shared.core.strategy import MAX_ASSETS, parse_strategy, strategy_document, warnings_of

FIVE_POINTS = RebalanceRule(Band(Decimal(5)))


def document(**changes: Any) -> dict[str, Any]:
    """The strategy file of the README, with changes."""
    given_fields: dict[str, Any] = {
        "name": "Three majors",
        "venue": "paper",
        "funding_asset": "USDT",
        "amount": "1200",
        "targets": {"BTC": "40", "ETH": "30", "SOL": "30"},
        "rebalance": {"threshold": "5"},
        "take_profit": "15",
        "stop_loss": "-8",
    }
    given_fields.update(changes)
    return {field: value for field, value in given_fields.items() if value != "absent"}


def equal_weights(count: int) -> dict[str, str]:
    weights = {f"A{number}": str(100 // count) for number in range(count)}
    weights["A0"] = str(100 - (100 // count) * (count - 1))
    return weights


def test_parse_strategy_when_complete_keeps_every_value() -> None:
    definition = parse_strategy(document())
    assert definition.targets == {"BTC": Decimal(40), "ETH": Decimal(30), "SOL": Decimal(30)}
    assert definition.rule == FIVE_POINTS
    assert definition.amount == 1200
    assert (definition.take_profit, definition.stop_loss) == (ExitLevel(Decimal(15)), ExitLevel(Decimal(-8)))


ACCEPTED = [
    ({"rebalance": {"interval": "7d"}}, RebalanceRule(interval=timedelta(days=7))),
    ({"rebalance": {"interval": "1m"}}, RebalanceRule(interval=timedelta(minutes=1))),
    ({"rebalance": {"threshold": "0.1"}}, RebalanceRule(Band(Decimal("0.1")))),
    ({"rebalance": {"threshold": "99.9"}}, RebalanceRule(Band(Decimal("99.9")))),
    ({"targets": equal_weights(2)}, FIVE_POINTS),
    ({"targets": equal_weights(10)}, FIVE_POINTS),
    ({"targets": {"BTC": "33.333333333333333333", "ETH": "66.666666666666666667"}}, FIVE_POINTS),
    ({"amount": "199999.99"}, FIVE_POINTS),
    ({"take_profit": "absent", "stop_loss": "absent"}, FIVE_POINTS),
]


@pytest.mark.parametrize(("changes", "rule"), ACCEPTED)
def test_parse_strategy_when_allowed_is_read_back_equal(changes: dict[str, Any], rule: object) -> None:
    definition = parse_strategy(document(**changes))
    assert definition.rule == rule
    assert parse_strategy(strategy_document(definition)) == definition


REFUSED = [
    ({"targets": {"BTC": "49.99", "ETH": "50"}}, "targets"),
    ({"targets": {"BTC": "50.01", "ETH": "50"}}, "targets"),
    ({"targets": {"BTC": "50", "ETH": "49.999999999999999999"}}, "targets"),
    ({"targets": {"BTC": "100"}}, "targets"),
    ({"targets": equal_weights(11)}, "targets"),
    ({"targets": {}}, "targets"),
    ({"targets": ["BTC"]}, "targets"),
    ({"targets": {"btc": "50", "ETH": "50"}}, "targets"),
    ({"targets": {"BTC": "-50", "ETH": "150"}}, "targets.BTC"),
    ({"targets": {"BTC": "0", "ETH": "100"}}, "targets.BTC"),
    ({"targets": {"BTC": 50.0, "ETH": "50"}}, "targets.BTC"),
    ({"targets": {"BTC": "NaN", "ETH": "50"}}, "targets.BTC"),
    ({"amount": "0"}, "amount"),
    ({"amount": "-1"}, "amount"),
    ({"amount": "200000"}, "amount"),
    ({"amount": "1e400"}, "amount"),
    ({"amount": "NaN"}, "amount"),
    ({"amount": 1200.5}, "amount"),
    ({"rebalance": {"threshold": "0"}}, "rebalance.threshold"),
    ({"rebalance": {"threshold": "100"}}, "rebalance.threshold"),
    ({"rebalance": {"threshold": "-5"}}, "rebalance.threshold"),
    ({"rebalance": {"interval": "0d"}}, "rebalance.interval"),
    ({"rebalance": {"interval": "7"}}, "rebalance.interval"),
    ({"rebalance": {"interval": "367d"}}, "rebalance.interval"),
    ({"rebalance": {}}, "rebalance"),
    ({"rebalance": {"moon": "5"}}, "rebalance.moon"),
    ({"rebalance": "5"}, "rebalance"),
    ({"take_profit": "0"}, "take_profit"),
    ({"take_profit": "-5"}, "take_profit"),
    ({"stop_loss": "0"}, "stop_loss"),
    ({"stop_loss": "-100"}, "stop_loss"),
    ({"stop_loss": "8"}, "stop_loss"),
    ({"name": ""}, "name"),
    ({"name": "x" * 81}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": 5}, "name"),
    ({"venue": "Paper Venue"}, "venue"),
    ({"funding_asset": "usdt"}, "funding_asset"),
    ({"amount": "absent"}, "amount"),
    ({"targets": "absent"}, "targets"),
    ({"leverage": "5"}, "leverage"),
]


@pytest.mark.parametrize(("changes", "field"), REFUSED)
def test_parse_strategy_when_out_of_range_refuses_naming_field_and_allowed(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_strategy(document(**changes), max_assets=MAX_ASSETS)
    assert field in [problem.field for problem in refusal.value.problems]
    assert all(problem.allowed and problem.message for problem in refusal.value.problems)


def test_parse_strategy_when_several_fields_are_wrong_reports_all_of_them() -> None:
    with pytest.raises(Refused) as refusal:
        parse_strategy(document(amount="0", stop_loss="5", rebalance={"threshold": "0"}))
    assert {problem.field for problem in refusal.value.problems} == {"amount", "stop_loss", "rebalance.threshold"}


def test_warnings_of_when_threshold_reaches_a_target_names_the_asset() -> None:
    definition = parse_strategy(document(targets={"BTC": "95", "ETH": "5"}))
    (warning,) = warnings_of(definition)
    assert "ETH" in warning
    assert warnings_of(parse_strategy(document())) == []


@given(st.integers(min_value=1, max_value=366 * 24 * 60))
def test_interval_text_when_parsed_is_the_same_interval(minutes: int) -> None:
    interval = timedelta(minutes=minutes)
    assert parse_interval(interval_text(interval)) == interval


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=8), st.floats(), st.none(), st.integers())))
def test_parse_strategy_when_given_anything_refuses_and_never_crashes(anything: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        parse_strategy({**document(), "targets": anything})
    with pytest.raises(Refused):
        parse_strategy(anything)

"""Edits of a document: what is said is what is asked for, anything else is refused."""

from typing import Any

import pytest

from deploy.command_line.strategy_edits import changes_between, differences, with_values
from shared.contracts.lifecycle import EDITABLE_FIELDS
from shared.core.errors import Refused
from tests.services.strategy_registry.world import document

FRIDAYS = {"amount": "50", "schedule": {"every": "friday"}}


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (["take_profit=15"], {"take_profit": "15"}),
        (["take_profit=15", "take_profit.action=keep"], {"take_profit": {"percent": "15", "action": "keep"}}),
        (["take_profit={percent: 15.50, confirm: 3}"], {"take_profit": {"percent": "15.5", "confirm": "3"}}),
        (["stop_loss="], {"stop_loss": None}),
        (["stop_loss=null"], {"stop_loss": None}),
        (["name=Two words: [and] signs"], {"name": "Two words: [and] signs"}),
        (['name="{quoted}"'], {"name": "{quoted}"}),
        (["targets.BTC=50", "targets.ETH=20"], {"targets": {"BTC": "50", "ETH": "20", "SOL": "30"}}),
        (["targets.SOL=", "targets.BTC=70"], {"targets": {"BTC": "70", "ETH": "30"}}),
        (["targets={BTC: 60, ETH: 40}"], {"targets": {"BTC": "60", "ETH": "40"}}),
        (
            ["rebalance.threshold.per_asset.BTC=3"],
            {"rebalance": {"threshold": {"points": "5", "per_asset": {"BTC": "3"}}}},
        ),
        (["rebalance={interval: 7d}"], {"rebalance": {"interval": "7d"}}),
        (
            ["auto_invest.schedule.at=14:00", "auto_invest.amount=75"],
            {"auto_invest": {"amount": "75", "schedule": {"every": "friday", "at": "14:00"}}},
        ),
        (["auto_invest="], {"auto_invest": None}),
    ],
)
def test_settings_when_good_become_the_changed_fields(settings: list[str], changes: dict[str, Any]) -> None:
    before = document(stop_loss="-8", auto_invest=FRIDAYS)
    assert changes_between(before, with_values(before, settings), EDITABLE_FIELDS) == changes
    assert before == document(stop_loss="-8", auto_invest=FRIDAYS)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (["take_profit"], "--set"),
        (["=15"], "--set"),
        (["leverage=10"], "leverage"),
        (["take_profit={percent: 1"], "file"),
        (["take_profit=-15"], "take_profit"),
        (["targets.BTC=50"], "targets"),
        (["targets.NOPE.x=50"], "targets.NOPE"),
        (["venue=binance"], "venue"),
        (["amount=5"], "amount"),
        (["funding_asset=BTC"], "funding_asset"),
        (["name="], "name"),
        (["stop_loss=-8"], "changes"),
        (["stop_loss=-8.0"], "changes"),
    ],
)
def test_settings_when_bad_are_refused_by_field(settings: list[str], field: str) -> None:
    before = document(stop_loss="-8")
    with pytest.raises(Refused) as refused:
        changes_between(before, with_values(before, settings), EDITABLE_FIELDS)
    assert field in {problem.field for problem in refused.value.problems}


def test_changes_when_told_name_each_value_that_differs() -> None:
    before = document(stop_loss="-8")
    changes = changes_between(
        before,
        with_values(before, ["targets.BTC=50", "targets.SOL=20", "stop_loss=", "take_profit=5"]),
        EDITABLE_FIELDS,
    )
    assert [(one.field, one.before, one.after) for one in differences(before, changes)] == [
        ("targets.BTC", "40", "50"),
        ("targets.SOL", "30", "20"),
        ("stop_loss", "-8", None),
        ("take_profit", None, "5"),
    ]

"""The schema of strategy files accepts what the parser accepts, and knows every field the parser knows."""

import json
import re
from typing import Any

import pytest

from shared.contracts.strategy_schema import strategy_schema
from shared.core.auto_invest_documents import AUTO_INVEST_FIELDS, DRAWDOWN_FIELDS, SCHEDULE_FIELDS
from shared.core.errors import Refused
from shared.core.rule_documents import EXIT_FIELDS, RULE_FIELDS, START_FIELDS, THRESHOLD_FIELDS
from shared.core.strategy import OPTIONAL_FIELDS, REQUIRED_FIELDS, parse_strategy, strategy_document
from tests.core.portfolio_samples import BIGONE
from tests.core.test_auto_invest_documents import ACCEPTED as AUTO_INVESTS
from tests.core.test_order_styles import STYLES, WRONG_STYLES
from tests.core.test_rule_documents import DOCUMENT, RULES

_TYPES = {"object": dict, "string": str, "integer": int, "number": (int, float)}


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits a schema, as far as the keywords go that the schema of strategies uses."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, _TYPES[kind]) and not isinstance(value, bool) for kind in kinds):
        return False
    checks = [
        "enum" not in schema or value in schema["enum"],
        sum(_fits(value, one) for one in schema.get("oneOf", [])) == ("oneOf" in schema),
        "anyOf" not in schema or any(_fits(value, one) for one in schema["anyOf"]),
    ]
    if isinstance(value, str):
        checks.append(re.search(schema.get("pattern", ""), value) is not None)
        checks.append(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9))
    elif isinstance(value, int):
        checks.append(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    elif isinstance(value, dict):
        checks += _fits_as_mapping(value, schema)
    return all(checks)


def _fits_as_mapping(value: dict[str, Any], schema: dict[str, Any]) -> list[bool]:
    others = schema.get("additionalProperties", {})
    known = schema.get("properties", {})
    strange = {key: one for key, one in value.items() if key not in known}
    return [
        schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", 10**9),
        all(key in value for key in schema.get("required", [])),
        all(set(names) <= set(value) for key, names in schema.get("dependentRequired", {}).items() if key in value),
        all(_fits(key, schema.get("propertyNames", {})) for key in value),
        all(_fits(value[key], known[key]) for key in value if key in known),
        not strange if others is False else all(_fits(one, others) for one in strange.values()),
    ]  # fmt: skip


LEVELS: list[dict[str, Any]] = [
    {},
    {"take_profit": "15", "stop_loss": "-8"},
    {"take_profit": {"percent": "15", "confirm": 5}, "stop_loss": {"percent": "-8", "confirm": "2"}},
    {"take_profit": {"percent": "15", "trailing": "3"}, "stop_loss": {"percent": "-8", "trailing": True}},
    {"start": {"asset": "BTC", "at_or_below": "50000"}},
    {"start": {"asset": "BTC", "at_or_above": 50000}},
    {"take_profit": {"percent": "15", "action": "keep"}, "stop_loss": {"percent": "-8", "action": "pause"}},
    {"take_profit": {"percent": "15", "action": "sell"}, "stop_loss": {"percent": "-8", "trailing": True}},
    *({"orders": orders} for orders in STYLES),
]


@pytest.mark.parametrize(
    "changes",
    [*({"rebalance": rule} for rule, _ in RULES), *({"auto_invest": one} for one, _ in AUTO_INVESTS), *LEVELS],
)
def test_schema_when_the_parser_accepts_a_document_accepts_it_too(changes: dict[str, Any]) -> None:
    document = {**DOCUMENT, **changes}
    if None not in document["rebalance"].values():  # `interval:` with nothing behind it is read as left out
        assert _fits(document, strategy_schema())
        assert _fits(document, strategy_schema(of_files=False))
    assert _fits(json.loads(json.dumps(strategy_document(parse_strategy(document)))), strategy_schema())


@pytest.mark.parametrize(
    "changes",
    [
        {"leverage": "5"},
        {"name": ""},
        {"amount": "1e3"},
        {"amount": True},
        {"targets": {"BTC": "100"}},
        {"targets": {"btc": "50", "ETH": "50"}},
        {"targets": {f"A{n}": "9" for n in range(11)}},
        {"rebalance": {}},
        {"rebalance": {"hold": True, "threshold": "5"}},
        {"rebalance": {"threshold": {"points": "5", "relative": "5"}}},
        {"rebalance": {"threshold": {"factor": "5"}}},
        {"rebalance": {"threshold": {"per_asset": {"BTC": "5"}}}},
        {"rebalance": {"threshold": "5", "when": "all"}},
        {"rebalance": {"threshold": "5", "interval": "7d", "when": "never"}},
        {"rebalance": {"threshold": "5", "min_drift": "1"}},
        {"rebalance": {"interval": "7w"}},
        {"rebalance": {"threshold": "5", "destination": "moon"}},
        {"take_profit": {"confirm": "3"}},
        {"stop_loss": {"percent": "-8", "confirm": 101}},
        {"start": {"asset": "BTC"}},
        {"start": {"asset": "BTC", "at_or_below": "1", "at_or_above": "2"}},
        {"take_profit": {"percent": "15", "action": "hold"}},
        {"stop_loss": {"action": "keep"}},
        {"auto_invest": "50"},
        {"auto_invest": {"amount": "50"}},
        {"auto_invest": {"schedule": "friday"}},
        {"auto_invest": {"amount": "50", "schedule": "freitag"}},
        {"auto_invest": {"amount": "50", "schedule": {"every": "0d"}}},
        {"auto_invest": {"amount": "50", "schedule": {"every": "friday", "monthly": 31}}},
        {"auto_invest": {"amount": "50", "schedule": {"every": "friday", "at": "24:00"}}},
        {"auto_invest": {"amount": "50", "schedule": {"every": "6h", "at": "14:00"}}},
        {"auto_invest": {"amount": "50", "schedule": {"monthly": 32}}},
        {"auto_invest": {"amount": "50", "schedule": {"at": "14:00"}}},
        {"auto_invest": {"amount": "50", "drawdown": {"loss": "5"}}},
        {"auto_invest": {"amount": "50", "drawdown": "5"}},
        {"auto_invest": {"amount": "50", "schedule": "friday", "short_balance": "continue"}},
        {"auto_invest": {"amount": "50", "schedule": "friday", "composition_change": "skip"}},
        {"auto_invest": {"amount": "50", "schedule": "friday", "grace": "1w"}},
        {"auto_invest": {"amount": "50", "schedule": "friday", "moon": "1"}},
        *({"orders": orders} for orders in WRONG_STYLES),
    ],
)
def test_schema_when_a_document_is_of_the_wrong_shape_refuses_it_as_the_parser_does(changes: dict[str, Any]) -> None:
    document = {**BIGONE, **changes}
    assert not _fits(document, strategy_schema())
    with pytest.raises(Refused):
        parse_strategy(document, max_assets=10)


def test_schema_when_of_an_api_body_takes_no_fraction_that_is_not_text() -> None:
    document = {**BIGONE, "rebalance": {"threshold": 0.5}}
    assert _fits(document, strategy_schema())
    assert not _fits(document, strategy_schema(of_files=False))


def test_schema_when_compared_with_the_parser_has_the_same_fields() -> None:
    found = strategy_schema()["properties"]
    rule, never = found["rebalance"]["oneOf"]
    kinds = [set(kind["properties"]) for kind in rule["properties"]["threshold"]["oneOf"][1:]]
    assert set(found) == {*REQUIRED_FIELDS, *OPTIONAL_FIELDS}
    assert set(rule["properties"]) | set(never["properties"]) == set(RULE_FIELDS)
    assert set.union(*kinds) == set(THRESHOLD_FIELDS)
    assert set(found["take_profit"]["oneOf"][1]["properties"]) == set(EXIT_FIELDS)
    assert set(found["start"]["properties"]) == set(START_FIELDS)
    auto_invest = found["auto_invest"]["properties"]
    kinds = [set(kind["properties"]) for kind in auto_invest["schedule"]["oneOf"][1:]]
    assert set(auto_invest) == set(AUTO_INVEST_FIELDS)
    assert set.union(*kinds) == set(SCHEDULE_FIELDS)
    assert set(auto_invest["drawdown"]["properties"]) == set(DRAWDOWN_FIELDS)
    assert strategy_schema(25)["properties"]["targets"]["maxProperties"] == 25

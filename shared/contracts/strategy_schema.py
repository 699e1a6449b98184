"""The JSON schema of a strategy document, made from the same limits that the parser uses.

What a schema cannot say (weights that sum to 100, assets that a venue trades) the parser and the preview do.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from shared.core.auto_invest import DEFAULT_GRACE, MAX_TOTAL_USDT, Period
from shared.core.auto_invest_documents import ANSWERS, MAX_EVERY, MAX_GRACE, TIME_OF_DAY, WEEKDAYS
from shared.core.document_fields import MAX_CONFIRM, MIN_INTERVAL, interval_text
from shared.core.money import MAX_DECIMALS, plain
from shared.core.order_styles import MAX_PAUSE, MAX_SLICE, MIN_PAUSE, OrderStyle
from shared.core.rule_documents import MAX_COST_FACTOR, MAX_FACTOR_PCT, MAX_TAKE_PROFIT_PCT
from shared.core.rules import DEFAULT_COOLDOWN, Destination, ExitAction, When
from shared.core.strategy import MAX_AMOUNT_USDT, MAX_ASSETS, MAX_NAME_LENGTH, MIN_ASSETS, REQUIRED_FIELDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_ASSET_PATTERN = "^[A-Z0-9]{1,15}$"
_DURATION_PATTERN = "^(0|[1-9][0-9]{0,6})[mhd]$"
_NUMBER_PATTERN = rf"^[+-]?([0-9]+(\.[0-9]{{0,{MAX_DECIMALS}}})?|\.[0-9]{{1,{MAX_DECIMALS}}})$"


def strategy_schema(max_assets: int = MAX_ASSETS, *, of_files: bool = True) -> Schema:
    """The schema of a strategy file; with ``of_files`` False of an API body, where a fraction must be text."""
    number: Schema = {"type": ["string", "number" if of_files else "integer"], "pattern": _NUMBER_PATTERN}
    asset: Schema = {"type": "string", "pattern": _ASSET_PATTERN}
    properties: Schema = {
        "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
        "venue": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,30}$", "examples": ["paper"]},
        "funding_asset": asset | {"examples": ["USDT"]},
        "amount": number | _told(f"Of the funding asset; less than {plain(MAX_AMOUNT_USDT)} USDT in value.", "1200"),
        "targets": {
            "type": "object",
            "propertyNames": {"pattern": _ASSET_PATTERN},
            "additionalProperties": number,
            "minProperties": MIN_ASSETS,
            "maxProperties": max_assets,
            "description": "Percent by asset, sum exactly 100. The quote currency may be one: a cash weight.",
            "examples": [{"BTC": "40", "ETH": "30", "SOL": "30"}],
        },
        "rebalance": _rebalance(number),
        "take_profit": _exit_level(
            number | _told(f"Above 0, at most {plain(MAX_TAKE_PROFIT_PCT)}: percent of the money put in.", "15"),
            number | _told("Exit when the profit has fallen so many points from its peak.", "3"),
        ),
        "stop_loss": _exit_level(
            number | _told("Below 0, above -100: percent of the money put in.", "-8"),
            {"enum": [True, "true"], "description": "Percent of the value at the peak instead."},
        ),
        "start": _start(number, asset),
        "auto_invest": _auto_invest(number, asset),
        "orders": _orders(number),
    }
    return {
        "title": "Strategy",
        "description": "A Trimtab strategy. Numbers are exact: write them as text wherever a program reads the file.",
        **_mapping(properties, list(REQUIRED_FIELDS)),
    }


def _rebalance(number: Schema) -> Schema:
    points = number | _told("Percentage points, more than 0 and less than 100.", "5")
    interval: Schema = {"type": "string", "pattern": _DURATION_PATTERN}
    properties: Schema = {
        "threshold": {
            "oneOf": [points, *_thresholds(points, number)],
            "description": "When an asset is off its target.",
        },
        "interval": interval | _told("Whole minutes, hours or days.", "7d"),
        "when": _choice(tuple(When), "With both interval and threshold: any of them, or all."),
        "min_drift": number | _told("Percentage points an asset must be off for a run of the interval.", "0.5"),
        "destination": _choice(tuple(Destination), "Where an asset outside its band goes."),
        "cooldown": interval | {"default": f"{DEFAULT_COOLDOWN.seconds // 60}m"},
        "cost_guard": number | _told(f"Least benefit in times the cost, at most {plain(MAX_COST_FACTOR)}.", "2"),
    }
    rule = _mapping(properties, []) | {
        "anyOf": [{"required": ["threshold"]}, {"required": ["interval"]}],
        "dependentRequired": {"when": ["threshold", "interval"], "min_drift": ["interval"]},
    }
    never = _mapping({"hold": {"enum": [True, "true"]}}, ["hold"])
    return {"oneOf": [rule, never], "description": "When to rebalance, and where to.", "examples": [{"threshold": "5"}]}


def _thresholds(points: Schema, number: Schema) -> list[Schema]:
    """The three kinds a threshold can be written out as."""
    factor = number | _told(f"Percent of the target, at most {plain(MAX_FACTOR_PCT)}.", "20")
    per_asset = {
        "type": "object",
        "propertyNames": {"pattern": _ASSET_PATTERN},
        "additionalProperties": points,
        "description": "Percentage points by asset, in place of what the others have.",
    }
    kinds: list[Schema] = [{"points": points}, {"relative": factor}, {"factor": factor, "floor": points}]
    return [_mapping(kind | {"per_asset": per_asset}, list(kind)) for kind in kinds]


def _exit_level(percent: Schema, trailing: Schema) -> Schema:
    action = _choice(tuple(ExitAction), "Sell all and return the money, return the coins as they are, or only pause.")
    properties = {"percent": percent, "confirm": _CONFIRM, "trailing": trailing, "action": action}
    return {"oneOf": [percent, _mapping(properties, ["percent"])]}


def _start(number: Schema, asset: Schema) -> Schema:
    properties: Schema = {"asset": asset}
    sides = ("at_or_below", "at_or_above")
    for side in sides:
        properties[side] = number | _told(f"The first purchase waits for a bid {side.replace('_', ' ')} this.", "50000")
    return _mapping(properties, ["asset"]) | {"oneOf": [{"required": [side]} for side in sides]}


def _auto_invest(number: Schema, asset: Schema) -> Schema:
    interval: Schema = {"type": "string", "pattern": _DURATION_PATTERN}
    loss = number | _told("More than 0 and less than 100: percent of the money put in.", "5")
    between = interval | _told("Least time between two cycles.", "7d")
    total = number | _told(f"It pauses at so much (quote currency), at most {plain(MAX_TOTAL_USDT)}.", "100000")
    late = f"How late a cycle may still be made, {interval_text(MIN_INTERVAL)} to {interval_text(MAX_GRACE)}."
    properties: Schema = {
        "amount": number | _told(f"Of the asset, each cycle; less than {plain(MAX_TOTAL_USDT)} USDT in value.", "50"),
        "asset": asset | _told("The funding asset unless given.", "USDT"),
        "schedule": _schedule(),
        "drawdown": _mapping({"loss": loss, "min_interval": between, "confirm": _CONFIRM}, ["loss", "min_interval"])
        | {"description": "A cycle when the loss is at least so large, with or without a schedule."},
        "pause_at_total": total,
        "short_balance": _choice(ANSWERS["short_balance"], "When the spot wallet holds less than a cycle needs."),
        "over_limit": _choice(ANSWERS["over_limit"], "When a cycle would pass the limit of a strategy."),
        "composition_change": _choice(ANSWERS["composition_change"], "When the targets are edited."),
        "grace": interval | _told(late, "12h") | {"default": interval_text(DEFAULT_GRACE)},
    }
    return _mapping(properties, ["amount"]) | {
        "anyOf": [{"required": ["schedule"]}, {"required": ["drawdown"]}],
        "description": "Puts money from the spot wallet into the strategy, by dates, at a loss, or both.",
    }


def _orders(number: Schema) -> Schema:
    interval: Schema = {"type": "string", "pattern": _DURATION_PATTERN}
    pause = f"{interval_text(MIN_PAUSE)} to {interval_text(MAX_PAUSE)}"
    amount = number | _told(f"Quote currency, at most {plain(MAX_SLICE)}: a larger order goes out in slices.", "5000")
    share = number | _told("Percent of the visible book: a larger order goes out in slices.", "10")
    kinds: list[Schema] = [
        {"style": {"enum": [OrderStyle.LIMIT.value]}},
        {"style": {"enum": [OrderStyle.MARKET.value]}},
        {
            "style": {"enum": [OrderStyle.MAKER.value]},
            "patience": interval | _told(f"How long each side rests, {pause}; then it takes.", "2m"),
        },
        {
            "style": {"enum": [OrderStyle.TWAP.value]},
            "slice": amount,
            "depth_share": share,
            "every": interval | _told(f"Between two slices, {pause}.", "1m"),
        },
    ]
    plain_styles = [style.value for style in OrderStyle if style is not OrderStyle.TWAP]
    mappings = [_mapping(kind, ["style"]) for kind in kinds]
    mappings[-1]["anyOf"] = [{"required": ["slice"]}, {"required": ["depth_share"]}]
    return {
        "oneOf": [{"enum": plain_styles}, *mappings],
        "description": "How orders are placed.",
        "default": OrderStyle.LIMIT.value,
        "examples": [{"style": "maker", "patience": "2m"}],
    }


def _schedule() -> Schema:
    days, hours = rf"{'|'.join(WEEKDAYS)}|[1-9][0-9]{{0,2}}d", r"[1-9][0-9]{0,3}h"
    most_days, most_hours = MAX_EVERY[Period.DAYS], MAX_EVERY[Period.HOURS]
    by_days = _pattern(days) | _told(f"A weekday, or 1d to {most_days}d, counted from the start.", "friday")
    by_hours = _pattern(hours) | _told(f"1h to {most_hours}h, counted from the start.", "6h")
    short = _pattern(f"{days}|{hours}") | _told("What would be behind every, at 00:00 UTC.", "friday")
    local: Schema = {
        "at": _pattern(TIME_OF_DAY) | _told("Local time of day.", "14:00") | {"default": "00:00"},
        "zone": {"type": "string", "default": "UTC"} | _told("An IANA time zone.", "Europe/Berlin"),
    }
    monthly = _whole(31, "Day of the month; of a shorter month the last.", "31")
    return {
        "oneOf": [
            short,
            _mapping({"every": by_days} | local, ["every"]),
            _mapping({"every": by_hours}, ["every"]),
            _mapping({"monthly": monthly} | local, ["monthly"]),
        ],
        "description": "When a cycle falls due.",
        "examples": [{"every": "friday", "at": "14:00", "zone": "Europe/Berlin"}],
    }


def _pattern(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^({pattern})$"}


def _mapping(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _choice(choices: Sequence[StrEnum], description: str) -> Schema:
    values = [each.value for each in choices]
    return {"enum": values, "default": values[0], "description": description}


def _whole(most: int, description: str, example: str) -> Schema:
    pattern = rf"^[0-9]{{1,{len(str(most))}}}$"
    limits: Schema = {"type": ["string", "integer"], "minimum": 1, "maximum": most, "pattern": pattern}
    return limits | _told(description, example)


def _told(description: str, example: str) -> Schema:
    return {"description": description, "examples": [example]}


_CONFIRM = _whole(MAX_CONFIRM, "Consecutive quotes it must hold.", "3")

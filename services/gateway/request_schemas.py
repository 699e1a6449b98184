"""What OpenAPI says about the bodies of requests, with examples; ``bodies.py`` and its neighbour do the reading."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.lifecycle_bodies import DEFAULT_DATES, MAX_DATES
from shared.contracts.lifecycle import EDITABLE_FIELDS
from shared.contracts.strategy_schema import strategy_schema

Schema = dict[str, Any]

_ASSET: Schema = {
    "type": "string",
    "description": "The strategy's funding asset when not given.",
    "pattern": "^[A-Z0-9]{1,15}$",
}
_AMOUNT: Schema = {"type": "string", "description": "More than 0, a plain number as text."}


def body(schema: Schema, examples: Mapping[str, Any] | None = None, *, required: bool = True) -> dict[str, object]:
    """A JSON body for ``openapi_extra``; ``examples`` by what they show."""
    content: Schema = {"schema": schema}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def _object(title: str, properties: Schema, required: Sequence[str] = ()) -> Schema:
    found = {"type": "object", "title": title, "additionalProperties": False, "properties": properties}
    return found | ({"required": list(required)} if required else {})


def document_body(max_assets: int) -> dict[str, object]:
    """The body of a preview: the schema of strategies itself."""
    return body(strategy_schema(max_assets, of_files=False))


def edit_body(max_assets: int) -> dict[str, object]:
    """The body of an edit: new values by field, those of the schema of strategies; null takes an optional one away."""
    fields = strategy_schema(max_assets, of_files=False)["properties"]
    optional = ("take_profit", "stop_loss", "auto_invest", "orders")
    changes = {
        name: {"oneOf": [fields[name], {"type": "null"}]} if name in optional else fields[name]
        for name in EDITABLE_FIELDS
        if name in fields
    }
    properties = {
        "revision": {"type": "integer", "minimum": 1, "description": "The one the edit was made for."},
        "changes": _object("Changes", changes) | {"minProperties": 1},
        "rebalance": {"type": "boolean", "default": True, "description": "Trade towards new targets at once."},
    }
    examples = {
        "a take-profit": {"revision": 1, "changes": {"take_profit": "15"}},
        "new targets, not traded towards at once": {
            "revision": 2,
            "changes": {"targets": {"BTC": "60", "ETH": "40"}},
            "rebalance": False,
        },
        "no stop-loss any more": {"revision": 3, "changes": {"stop_loss": None}},
    }
    return body(_object("Edit", properties, ["revision", "changes"]), examples)


def clone_body(max_assets: int) -> dict[str, object]:
    """The body of a copy: any field of a strategy in place of the original's."""
    fields = strategy_schema(max_assets, of_files=False)["properties"]
    examples = {"as it is": {}, "with another name and amount": {"name": "Majors, second", "amount": "500"}}
    return body(_object("Copy", fields), examples, required=False)


def calendar_body(max_assets: int) -> dict[str, object]:
    """The body of a calendar: an Auto-Invest as in a strategy file."""
    fields = strategy_schema(max_assets, of_files=False)["properties"]
    properties = {
        "auto_invest": fields.get("auto_invest", {"type": "object"}),
        "since": {"type": "string", "format": "date-time", "description": "Counted from here; now when not given."},
        "count": {"type": "integer", "minimum": 1, "maximum": MAX_DATES, "default": DEFAULT_DATES},
    }
    auto_invest = {"amount": "50", "schedule": {"every": "friday", "at": "14:00", "zone": "Europe/Berlin"}}
    examples = {"Fridays at two": {"auto_invest": auto_invest, "since": "2026-01-01T00:00:00Z", "count": 5}}
    return body(_object("Calendar", properties, ["auto_invest"]), examples)


CONFIRMATION = body(_object("Confirmation", {"preview_id": {"type": "string"}}, ["preview_id"]))

DEPOSIT = body(
    _object(
        "Deposit",
        {
            "id": {"type": "string", "description": "The same id is the same deposit."},
            "asset": {"type": "string", "example": "USDT"},
            "amount": {"type": "string", "example": "1200"},
        },
        ["asset", "amount"],
    )
)

ACCEPTANCE = body(
    _object(
        "Acceptance",
        {
            "asset": {"type": "string", "example": "BTC"},
            "amount": {"type": "string", "description": "Exactly what is in suspense; below zero the wallet bears it."},
        },
        ["asset", "amount"],
    )
)

SWEEP = body(
    _object(
        "Sweep",
        {
            "asset": {"type": "string", "example": "BTC"},
            "amount": {"type": "string", "description": "At most what is there as dust."},
        },
        ["asset", "amount"],
    )
)

ADDITION = body(
    _object("Addition", {"amount": _AMOUNT, "asset": _ASSET}, ["amount"]),
    {"500 of the funding asset": {"amount": "500"}, "coins": {"amount": "0.01", "asset": "BTC"}},
)

WITHDRAWAL = body(
    _object(
        "Withdrawal",
        {
            "amount": _AMOUNT,
            "percent": {"type": "string", "description": "Of the strategy's value; more than 0, less than 100."},
            "asset": _ASSET,
        },
    )
    | {"oneOf": [{"required": ["amount"]}, {"required": ["percent"]}]},
    {"an amount": {"amount": "250"}, "a quarter, in coins": {"percent": "25", "asset": "BTC"}},
)

STOP = body(
    _object(
        "Stop",
        {
            "action": {
                "enum": ["sell", "keep"],
                "default": "sell",
                "description": "sell: everything into the funding asset first; keep: the coins as they are.",
            }
        },
    ),
    {"sell all": {"action": "sell"}, "keep the coins": {"action": "keep"}},
    required=False,
)


_VENUE: Schema = {
    "type": "string",
    "description": "All known venues when not given.",
    "pattern": "^[A-Za-z0-9_-]{1,64}$",
}
HALT = body(
    _object("Halt", {"venue": _VENUE, "reason": {"type": "string", "maxLength": 200}}),
    {"one venue": {"venue": "paper", "reason": "looks wrong"}, "all venues": {}},
    required=False,
)
RESUME = body(_object("Resume", {"venue": _VENUE}), required=False)

"""Reading venues' JSON messages. Pure; nothing here raises."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

MAX_TIME_MS = 253_402_300_799_999  # 9999-12-31: what a datetime can hold


def json_object(payload: bytes | str) -> dict[str, Any] | str:
    """The object in a message, or why there is none."""
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return "not_json"
    return body if type(body) is dict else "not_an_object"


def exact_json_object(payload: bytes | str) -> dict[str, Any] | str:
    """The same for venues that send prices as JSON numbers: fractions come as the exact text they were sent as."""
    try:
        body = json.loads(payload, parse_float=plain_text)
    except (ValueError, RecursionError):
        return "not_json"
    return body if type(body) is dict else "not_an_object"


def plain_text(number: str) -> str:
    """A JSON number without an exponent (``1e-7`` is ``0.0000001``); an absurd one stays as it is.

    >>> plain_text("1.50"), plain_text("1e-7"), plain_text("1e400")
    ('1.50', '0.0000001', '1e400')
    """
    if "e" not in number and "E" not in number:
        return number
    value = Decimal(number)
    return format(value, "f") if abs(value.adjusted()) < 30 else number


def price_text(value: object) -> object:
    """A price that came as a whole JSON number, as text; anything else as it is, for the guards to judge."""
    return str(value) if type(value) is int else value


def rfc3339_ms(text: object) -> int:
    """Milliseconds since 1970 of a time such as ``2023-09-25T09:05:00.123456Z``; 0 if it is none.

    >>> rfc3339_ms("1970-01-01T00:00:01.5Z"), rfc3339_ms("soon"), rfc3339_ms(None)
    (1500, 0, 0)
    """
    if type(text) is not str:
        return 0
    try:
        at_ms = int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return 0
    return at_ms if 0 <= at_ms <= MAX_TIME_MS else 0


def whole(value: object, most: int = MAX_TIME_MS) -> int:
    """A whole number >= 0 that came as JSON number or as text; -1 if it is none.

    >>> whole(5), whole("5"), whole("5.0"), whole(True), whole(-5)
    (5, 5, -1, -1, -1)
    """
    number = int(value) if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20 else value
    return number if type(number) is int and 0 <= number <= most else -1

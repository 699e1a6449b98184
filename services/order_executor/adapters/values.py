"""Amounts and times as venues write them. Pure; raises ValueError for what makes no sense."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from typing import Any

from shared.core.market import Instrument

log = logging.getLogger(__name__)

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What reading a reply that is not what the venue documents may raise."""

NO_LIMIT = Decimal(10) ** 15
"""The largest quantity where a venue states none."""

Body = Mapping[str, Any]
"""A JSON object."""


def signed(value: object) -> Decimal:
    """A finite decimal from text (or an integer); never from a float, which has lost digits already."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"not an amount: {value!r}")  # noqa: TRY004 - a wrong reply, not a wrong call
    try:
        number = Decimal(value)
    except DecimalException:
        raise ValueError(f"not an amount: {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"not an amount: {value!r}")
    return number


def amount(value: object) -> Decimal:
    """A non-negative finite decimal from text (or an integer)."""
    number = signed(value)
    if number < 0:
        raise ValueError(f"not an amount: {value!r}")
    return number


def stated_fee(value: object) -> Decimal:
    """A commission that a venue writes as a negative number. A rebate (positive) is refused: nothing here posts one."""
    number = signed(value)
    if number > 0:
        raise ValueError(f"a rebate is not known here: {value!r}")
    return -number


def step(value: object) -> Decimal:
    """A positive step, without trailing zeros."""
    number = amount(value).normalize()
    if not number:
        raise ValueError("steps must be positive")
    return number


def step_of_scale(decimals: object) -> Decimal:
    """The step of a number of decimals: 3 is 0.001."""
    if isinstance(decimals, bool) or not isinstance(decimals, str | int) or not 0 <= int(decimals) <= 18:
        raise ValueError(f"not a number of decimals: {decimals!r}")
    return Decimal(1).scaleb(-int(decimals))


def moment(value: object) -> datetime:
    """UTC from milliseconds."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not 0 <= int(value) < 10**14:
        raise ValueError(f"not a time in milliseconds: {value!r}")
    return datetime.fromtimestamp(int(value) / 1000, UTC)


def moment_of_text(value: object) -> datetime:
    """UTC from ISO 8601 with a zone, as in 2024-01-15T10:30:00.123456Z."""
    found = datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError(f"a time without its zone: {value!r}")
    return found.astimezone(UTC)


def milliseconds(at: datetime) -> int:
    """Since 1970."""
    return int(at.timestamp() * 1000)


def field(body: Body, name: str) -> Any:
    """A field that must be there."""
    if name not in body:
        raise ValueError(f"field {name!r} is missing")
    return body[name]


def readable(rows: Iterable[Body], read: Callable[[Body], Instrument]) -> tuple[Instrument, ...]:
    """The instruments of rows; one that makes no sense is left out with a warning, so that it stops no other."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except UNREADABLE as error:
            log.warning("an instrument is left out: %s", error)
    return tuple(found)

"""Cells of a price file: exact prices, times in milliseconds, and the faults found while reading them."""

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from shared.core.errors import Problem, Refused, shown

PRICE_ALLOWED = "a number from 0.0000000001 to 1000000000000, or nothing"
TIME_ALLOWED = "ISO 8601 as in 2024-01-31 or 2024-01-31T12:00:00Z, or epoch seconds, from 1970 to 2200"
MAX_FAULTS = 10

_NUMBER = re.compile(r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_EPOCH = re.compile(r"[0-9]{1,20}(\.[0-9]{1,9})?")
_LOW, _HIGH = Decimal("1e-10"), Decimal("1e12")
_LAST_MS = 7_258_118_400_000  # 2200-01-01
# Epoch numbers by magnitude: 1e11 seconds is the year 5138, so anything above is milliseconds, and so on.
_EPOCH_UNITS = ((10**11, Decimal(1000)), (10**14, Decimal(1)), (10**17, Decimal("1e-3")), (10**20, Decimal("1e-6")))


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a cell is: line (csv, the header is line 1) or row (parquet, the first is 1), and column name."""

    line: int
    column: str


@dataclass(slots=True)
class Faults:
    """Faults of one file; raises as soon as there are ten, so that a wrong file costs no time."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, cell: Cell, value: object, allowed: str, message: str) -> None:
        """Note a fault. Raises Refused at the tenth."""
        where = f"{self.file} line {cell.line} column {cell.column}"
        self.problems.append(Problem(where, shown(value), allowed, message))
        if len(self.problems) >= MAX_FAULTS:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raises Refused when anything was noted."""
        if self.problems:
            raise Refused(self.problems)


def read_price(value: object, cell: Cell, faults: Faults) -> Decimal | None:
    """A price as an exact Decimal (text as written, floats by their shortest text); None for an empty cell."""
    if value is None or value == "":
        return None
    text = value.strip() if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        known = text.lower().lstrip("+-") in {"nan", "inf", "infinity"}
        faults.add(cell, text, PRICE_ALLOWED, "is not finite" if known else "is not a price")
        return None
    price = Decimal(text)
    if not _LOW <= price <= _HIGH:
        faults.add(cell, text, PRICE_ALLOWED, "price is out of range" if price else "price is zero")
        return None
    return price


def read_time(value: object, cell: Cell, faults: Faults) -> int | None:
    """Epoch milliseconds UTC of a time cell; a time without zone is UTC. None when a fault was noted."""
    time_ms: int | None = None
    if isinstance(value, datetime):
        time_ms = _datetime_ms(value)
    elif isinstance(value, date):
        time_ms = _datetime_ms(datetime(value.year, value.month, value.day, tzinfo=UTC))
    elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        time_ms = _epoch_ms(str(value))
    elif isinstance(value, str):
        text = value.strip()
        # A bare year-month-day of eight digits would read as an epoch in 1970: ISO 8601's basic form is not accepted.
        time_ms = _epoch_ms(text) if _EPOCH.fullmatch(text) else _iso_ms(text)
    if time_ms is None or not 0 <= time_ms < _LAST_MS:
        faults.add(cell, "" if value is None else value, TIME_ALLOWED, "is not a time")
        return None
    return time_ms


def _datetime_ms(value: datetime) -> int:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _iso_ms(text: str) -> int | None:
    try:
        return _datetime_ms(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _epoch_ms(text: str) -> int | None:
    if not _EPOCH.fullmatch(text):
        return None
    value = Decimal(text)
    for below, factor in _EPOCH_UNITS:
        if value < below:
            return int(value * factor)
    return None

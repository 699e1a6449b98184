"""The fields that strategy files are made of: each is read, or refused naming field, value and what is allowed."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from shared.core.errors import Problem, Refused, shown
from shared.core.money import ZERO, parse_decimal

MIN_INTERVAL = timedelta(minutes=1)
MAX_INTERVAL = timedelta(days=366)
MAX_CONFIRM = 100

_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=StrEnum)
_DURATION = re.compile(r"(0|[1-9][0-9]{0,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Collector:
    """Runs parsers and gathers their problems, so that one refusal tells everything."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def take(self, parse: Callable[[], _T], otherwise: _T) -> _T:
        """What ``parse`` returns; when it refuses, its problems are kept and ``otherwise`` stands in."""
        try:
            return parse()
        except Refused as refused:
            self.problems.extend(refused.problems)
            return otherwise

    def done(self) -> None:
        """Raises Refused with every problem, if there is one."""
        if self.problems:
            raise Refused(self.problems)


def fields_of(
    value: object, field: str, names: tuple[str, ...], allowed: str, collector: Collector | None = None
) -> Mapping[str, object]:
    """The fields of a mapping, those without a value left out.

    Raises Refused for what is no mapping, and for fields that do not belong: those go to the ``collector`` if there is
    one, and the others are returned.
    """
    if not isinstance(value, Mapping):
        raise Refused.one(field, value, allowed, "is not a mapping")
    problems = [
        Problem(f"{field}.{shown(str(key))}", shown(value[key]), ", ".join(names), f"is not a field of {field}")
        for key in value
        if key not in names
    ]
    if problems and collector is None:
        raise Refused(problems)
    if collector is not None:
        collector.problems.extend(problems)
    return {key: one for key, one in value.items() if one is not None and key in names}


def parse_between(value: object, field: str, allowed: str, most: Decimal, *, below: bool = False) -> Decimal:
    """A number more than 0 and at most ``most``, or with ``below`` less than that. Raises Refused."""
    found = parse_decimal(value, field, allowed)
    if not ZERO < found <= most or (below and found == most):
        raise Refused.one(field, value, allowed, "is out of range")
    return found


def parse_whole(value: object, field: str, most: int, unit: str) -> int:
    """A whole number from 1 to ``most``; ``unit`` says of what. Raises Refused."""
    allowed = f"a whole number from 1 to {most} ({unit})"
    count = parse_decimal(value, field, allowed)
    if count != count.to_integral_value() or not 1 <= count <= most:
        raise Refused.one(field, value, allowed, "is out of range")
    return int(count)


def parse_confirm(value: object, field: str) -> int | None:
    """How many consecutive quotes must confirm something; None when not given. Raises Refused."""
    return None if value is None else parse_whole(value, field, MAX_CONFIRM, "consecutive quotes")


def parse_flag(value: object, field: str) -> bool:
    """Something that is true or not given. Raises Refused."""
    if value is None:
        return False
    if value is True or value == "true":
        return True
    raise Refused.one(field, value, "true, or nothing at all", "is not true")


def parse_choice(value: object, field: str, choices: tuple[_Choice, ...], default: _Choice) -> _Choice:
    """One of ``choices`` by its text; ``default`` when not given. Raises Refused."""
    if value is None:
        return default
    for choice in choices:
        if isinstance(value, str) and value == choice.value:
            return choice
    raise Refused.one(field, value, ", ".join(each.value for each in choices), "is not one of them")


def parse_interval(text: object, field: str = "rebalance.interval") -> timedelta:
    """An interval as in "15m", "12h", "7d": whole minutes, hours or days, 1 minute to 366 days. Raises Refused."""
    return parse_duration(text, field, MIN_INTERVAL, MAX_INTERVAL)


def parse_duration(text: object, field: str, least: timedelta, most: timedelta) -> timedelta:
    """Whole minutes, hours or days between two limits, inclusive. Raises Refused."""
    allowed = f'a whole number of m, h or d from "{interval_text(least)}" to "{interval_text(most)}"'
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Refused.one(field, text, allowed, "is not an interval")
    duration = int(match[1]) * _UNITS[match[2]]
    if not least <= duration <= most:
        raise Refused.one(field, text, allowed, "is out of range")
    return duration


def interval_text(interval: timedelta) -> str:
    """The shortest text that is read back as the same interval or cooldown."""
    if not interval:
        return "0m"
    for unit in "dhm":
        count, rest = divmod(interval, _UNITS[unit])
        if not rest:
            return f"{count}{unit}"
    raise Refused.one("interval", interval, "whole minutes", "is not a whole number of minutes")

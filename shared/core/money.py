"""Exact money: Decimal from strings, a context wide enough for 38-digit amounts, rounding toward zero.

The default decimal context keeps 28 digits, which is too few for an 18-decimal asset worth millions. Arithmetic that
multiplies or divides money runs inside ``exact()`` (50 digits); sums and comparisons of parsed amounts stay within it.
"""

import re
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, Context, Decimal, DecimalException, getcontext, setcontext
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from shared.core.errors import Refused, shown

ZERO = Decimal(0)
ONE = Decimal(1)
HUNDRED = Decimal(100)

MONEY_CONTEXT = Context(prec=50, rounding=ROUND_DOWN)
MAX_DIGITS = 38
MAX_DECIMALS = 18

_TEXTS_KEPT = 16_384
_PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_ASSET_CODE = re.compile(r"[A-Z0-9]{1,15}")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def exact(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function in the money context: 50 digits, rounding toward zero, traps as by default.

    The context itself, not a copy of it for each call: what such functions call is mostly such a function again. Nobody
    may change what ``getcontext()`` returns in there.
    """

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        before = getcontext()
        if before is MONEY_CONTEXT:
            return function(*args, **kwargs)
        setcontext(MONEY_CONTEXT)
        try:
            return function(*args, **kwargs)
        finally:
            setcontext(before)

    return run


def parse_decimal(text: object, field: str, allowed: str = "a plain decimal number") -> Decimal:
    """A Decimal from its plain text ("1200", "0.05", "-8").

    Refuses floats and every other type, NaN, infinities, exponents, blanks, more than 38 digits or 18 decimals.
    Raises Refused.
    """
    if isinstance(text, Decimal):
        text = format(text, "f") if text.is_finite() else str(text)
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text) if abs(text) < 10**MAX_DIGITS else shown(str(text)[:80])
    if not isinstance(text, str):
        raise Refused.one(field, text, allowed, 'must be text, as in "5": floats cannot carry money')
    parsed = _decimal_of(text)
    if isinstance(parsed, str):
        raise Refused.one(field, text, allowed, parsed)
    return parsed


@lru_cache(maxsize=_TEXTS_KEPT)
def _decimal_of(text: str) -> Decimal | str:
    """The number, or what is wrong with the text. Kept: a million strategies share their "5" and "20"."""
    if len(text) > MAX_DIGITS + MAX_DECIMALS + 3 or not _PLAIN_NUMBER.fullmatch(text):
        return "is not a plain decimal number"
    try:
        value = Decimal(text)
    except DecimalException:
        return "is not a plain decimal number"
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or len(digits) > MAX_DIGITS:
        return f"has more than {MAX_DIGITS} digits"
    if -exponent > MAX_DECIMALS:
        return f"has more than {MAX_DECIMALS} decimals"
    return value


def parse_asset(text: object, field: str) -> str:
    """An asset code: 1-15 capital letters and digits ("BTC", "1INCH"). Raises Refused."""
    if not isinstance(text, str) or not _ASSET_CODE.fullmatch(text):
        raise Refused.one(field, text, "1-15 capital letters and digits, as in BTC", "is not an asset code")
    return _kept(text)


@lru_cache(maxsize=_TEXTS_KEPT)
def _kept(text: str) -> str:
    """The first text that was equal to this one."""
    return text


@exact
def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of ``step`` (> 0) not above a non-negative ``value``."""
    return (value / step).to_integral_value(rounding=ROUND_DOWN) * step


@exact
def ceil_to_step(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of ``step`` (> 0) not below a non-negative ``value``."""
    return (value / step).to_integral_value(rounding=ROUND_CEILING) * step


def plain(value: Decimal) -> str:
    """A Decimal as text without exponent and without trailing zeros: "0.05", "1200", "0"."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text

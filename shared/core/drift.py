"""What a portfolio is worth and how far it is from its targets: exact, without a division.

With v_i the value of asset i at bid, V their sum, t_i its target in percent, d the threshold in percentage points:

    drift_i = |100 v_i / V - t_i|        fires when  drift_i >= d   <=>   |100 v_i - t_i V| >= d V

The right-hand form is what is compared. Amounts and prices have at most 38 digits and 18 decimals, so every product
here fits the 256 digits of ``EXACT_CONTEXT``; it traps ``Inexact``, so a result that is not exact cannot come about.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from functools import wraps
from typing import ParamSpec, TypeVar

from shared.core.market import Instrument, Quotes
from shared.core.money import HUNDRED, MONEY_CONTEXT, ONE, ZERO, floor_to_step, plain

EXACT_CONTEXT = Context(prec=256, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
SHOWN_DECIMALS = Decimal("0.00000001")
_ROUNDING_CONTEXT = Context(prec=128, rounding=ROUND_HALF_EVEN)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def never_rounded(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function in ``EXACT_CONTEXT``: sums and products only, each exact or an error."""

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with localcontext(EXACT_CONTEXT):
            return function(*args, **kwargs)

    return run


@dataclass(frozen=True, slots=True)
class Valued:
    """One asset of a portfolio: quantity, prices and value in the quote currency, target in percent (0 = none)."""

    asset: str
    quantity: Decimal
    bid: Decimal
    ask: Decimal
    value: Decimal
    target_pct: Decimal


@dataclass(frozen=True, slots=True)
class Valuation:
    """A portfolio at one moment: every target and every other asset held, and their total value at bid."""

    lines: tuple[Valued, ...]
    total: Decimal


def assets_concerned(holdings: Mapping[str, Decimal], targets: Mapping[str, Decimal]) -> tuple[str, ...]:
    """The targets in their order, then every other asset held, by name: these need a price."""
    return (*targets, *sorted(asset for asset, held in holdings.items() if held > 0 and asset not in targets))


def without_price(assets: Iterable[str], quotes: Quotes, quote: str) -> str:
    """The first asset that has no positive bid and ask, or "" when all have. ``quote`` itself needs none."""
    for asset in assets:
        if asset != quote:
            found = quotes.get(asset)
            if found is None or not (found.bid > 0 and found.ask > 0):
                return asset
    return ""


@never_rounded
def value_at_bid(
    holdings: Mapping[str, Decimal], targets: Mapping[str, Decimal], quotes: Quotes, quote: str
) -> Valuation:
    """Value the holdings at bid; the quote currency counts 1. Raises KeyError when a price is missing."""
    lines = []
    total = ZERO
    for asset in assets_concerned(holdings, targets):
        bid, ask = ONE, ONE
        if asset != quote:
            price = quotes[asset]
            bid, ask = price.bid, price.ask
        quantity = holdings.get(asset, ZERO)
        value = quantity * bid
        total += value
        lines.append(Valued(asset, quantity, bid, ask, value, targets.get(asset, ZERO)))
    return Valuation(tuple(lines), total)


@never_rounded
def distance_from_target(line: Valued, total: Decimal) -> Decimal:
    """|100 v - t V|: the drift in percentage points times the total value, exact."""
    return abs(line.value * HUNDRED - line.target_pct * total)


@never_rounded
def furthest_from_target(valuation: Valuation) -> Valued:
    """The asset with the largest drift; the first in order among equals."""
    return max(valuation.lines, key=lambda line: abs(line.value * HUNDRED - line.target_pct * valuation.total))


@never_rounded
def is_drifted(line: Valued, total: Decimal, points: Decimal) -> bool:
    """Whether an asset is off its target by ``points`` percentage points or more (inclusive)."""
    return abs(line.value * HUNDRED - line.target_pct * total) >= points * total


@never_rounded
def has_gained(total: Decimal, contributed: Decimal, level_pct: Decimal) -> bool:
    """(V - C) / C x 100 >= level, exact; never when nothing was put in."""
    return contributed > 0 and (total - contributed) * HUNDRED >= level_pct * contributed


@never_rounded
def has_lost(total: Decimal, contributed: Decimal, level_pct: Decimal) -> bool:
    """(V - C) / C x 100 <= level (negative), exact; never when nothing was put in."""
    return contributed > 0 and (total - contributed) * HUNDRED <= level_pct * contributed


def weight_pct(line: Valued, total: Decimal) -> Decimal:
    """The weight in percent, rounded half-even to 8 decimals: to show, never to decide."""
    if total == 0:
        return ZERO
    return shown(MONEY_CONTEXT.divide(MONEY_CONTEXT.multiply(line.value, HUNDRED), total))


def profit_pct(total: Decimal, contributed: Decimal) -> Decimal:
    """(V - C) / C x 100, rounded to 8 decimals: to show, never to decide. 0 when nothing was put in."""
    if contributed <= 0:
        return ZERO
    gain = MONEY_CONTEXT.subtract(total, contributed)
    return shown(MONEY_CONTEXT.divide(MONEY_CONTEXT.multiply(gain, HUNDRED), contributed))


def shown(value: Decimal) -> Decimal:
    """A figure for people: at most 8 decimals, half-even."""
    return value.quantize(SHOWN_DECIMALS, context=_ROUNDING_CONTEXT)


def shown_text(value: Decimal) -> str:
    """A figure for people, as plain text with at most 8 decimals."""
    return plain(shown(value))


@never_rounded
def leg_value_x100(line: Valued, total: Decimal) -> Decimal:
    """100 x what has to be bought (> 0) or sold (< 0) of an asset to reach its target, in the quote currency."""
    return line.target_pct * total - line.value * HUNDRED


def is_tradable_leg(line: Valued, total: Decimal, instrument: Instrument, margin: Decimal = ONE) -> bool:
    """Whether the order that brings this asset to its target would pass the venue's filters, ``margin`` times over.

    A sale is sized at bid, a purchase at ask, rounded down to the lot step; it needs the minimum quantity and the
    minimum notional (Binance: LOT_SIZE, NOTIONAL). Fees are left to the executor, which has the last word.
    """
    leg_x100 = leg_value_x100(line, total)
    if leg_x100 == 0:
        return False
    price = line.bid if leg_x100 < 0 else line.ask
    wanted = MONEY_CONTEXT.divide(abs(leg_x100), MONEY_CONTEXT.multiply(price, HUNDRED))
    quantity = floor_to_step(wanted, instrument.lot_step)
    return (
        quantity > 0
        and quantity >= MONEY_CONTEXT.multiply(instrument.min_quantity, margin)
        and MONEY_CONTEXT.multiply(quantity, price) >= MONEY_CONTEXT.multiply(instrument.min_notional, margin)
    )

"""What a strategy has earned: simple profit on the money put in.

With V = value of the holdings now and C = money put in and not taken out again, both in the quote currency:

    profit = V - C            profit in percent = 100 * (V - C) / C

When part of the holdings is taken out, C falls in the same proportion as the value, so that the profit in percent is
the same just before and just after (taking money out is neither a gain nor a loss):

    C' = C * (1 - R / V)      R = value taken out of V
"""

from decimal import Decimal

from shared.core.errors import Refused
from shared.core.money import HUNDRED, MAX_DECIMALS, ZERO, exact, plain

_SMALLEST = Decimal(1).scaleb(-MAX_DECIMALS)


@exact
def profit(value: Decimal, contributed: Decimal) -> Decimal:
    """V - C, in the quote currency."""
    return value - contributed


@exact
def profit_pct(value: Decimal, contributed: Decimal) -> Decimal | None:
    """100 * (V - C) / C in percent, cut at 50 digits; None when nothing is put in (C <= 0): it has no base then.

    Compare a level by ``reaches_profit``: the quotient is rounded, the comparison is not.
    """
    return None if contributed <= 0 else HUNDRED * (value - contributed) / contributed


@exact
def value_at_profit(contributed: Decimal, pct: Decimal) -> Decimal:
    """The value at which the profit is ``pct`` percent: C * (1 + pct / 100), exact."""
    return contributed * (HUNDRED + pct) / HUNDRED


@exact
def reaches_profit(value: Decimal, contributed: Decimal, pct: Decimal) -> bool:
    """Whether the profit is at least ``pct`` percent (inclusive), without division: 100 V >= C (100 + pct).

    False when nothing is put in. A stop-loss is reached when the loss is: ``not reaches_profit`` is exclusive, so use
    ``falls_to_profit`` for it.
    """
    return contributed > 0 and HUNDRED * value >= contributed * (HUNDRED + pct)


@exact
def falls_to_profit(value: Decimal, contributed: Decimal, pct: Decimal) -> bool:
    """Whether the profit is at most ``pct`` percent (inclusive): 100 V <= C (100 + pct). False without money in."""
    return contributed > 0 and HUNDRED * value <= contributed * (HUNDRED + pct)


@exact
def contributed_after_release(contributed: Decimal, value: Decimal, released: Decimal) -> Decimal:
    """C' = C * (1 - R / V), cut to 18 decimals: ``released`` (R) of ``value`` (V) is taken out.

    Taking everything out leaves exactly 0, also when the holdings are worth nothing. Raises Refused unless 0 <= R <= V.
    """
    if not ZERO <= released <= value:
        raise Refused.one("released", plain(released), f"0 to {plain(value)}", "is more than there is")
    if released == value:
        return ZERO
    return (contributed * (value - released) / value).quantize(_SMALLEST)

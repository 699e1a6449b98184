"""What money has earned: simple, money-weighted (XIRR) and time-weighted (TWR) return. Decimal, to a stated precision.

With flows F_i into the strategy (out of it: below zero) at times t_i, and the value V now (time T):

* simple return   = (V + taken out - put in) / put in
* XIRR            = the rate r > -1 with  sum of F_i x (1 + r)^((T - t_i) / 365 days) = V
* TWR             = product over i of (value just before F_i / value just after F_(i-1)) - 1, the last one with V

XIRR is what a savings account would have had to pay for the same deposits and withdrawals; TWR does not depend on
when money came and went. Sources: Microsoft Excel XIRR (the same formula, with whole days; here exact times); CFA
Institute, GIPS standards 2020 (time-weighted return by revaluation at each external flow).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext

from shared.core.money import ONE, ZERO, exact

YEAR = timedelta(days=365)
PRECISION = Decimal("1e-12")
"""How close a rate found is to the exact one, in parts of 1 + rate."""

_DIGITS = Context(prec=34)
_WIDEST = Decimal("1e9")
_MOST_STEPS = 200
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Flow:
    """``amount`` of the quote currency put in (below zero: taken out) at ``at``."""

    at: datetime
    amount: Decimal


@dataclass(slots=True)
class Growth:
    """A time-weighted return as it grows: ``factor`` up to the last flow, and the value just after that flow."""

    factor: Decimal = ONE
    since_value: Decimal = ZERO

    @exact
    def flow(self, value_before: Decimal, amount: Decimal) -> None:
        """Money comes in (or goes out: below zero) while all is worth ``value_before``."""
        if self.since_value > 0:
            self.factor = self.factor * value_before / self.since_value
        self.since_value = value_before + amount

    @exact
    def rate(self, value: Decimal) -> Decimal:
        """The return as a fraction (0.1 is 10 %), now that all is worth ``value``."""
        if self.since_value > 0:
            return self.factor * value / self.since_value - 1
        return self.factor - 1


@exact
def simple_return(put_in: Decimal, taken_out: Decimal, value: Decimal) -> Decimal | None:
    """As a fraction of all that was put in; None when nothing was."""
    return (value + taken_out - put_in) / put_in if put_in > 0 else None


def xirr(flows: Sequence[Flow], value: Decimal, at: datetime) -> Decimal | None:
    """The yearly rate as a fraction, to ``PRECISION``; ``value`` is what all is worth at ``at`` (not before any flow).

    None where there is no such rate: nothing was put in, nothing came of it, no time has passed, or the rate is beyond
    1e9 (a gain within moments has no meaning by the year). Newton's method, kept inside a bracket.
    """
    amounts: dict[Decimal, Decimal] = {}
    for flow in flows:
        years = _years(at - flow.at)
        amounts[years] = amounts.get(years, ZERO) + flow.amount
    longest = max(amounts, default=ZERO)
    put_in, came_back = any(f.amount > 0 for f in flows), value > 0 or any(f.amount < 0 for f in flows)
    if longest <= 0 or not put_in or not came_back:
        return None
    with localcontext(_DIGITS):
        return _root(sorted(amounts.items()), value)


def _root(amounts: Sequence[tuple[Decimal, Decimal]], value: Decimal) -> Decimal | None:
    """The x = ln(1 + r) at which the flows have grown to ``value``, as r."""

    def excess(x: Decimal) -> tuple[Decimal, Decimal]:
        grown = [(years, amount * (x * years).exp()) for years, amount in amounts]
        return sum((g for _, g in grown), ZERO) - value, sum((years * g for years, g in grown), ZERO)

    high = (_WIDEST + 1).ln()
    low = -high
    at_low, at_high = excess(low)[0], excess(high)[0]
    if at_low * at_high > 0:
        return None
    x = ZERO
    for _ in range(_MOST_STEPS):
        found, slope = excess(x)
        if found == 0:
            break
        if (found > 0) == (at_high > 0):
            high = x
        else:
            low = x
        step = x - found / slope if slope else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - x) < PRECISION / 10:
            x = following
            break
        x = following
    return x.exp() - 1


def _years(span: timedelta) -> Decimal:
    with localcontext(_DIGITS):
        return Decimal(span // _MICROSECOND) / Decimal(YEAR // _MICROSECOND)

"""How much a withdrawal pays, what it is worth, what counts as contributed afterwards, and what of a release is dust.

Pure and exact.

With holdings q_i, bids p_i, V = sum of q_i * p_i, paid quantity x of asset a and W = x * p_a:

    wanted = amount, or V * percent / 100 / p_a rounded down to 18 decimals
    x      = min(wanted, q_a)
    contributed afterwards = C * (V - W) / V   (principal and profit leave in proportion)

Rounding never turns into profit: what stays contributed is rounded up and what counts as withdrawn is rounded down,
each to 18 decimals of the quote currency. Fractions keep everything exact until then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from services.ledger.facts import QUOTE_UNLESS_TOLD
from shared.contracts.books import ReleaseStrategy, WithdrawFromStrategy
from shared.core.double_entry import fits
from shared.core.errors import Refused
from shared.core.money import HUNDRED, MAX_DECIMALS, MAX_DIGITS, ONE, ZERO, plain

_UNITS = 10**MAX_DECIMALS


@dataclass(frozen=True, slots=True)
class Payout:
    """What is paid, in ``asset``; ``worth`` of it and the ``contributed`` that is left, in the quote currency."""

    asset: str
    amount: Decimal
    worth: Decimal
    contributed: Decimal


def dust_of(command: ReleaseStrategy, held: Iterable[str]) -> tuple[str, ...]:
    """The assets that an exit could not sell, in the order of ``held``; none when nothing was to be sold."""
    if not command.sold_into:
        return ()
    return tuple(asset for asset in held if asset not in {command.sold_into, QUOTE_UNLESS_TOLD})


def payout_of(command: WithdrawFromStrategy, holdings: Mapping[str, Decimal], contributed: Decimal) -> Payout:
    """The payout of a command from these holdings (without zeros). Raises Refused when it can never be paid so."""
    _require_sense(command)
    asset, held = command.asset, holdings.get(command.asset, ZERO)
    if not held:
        raise Refused.one("asset", asset, ", ".join(holdings) or "(nothing)", "is not held by the strategy")
    prices = {name: _price(command, name) for name in holdings}
    value = sum((Fraction(quantity) * prices[name] for name, quantity in holdings.items()), Fraction(0))
    amount = min(_wanted(command, value, prices[asset]), held)
    if not amount:
        raise Refused.one("percent", str(command.percent), "more", f"is less than the smallest amount of {asset}")
    worth = Fraction(amount) * prices[asset]
    left = Fraction(contributed) * (value - worth) / value
    return Payout(asset, _kept(amount), _kept(_rounded_down(worth)), _kept(_rounded_up(left)))


def _require_sense(command: WithdrawFromStrategy) -> None:
    amount, percent = command.amount, command.percent
    if (amount is None) == (percent is None):
        raise Refused.one("amount", str(amount), "either an amount or a percent", f"came with percent {percent}")
    if amount is not None and amount <= 0:
        raise Refused.one("amount", plain(amount), "more than 0", "is not an amount that can be paid")
    if percent is not None and not (0 < percent <= HUNDRED and fits(percent)):
        raise Refused.one("percent", str(percent), "more than 0, at most 100", "is not a share that can be paid")
    if command.prices.get(command.quote, ONE) != 1:
        raise Refused.one("prices", plain(command.prices[command.quote]), "1", f"of {command.quote} in itself")


def _price(command: WithdrawFromStrategy, asset: str) -> Fraction:
    price = ONE if asset == command.quote else command.prices.get(asset, ZERO)
    if price <= 0:
        raise Refused.one("prices", asset, "a price above 0 for everything that is held", "has no price")
    return Fraction(price)


def _wanted(command: WithdrawFromStrategy, value: Fraction, price: Fraction) -> Decimal:
    if command.amount is not None:
        return command.amount
    if command.percent is None:
        raise Refused.one("percent", "none", "a percent or an amount", "is missing")
    return _rounded_down(value * Fraction(command.percent) / 100 / price)


def _rounded_down(value: Fraction) -> Decimal:
    """To 18 decimals, toward zero (values are not negative)."""
    return Decimal(f"{value.numerator * _UNITS // value.denominator}E-{MAX_DECIMALS}")


def _rounded_up(value: Fraction) -> Decimal:
    """To 18 decimals, away from zero."""
    return Decimal(f"{-(-value.numerator * _UNITS // value.denominator)}E-{MAX_DECIMALS}")


def _kept(amount: Decimal) -> Decimal:
    """The amount without end zeros. Raises Refused when it has more digits than the books keep."""
    if not fits(amount):
        allowed = f"at most {MAX_DIGITS} digits, {MAX_DECIMALS} of them decimals"
        raise Refused.one("amount", plain(amount), allowed, "cannot be kept exactly")
    return Decimal(plain(amount)) if amount else ZERO

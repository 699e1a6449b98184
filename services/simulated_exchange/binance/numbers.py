"""Amounts as Binance writes them: eight decimals, or as many as the amount needs to be exact."""

from decimal import Decimal

DECIMALS = 8


def text(value: Decimal) -> str:
    """ "1.50000000"; more than eight decimals only where the value has them. Never rounds."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMALS:
        value = value.normalize()
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -DECIMALS:
            return f"{value:f}"
    return f"{value:.8f}"


def rate(bps: Decimal) -> str:
    """A fee in basis points as a fraction: 10 -> "0.00100000"."""
    return text(bps / 10_000)

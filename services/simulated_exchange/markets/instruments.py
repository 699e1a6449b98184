"""Trading rules of a market, derived from the prices it will have, so that they look like Binance's.

With low and high the lowest and highest price of an asset:

    tick size = 10 ^ floor(log10(low * 10^-5))      a tick is at most 0.1 bp of any price
    lot step  = 10 ^ -ceil(log10(high))             a step is worth at most 1 USDT at any price

A product of price and quantity should fit Binance's 8 decimals; where the two need more, the tick is made up to ten
times coarser (at most 1 bp of the lowest price) and what is still missing is shown with more decimals.
"""

from decimal import Decimal

from services.simulated_exchange.markets.source import PriceRange
from shared.core.market import Instrument

VENUE = "paper"
QUOTE = "USDT"
_DECIMALS = 8
_LARGEST_ORDER = Decimal(10_000_000)  # USDT at the lowest price


def _floor_log10(value: Decimal) -> int:
    return value.adjusted()


def _ceil_log10(value: Decimal) -> int:
    exponent = value.adjusted()
    return exponent if value == Decimal(1).scaleb(exponent) else exponent + 1


def derive_instrument(
    asset: str,
    prices: PriceRange,
    *,
    min_notional: Decimal,
    taker_fee_bps: Decimal,
    coarsest_lot_exponent: int | None = None,
) -> Instrument:
    """The trading rules of ``asset`` against USDT for a market whose prices stay within ``prices``."""
    tick_exponent = _floor_log10(prices.low) - 5
    lot_exponent = -_ceil_log10(prices.high)
    if tick_exponent + lot_exponent < -_DECIMALS:
        tick_exponent += 1
    if coarsest_lot_exponent is not None:
        lot_exponent = min(lot_exponent, coarsest_lot_exponent)
    lot_step = Decimal(1).scaleb(lot_exponent)
    return Instrument(
        venue=VENUE,
        symbol=f"{asset}{QUOTE}",
        base=asset,
        quote=QUOTE,
        lot_step=lot_step,
        min_quantity=lot_step,
        max_quantity=Decimal(1).scaleb(_ceil_log10(_LARGEST_ORDER / prices.low)),
        tick_size=Decimal(1).scaleb(tick_exponent),
        min_notional=min_notional,
        taker_fee=taker_fee_bps / 10_000,
    )

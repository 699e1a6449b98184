"""What an operator sets for a venue, and where its market is."""

from dataclasses import dataclass
from decimal import Decimal

from services.simulated_exchange.identity import IdentityName
from services.simulated_exchange.settlement import Fees
from shared.core.matching import BookShape, PriceBand


@dataclass(frozen=True, slots=True)
class VenueRules:
    """What an operator sets: book shape, fees in basis points, smallest order in USDT, price band, the rule set for
    client order ids at the first start, the coarsest step of quantities as a power of ten, and the spread of the pairs
    that are not against USDT."""

    shape: BookShape
    fees: Fees
    min_notional: Decimal
    band: PriceBand
    identity: IdentityName = IdentityName.BINANCE
    coarsest_lot_exponent: int | None = None
    cross_spread_bps: Decimal = Decimal(2)


@dataclass(frozen=True, slots=True)
class ReplayState:
    """Position of the market: ``row`` is current, ``ticks`` prices were told so far."""

    row: int
    ticks: int
    paused: bool
    rows_per_second: float

"""What the venue takes its fees from, where that is a third asset. Nobody but the fills tells: an owner may switch such
a discount on and off at the venue, and it ends by itself when the asset runs out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from services.order_executor.records import OrderRecord
from shared.core.fee_reserve import worst_fee
from shared.core.legs import PlanningInput
from shared.core.money import exact
from shared.core.routing import DirectPair


@dataclass(frozen=True, slots=True)
class FeeTaken:
    """The fee of one fill: what it was taken from, and the two assets that were traded."""

    fee: Decimal
    fee_asset: str
    base: str
    quote: str


class ThirdFees:
    """``asset``: as the newest fills say; "" where fees are taken from what is traded."""

    def __init__(self) -> None:
        self.asset = ""

    def learn(self, fees: Iterable[FeeTaken]) -> None:
        """Take in fees, oldest first. A trade of the third asset itself cannot tell, nor can one without a fee."""
        for taken in fees:
            traded = {taken.base, taken.quote}
            if taken.fee > 0 and self.asset not in traded:
                self.asset = "" if taken.fee_asset in traded else taken.fee_asset
            elif taken.fee > 0 and taken.fee_asset not in traded:
                self.asset = taken.fee_asset


@exact
def fees_at_most(
    orders: Iterable[OrderRecord], planning: PlanningInput, pairs: Iterable[DirectPair]
) -> dict[str, Decimal]:
    """What the fee of each order, by client order id, may take of the third asset; nothing where none of it is held."""
    asset = planning.fee_asset
    if asset not in planning.quotes or not planning.holdings.get(asset):
        return {}
    direct = {pair.instrument.symbol: pair for pair in pairs}
    found: dict[str, Decimal] = {}
    for order in orders:
        pair = direct.get(order.symbol)
        instrument = pair.instrument if pair is not None else planning.instruments[order.asset]
        bid = pair.quote.bid if pair is not None else planning.quotes[order.asset].bid
        worth = order.quantity * max(order.limit_price, bid) * order.quote_price
        found[order.client_order_id] = worst_fee(worth, instrument.taker_fee, planning.quotes[asset].bid)
    return found

"""What holding the initial basket would have brought: the yardstick of rebalancing. Pure.

The basket is what the strategy held when the orders of its first plan were done, or when money came or went after them.
New money buys more of all of it, in the proportions it has by then and without fees; what is taken out of the strategy
leaves the basket in the same share.

    gain from rebalancing, net = (value + taken out) - (basket's value + taken out of the basket)
    gain before its costs      = net + fees of all trades after the basket was built
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shared.core.double_entry import EXACT_SUMS
from shared.core.lots import share_of
from shared.core.money import ONE, ZERO, exact

PriceOf = Callable[[str], Decimal]


@dataclass(slots=True)
class Basket:
    """``units`` by asset, once built; ``first_plan``: whose orders build it ("" before any); ``costs``: fees since.

    ``taken_out``: worth of what has left it.
    """

    units: dict[str, Decimal] = field(default_factory=dict)
    first_plan: str = ""
    is_built: bool = False
    costs: Decimal = ZERO
    taken_out: Decimal = ZERO

    def trade(self, plan_id: str, holdings: Mapping[str, Decimal], fee_worth: Decimal) -> None:
        """A fill of a plan is about to change the holdings."""
        self.first_plan = self.first_plan or plan_id
        if plan_id != self.first_plan:
            self._build(holdings)
        if self.is_built:
            self.costs = EXACT_SUMS.add(self.costs, fee_worth)

    def put_in(self, worth: Decimal, holdings: Mapping[str, Decimal], quote: str, price_of: PriceOf) -> None:
        """Money is about to come into the holdings."""
        if not self.first_plan:
            return
        self._build(holdings)
        value = self._worth(self.units, price_of)
        if value > 0:
            grown = EXACT_SUMS.add(ONE, share_of(ONE, worth, value))
            self.units = {asset: share_of(amount, grown, ONE) for asset, amount in self.units.items()}
        else:
            self.units = {quote: worth}

    def take_out(self, worth: Decimal, value: Decimal, holdings: Mapping[str, Decimal], price_of: PriceOf) -> None:
        """Money is about to leave holdings that are worth ``value``."""
        if not self.first_plan or value <= 0:
            self.taken_out = EXACT_SUMS.add(self.taken_out, worth)
            return
        self._build(holdings)
        left = share_of(ONE, EXACT_SUMS.subtract(value, worth), value)
        kept = {asset: share_of(amount, left, ONE) for asset, amount in self.units.items()}
        gone = {asset: EXACT_SUMS.subtract(amount, kept[asset]) for asset, amount in self.units.items()}
        self.taken_out = EXACT_SUMS.add(self.taken_out, share_of(self._worth(gone, price_of), ONE, ONE))
        self.units = {asset: amount for asset, amount in kept.items() if amount}

    def value(self, holdings: Mapping[str, Decimal], price_of: PriceOf) -> Decimal:
        """What it is worth; while it is being built it is what is held."""
        return self._worth(self.units if self.is_built else holdings, price_of)

    def _build(self, holdings: Mapping[str, Decimal]) -> None:
        if not self.is_built:
            self.units = dict(holdings)
            self.is_built = True

    @exact
    def _worth(self, units: Mapping[str, Decimal], price_of: PriceOf) -> Decimal:
        return sum((amount * price_of(asset) for asset, amount in units.items()), ZERO)

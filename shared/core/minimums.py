"""The smallest amounts, thresholds and cycles with which orders can be made at all. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.core.errors import Refused
from shared.core.market import Instruments, Quotes
from shared.core.money import HUNDRED, ZERO, ceil_to_step, exact, plain

# Room for taker fees, the slippage bound and a price move between a preview and its first orders.
_SAFETY = Decimal("1.05")
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class MinimumAmount:
    """The smallest amount (quote currency) a strategy works with, the asset that sets it, and why."""

    amount: Decimal
    asset: str
    explanation: str


@exact
def minimum_amount(
    targets_pct: Mapping[str, Decimal],
    rule_points: Mapping[str, Decimal] | Decimal | None,
    instruments: Instruments,
    quotes: Quotes,
    quote: str,
) -> MinimumAmount:
    """The smallest amount at which every leg of the first purchase, and a correction of ``rule_points``, can trade.

    ``rule_points``: percentage points that an asset moves at least when the threshold fires, for all or by asset (0: it
    waits until it can be traded); None: no threshold, only the purchase counts. Raises Refused for an asset without an
    instrument or a quote.
    """
    best = MinimumAmount(ZERO, quote, "nothing has to be bought")
    for asset, weight in sorted(targets_pct.items()):
        if asset == quote:
            continue
        leg = smallest_leg(asset, instruments, quotes)
        found = ceil_to_step(leg * HUNDRED / weight, _CENT)
        why = f"the first purchase of {asset} ({plain(weight)} %) must be worth at least {_money(leg)} {quote}"
        points = rule_points.get(asset) if isinstance(rule_points, Mapping) else rule_points
        if points and points < weight:
            found = ceil_to_step(leg * HUNDRED / points, _CENT)
            why = (
                f"a correction of {plain(points)} percentage points of {asset} must be worth at least "
                f"{_money(leg)} {quote}"
            )
        if found > best.amount:
            best = MinimumAmount(found, asset, why)
    return best


@exact
def smallest_threshold(
    amount: Decimal, targets_pct: Mapping[str, Decimal], instruments: Instruments, quotes: Quotes, quote: str
) -> Decimal:
    """The smallest threshold (percentage points, 2 decimals, rounded up) whose correction can trade at ``amount``."""
    legs = [smallest_leg(asset, instruments, quotes) for asset in targets_pct if asset != quote]
    return ceil_to_step(max(legs, default=ZERO) * HUNDRED / amount, _CENT)


def smallest_cycle(targets_pct: Mapping[str, Decimal], instruments: Instruments, quotes: Quotes, quote: str) -> Decimal:
    """The least value (quote currency) of new money that can buy any of the targets: the smallest of their legs.

    Less than that waits as cash until more comes. Raises Refused for an asset without an instrument or a quote.
    """
    return min((smallest_leg(asset, instruments, quotes) for asset in targets_pct if asset != quote), default=ZERO)


@exact
def smallest_leg(asset: str, instruments: Instruments, quotes: Quotes) -> Decimal:
    """The smallest value (quote currency) an order of ``asset`` may safely have: filters plus 5 %. Raises Refused."""
    instrument, quoted = instruments.get(asset), quotes.get(asset)
    if instrument is None or not instrument.tradable:
        raise Refused.one(
            "targets", asset, ", ".join(sorted(instruments)) or "(nothing)", "is not traded at this venue"
        )
    if quoted is None:
        raise Refused.one("targets", asset, "an asset with a price", "has no price yet")
    step = max(instrument.lot_step, instrument.min_quantity)
    return max(instrument.min_notional, step * quoted.ask) * _SAFETY


def _money(value: Decimal) -> str:
    return plain(ceil_to_step(value, _CENT))

"""Plans that only buy (new money) or only sell (money to be taken out), but for the asset the money comes or goes in.

An asset that such a plan leaves alone keeps what it has: it neither pays for the fees of the others nor counts as off
its target. So it is taken out of the sizing, and the targets of the rest become shares of the rest.
"""

from dataclasses import replace
from decimal import Decimal

from shared.core.legs import PlanningInput, sizing_prices
from shared.core.matching import Side
from shared.core.money import HUNDRED, ZERO, exact

# Weights are rounded far below this share of the whole, orders are far above it.
_NOTHING = Decimal("1e-12")


@exact
def without_untouched(planning: PlanningInput) -> PlanningInput:
    """The input without the assets that may not be traded on the side on which they are off their targets.

    Taking one out moves what the others are measured by, so it is repeated until nothing changes: what is out stays
    out. Raises Refused when a held asset has no price.
    """
    if not planning.ways:
        return planning
    prices = sizing_prices(planning)
    worth = {asset: planning.holdings.get(asset, ZERO) * price for asset, price in prices.items()}
    total = sum(worth.values(), planning.holdings.get(planning.quote, ZERO))
    shares = sum(planning.targets_pct.values(), ZERO)
    least = total * _NOTHING
    out: set[str] = set()
    while True:
        per_point = total / shares if shares > 0 else ZERO
        found: set[str] = set()
        for asset in worth.keys() - out:
            gap = planning.targets_pct.get(asset, ZERO) * per_point - worth[asset]
            way = planning.ways.get(asset)
            if (way is Side.BUY and gap <= least) or (way is Side.SELL and -gap <= least):
                found.add(asset)
        if not found:
            break
        out |= found
        total -= sum((worth[asset] for asset in found), ZERO)
        shares -= sum((planning.targets_pct.get(asset, ZERO) for asset in found), ZERO)
    factor = HUNDRED / shares if shares > 0 else ZERO
    targets_pct = {asset: pct * factor for asset, pct in planning.targets_pct.items() if asset not in out}
    if planning.targets_pct.get(planning.quote):
        # Exactly the remainder: cash alone is on target, not a last digit beside it.
        targets_pct[planning.quote] = HUNDRED - sum((p for a, p in targets_pct.items() if a != planning.quote), ZERO)
    return replace(
        planning,
        targets_pct=targets_pct,
        holdings={asset: quantity for asset, quantity in planning.holdings.items() if asset not in out},
    )

"""Where a rebalance leads when it does not go all the way to the targets.

With w_i the weight, t_i the target, d_i the width of the band, all in percent of the value V:

1. An asset outside its band (|w_i - t_i| >= d_i) goes to e_i: the edge t_i +- d_i, or half-way t_i +- d_i / 2, on the
   side where it is. One that is no target at all goes to 0. The others stay for now: e_i = w_i.
2. The e_i then sum to 100 + S. What is too much (S > 0) is given by those above their target in proportion to how far
   they are above it, what is too little (S < 0) is taken by those below theirs:

       a_i = e_i - S x (e_i - t_i) / sum over j above target of (e_j - t_j)       for i above target, if S > 0
       a_i = e_i - S x (t_i - e_i) / sum over j below target of (t_j - e_j)       for i below target, if S < 0

Because the t_i sum to 100, the distances above less the distances below are exactly S, so nobody passes its target.
The a_i have 12 decimals and sum to exactly 100: what rounding leaves is put on the largest.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

from shared.core.drift import Valuation, Valued, is_drifted, leg_value_x100
from shared.core.money import HUNDRED, ZERO, exact
from shared.core.rules import Band, Destination

_UNIT = Decimal("0.000000000001")
_HALF = Decimal("0.5")
_STILL = Decimal("0.0000000001")


@exact
def aim_of(valuation: Valuation, band: Band, targets: Mapping[str, Decimal], destination: Destination) -> Valuation:
    """The valuation with the weights to go to (a_i above) in place of the targets."""
    if destination is Destination.TARGET or valuation.total <= 0:
        return valuation
    lines, total = valuation.lines, valuation.total
    gone_to = [_first_step(line, total, band, targets, destination) for line in lines]
    excess = sum(gone_to, ZERO) - HUNDRED
    sign = 1 if excess > 0 else -1
    room = [max(ZERO, (to - line.target_pct) * sign) for to, line in zip(gone_to, lines, strict=True)]
    roomy = sum(room, ZERO)
    if roomy > 0:
        gone_to = [to - excess * part / roomy for to, part in zip(gone_to, room, strict=True)]
    weights = [to.quantize(_UNIT, rounding=ROUND_HALF_EVEN) for to in gone_to]
    largest = max(range(len(weights)), key=lambda index: weights[index])
    weights[largest] += HUNDRED - sum(weights, ZERO)
    aimed = tuple(replace(line, target_pct=weight) for line, weight in zip(lines, weights, strict=True))
    return Valuation(aimed, total)


def _first_step(
    line: Valued, total: Decimal, band: Band, targets: Mapping[str, Decimal], destination: Destination
) -> Decimal:
    weight, width = line.value * HUNDRED / total, band.width(line.asset, targets)
    if not is_drifted(line, total, width):
        return weight
    if line.asset not in targets:
        return ZERO
    kept = width if destination is Destination.BAND_EDGE else width * _HALF
    return line.target_pct + kept if weight > line.target_pct else line.target_pct - kept


def is_moving(line: Valued, total: Decimal) -> bool:
    """Whether an asset has to be traded at all: by more than 1e-12 of the value, which only rounding makes."""
    return abs(leg_value_x100(line, total)) > total * _STILL

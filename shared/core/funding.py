"""Where new money goes, and where money to be taken out comes from: the least trading that leaves the portfolio nearest
to its targets.

With v_i the value of asset i at bid (the quote currency included), t_i its target as a fraction (0 when it is none), V
the sum of the v_i, and F the asset that has arrived or is to be paid out:

    money N in F    w_i = v_i, but of F less N, and of the quote currency less the idle cash: what is beyond its target
                    L: sum of max(0, L t_i - w_i) = N + idle cash           aim  a_i = max(w_i, L t_i)
    payout W in F   L: sum of k_i max(0, v_i - L t_i) = W                   e_i = max(0, v_i - L t_i)
                    aim  a_i = v_i - e_i,  a_F = v_F + sum of the other e_i       (before W is paid)

k_i is what is left of i once it has been turned into F: 1 for F itself, less ``COST_MARGIN`` for each trade that takes,
less the spread of F where that has to be bought. What is no target goes first, and of it F, then the quote currency,
then the largest. New money lowers nothing, a payout raises nothing but F. Among all ways to do so what is left has the
least sum of (a_i - t_i V)^2 / t_i (of a payout: but for the k_i).

Both equations are piecewise linear in L: the pieces are sorted by w_i / t_i and the right one is solved for, in exact
fractions. The a_i become percent of V with 12 decimals that sum to exactly 100. What cannot be traded stays as it is.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from shared.core.drift import Valuation, Valued
from shared.core.money import HUNDRED, exact

COST_MARGIN = Decimal("0.002")
"""Of what is sold (or bought) so much is taken to be lost to fee and spread: 20 bps, as a fraction."""

_UNIT = Decimal("0.000000000001")
_NOTHING = Fraction(0)


@dataclass(frozen=True, slots=True)
class Money:
    """``amount`` of ``asset`` that has arrived or is to be paid out. ``fixed``: what cannot be traded now."""

    asset: str
    amount: Decimal
    quote: str
    fixed: Set[str] = frozenset()


def invest_aim(valuation: Valuation, money: Money) -> Valuation:
    """The valuation with the aim of new money in place of the targets. More than is held of it is what is held."""
    lines, total = valuation.lines, Fraction(valuation.total)
    shares = _shares(lines)
    kept = [Fraction(line.value) for line in lines]
    pot, spent_from = _NOTHING, 0
    for index, line in enumerate(lines):
        if line.asset == money.asset and (line.asset == money.quote or line.asset not in money.fixed):
            arrived = min(kept[index], Fraction(money.amount) * Fraction(line.bid))
            kept[index] -= arrived
            pot, spent_from = pot + arrived, index
    for index, line in enumerate(lines):
        if line.asset == money.quote:
            idle = max(_NOTHING, kept[index] - shares[index] * total)
            kept[index] -= idle
            pot, spent_from = pot + idle, spent_from if pot else index
    open_ = [index for index, line in enumerate(lines) if shares[index] > 0 and line.asset not in money.fixed]
    if not open_ or not pot:
        return _aimed(valuation, [Fraction(line.value) for line in lines], spent_from)
    raised = filled([kept[index] for index in open_], [shares[index] for index in open_], pot)
    aims = list(kept)
    for index, added in zip(open_, raised, strict=True):
        aims[index] += added
    most = max(zip(raised, open_, strict=True))[1]
    return _aimed(valuation, aims, most)


def withdraw_aim(valuation: Valuation, money: Money, funded: Valued) -> Valuation:
    """The valuation with the aim of a payout in place of the targets. More than there is: everything.

    ``funded``: the line of F, for a portfolio that has none of it yet (quantity and value 0).
    """
    lines = valuation.lines
    if all(line.asset != money.asset for line in lines):
        lines = (*lines, funded)
    place = next(index for index, line in enumerate(lines) if line.asset == money.asset)
    wanted = Fraction(money.amount) * Fraction(lines[place].bid)
    stuck = money.asset != money.quote and money.asset in money.fixed
    open_ = [
        index
        for index, line in enumerate(lines)
        if index == place or not (stuck or line.asset in money.fixed)  # nothing is sold for what cannot be bought
    ]
    open_.sort(key=lambda index: (index != place, lines[index].asset != money.quote, -lines[index].value))
    shares, kept = _shares(lines), _kept(lines, money, place)
    taken = drained(
        [Fraction(lines[index].value) for index in open_],
        [shares[index] for index in open_],
        [kept[index] for index in open_],
        wanted,
    )
    aims = [Fraction(line.value) for line in lines]
    for index, part in zip(open_, taken, strict=True):
        if index != place:
            aims[index] -= part
            aims[place] += part
    return _aimed(Valuation(lines, valuation.total), aims, place)


def filled(values: Sequence[Fraction], shares: Sequence[Fraction], amount: Fraction) -> list[Fraction]:
    """How much of ``amount`` each gets: max(0, L t - w), L such that they sum to it. Every share > 0."""
    order = sorted(range(len(values)), key=lambda index: values[index] / shares[index])
    worth, share, level = amount, _NOTHING, _NOTHING
    for index in order:
        if share and values[index] / shares[index] >= level:
            break
        worth, share = worth + values[index], share + shares[index]
        level = worth / share
    return [max(_NOTHING, level * part - value) for value, part in zip(values, shares, strict=True)]


def drained(
    values: Sequence[Fraction], shares: Sequence[Fraction], kept: Sequence[Fraction], amount: Fraction
) -> list[Fraction]:
    """How much is taken of each, so that ``kept`` of it sums to ``amount``: those without a share in their order, then
    max(0, v - L t). Everything when that is not enough.
    """
    taken, lacking = [_NOTHING] * len(values), amount
    for index, value in enumerate(values):
        if not shares[index]:
            taken[index] = min(value, lacking / kept[index])
            lacking -= taken[index] * kept[index]
    if lacking <= 0:
        return taken
    targets = [index for index in range(len(values)) if shares[index]]
    targets.sort(key=lambda index: values[index] / shares[index], reverse=True)
    worth, share, level = -lacking, _NOTHING, _NOTHING
    for index in targets:
        if share and values[index] / shares[index] <= level:
            break
        worth, share = worth + values[index] * kept[index], share + shares[index] * kept[index]
        level = max(_NOTHING, worth / share)
    for index in targets:
        taken[index] = max(_NOTHING, values[index] - level * shares[index])
    return taken


def _shares(lines: Sequence[Valued]) -> list[Fraction]:
    return [Fraction(line.target_pct) / 100 for line in lines]


def _kept(lines: Sequence[Valued], money: Money, place: int) -> list[Fraction]:
    """k of each line."""
    funded, once = lines[place], 1 - Fraction(COST_MARGIN)
    if money.asset == money.quote:
        return [Fraction(1) if index == place else once for index in range(len(lines))]
    bought = once * min(Fraction(1), Fraction(funded.bid) / Fraction(funded.ask))
    return [
        Fraction(1) if index == place else bought if line.asset == money.quote else once * bought
        for index, line in enumerate(lines)
    ]


@exact
def _aimed(valuation: Valuation, aims: Sequence[Fraction], rest: int) -> Valuation:
    """The aims as target weights; what rounding leaves is put on the line ``rest``."""
    total = Fraction(valuation.total)
    weights = [_percent(aim / total) for aim in aims]
    weights[rest] += HUNDRED - sum(weights)
    lines = tuple(replace(line, target_pct=weight) for line, weight in zip(valuation.lines, weights, strict=True))
    return Valuation(lines, valuation.total)


def _percent(share: Fraction) -> Decimal:
    return (HUNDRED * share.numerator / share.denominator).quantize(_UNIT, rounding=ROUND_HALF_EVEN)

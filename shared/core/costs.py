"""What a rebalance is worth, and what it costs: the two sides of the cost guard.

**Benefit.** Let a portfolio have drifted from weights t to w because relative prices moved, and let them move back
whole. One that was rebalanced to t before they did is then worth more than one that was not, by the share

    sum (w_i - t_i)^2 / w_i          (exact: w_i ~ t_i x_i, compare sum t_i / x_i with 1 / sum t_i x_i)

which to second order is sum (w_i - t_i)^2 / t_i. Nobody knows whether prices come back, so half of it is counted:
sum (w_i - t_i)^2 / (2 t_i), which is also the second-order gap in expected log growth of holding w where t is right
(the Kullback-Leibler divergence of t and w). To stay finite for an asset that is no target (t = 0) or worth nothing
(w = 0), 2 t_i is taken as w_i + t_i, which is the same to second order:

    D(w) = sum (w_i - t_i)^2 / (w_i + t_i)          benefit = V x (D(w) - D(a)),  a = the weights to go to

**Cost**, in the quote currency, of moving asset i by g_i = (a_i - w_i) V at taker fee f_i:

    sale        |g_i| f_i
    purchase    g_i (ask_i / (bid_i (1 - f_i)) - 1)          V is at bid, so a purchase pays the whole spread
"""

from decimal import Decimal

from shared.core.drift import Valuation, leg_value_x100
from shared.core.market import Instruments
from shared.core.money import HUNDRED, ONE, ZERO, exact


@exact
def benefit_of(now: Valuation, aim: Valuation) -> Decimal:
    """V x (D(w) - D(a)) in the quote currency; ``now`` has the targets, ``aim`` the weights to go to."""
    benefit = ZERO
    for line, to in zip(now.lines, aim.lines, strict=True):
        target = line.target_pct / HUNDRED
        benefit += _divergence(line.value / now.total, target) - _divergence(to.target_pct / HUNDRED, target)
    return benefit * now.total


@exact
def cost_of(aim: Valuation, instruments: Instruments, quote: str) -> Decimal:
    """Fees and spread of going to the weights of ``aim``, in the quote currency."""
    cost = ZERO
    for line in aim.lines:
        instrument = instruments.get(line.asset)
        if line.asset == quote or instrument is None:
            continue
        gap = leg_value_x100(line, aim.total) / HUNDRED
        fee = instrument.taker_fee
        cost += -gap * fee if gap < 0 else gap * (max(line.ask, line.bid) / (line.bid * (ONE - fee)) - ONE)
    return cost


@exact
def is_worth(benefit: Decimal, cost: Decimal, factor: Decimal) -> bool:
    """Whether the benefit is at least ``factor`` times the cost (inclusive)."""
    return benefit >= factor * cost


def _divergence(weight: Decimal, target: Decimal) -> Decimal:
    both = weight + target
    return (weight - target) ** 2 / both if both else ZERO

"""Certificates: how far prices may move before a strategy needs another look.

A certificate is a box in log price around the prices it was made at: for each asset i how far it may rise (u_i) and
fall (l_i). While the log price of every asset concerned stays strictly inside, no rule of the strategy can fire, so
nobody has to look. Most rules give one h for every asset and side:

With v the value of an asset, R the value of all the others, w = v / (v + R): moving every log price by at most h
moves the odds w / (1 - w) = v / R by a factor of at most e^(2h). From that, with t the target, d the threshold:

    high side   w reaches t + d   <=>   odds reach (t + d) / (1 - t - d)   not before   2h = ln[ (t+d) R / (v (1-t-d)) ]
    low side    w reaches t - d   <=>   odds reach (t - d) / (1 - t + d)   not before   2h = ln[ v (1-t+d) / (R (t-d)) ]
    value       A e^h + K reaches level L (A at risk, K in the quote currency)          h  = ln[ (L - K) / A ]
    drawdown    the same, with the level at which Auto-Invest adds money, once its min_interval has passed
    start       the bid of one asset reaches its start price p                     h  = | ln[ p / bid ] |
    order       a sale (1-t) v e^h - t R e^-h reaches the minimum m (a purchase: mirrored)   a quadratic in e^h

h is the least of them over all assets and sides. Each asset has its own d: whatever kind a band is, its width in points
depends on the targets alone. Held back by the cost guard, h is 0: spreads move without bids, so every quote counts.

Drift and value give more than h, for not every move brings them nearer (``drift_box``): what counts for the high side
of one asset is its own rise and the fall of the others. The box of a strategy lies inside the boxes of all its rules.
Floats suffice: a certificate only says when to look, ``decide`` alone says whether to act. Every band is cut by a
margin far above float error (relative 1e-9 and 1e-12 in log price), so that a rule can never fire strictly inside.
"""

import math
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.core.decisions import Decision, Hold, Plan
from shared.core.drift import Valuation, Valued, assets_concerned
from shared.core.exits import bounds_of
from shared.core.market import Instrument, Instruments
from shared.core.money import HUNDRED, ONE, ZERO, ceil_to_step
from shared.core.reasons import Reason
from shared.core.rules import Destination, StartPrice
from shared.core.situation import NONE_YET, Market, Peak, Situation
from shared.core.strategy import StrategyDefinition, StrategyStatus
from shared.core.triggers import latch_margin

UNBOUNDED = math.inf
RELATIVE_MARGIN = 1e-9
ABSOLUTE_MARGIN = 1e-12
OWN_SHARE = 0.4
"""Of the distance to the nearest bound, what its own asset may use up; the others have the rest. Found by trial."""

_WAITING_FOR_PRICE = frozenset({Reason.MISSING_PRICE, Reason.STALE_PRICE})
_WAITING_FOR_INSTRUMENT = frozenset({Reason.NOT_TRADABLE, Reason.BELOW_MINIMUM, Reason.COST_GUARD})
_AT_EVERY_QUOTE = frozenset(
    {Reason.CONFIRMING_TAKE_PROFIT, Reason.CONFIRMING_STOP_LOSS, Reason.CONFIRMING_DRAWDOWN, Reason.COST_GUARD}
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """When to look again: at the first of these, and at every event about the strategy.

    ``assets``/``bids``: reference prices. ``ups``/``downs``: u and l of each asset, in the same order; 0 = at every
    quote of it, infinite = at none. ``until``: market time, or None. ``waits_for_price``: an asset that must be quoted
    afresh, or "". ``waits_for_instrument``: look again when the venue lists other trading rules.
    """

    assets: tuple[str, ...] = ()
    bids: tuple[Decimal, ...] = ()
    ups: tuple[float, ...] = ()
    downs: tuple[float, ...] = ()
    until: datetime | None = None
    waits_for_price: str = ""
    waits_for_instrument: bool = False

    @property
    def log_band(self) -> float:
        """h: no asset has to move less than this."""
        return min((*self.ups, *self.downs), default=UNBOUNDED)


@dataclass(slots=True)
class Box:
    """How far each of some assets may rise and fall, in log price."""

    ups: list[float]
    downs: list[float]

    def within(self, up: float, down: float) -> "Box":
        """What of it is also inside these bounds, which are the same for every asset."""
        return Box([min(each, up) for each in self.ups], [min(each, down) for each in self.downs])


def certificate_after(decision: Decision, situation: Situation, market: Market) -> Certificate:
    """The certificate that holds after ``decision``, which was made from this situation and market."""
    if isinstance(decision, Plan):
        return Certificate()  # the executor's word on it is an event
    hold = decision if isinstance(decision, Hold) else None
    priced = _priced(decision, situation, market)
    if hold is not None and hold.reason is Reason.AWAITING_START_PRICE:
        start = situation.strategy.definition.start
        box = _cube(priced, start_band(start, priced[0][1]) if start is not None and priced else UNBOUNDED)
    elif hold is not None and hold.reason in _WAITING_FOR_PRICE and hold.figures.valuation is None:
        box = _cube(priced, UNBOUNDED if hold.confirmations == NONE_YET else 0.0)  # any new quote breaks the count
    else:
        box = _cube(priced, 0.0) if hold is None else _box_of(hold, situation, market)
    return Certificate(
        assets=tuple(asset for asset, _ in priced),
        bids=tuple(bid for _, bid in priced),
        ups=tuple(map(_with_margin, box.ups)),
        downs=tuple(map(_with_margin, box.downs)),
        until=None if hold is None else hold.until,
        waits_for_price=hold.asset if hold is not None and hold.reason in _WAITING_FOR_PRICE else "",
        waits_for_instrument=hold is not None and hold.reason in _WAITING_FOR_INSTRUMENT,
    )


def _priced(decision: Decision, situation: Situation, market: Market) -> list[tuple[str, Decimal]]:
    """The assets to watch, with their bids: all that are concerned, or only the one whose start price is awaited."""
    valuation, definition = decision.figures.valuation, situation.strategy.definition
    if valuation is None:
        position = situation.position
        concerned = () if position is None else assets_concerned(position.holdings, definition.targets)
        quoted = [(asset, market.quotes[asset].bid) for asset in concerned if asset in market.quotes]
        return [(asset, bid) for asset, bid in quoted if bid > 0]
    priced = [(line.asset, line.bid) for line in valuation.lines if line.asset != market.quote]
    if isinstance(decision, Hold) and decision.reason is Reason.AWAITING_START_PRICE and definition.start is not None:
        return [(asset, bid) for asset, bid in priced if asset == definition.start.asset]
    return priced


def _cube(lines: Sized, band: float) -> Box:
    return Box([band] * len(lines), [band] * len(lines))


def _box_of(hold: Hold, situation: Situation, market: Market) -> Box:
    """The box of a hold, for the assets that have a price: inside the boxes of all rules that prices can make fire."""
    valuation = hold.figures.valuation
    if valuation is None:
        return _cube(_priced(hold, situation, market), UNBOUNDED)
    definition = situation.strategy.definition
    active = situation.strategy.status is StrategyStatus.ACTIVE
    elsewhere = active and definition.rule.destination is not Destination.TARGET
    lines = valuation.lines
    if hold.reason in _AT_EVERY_QUOTE or (hold.reason is Reason.NOT_TRADABLE and elsewhere):
        box = _cube(lines, 0.0)
    else:
        box = _cube(lines, UNBOUNDED) if hold.watched is None else drift_box(valuation, hold.watched)
    if active:
        contributed, peak = hold.figures.contributed, situation.strategy.peak
        up, down = value_bands(valuation, definition, contributed, market.quote, peak)
        if not _with_margin(min(up, down)):
            up = down = 0.0  # a level is reached: quotes are counted, wherever they move
        box = box.within(up, down)
    if hold.floor is not None:
        fall = fall_band(valuation, hold.floor, market.quote)
        box = box.within(UNBOUNDED if _with_margin(fall) else 0.0, fall)
    if hold.reason is Reason.BELOW_MINIMUM:
        margin = latch_margin(situation)
        if elsewhere:
            band = first_step_band(valuation, definition, market.instruments, margin)
        else:
            band = order_band(valuation, market.instruments, market.quote, margin)
        box = box.within(band, band)
    moving = [index for index, line in enumerate(lines) if line.asset != market.quote]
    return Box([box.ups[index] for index in moving], [box.downs[index] for index in moving])


def start_band(start: StartPrice, bid: Decimal) -> float:
    """h within which the bid does not reach the start price. No margin."""
    level, now = float(start.price), float(bid)
    return _positive_log(level / now if start.above else now / level)


def threshold_band(valuation: Valuation, points: Decimal) -> float:
    """h within which no asset gets ``points`` percentage points off its target; 0 when one is already. No margin."""
    return drift_band(valuation, {line.asset: points for line in valuation.lines})


def drift_band(valuation: Valuation, widths: Mapping[str, Decimal]) -> float:
    """h within which no asset gets as far off its target as its own width (percentage points). No margin."""
    band = UNBOUNDED
    for line, rest in _with_rest(valuation):
        value, width = float(line.value), widths[line.asset]
        band = min(
            band, _high_band(value, rest, line.target_pct + width), _low_band(value, rest, line.target_pct - width)
        )
    return band


def drift_box(valuation: Valuation, widths: Mapping[str, Decimal]) -> Box:
    """The box within which no asset gets as far off its target as its own width (percentage points). No margin."""
    highs, lows = [], []
    for line, rest in _with_rest(valuation):
        value, width = float(line.value), widths[line.asset]
        highs.append(2 * _high_band(value, rest, line.target_pct + width))
        lows.append(2 * _low_band(value, rest, line.target_pct - width))
    return leaning_box(highs, lows)


def leaning_box(highs: list[float], lows: list[float]) -> Box:
    """A box for odds that may grow by a factor e^highs_i and shrink by e^-lows_i at most (all >= 0).

    The odds of i grow by at most e^(u_i + max l_j), j not i, and shrink by e^-(l_i + max u_j). So the box must have

        u_i + max l_j <= highs_i        l_i + max u_j <= lows_i        for every i

    Let D be the least of all these, say highs_a. Then u_a = OWN_SHARE D and l_j = (1 - OWN_SHARE) D for the others:
    only these moves bring what is nearest nearer. The rest, l_a and the u_j, is g, as large as the others allow:

        lows_a >= 2g        highs_j >= g + max(g, (1 - OWN_SHARE) D)        lows_j >= (1 - OWN_SHARE) D + g

    Where that is less than D / 2, other bounds are about as near, and D / 2 for all is the box. Against D / 2 always,
    strategies are looked at 40 % less often; with OWN_SHARE = 1/2 it would be 35 %.
    """
    high, low = min(highs), min(lows)
    if high <= low:
        ups, downs = _leaning(high, highs, lows)
    else:
        downs, ups = _leaning(low, lows, highs)
    return Box(ups, downs)


def _leaning(distance: float, towards: list[float], away: list[float]) -> tuple[list[float], list[float]]:
    """Bands towards the side that is nearest, by ``distance`` = the least of ``towards``, and away from it."""
    if distance == UNBOUNDED:
        return towards, away
    nearest, count = towards.index(distance), len(towards)
    own = OWN_SHARE * distance
    against = distance - own
    wide = away[nearest] / 2
    if count > 1:
        next_towards = min(towards[:nearest] + towards[nearest + 1 :])
        next_away = min(away[:nearest] + away[nearest + 1 :])
        wide = min(wide, next_towards / 2, next_towards - against, next_away - against)
    if wide < distance / 2:
        return [distance / 2] * count, [distance / 2] * count
    near_bands, far_bands = [wide] * count, [against] * count
    near_bands[nearest], far_bands[nearest] = own, wide
    return near_bands, far_bands


def _with_rest(valuation: Valuation) -> list[tuple[Valued, float]]:
    """Each line with the value of all the others, not as V - v: that cancels when w is near 1."""
    values = [float(line.value) for line in valuation.lines]
    return [
        (line, math.fsum(values[:index]) + math.fsum(values[index + 1 :])) for index, line in enumerate(valuation.lines)
    ]


def _high_band(value: float, rest: float, high: Decimal) -> float:
    """h within which the weight does not reach ``high`` percent from below."""
    if high > HUNDRED or value <= 0.0:
        return UNBOUNDED
    if high == HUNDRED and rest > 0.0:
        return UNBOUNDED  # only the loss of every other asset's value reaches it, which no finite move does
    return _log_ratio(float(high) * rest, value, HUNDRED - high) / 2


def _low_band(value: float, rest: float, low: Decimal) -> float:
    """h within which the weight does not reach ``low`` percent from above."""
    if low < 0 or rest <= 0.0:
        return UNBOUNDED
    if low == 0 and value > 0.0:
        return UNBOUNDED
    return _log_ratio(float(HUNDRED - low) * value, rest, low) / 2


def _log_ratio(numerator: float, factor: float, other: Decimal) -> float:
    """ln(numerator / (factor x other)), at least 0: the move that is left, 0 when there is none."""
    denominator = factor * float(other)
    if numerator <= denominator or numerator <= 0.0:
        return 0.0
    return math.log(numerator) - math.log(denominator) if denominator > 0.0 else UNBOUNDED


def value_bands(
    valuation: Valuation, definition: StrategyDefinition, contributed: Decimal, quote: str, peak: Peak | None = None
) -> tuple[float, float]:
    """How far all prices may rise and fall before the value reaches take-profit, stop-loss or a new peak. No margin."""
    up = down = UNBOUNDED
    if contributed <= 0:
        return up, down
    cash = sum((line.value for line in valuation.lines if line.asset == quote), Decimal(0))
    at_risk = math.fsum(float(line.value) for line in valuation.lines if line.asset != quote)
    if at_risk <= 0.0:
        return up, down
    bounds = bounds_of(definition, peak, contributed)
    for level in bounds.ups:
        up = min(up, _positive_log(float(level - cash) / at_risk))
    for level in bounds.downs:
        left = float(level - cash)
        down = min(down, _positive_log(at_risk / left) if left > 0.0 else UNBOUNDED)
    return up, down


def fall_band(valuation: Valuation, floor: Decimal, quote: str) -> float:
    """h within which the value does not fall to ``floor``; 0 when it has. No margin."""
    cash = sum((line.value for line in valuation.lines if line.asset == quote), Decimal(0))
    at_risk = math.fsum(float(line.value) for line in valuation.lines if line.asset != quote)
    level = float(floor - cash)
    return _positive_log(at_risk / level) if at_risk > 0.0 and level > 0.0 else UNBOUNDED


def _positive_log(ratio: float) -> float:
    return math.log(ratio) if ratio > 1.0 else 0.0


def order_band(valuation: Valuation, instruments: Instruments, quote: str, margin: Decimal = ONE) -> float:
    """h within which no order towards the targets reaches ``margin`` times its minima. No margin of float error."""
    band = UNBOUNDED
    for line, rest in _with_rest(valuation):
        if line.asset == quote:
            continue
        instrument = instruments.get(line.asset)
        if instrument is None:
            return 0.0
        band = min(band, _leg_band(line, rest, instrument, margin))
    return band


def _leg_band(line: Valued, rest: float, instrument: Instrument, margin: Decimal) -> float:
    """A leg needs both minima, so the further of the two bands; sale and purchase are two ways, so the nearer."""
    target = float(line.target_pct / HUNDRED)
    have, owed = (1.0 - target) * float(line.value), target * rest
    least = float(instrument.min_notional * margin)
    step = instrument.lot_step
    smallest = float(max(ceil_to_step(instrument.min_quantity * margin, step), step) * line.bid)
    # In terms of the asset's own price a minimum quantity is fixed while "owed" moves by e^(2h) at most.
    sale = max(_reach(have, owed, least), _half_log(owed, have - smallest))
    purchase = max(_reach(owed, have, least), _half_log(have + smallest, owed))
    return min(sale, purchase)


def first_step_band(
    valuation: Valuation, definition: StrategyDefinition, instruments: Instruments, margin: Decimal
) -> float:
    """h within which no order of a rebalance to a band's edge, or half-way, reaches its minimum notional.

    All that is sold (or bought) is at most the sum of what the n assets outside their bands are beyond where they go.
    So before an order reaches the least minimum m, one of them is outside, and beyond by m / n. No margin.
    """
    band, destination = definition.rule.threshold, definition.rule.destination
    notionals = [instruments[line.asset].min_notional for line in valuation.lines if line.asset in instruments]
    if band is None or not notionals:
        return 0.0
    least = float(min(notionals) * margin) / len(valuation.lines)
    found = UNBOUNDED
    for line, rest in _with_rest(valuation):
        value, width = float(line.value), band.width(line.asset, definition.targets)
        kept = width if destination is Destination.BAND_EDGE else width / 2
        if line.asset not in definition.targets:
            kept = ZERO
        high, low = float((line.target_pct + kept) / HUNDRED), float((line.target_pct - kept) / HUNDRED)
        sold = _reach((1.0 - high) * value, high * rest, least)
        bought = _reach(low * rest, (1.0 - low) * value, least)
        found = min(
            found,
            max(_high_band(value, rest, line.target_pct + width), sold),
            max(_low_band(value, rest, line.target_pct - width), bought),
        )
    return found


def _reach(grows: float, shrinks: float, least: float) -> float:
    """The least h >= 0 with grows x e^h - shrinks x e^-h >= least."""
    if grows <= 0.0:
        return UNBOUNDED
    factor = (least + math.sqrt(least * least + 4.0 * grows * shrinks)) / (2.0 * grows)
    return _positive_log(factor)


def _half_log(above: float, below: float) -> float:
    """Half the log of above / below: infinite when ``below`` is not positive."""
    return _positive_log(above / below) / 2 if below > 0.0 else UNBOUNDED


def _with_margin(band: float) -> float:
    return max(0.0, band * (1.0 - RELATIVE_MARGIN) - ABSOLUTE_MARGIN) if math.isfinite(band) else band


def barriers(certificate: Certificate) -> tuple[list[float], list[float]]:
    """The log prices at which it breaks, below and above, as the drift index wants them."""
    logs = [math.log(float(bid)) for bid in certificate.bids]
    lowers = [log_price - down for log_price, down in zip(logs, certificate.downs, strict=True)]
    uppers = [log_price + up for log_price, up in zip(logs, certificate.ups, strict=True)]
    return lowers, uppers

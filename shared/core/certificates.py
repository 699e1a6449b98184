"""Certificates: how far prices may move before a strategy needs another look.

A certificate is a band h in log price around the prices it was made at. While the log price of every asset concerned
stays strictly within h of its reference, no rule of the strategy can fire, so nobody has to look.

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
Floats suffice: a certificate only says when to look, ``decide`` alone says whether to act. Every band is cut by a
margin far above float error (relative 1e-9 and 1e-12 in log price), so that a rule can never fire strictly inside.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np
import numpy.typing as npt

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

Floats = npt.NDArray[np.float64]

_WAITING_FOR_PRICE = frozenset({Reason.MISSING_PRICE, Reason.STALE_PRICE})
_WAITING_FOR_INSTRUMENT = frozenset({Reason.NOT_TRADABLE, Reason.BELOW_MINIMUM, Reason.COST_GUARD})
_AT_EVERY_QUOTE = frozenset(
    {Reason.CONFIRMING_TAKE_PROFIT, Reason.CONFIRMING_STOP_LOSS, Reason.CONFIRMING_DRAWDOWN, Reason.COST_GUARD}
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """When to look again: at the first of these, and at every event about the strategy.

    ``assets``/``bids``: reference prices. ``log_band``: h; 0 = at every quote of these assets, infinite = at none.
    ``until``: market time, or None. ``waits_for_price``: an asset that must be quoted afresh, or "".
    ``waits_for_instrument``: look again when the venue lists other trading rules.
    """

    assets: tuple[str, ...] = ()
    bids: tuple[Decimal, ...] = ()
    log_band: float = UNBOUNDED
    until: datetime | None = None
    waits_for_price: str = ""
    waits_for_instrument: bool = False


def certificate_after(decision: Decision, situation: Situation, market: Market) -> Certificate:
    """The certificate that holds after ``decision``, which was made from this situation and market."""
    if isinstance(decision, Plan):
        return Certificate()  # the executor's word on it is an event
    hold = decision if isinstance(decision, Hold) else None
    priced = _priced(decision, situation, market)
    if hold is not None and hold.reason is Reason.AWAITING_START_PRICE:
        start = situation.strategy.definition.start
        band = _with_margin(start_band(start, priced[0][1])) if start is not None and priced else UNBOUNDED
    elif hold is not None and hold.reason in _WAITING_FOR_PRICE and hold.figures.valuation is None:
        band = UNBOUNDED if hold.confirmations == NONE_YET else 0.0  # any new quote breaks the count
    else:
        band = 0.0 if hold is None else _band_of(hold, situation, market)
    return Certificate(
        assets=tuple(asset for asset, _ in priced),
        bids=tuple(bid for _, bid in priced),
        log_band=band,
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


def _band_of(hold: Hold, situation: Situation, market: Market) -> float:
    """h for a hold: the nearest of the rules that prices alone can make fire from here."""
    valuation = hold.figures.valuation
    if valuation is None:
        return UNBOUNDED
    definition = situation.strategy.definition
    active = situation.strategy.status is StrategyStatus.ACTIVE
    elsewhere = active and definition.rule.destination is not Destination.TARGET
    if hold.reason in _AT_EVERY_QUOTE or (hold.reason is Reason.NOT_TRADABLE and elsewhere):
        return 0.0
    band = UNBOUNDED
    if active:
        band = value_band(valuation, definition, hold.figures.contributed, market.quote, situation.strategy.peak)
    if hold.watched is not None:
        band = min(band, drift_band(valuation, hold.watched))
    if hold.floor is not None:
        band = min(band, fall_band(valuation, hold.floor, market.quote))
    if hold.reason is Reason.BELOW_MINIMUM:
        margin = latch_margin(situation)
        if elsewhere:
            band = min(band, first_step_band(valuation, definition, market.instruments, margin))
        else:
            band = min(band, order_band(valuation, market.instruments, market.quote, margin))
    return _with_margin(band)


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


def value_band(
    valuation: Valuation, definition: StrategyDefinition, contributed: Decimal, quote: str, peak: Peak | None = None
) -> float:
    """h within which the value reaches neither take-profit nor stop-loss nor a new peak. No margin."""
    if contributed <= 0:
        return UNBOUNDED
    cash = sum((line.value for line in valuation.lines if line.asset == quote), Decimal(0))
    at_risk = math.fsum(float(line.value) for line in valuation.lines if line.asset != quote)
    if at_risk <= 0.0:
        return UNBOUNDED
    bounds = bounds_of(definition, peak, contributed)
    band = UNBOUNDED
    for up in bounds.ups:
        band = min(band, _positive_log(float(up - cash) / at_risk))
    for down in bounds.downs:
        level = float(down - cash)
        band = min(band, _positive_log(at_risk / level) if level > 0.0 else UNBOUNDED)
    return band


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


def threshold_bands(values: Floats, targets_pct: Floats, points: Floats) -> Floats:
    """``threshold_band`` for many strategies at once, margin included.

    ``values`` and ``targets_pct``: shape (strategies, assets), 0 in unused columns; ``points``: shape (strategies,).
    Returns h, shape (strategies,).
    """
    rest = np.zeros_like(values)
    for column in range(values.shape[1]):
        rest[:, column] = np.delete(values, column, axis=1).sum(axis=1)
    high, low = targets_pct + points[:, None], targets_pct - points[:, None]
    used = (values > 0.0) | (targets_pct > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.log(high * rest) - np.log(values * (100.0 - high))
        down = np.log(values * (100.0 - low)) - np.log(rest * low)
    up = np.where(used & (high < 100.0) & (values > 0.0), np.maximum(up, 0.0), np.inf)
    down = np.where(used & (low > 0.0) & (rest > 0.0), np.maximum(down, 0.0), np.inf)
    empty_at_target = used & (low == 0.0) & (values == 0.0)
    down[empty_at_target] = 0.0
    alone = used & (high <= 100.0) & (rest == 0.0) & (values > 0.0)
    up[alone] = 0.0
    bands: Floats = np.minimum(up, down).min(axis=1) / 2
    bands[:] = np.maximum(bands * (1.0 - RELATIVE_MARGIN) - ABSOLUTE_MARGIN, 0.0)
    return bands


def log_prices(certificate: Certificate) -> list[float]:
    """The reference log prices, as the drift index wants them."""
    return [math.log(float(bid)) for bid in certificate.bids]

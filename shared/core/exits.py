"""Take-profit and stop-loss, plain and trailing, on the profit p = 100 (V - C) / C in percent of the money put in.

    take-profit                p >= percent
    trailing take-profit       armed once the peak is >= percent, then p <= peak - trailing (points)
    stop-loss                  p <= percent
    stop-loss from the peak    100 (V - P) / P <= percent, with P = C (1 + peak / 100) the value at the peak

The peak counts in steps: a tenth of ``trailing`` above ``percent``, a tenth of the stop-loss above 0. A step counts
when as many consecutive new quotes as confirm an exit were at or above it, so that one bad tick raises nothing. It is
then recorded by the registry; a decision rests on the recorded peak alone, hence every evaluator makes the same one.

When the money put in grows from C to C', gains count the same but weigh less: the peak becomes peak x C / C'. When some
is taken out, principal and gain go in proportion: the peak in percent stays.
"""

from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal

from shared.core.drift import has_gained, has_lost, never_rounded
from shared.core.money import HUNDRED, ZERO, exact, plain
from shared.core.reasons import Reason
from shared.core.rules import ExitLevel
from shared.core.situation import ExitConfirmations, Peak
from shared.core.strategy import StrategyDefinition
from shared.core.verdicts import Decision, ExitRequested, Hold, Look

_TENTH = Decimal("0.1")
_HUNDREDTH = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Confirming:
    """How looks are counted: what the previous one left, whether a new quote caused this one, how many are needed."""

    confirmed: ExitConfirmations
    by_new_quote: bool
    quotes: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Values of the portfolio (quote currency) that change a decision: ``ups`` from below, ``downs`` from above."""

    ups: tuple[Decimal, ...] = ()
    downs: tuple[Decimal, ...] = ()


def decide_exit_by_value(look: Look, confirming: Confirming) -> Decision | None:
    """Take-profit and stop-loss; None when no level is reached."""
    total, contributed, peak = look.valuation.total, look.position.contributed, look.situation.strategy.peak
    reached = reached_level(look.definition, peak, total, contributed)
    if reached is None:
        return None
    reason, level = reached
    waiting = Reason.CONFIRMING_TAKE_PROFIT if reason is Reason.TAKE_PROFIT else Reason.CONFIRMING_STOP_LOSS
    required = level.confirm or confirming.quotes
    before = confirming.confirmed
    count = (before.count if before.reason is reason else 0) + int(confirming.by_new_quote)
    state = ExitConfirmations(reason, min(count, required))
    further = {"confirmations": str(state.count), "confirmations_required": str(required)}
    if level.trails:
        further["peak_pct"] = plain(_peak_pct(look) or ZERO)
    figures = look.figures(further)
    if count >= required:
        return ExitRequested(reason.value, figures, reason, state, action=level.action)
    return Hold(waiting.value, figures, waiting, confirmations=state)


def with_peak(decision: Decision, look: Look, confirming: Confirming) -> Decision:
    """The decision with the count towards a new peak, and with the peak itself once it is confirmed."""
    levels = (look.definition.take_profit, look.definition.stop_loss)
    trailing = [one for one in levels if one is not None and one.trails]
    level = _level_reached(look) if trailing else None
    if level is None:
        return decision
    before = confirming.confirmed
    count = before.peak_count + int(confirming.by_new_quote)
    if count == 0:
        return decision  # no quote has been counted yet, so there is none to be the lowest of
    lowest = level if before.peak_pct is None else min(level, before.peak_pct)
    required = max(one.confirm or confirming.quotes for one in trailing)
    state = replace(decision.confirmations, peak_pct=lowest, peak_count=min(count, required))
    if count < required:
        return replace(decision, confirmations=state)
    return replace(decision, confirmations=state, peak=Peak(lowest, look.position.contributed))


@exact
def rebased(peak: Peak, contributed: Decimal) -> Decimal:
    """The peak in percent of the money put in now; see the module."""
    if contributed <= peak.contributed:
        return peak.profit_pct
    return peak.profit_pct * peak.contributed / contributed


def bounds_of(definition: StrategyDefinition, peak: Peak | None, contributed: Decimal) -> Bounds:
    """At which values take-profit, stop-loss or a new peak must be looked at."""
    profit, loss = definition.take_profit, definition.stop_loss
    if profit is None and loss is None:
        return Bounds()
    peak_pct = None if peak is None else rebased(peak, contributed)
    percents_up, downs = [], []
    if profit is not None and profit.trailing is None:
        percents_up.append(profit.percent)
    elif profit is not None and profit.trailing is not None and peak_pct is not None and peak_pct >= profit.percent:
        downs.append(_value_at(peak_pct - profit.trailing, contributed))
    if loss is not None:
        base = _value_at(max(peak_pct or ZERO, ZERO), contributed) if loss.from_peak else contributed
        downs.append(_value_at(loss.percent, base))
    percents_up += [_next_step(first, step, peak_pct) for first, step in _ladders(definition)]
    return Bounds(tuple(_value_at(percent, contributed) for percent in percents_up), tuple(downs))


def reached_level(
    definition: StrategyDefinition, peak: Peak | None, total: Decimal, contributed: Decimal
) -> tuple[Reason, ExitLevel] | None:
    """Which of take-profit and stop-loss a value (quote currency) has reached, the take-profit first; None: neither."""
    profit, loss = definition.take_profit, definition.stop_loss
    peak_pct = None if peak is None else rebased(peak, contributed)
    if profit is not None and _is_profit_taken(profit, peak_pct, total, contributed):
        return Reason.TAKE_PROFIT, profit
    if loss is not None and _is_loss_stopped(loss, peak_pct, total, contributed):
        return Reason.STOP_LOSS, loss
    return None


def _is_profit_taken(level: ExitLevel, peak_pct: Decimal | None, total: Decimal, contributed: Decimal) -> bool:
    if level.trailing is None:
        return has_gained(total, contributed, level.percent)
    if peak_pct is None or peak_pct < level.percent:
        return False
    return has_lost(total, contributed, peak_pct - level.trailing)


def _is_loss_stopped(level: ExitLevel, peak_pct: Decimal | None, total: Decimal, contributed: Decimal) -> bool:
    base = _value_at(max(peak_pct or ZERO, ZERO), contributed) if level.from_peak else contributed
    return has_lost(total, base, level.percent)


def _peak_pct(look: Look) -> Decimal | None:
    peak = look.situation.strategy.peak
    return None if peak is None else rebased(peak, look.position.contributed)


@never_rounded
def _value_at(percent: Decimal, base: Decimal) -> Decimal:
    return base * (HUNDRED + percent) * _HUNDREDTH


@never_rounded
def _ladders(definition: StrategyDefinition) -> list[tuple[Decimal, Decimal]]:
    """First step and distance of the steps (percent of the money put in) at which a peak counts."""
    ladders = []
    profit, loss = definition.take_profit, definition.stop_loss
    if profit is not None and profit.trailing is not None:
        ladders.append((profit.percent, profit.trailing * _TENTH))
    if loss is not None and loss.from_peak:
        ladders.append((-loss.percent * _TENTH, -loss.percent * _TENTH))
    return ladders


@exact
def _next_step(first: Decimal, step: Decimal, peak_pct: Decimal | None) -> Decimal:
    """The lowest step above the peak."""
    if peak_pct is None or peak_pct < first:
        return first
    return first + step * (((peak_pct - first) / step).to_integral_value(ROUND_FLOOR) + 1)


def _level_reached(look: Look) -> Decimal | None:
    """The highest step the profit is at or above, if that is above the peak."""
    total, contributed, peak_pct = look.valuation.total, look.position.contributed, _peak_pct(look)
    reached = [
        _step_below(first, step, total, contributed)
        for first, step in _ladders(look.definition)
        if has_gained(total, contributed, _next_step(first, step, peak_pct))
    ]
    return max(reached, default=None)


@exact
def _step_below(first: Decimal, step: Decimal, total: Decimal, contributed: Decimal) -> Decimal:
    """The highest step at or below the profit, which is at least ``first``."""
    profit = (total - contributed) * HUNDRED / contributed
    count = max(ZERO, ((profit - first) / step).to_integral_value(ROUND_FLOOR))
    while has_gained(total, contributed, first + (count + 1) * step):
        count += 1
    while count > 0 and not has_gained(total, contributed, first + count * step):
        count -= 1
    return first + count * step

"""When an active strategy rebalances: threshold, interval, both; and what a rule that fired still has to wait for.

``when: any``   a run of the interval is due (and ``min_drift`` is reached), or an asset is outside its band
``when: all``   a run is due and an asset is outside its band

A run is due once a grid point active_since + k x interval lies between the last plan's end and now. It stays due until
it can be made: nothing is remembered but the last plan, so a restarted evaluator decides the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared.core.costs import benefit_of, cost_of, is_worth
from shared.core.destinations import aim_of, is_moving
from shared.core.drift import (
    Valuation,
    Valued,
    distance_from_target,
    furthest_from_target,
    is_drifted,
    is_tradable_leg,
    shown_text,
    weight_pct,
)
from shared.core.money import ONE, plain
from shared.core.position import PlanOutcome
from shared.core.reasons import Reason, code_of
from shared.core.rules import DEFAULT_COOLDOWN, Destination, RebalanceRule, When
from shared.core.situation import INITIAL, REBALANCE, Situation
from shared.core.verdicts import Decision, Hold, Look

LATCH_MARGIN = Decimal("1.05")
"""After a plan in which nothing was tradable an order must be so many times the minimum: a residue fires only once."""

_CAME_TO_NOTHING = frozenset({PlanOutcome.EXPIRED, PlanOutcome.STALE})
_RUNS = frozenset({"", Reason.INTERVAL_DUE.value})


@dataclass(frozen=True, slots=True)
class _Trigger:
    """What the rule sees now. ``due_at``: of the next run, None without an interval; ``watched``: see ``Hold``."""

    due_at: datetime | None
    due: bool
    enough: bool
    beyond: Valued | None
    watched: Mapping[str, Decimal] | None

    @property
    def until(self) -> datetime | None:
        return None if self.due else self.due_at


def decide_rebalance(look: Look) -> Decision:
    """Rebalance or not, by the strategy's own rule."""
    rule = look.definition.rule
    if rule.holds:
        return look.hold(Reason.HOLD_MODE)
    trigger = _trigger_of(look, rule)
    if rule.when is When.ALL:
        if trigger.due and trigger.beyond is not None:
            return _by_interval(look, rule, trigger, trigger.beyond)
    elif trigger.enough:
        return _by_interval(look, rule, trigger, None)
    elif trigger.beyond is not None:
        return _by_threshold(look, rule, trigger, trigger.beyond)
    return _nothing_to_do(look, rule, trigger)


def decide_initial_purchase(look: Look) -> Decision:
    """The first purchase; after one that came to nothing tradable, with the usual cooldown."""
    outcome = look.situation.progress.last_outcome
    cooldown = timedelta(0) if outcome is None else DEFAULT_COOLDOWN
    held = cooling(look, cooldown) or _untradable(look, look.valuation, needs_tradable_leg=True)
    return held or look.plan(INITIAL, Reason.INITIAL_PURCHASE.value)


def latch_margin(situation: Situation) -> Decimal:
    """How many times the minimum an order must be to count: see ``LATCH_MARGIN``."""
    nothing = situation.progress.last_outcome is PlanOutcome.NOTHING_TRADABLE
    return LATCH_MARGIN if nothing and situation.last_closed_kind == REBALANCE else ONE


def _trigger_of(look: Look, rule: RebalanceRule) -> _Trigger:
    lines, total, targets = look.valuation.lines, look.valuation.total, look.definition.targets
    band, beyond, watched = rule.threshold, None, None
    if band is not None:
        watched = {line.asset: band.width(line.asset, targets) for line in lines}
        outside = [line for line in lines if is_drifted(line, total, watched[line.asset])]
        beyond = max(outside, key=lambda line: distance_from_target(line, total), default=None)
    due_at, due, enough = None, False, False
    if rule.interval is not None:
        due_at = next_due(look.situation, rule.interval, look.situation.strategy.active_since or look.market.now)
        due = enough = look.market.now >= due_at
    if due and rule.min_drift is not None:
        least = rule.min_drift
        enough = any(is_drifted(line, total, least) for line in lines)
        watched = {line.asset: min(least, watched[line.asset]) if watched else least for line in lines}
    return _Trigger(due_at, due, enough, beyond, watched)


def next_due(situation: Situation, interval: timedelta, since: datetime) -> datetime:
    """The first grid point after the last plan that was carried out; a run that came to nothing stays due."""
    progress = situation.progress
    last = progress.last_closed_at or since
    run = max(0, (last - since) // interval)
    was_run = situation.last_closed_kind == REBALANCE and situation.last_closed_reason in _RUNS
    refused = progress.last_outcome is PlanOutcome.PARTIAL and progress.last_fills == 0
    if was_run and (refused or progress.last_outcome in _CAME_TO_NOTHING):
        return since + run * interval
    return since + (run + 1) * interval


def _nothing_to_do(look: Look, rule: RebalanceRule, trigger: _Trigger) -> Hold:
    further = {} if trigger.due_at is None else {"due_at": trigger.due_at.isoformat()}
    if rule.interval is not None and not trigger.due and (rule.threshold is None or rule.when is When.ALL):
        return look.hold(Reason.INTERVAL_NOT_DUE, until=trigger.due_at, further=further)
    reason = Reason.BELOW_MIN_DRIFT if rule.threshold is None else Reason.WITHIN_BAND
    return replace(look.hold(reason, until=trigger.until, further=further), watched=trigger.watched)


def _by_interval(look: Look, rule: RebalanceRule, trigger: _Trigger, beyond: Valued | None) -> Decision:
    """A run of the interval, also when no order would reach the minimum: the executor then closes the plan with that
    reason, which records the run and moves on to the next grid point. Forced runs go to the targets.
    """
    further = {} if trigger.due_at is None else {"due_at": trigger.due_at.isoformat()}
    if beyond is not None:
        further |= _drift_texts(look, beyond)
    aim = look.valuation if beyond is None else _aim(look, rule)
    held = cooling(look, rule.cooldown) or _untradable(look, aim, needs_tradable_leg=False) or _costly(look, rule, aim)
    return held or look.plan(REBALANCE, Reason.INTERVAL_DUE.value, further | aim_texts(look, aim), aim)


def _by_threshold(look: Look, rule: RebalanceRule, trigger: _Trigger, beyond: Valued) -> Decision:
    if (waits := cooling(look, rule.cooldown)) is not None:
        return waits
    aim = _aim(look, rule)
    held = _untradable(look, aim, needs_tradable_leg=True) or _costly(look, rule, aim)
    if held is None:
        code = code_of(Reason.THRESHOLD_REACHED, beyond.asset)
        return look.plan(REBALANCE, code, _drift_texts(look, beyond) | aim_texts(look, aim), aim)
    # A run that falls due meanwhile, or whose least drift is reached, is forced.
    least = rule.min_drift if trigger.due else None
    watched = None if least is None else {line.asset: least for line in look.valuation.lines}
    return replace(held, until=trigger.until, watched=watched)


def _aim(look: Look, rule: RebalanceRule) -> Valuation:
    if rule.threshold is None or rule.destination is Destination.TARGET:
        return look.valuation
    return aim_of(look.valuation, rule.threshold, look.definition.targets, rule.destination)


def _drift_texts(look: Look, beyond: Valued) -> dict[str, str]:
    drift = abs(weight_pct(beyond, look.valuation.total) - beyond.target_pct)
    texts = {"asset": beyond.asset, "drift": shown_text(drift)}
    band = look.definition.rule.threshold
    if band is not None and (band.factor_pct or band.per_asset):
        texts["band"] = shown_text(band.width(beyond.asset, look.definition.targets))
    return texts


def aim_texts(look: Look, aim: Valuation) -> dict[str, str]:
    """The weights to go to, as figures, where they are not the targets."""
    if aim is look.valuation:
        return {}
    return {f"aim.{line.asset}": shown_text(line.target_pct) for line in aim.lines}


def cooling(look: Look, cooldown: timedelta) -> Hold | None:
    """The hold of a strategy whose last plan ended less than a cooldown ago, unless that came to nothing."""
    progress = look.situation.progress
    if progress.last_closed_at is None or progress.last_outcome in _CAME_TO_NOTHING:
        return None
    until = progress.last_closed_at + cooldown
    if look.market.now >= until:
        return None
    return look.hold(Reason.COOLDOWN, until=until, further={"cooldown_until": until.isoformat()})


def _untradable(look: Look, aim: Valuation, *, needs_tradable_leg: bool) -> Hold | None:
    """Why no order can be made now: an instrument that is halted, or no order large enough."""
    moving = [line for line in aim.lines if line.asset != look.market.quote and is_moving(line, aim.total)]
    for line in moving:
        if not look.market.can_trade(line.asset):
            return look.hold(Reason.NOT_TRADABLE, line.asset)
    if not needs_tradable_leg:
        return None
    margin, instruments = latch_margin(look.situation), look.market.instruments
    if any(is_tradable_leg(line, aim.total, instruments[line.asset], margin) for line in moving):
        return None
    return look.hold(Reason.BELOW_MINIMUM, furthest_from_target(look.valuation).asset)


def _costly(look: Look, rule: RebalanceRule, aim: Valuation) -> Hold | None:
    """The cost guard: not yet, when what the rebalance is worth is less than so many times its fees and spread."""
    if rule.cost_guard is None:
        return None
    benefit, cost = benefit_of(look.valuation, aim), cost_of(aim, look.market.instruments, look.market.quote)
    if is_worth(benefit, cost, rule.cost_guard):
        return None
    figures = {"benefit": shown_text(benefit), "cost": shown_text(cost), "cost_guard": plain(rule.cost_guard)}
    return look.hold(Reason.COST_GUARD, further=figures)

"""``decide``: what one strategy should do now, with the reason. Pure, exact, and the only place where a rule fires.

Level-triggered: it compares what is (position, the executor's word on plans) with what should be (the strategy, prices,
market time). The rules, in the order they are looked at:

1. Nothing is decided while money is on its way: no funds yet, a plan open, fills not yet posted, sealed.
2. ``exiting``: everything into the funding asset; what cannot be sold now keeps nothing else waiting.
3. No other decision rests on a missing, zero or stale price. ``building``: the first purchase.
4. ``active``: take-profit and stop-loss on (V - C)/C, inclusive, on N consecutive new quotes; then the threshold
   (inclusive, absolute percentage points) or the interval (a fixed grid from ``active_since``, regardless of drift).
5. A rule that fired still waits for the cooldown, for tradable instruments and for an order above the minimum.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared.core.drift import (
    Valuation,
    Valued,
    assets_concerned,
    furthest_from_target,
    has_gained,
    has_lost,
    is_drifted,
    is_tradable_leg,
    leg_value_x100,
    profit_pct,
    shown_text,
    value_at_bid,
    weight_pct,
    without_price,
)
from shared.core.identity import plan_id
from shared.core.market import Quote
from shared.core.money import HUNDRED, ZERO, plain
from shared.core.position import PlanOutcome, Position, has_purchased
from shared.core.reasons import Reason, code_of
from shared.core.situation import (
    EXIT,
    INITIAL,
    NONE_YET,
    REBALANCE,
    ExitConfirmations,
    Market,
    Situation,
    StrategyView,
)
from shared.core.strategy import IntervalRule, StrategyDefinition, StrategyStatus, ThresholdRule, interval_text

CONFIRMING_QUOTES = 3
COOLDOWN = timedelta(minutes=5)

_CAME_TO_NOTHING = frozenset({PlanOutcome.EXPIRED, PlanOutcome.STALE})
_RUNNING = frozenset({StrategyStatus.BUILDING, StrategyStatus.ACTIVE, StrategyStatus.EXITING})
_FINISHED_EXIT = frozenset({PlanOutcome.COMPLETED, PlanOutcome.NOTHING_TRADABLE})


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures behind a decision, kept as they are and made into text only when somebody records them."""

    definition: StrategyDefinition
    valuation: Valuation | None = None
    contributed: Decimal = ZERO
    further: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> dict[str, str]:
        """Plain text by name: weight.X, target.X, price.X (bid) per asset, and what the rule compared."""
        texts = dict(self.further)
        rule = self.definition.rule
        if isinstance(rule, ThresholdRule):
            texts["threshold"] = plain(rule.points)
        else:
            texts["interval"] = interval_text(rule.interval)
        if self.definition.take_profit_pct is not None:
            texts["take_profit"] = plain(self.definition.take_profit_pct)
        if self.definition.stop_loss_pct is not None:
            texts["stop_loss"] = plain(self.definition.stop_loss_pct)
        if self.valuation is None:
            return texts
        texts["value"] = shown_text(self.valuation.total)
        texts["contributed"] = shown_text(self.contributed)
        texts["profit_pct"] = plain(profit_pct(self.valuation.total, self.contributed))
        for line in self.valuation.lines:
            texts[f"weight.{line.asset}"] = plain(weight_pct(line, self.valuation.total))
            texts[f"target.{line.asset}"] = plain(line.target_pct)
            texts[f"price.{line.asset}"] = plain(line.bid)
        return texts


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """A plan, complete but for the wall clock. ``target_pct`` in ``valuation`` is what the plan aims at."""

    plan_id: str
    kind: str
    funding_asset: str
    quote: str
    position_version: int
    fills_seen: int
    previous_plan_id: str
    valuation: Valuation
    market_time: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """Trade: publish this plan."""

    code: str
    figures: Figures
    draft: PlanDraft
    confirmations: ExitConfirmations = NONE_YET


@dataclass(frozen=True, slots=True)
class ExitRequested:
    """Take-profit or stop-loss is confirmed: ask the registry to stop the strategy for this reason."""

    code: str
    figures: Figures
    reason: Reason
    confirmations: ExitConfirmations


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing, for this reason. ``until``: market time at which the answer may change by itself."""

    code: str
    figures: Figures
    reason: Reason
    asset: str = ""
    until: datetime | None = None
    confirmations: ExitConfirmations = NONE_YET


Decision = Plan | ExitRequested | Hold


def decide(
    situation: Situation,
    market: Market,
    confirmed: ExitConfirmations = NONE_YET,
    *,
    by_new_quote: bool = True,
    confirming_quotes: int = CONFIRMING_QUOTES,
) -> Decision:
    """What to do now.

    ``confirmed`` is what the previous decision returned as ``confirmations``; ``by_new_quote`` tells that a new
    quote of one of the strategy's assets caused this look: only such looks count as confirmations.
    """
    strategy = situation.strategy
    position = _settled_position(situation)
    if isinstance(position, Hold):
        return position
    if strategy.status is StrategyStatus.EXITING:
        return _decide_exit(situation, position, market)
    targets = strategy.definition.targets
    unusable = _unusable_price(strategy, position, market, assets_concerned(position.holdings, targets))
    if unusable is not None:
        # Without a new quote nothing has been seen that could interrupt a count.
        return unusable if by_new_quote else replace(unusable, confirmations=confirmed)
    valuation = value_at_bid(position.holdings, targets, market.quotes, market.quote)
    look = _Look(situation, position, market, valuation)
    if strategy.status is StrategyStatus.BUILDING:
        return _decide_initial(look)
    exit_by_value = _decide_exit_by_value(look, confirmed, by_new_quote, confirming_quotes)
    if exit_by_value is not None:
        return exit_by_value
    if isinstance(strategy.definition.rule, IntervalRule):
        return _decide_by_interval(look, strategy.definition.rule)
    return _decide_by_threshold(look, strategy.definition.rule)


@dataclass(frozen=True, slots=True)
class _Look:
    """What every rule needs."""

    situation: Situation
    position: Position
    market: Market
    valuation: Valuation

    def figures(self, **further: str) -> Figures:
        return Figures(self.situation.strategy.definition, self.valuation, self.position.contributed, further)

    def hold(self, reason: Reason, asset: str = "", until: datetime | None = None, **further: str) -> Hold:
        return Hold(code_of(reason, asset), self.figures(**further), reason, asset, until)

    def plan(self, kind: str, code: str, **further: str) -> Plan:
        progress = self.situation.progress
        version = self.position.version
        draft = PlanDraft(
            plan_id=plan_id(self.situation.strategy.strategy_id, version, progress.last_closed_plan_id),
            kind=kind,
            funding_asset=self.situation.strategy.definition.funding_asset,
            quote=self.market.quote,
            position_version=version,
            fills_seen=self.position.fills_posted,
            previous_plan_id=progress.last_closed_plan_id,
            valuation=self.valuation,
            market_time=self.market.now,
        )
        return Plan(code, self.figures(**further), draft)


def _settled_position(situation: Situation) -> Position | Hold:
    """The position to decide on, or the hold of a strategy about which only an event can change anything."""
    strategy, progress, position = situation.strategy, situation.progress, situation.position

    def hold(reason: Reason, **further: str) -> Hold:
        return Hold(reason.value, Figures(strategy.definition, further=further), reason)

    if strategy.status is StrategyStatus.FUNDING:
        return hold(Reason.AWAITING_FUNDS)
    if strategy.status not in _RUNNING:
        return hold(Reason.NOT_RUNNING, status=strategy.status.value)
    if progress.sealed:
        return hold(Reason.SEALED)
    if position is None or not any(held > 0 for held in position.holdings.values()):
        return hold(Reason.AWAITING_FUNDS)
    if progress.open_plan_id is not None:
        return hold(Reason.PLAN_OPEN, plan_id=progress.open_plan_id)
    if position.fills_posted != progress.fills_total:
        counts = {"fills_posted": str(position.fills_posted), "fills_total": str(progress.fills_total)}
        return hold(Reason.FILLS_PENDING, **counts)
    awaited = _awaited_from_registry(situation)
    return position if awaited is None else hold(awaited)


def _awaited_from_registry(situation: Situation) -> Reason | None:
    """What the registry must still say before this strategy may be decided about."""
    strategy, closed, outcome = situation.strategy, situation.last_closed_kind, situation.progress.last_outcome
    if strategy.status is StrategyStatus.EXITING and closed == EXIT and outcome in _FINISHED_EXIT:
        return Reason.AWAITING_RELEASE
    bought = closed == INITIAL and has_purchased(outcome, situation.progress.last_fills)
    if strategy.status is StrategyStatus.BUILDING and bought:
        return Reason.AWAITING_ACTIVATION
    if strategy.status is StrategyStatus.ACTIVE and strategy.active_since is None:
        return Reason.AWAITING_ACTIVATION
    return None


def _unusable_price(strategy: StrategyView, position: Position, market: Market, assets: tuple[str, ...]) -> Hold | None:
    figures = Figures(strategy.definition, contributed=position.contributed)
    missing = without_price(assets, market.quotes, market.quote)
    if missing:
        return Hold(code_of(Reason.MISSING_PRICE, missing), figures, Reason.MISSING_PRICE, missing)
    for asset in assets:
        if asset in market.stale and asset != market.quote:
            return Hold(code_of(Reason.STALE_PRICE, asset), figures, Reason.STALE_PRICE, asset)
    return None


def _decide_exit(situation: Situation, position: Position, market: Market) -> Decision:
    """All into the funding asset; also when nothing needs selling: the executor's word on it ends the strategy.

    What can be sold is not kept waiting by what cannot (halted, or without a usable price); only when nothing else is
    left is that waited for, and only if it is more than dust. A pair that is no longer listed is never waited for.
    """
    strategy, funding = situation.strategy, situation.strategy.definition.funding_asset
    unusable = _unusable_price(strategy, position, market, (funding,))
    if unusable is not None:
        return unusable
    targets, unknown = {funding: HUNDRED}, Quote(ZERO, ZERO, market.now)
    quotes = {asset: market.quotes.get(asset, unknown) for asset in assets_concerned(position.holdings, targets)}
    look = _Look(situation, position, market, value_at_bid(position.holdings, targets, quotes, market.quote))
    to_sell = [line for line in look.valuation.lines if line.target_pct == 0 and _is_worth_selling(line, look)]
    waits = [(reason, line.asset) for line in to_sell if (reason := _obstacle_to_selling(line, look)) is not None]
    if waits and len(waits) == len(to_sell):
        return look.hold(*waits[0])
    return look.plan(EXIT, strategy.exit_reason or Reason.STOPPED_BY_USER.value)


def _is_worth_selling(line: Valued, look: _Look) -> bool:
    """Whether an asset is, or may be (without a known price), more than dust, and listed."""
    market = look.market
    if line.asset == market.quote:  # sold by buying the funding asset
        bought = market.instruments.get(look.situation.strategy.definition.funding_asset)
        return bought is not None and line.value >= bought.min_notional
    instrument = market.instruments.get(line.asset)
    if instrument is None or line.quantity == 0:
        return False
    return line.bid == 0 or is_tradable_leg(line, look.valuation.total, instrument)


def _obstacle_to_selling(line: Valued, look: _Look) -> Reason | None:
    market, funding = look.market, look.situation.strategy.definition.funding_asset
    if not market.can_trade(funding if line.asset == market.quote else line.asset):
        return Reason.NOT_TRADABLE
    if without_price((line.asset,), market.quotes, market.quote):
        return Reason.MISSING_PRICE
    return Reason.STALE_PRICE if line.asset in market.stale else None


def _decide_initial(look: _Look) -> Decision:
    outcome = look.situation.progress.last_outcome
    return _unless_held_back(look, look.plan(INITIAL, Reason.INITIAL_PURCHASE.value), cools=outcome is not None)


def _decide_exit_by_value(
    look: _Look, confirmed: ExitConfirmations, by_new_quote: bool, confirming_quotes: int
) -> Decision | None:
    """Take-profit and stop-loss; None when neither level is reached."""
    definition = look.situation.strategy.definition
    total, contributed = look.valuation.total, look.position.contributed
    reason = None
    if definition.take_profit_pct is not None and has_gained(total, contributed, definition.take_profit_pct):
        reason, confirming = Reason.TAKE_PROFIT, Reason.CONFIRMING_TAKE_PROFIT
    elif definition.stop_loss_pct is not None and has_lost(total, contributed, definition.stop_loss_pct):
        reason, confirming = Reason.STOP_LOSS, Reason.CONFIRMING_STOP_LOSS
    if reason is None:
        return None
    count = (confirmed.count if confirmed.reason is reason else 0) + int(by_new_quote)
    state = ExitConfirmations(reason, min(count, confirming_quotes))
    figures = look.figures(confirmations=str(state.count), confirmations_required=str(confirming_quotes))
    if count >= confirming_quotes:
        return ExitRequested(reason.value, figures, reason, state)
    return Hold(confirming.value, figures, confirming, confirmations=state)


def _decide_by_threshold(look: _Look, rule: ThresholdRule) -> Decision:
    valuation = look.valuation
    furthest = furthest_from_target(valuation)
    if not is_drifted(furthest, valuation.total, rule.points):
        return look.hold(Reason.WITHIN_BAND)
    further = {"asset": furthest.asset, "drift": shown_text(_drift_pct(furthest, valuation))}
    plan = look.plan(REBALANCE, code_of(Reason.THRESHOLD_REACHED, furthest.asset), **further)
    return _unless_held_back(look, plan)


def _decide_by_interval(look: _Look, rule: IntervalRule) -> Decision:
    """Due once a grid point active_since + k x interval lies between the last plan's end and now.

    Forced regardless of drift, and also when no order would reach the minimum: the executor then closes the plan with
    that reason, which records the run and moves on to the next grid point.
    """
    due_at = _next_due(look.situation, rule.interval, look.situation.strategy.active_since or look.market.now)
    if look.market.now < due_at:
        return look.hold(Reason.INTERVAL_NOT_DUE, until=due_at, due_at=due_at.isoformat())
    plan = look.plan(REBALANCE, Reason.INTERVAL_DUE.value, due_at=due_at.isoformat())
    return _unless_held_back(look, plan, needs_tradable_leg=False)


def _next_due(situation: Situation, interval: timedelta, since: datetime) -> datetime:
    """The first grid point after the last plan that was carried out; one that came to nothing leaves its run due."""
    progress = situation.progress
    last = progress.last_closed_at or since
    run = max(0, (last - since) // interval)
    refused = progress.last_outcome is PlanOutcome.PARTIAL and progress.last_fills == 0
    if situation.last_closed_kind == REBALANCE and (refused or progress.last_outcome in _CAME_TO_NOTHING):
        return since + run * interval
    return since + (run + 1) * interval


def _unless_held_back(look: _Look, plan: Plan, *, cools: bool = True, needs_tradable_leg: bool = True) -> Decision:
    """The plan, or the reason why it must wait: cooldown, an instrument that is halted, or no order large enough."""
    progress = look.situation.progress
    if cools and progress.last_closed_at is not None and progress.last_outcome not in _CAME_TO_NOTHING:
        until = progress.last_closed_at + COOLDOWN
        if look.market.now < until:
            return look.hold(Reason.COOLDOWN, until=until, cooldown_until=until.isoformat())
    moving = [line for line in look.valuation.lines if line.asset != look.market.quote and _has_leg(line, look)]
    for line in moving:
        if not look.market.can_trade(line.asset):
            return look.hold(Reason.NOT_TRADABLE, line.asset)
    if needs_tradable_leg and not any(
        is_tradable_leg(line, look.valuation.total, look.market.instruments[line.asset]) for line in moving
    ):
        return look.hold(Reason.BELOW_MINIMUM, furthest_from_target(look.valuation).asset)
    return plan


def _has_leg(line: Valued, look: _Look) -> bool:
    return leg_value_x100(line, look.valuation.total) != 0


def _drift_pct(line: Valued, valuation: Valuation) -> Decimal:
    return abs(weight_pct(line, valuation.total) - line.target_pct)

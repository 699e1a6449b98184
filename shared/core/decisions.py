"""``decide``: what one strategy should do now, with the reason. Pure, exact, and the only place where a rule fires.

Level-triggered: it compares what is (position, the executor's word on plans) with what should be (the strategy, prices,
market time). The rules, in the order they are looked at:

1. Nothing is decided while money is on its way: no funds yet, a plan open, fills not yet posted, a payout, sealed.
2. ``exiting``: everything into the funding asset; what cannot be sold now keeps nothing else waiting. Coins that are to
   be returned as they are need no plan.
3. No other decision rests on a missing, zero or stale price. ``building``: first purchase. ``paused``: payouts only.
4. ``active``: take-profit and stop-loss on (V - C)/C, inclusive, on N consecutive new quotes; then what was asked for
   (``shared.core.requests``), then a cycle of Auto-Invest that is due (``shared.core.investing``), then the rebalance
   rule (``shared.core.triggers``): threshold (inclusive), interval (a fixed grid from ``active_since``), both, neither.
5. A rebalance rule that fired still waits for the cooldown, for tradable instruments, for an order above the minimum
   and for the cost guard. The first purchase waits for its start price.
"""

from dataclasses import replace

from shared.core.drift import (
    Valued,
    assets_concerned,
    is_tradable_leg,
    value_at_bid,
    without_price,
)
from shared.core.exits import Confirming, decide_exit_by_value, with_peak
from shared.core.investing import decide_cycle, investing_of, with_investing
from shared.core.market import Quote
from shared.core.money import HUNDRED, ZERO, plain
from shared.core.position import PlanOutcome, Position, has_purchased
from shared.core.reasons import Reason, code_of
from shared.core.requests import decide_request
from shared.core.rules import ExitAction
from shared.core.situation import (
    EXIT,
    INITIAL,
    NONE_YET,
    ExitConfirmations,
    Market,
    RequestKind,
    Situation,
    StrategyView,
    is_done,
)
from shared.core.strategy import StrategyStatus
from shared.core.triggers import decide_initial_purchase, decide_rebalance
from shared.core.verdicts import CycleDue, Decision, ExitRequested, Figures, Hold, Look, Plan, PlanDraft

__all__ = [
    "CONFIRMING_QUOTES",
    "CycleDue",
    "Decision",
    "ExitRequested",
    "Figures",
    "Hold",
    "Plan",
    "PlanDraft",
    "decide",
]

CONFIRMING_QUOTES = 3

_RUNNING = frozenset({StrategyStatus.BUILDING, StrategyStatus.ACTIVE, StrategyStatus.PAUSED, StrategyStatus.EXITING})
_MAY_BE_ASKED = frozenset({StrategyStatus.ACTIVE, StrategyStatus.PAUSED})
_FINISHED_EXIT = frozenset({PlanOutcome.COMPLETED, PlanOutcome.NOTHING_TRADABLE})


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
    look = Look(situation, position, market, valuation)
    if strategy.status is StrategyStatus.BUILDING:
        return _decide_initial(look)
    if strategy.status is StrategyStatus.PAUSED:
        return decide_request(look) or look.hold(Reason.PAUSED)
    confirming = Confirming(confirmed, by_new_quote, confirming_quotes)
    investing = investing_of(look, confirming)
    decision = (
        decide_exit_by_value(look, confirming)
        or decide_request(look)
        or decide_cycle(look, investing)
        or decide_rebalance(look)
    )
    return with_peak(with_investing(decision, investing), look, confirming)


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
    awaited = _money_moving(situation, position) or _awaited_from_registry(situation) or _kept_by_pause(strategy)
    return position if awaited is None else hold(awaited)


def _money_moving(situation: Situation, position: Position) -> Reason | None:
    """Whether money is just being paid out, or the books do not tell of it yet."""
    strategy, progress = situation.strategy, situation.progress
    if progress.held or (strategy.money_leaving and strategy.status in _MAY_BE_ASKED):
        return Reason.MONEY_LEAVING
    return Reason.AWAITING_POSITION if position.version < progress.position_required else None


def _awaited_from_registry(situation: Situation) -> Reason | None:
    """What the registry must still say before this strategy may be decided about."""
    strategy, closed, outcome = situation.strategy, situation.last_closed_kind, situation.progress.last_outcome
    fills, request = situation.progress.last_fills, strategy.request
    if strategy.status is StrategyStatus.EXITING:
        kept = strategy.exit_action is ExitAction.KEEP
        return Reason.AWAITING_RELEASE if kept or (closed == EXIT and outcome in _FINISHED_EXIT) else None
    answered = request if request is not None and situation.last_closed_answers == request.request_id else None
    if answered is not None and is_done(answered.kind, outcome, fills):
        return Reason.AWAITING_REGISTRY
    bought = closed == INITIAL and has_purchased(outcome, fills)
    if strategy.status is StrategyStatus.BUILDING and bought:
        return Reason.AWAITING_ACTIVATION
    if strategy.status is StrategyStatus.ACTIVE and strategy.active_since is None:
        return Reason.AWAITING_ACTIVATION
    return None


def _kept_by_pause(strategy: StrategyView) -> Reason | None:
    """Why a paused strategy is left alone: only a payout is carried out. Money on its way in is still waited for."""
    if strategy.status is not StrategyStatus.PAUSED:
        return None
    if strategy.request is not None and strategy.request.kind is RequestKind.WITHDRAW:
        return None
    return Reason.MONEY_ARRIVING if strategy.money_arriving else Reason.PAUSED


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
    look = Look(situation, position, market, value_at_bid(position.holdings, targets, quotes, market.quote))
    to_sell = [line for line in look.valuation.lines if line.target_pct == 0 and _is_worth_selling(line, look)]
    waits = [(reason, line.asset) for line in to_sell if (reason := _obstacle_to_selling(line, look)) is not None]
    if waits and len(waits) == len(to_sell):
        return look.hold(*waits[0])
    return look.plan(EXIT, strategy.exit_reason or Reason.STOPPED_BY_USER.value)


def _is_worth_selling(line: Valued, look: Look) -> bool:
    """Whether an asset is, or may be (without a known price), more than dust, and listed."""
    market = look.market
    if line.asset == market.quote:  # sold by buying the funding asset
        bought = market.instruments.get(look.definition.funding_asset)
        return bought is not None and line.value >= bought.min_notional
    instrument = market.instruments.get(line.asset)
    if instrument is None or line.quantity == 0:
        return False
    return line.bid == 0 or is_tradable_leg(line, look.valuation.total, instrument)


def _obstacle_to_selling(line: Valued, look: Look) -> Reason | None:
    market, funding = look.market, look.definition.funding_asset
    if not market.can_trade(funding if line.asset == market.quote else line.asset):
        return Reason.NOT_TRADABLE
    if without_price((line.asset,), market.quotes, market.quote):
        return Reason.MISSING_PRICE
    return Reason.STALE_PRICE if line.asset in market.stale else None


def _decide_initial(look: Look) -> Decision:
    """The first purchase, once its start price is reached."""
    start = look.definition.start
    if start is not None:
        bid = next(line.bid for line in look.valuation.lines if line.asset == start.asset)
        if not start.is_reached(bid):
            wanted = f"{'at or above' if start.above else 'at or below'} {plain(start.price)}"
            further = {"start": wanted, "bid": f"{plain(bid)} {look.market.quote}"}
            return look.hold(Reason.AWAITING_START_PRICE, start.asset, further=further)
    return decide_initial_purchase(look)

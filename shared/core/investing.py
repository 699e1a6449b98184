"""When a cycle of Auto-Invest is due: by its schedule, by a loss, or by both, each on its own. Pure.

    schedule    a date d with ``settled_until`` < d <= now; of several only the newest is made, and if now >= d + grace
                not even that: it is recorded as missed
    drawdown    100 (V - C) / C <= -loss on N consecutive new quotes, once ``min_interval`` has passed since a cycle was
                last made, or a drawdown's was left out

Level-triggered as everything: what is due is a function of the state that the registry has published, and stays due
until that says otherwise. A cycle comes after take-profit, stop-loss and every request, and before the rebalance rule.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from shared.core.auto_invest import AutoInvest, AutoInvestState, AutoInvestStatus, Cause, Drawdown
from shared.core.document_fields import interval_text
from shared.core.drift import has_lost, never_rounded
from shared.core.exits import Confirming
from shared.core.money import HUNDRED, ONE, exact, plain
from shared.core.reasons import Reason
from shared.core.requests import unusable_price_of
from shared.core.schedule import DatesPassed, dates_between, next_date
from shared.core.verdicts import CycleDue, Decision, Hold, Look

_HUNDREDTH = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Investing:
    """What Auto-Invest sees in a look.

    ``dates``: due by the schedule. ``reached``: the loss is there and counts, on ``count`` of the ``required`` quotes.
    ``floor``: the value at which it is reached, None while it does not count. ``until``: market time at which more may
    be due.
    """

    plan: AutoInvest
    state: AutoInvestState
    dates: DatesPassed
    reached: bool
    count: int
    required: int
    floor: Decimal | None
    until: datetime | None


def investing_of(look: Look, confirming: Confirming) -> Investing | None:
    """None while no cycle can be due, whatever the market does: none is asked for beside another or a request."""
    strategy = look.situation.strategy
    plan, state = strategy.definition.auto_invest, strategy.auto_invest
    if plan is None or state is None or state.status is not AutoInvestStatus.RUNNING:
        return None
    if state.pending or strategy.requests_open:
        return None
    now, moments = look.market.now, []
    dates = DatesPassed()
    if plan.schedule is not None:
        settled = state.since if state.settled_until is None else max(state.settled_until, state.since)
        dates = dates_between(plan.schedule, state.since, settled, now)
        moments.append(next_date(plan.schedule, state.since, max(settled, now)))
        if dates.newest:
            moments.append(dates.newest[-1] + plan.grace)
    floor, reached, required = None, False, 0
    if plan.drawdown is not None:
        allowed_at, required = allowed_from(plan.drawdown, state), plan.drawdown.confirm or confirming.quotes
        if allowed_at is not None and now < allowed_at:
            moments.append(allowed_at)
        elif look.position.contributed > 0:
            floor = value_at_loss(look.position.contributed, plan.drawdown.loss_pct)
            reached = has_lost(look.valuation.total, look.position.contributed, -plan.drawdown.loss_pct)
    count = 0
    if reached:
        counts = confirming.by_new_quote and unusable_price_of(look, plan.asset) is None
        before = 0 if confirming.by_new_quote and not counts else confirming.confirmed.drawdown_count
        count = min(required, before + int(counts))
    until = min((one for one in moments if one > now), default=None)
    return Investing(plan, state, dates, reached, count, required, floor, until)


def decide_cycle(look: Look, investing: Investing | None) -> CycleDue | Hold | None:
    """Ask for the cycle that is due, or wait for what it waits for; None when there is none."""
    if investing is None:
        return None
    if investing.dates.newest:
        return _by_schedule(look, investing, investing.dates)
    drawdown = investing.plan.drawdown
    if drawdown is None or not investing.reached:
        return None
    waits = unusable_price_of(look, investing.plan.asset)
    if waits is not None:
        return waits
    further = _figures(investing) | {
        "auto_invest_loss": plain(drawdown.loss_pct),
        "confirmations": str(investing.count),
        "confirmations_required": str(investing.required),
    }
    if investing.count < investing.required:
        return look.hold(Reason.CONFIRMING_DRAWDOWN, further=further)
    code, now = Reason.AUTO_INVEST_DRAWDOWN.value, look.market.now
    price = _bid(look, investing.plan.asset)
    return CycleDue(code, look.figures(further), investing.state.cycle + 1, Cause.DRAWDOWN, now, now, price=price)


def with_investing(decision: Decision, investing: Investing | None) -> Decision:
    """The decision with the count of the drawdown, and a hold with what Auto-Invest waits for."""
    if investing is None:
        return decision
    if investing.count:
        decision = replace(decision, confirmations=replace(decision.confirmations, drawdown_count=investing.count))
    if not isinstance(decision, Hold):
        return decision
    moments = [one for one in (decision.until, investing.until) if one is not None]
    return replace(decision, until=min(moments, default=None), floor=investing.floor)


def _by_schedule(look: Look, investing: Investing, dates: DatesPassed) -> CycleDue | Hold:
    """The newest date, if it is not too late. Nothing is asked for before the market's word on the money's worth."""
    plan, due_at, now = investing.plan, dates.newest[-1], look.market.now
    made = now < due_at + plan.grace
    if made and (waits := unusable_price_of(look, plan.asset)) is not None:
        return waits
    further = _figures(investing) | {"due_at": due_at.isoformat(), "grace": interval_text(plan.grace)}
    if dates.count > 1:
        further["left_out"] = str(dates.count - 1)
    reason = Reason.AUTO_INVEST_DUE if made else Reason.AUTO_INVEST_MISSED
    cycle, earlier = investing.state.cycle + 1, dates.newest[:-1]
    price = _bid(look, plan.asset) if made else None
    return CycleDue(reason.value, look.figures(further), cycle, Cause.SCHEDULE, due_at, now, made, earlier, price)


def _bid(look: Look, asset: str) -> Decimal:
    """At which the money counts as put in: the price that led to the decision, whoever carries it out and when."""
    return ONE if asset == look.market.quote else look.market.quotes[asset].bid


def _figures(investing: Investing) -> dict[str, str]:
    amount = _sum(investing.plan.amount, investing.state.carried)
    return {"cycle": str(investing.state.cycle + 1), "amount": plain(amount), "asset": investing.plan.asset}


def allowed_from(drawdown: Drawdown, state: AutoInvestState) -> datetime | None:
    """When ``min_interval`` has passed; None when nothing has to be waited for."""
    last = max((at for at in (state.last_made_at, state.left_out_at) if at is not None), default=None)
    return None if last is None else last + drawdown.min_interval


@exact
def _sum(one: Decimal, other: Decimal) -> Decimal:
    return one + other


@never_rounded
def value_at_loss(contributed: Decimal, loss_pct: Decimal) -> Decimal:
    """The value of the portfolio (quote currency) at which so many percent of the money put in are lost."""
    return contributed * (HUNDRED - loss_pct) * _HUNDREDTH

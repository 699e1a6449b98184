"""Auto-Invest: what becomes of a cycle that is due, of one whose money has settled, and of an edit. Pure.

Every cycle is decided once: its number is one more than those decided before, and any other is not heard. While the
money of a cycle is on its way (``pending``) no other is decided.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from services.strategy_registry import amounts
from services.strategy_registry.notices import money_text
from services.strategy_registry.records import Advance, Status, StrategyRecord, Transfer, changed
from shared.contracts.lifecycle import RunAutoInvest, Severity
from shared.contracts.strategies import RequestStage
from shared.core.auto_invest import (
    MAX_TOTAL_USDT,
    Answer,
    AutoInvest,
    AutoInvestState,
    AutoInvestStatus,
    Cause,
)
from shared.core.money import ZERO, exact, plain
from shared.core.strategy import StrategyDefinition

TOTAL_REACHED, OVER_LIMIT, SHORT_BALANCE = "total_reached", "over_limit", "short_balance"
COMPOSITION_CHANGED, CYCLE_MISSED = "composition_changed", "cycle_missed"


@dataclass(frozen=True, slots=True)
class CycleMoney:
    """``worth`` of the cycle's money and of all that was ever put in, in the quote currency."""

    worth: Decimal
    contributed_in: Decimal


@dataclass(frozen=True, slots=True)
class CycleFunding:
    """A cycle that is to be made: this much money has to come in."""

    asset: str
    amount: Decimal
    worth: Decimal
    cause: Cause
    market_time: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a cycle that was due; ``funding``: it is made, this money is to be asked for."""

    advance: Advance
    funding: CycleFunding | None = None


def started(definition: StrategyDefinition, since: datetime) -> AutoInvestState | None:
    """The state of a strategy that becomes active; None without Auto-Invest."""
    return None if definition.auto_invest is None else AutoInvestState(AutoInvestStatus.RUNNING, since)


def is_due(record: StrategyRecord, command: RunAutoInvest) -> bool:
    """Whether this cycle is the next one, and one may be decided now."""
    state = record.auto_invest
    if state is None or record.status is not Status.ACTIVE or record.document.get("auto_invest") is None:
        return False
    return state.status is AutoInvestStatus.RUNNING and not state.pending and command.cycle == state.cycle + 1


@exact
def amount_of(plan: AutoInvest, state: AutoInvestState) -> Decimal:
    """What the next cycle puts in, with what earlier ones left for it."""
    return plan.amount + state.carried


def decided(record: StrategyRecord, command: RunAutoInvest, money: CycleMoney | None) -> Decided:
    """What becomes of a cycle that ``is_due``. ``money`` is needed for one that is to be made."""
    plan, state = record.definition().auto_invest, record.auto_invest
    if plan is None or state is None:
        return Decided(Advance(record))
    dates = {"cycle": str(command.cycle), "due_at": command.due_at.isoformat(), "left_out": str(len(command.left_out))}
    inputs = {**command.inputs, **dates}
    after = replace(state, cycle=command.cycle, settled_until=_settled_until(state, command))
    if not command.made or money is None:
        text = f"the Auto-Invest cycle of {_date(command.due_at)} was missed by more than {plan.grace} and is left out."
        return Decided(_left_out(record, after, CYCLE_MISSED, inputs, text))
    if plan.pause_at_total is not None and state.invested >= plan.pause_at_total:
        return Decided(_paused_at_total(record, plan, state))
    amount = amount_of(plan, state)
    if _total(record, money) > MAX_TOTAL_USDT:
        if command.cause is Cause.DRAWDOWN:
            after = replace(after, left_out_at=command.market_time)
        inputs |= {"worth": plain(money.worth), "contributed_in": plain(money.contributed_in)}
        why = f"with {money_text(amount, plan.asset)} more, over {plain(MAX_TOTAL_USDT)} USDT would have been put in"
        answer = plan.over_limit
        if answer is Answer.CARRY_OVER and _sum(money.contributed_in, money.worth) > MAX_TOTAL_USDT:
            # Only what is on its way may still be refused: what was put in never grows less.
            answer, why = Answer.STOP, f"{why}, and so it would be with every later cycle"
        return Decided(_answered(record, answer, replace(after, carried=amount), OVER_LIMIT, inputs, why))
    funding = CycleFunding(plan.asset, amount, money.worth, command.cause, command.market_time)
    return Decided(Advance(replace(record, auto_invest=replace(after, pending=True))), funding)


def _settled_until(state: AutoInvestState, command: RunAutoInvest) -> datetime | None:
    """A drawdown settles no scheduled date; dates are never unsettled."""
    if command.cause is not Cause.SCHEDULE:
        return state.settled_until
    return command.due_at if state.settled_until is None else max(state.settled_until, command.due_at)


@exact
def _total(record: StrategyRecord, money: CycleMoney) -> Decimal:
    return money.contributed_in + amounts.worth_on_its_way(record) + money.worth


def settled(record: StrategyRecord, transfer: Transfer) -> Advance:
    """The money of a cycle has arrived or was refused: the transfer leaves the list, its request goes on or away."""
    state, settlement = record.auto_invest, transfer.settlement
    if state is None or settlement is None:
        return Advance(record)
    transfers = tuple(one for one in record.transfers if one.transfer_id != transfer.transfer_id)
    figures = {"cycle": str(state.cycle), "asset": transfer.asset, "amount": plain(transfer.amount or ZERO)}
    if not settlement.posted:
        return _refused(replace(record, transfers=transfers), state, transfer, figures)
    invested = _sum(state.invested, transfer.worth)
    figures |= {"worth": plain(transfer.worth or ZERO), "invested": plain(invested)}
    after = replace(state, pending=False, invested=invested, carried=ZERO, last_made_at=transfer.cycle_at)
    request = record.request(transfer.request_id)
    requests = record.requests
    if request is not None:
        arrived = replace(request, stage=RequestStage.OPEN, position_version=settlement.position_version)
        requests = record.with_request(arrived)
    made = changed(record, "cycle_made", inputs=figures, transfers=transfers, requests=requests, auto_invest=after)
    if record.status in {Status.EXITING, Status.FAILED} or after.status is not AutoInvestStatus.RUNNING:
        return made
    plan = record.definition().auto_invest
    if plan is None or plan.pause_at_total is None or invested < plan.pause_at_total:
        return made
    return made.and_then(_paused_at_total(made.record, plan, after))


def _refused(record: StrategyRecord, state: AutoInvestState, transfer: Transfer, figures: Mapping[str, str]) -> Advance:
    settlement, amount = transfer.settlement, transfer.amount or ZERO
    refusal = "" if settlement is None else settlement.reason
    request = record.request(transfer.request_id)
    record = replace(record, requests=record.without_request(transfer.request_id))
    after, inputs = replace(state, pending=False), {**figures, "refusal": refusal}
    if request is not None and request.cause == Cause.DRAWDOWN:
        # The loss is still there: the next cycle it makes due keeps the same distance as from one that was made.
        after = replace(after, left_out_at=transfer.cycle_at)
    why = f"{money_text(amount, transfer.asset)} could not be taken from the wallet ({refusal})"
    ended = record.status in {Status.EXITING, Status.FAILED} or state.status is not AutoInvestStatus.RUNNING
    plan = None if ended else record.definition().auto_invest
    if plan is None:
        return _left_out(record, after, SHORT_BALANCE, inputs, f"an Auto-Invest cycle is left out: {why}.")
    carried = amount if plan.asset == transfer.asset else ZERO
    return _answered(record, plan.short_balance, replace(after, carried=carried), SHORT_BALANCE, inputs, why)


def _answered(
    record: StrategyRecord,
    answer: Answer,
    after: AutoInvestState,
    reason: str,
    inputs: Mapping[str, str],
    why: str,
) -> Advance:
    """Stop, leave out or carry over; ``after.carried`` is what would be carried.

    Beyond the limit what was carried before is let go of, too: with it no later cycle would ever fit.
    """
    before = record.auto_invest
    if answer is Answer.CARRY_OVER:
        text = f"an Auto-Invest cycle is left out, its money goes in with the next one: {why}."
        return _left_out(record, after, reason, inputs, text)
    after = replace(after, carried=ZERO if before is None or reason == OVER_LIMIT else before.carried)
    if answer is Answer.STOP:
        stopped = replace(after, status=AutoInvestStatus.STOPPED, reason=reason)
        made = changed(record, "auto_invest_stopped", reason=reason, inputs=inputs, auto_invest=stopped)
        return made.and_told(Severity.WARNING, f"Auto-Invest has stopped: {why}. An edit of auto_invest starts it.")
    return _left_out(record, after, reason, inputs, f"an Auto-Invest cycle is left out: {why}.")


def _left_out(
    record: StrategyRecord, after: AutoInvestState, reason: str, inputs: Mapping[str, str], text: str
) -> Advance:
    made = changed(record, "cycle_left_out", reason=reason, inputs=inputs, auto_invest=after)
    return made.and_told(Severity.WARNING, text)


def _paused_at_total(record: StrategyRecord, plan: AutoInvest, state: AutoInvestState) -> Advance:
    total = plain(plan.pause_at_total or ZERO)
    paused = replace(state, status=AutoInvestStatus.PAUSED, reason=TOTAL_REACHED)
    inputs = {"invested": plain(state.invested), "pause_at_total": total}
    made = changed(record, "auto_invest_paused", reason=TOTAL_REACHED, inputs=inputs, auto_invest=paused)
    invested = money_text(state.invested, "USDT")
    text = f"Auto-Invest has put in {invested}, the set total is {total} USDT: it pauses."
    return made.and_told(Severity.INFO, text)


def after_edit(
    state: AutoInvestState | None, before: AutoInvest | None, after: AutoInvest | None, now: datetime
) -> AutoInvestState | None:
    """The state after an edit at market time ``now``.

    A new schedule or drawdown counts from now on, so does one that had stopped or paused; otherwise the dates stay as
    they are. Numbers of cycles go on in any case: a cycle that was decided is never asked for again.
    """
    if after is None or after == before:
        return state
    if state is None:
        return AutoInvestState(AutoInvestStatus.RUNNING, now)
    if before is None or before.asset != after.asset:
        state = replace(state, carried=ZERO)
    total_is_left = after.pause_at_total is None or after.pause_at_total > state.invested
    is_running = state.status is AutoInvestStatus.RUNNING
    if state.status is AutoInvestStatus.PAUSED and not total_is_left:
        return state
    anew = before is None or (before.schedule, before.drawdown) != (after.schedule, after.drawdown)
    if is_running and not anew:
        return state
    # The registry's prices may be a moment older than those a cycle was just asked for at: no date comes twice.
    since = now if state.settled_until is None else max(now, state.settled_until)
    return replace(state, status=AutoInvestStatus.RUNNING, reason="", since=since, settled_until=None)


def stopped_by_composition(record: StrategyRecord) -> Advance | None:
    """Auto-Invest stops because the targets were edited; None when it is to go on or does not run."""
    plan, state = record.definition().auto_invest, record.auto_invest
    if plan is None or state is None or state.status is not AutoInvestStatus.RUNNING:
        return None
    if plan.composition_change is not Answer.STOP:
        return None
    stopped = replace(state, status=AutoInvestStatus.STOPPED, reason=COMPOSITION_CHANGED)
    made = changed(record, "auto_invest_stopped", reason=COMPOSITION_CHANGED, auto_invest=stopped)
    text = "Auto-Invest has stopped because the targets were changed. An edit of auto_invest starts it."
    return made.and_told(Severity.WARNING, text)


@exact
def _sum(first: Decimal, second: Decimal | None) -> Decimal:
    return first + (second or ZERO)


def _date(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="minutes")

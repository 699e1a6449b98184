"""What a running strategy is asked to do, one after the other: rebalance now, invest new money, pay money out. Pure.

A request is done once its plan closed; a payout then goes on: the executor holds off plans, the ledger pays, the
executor lets plans in again. Money that was asked for is awaited until the ledger has settled it, whatever became of
the request meanwhile, and a hold is always ended, or overridden by the seal.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from services.strategy_registry import cycles
from services.strategy_registry.notices import money_text
from services.strategy_registry.records import (
    MAX_REQUESTS,
    Advance,
    Hold,
    HoldStage,
    OpenRequest,
    Outgoing,
    Settlement,
    Status,
    StrategyRecord,
    Transfer,
    changed,
)
from shared.contracts import subjects
from shared.contracts.books import FundStrategy, TransferSettled, WithdrawFromStrategy
from shared.contracts.lifecycle import NotificationRaised, RunAutoInvest, Severity
from shared.contracts.plans import FreeStrategy, HoldStrategy, PlanProgressed
from shared.contracts.strategies import RequestStage
from shared.core import identity
from shared.core.errors import Refused
from shared.core.money import ZERO, plain
from shared.core.position import PlanOutcome
from shared.core.situation import RequestKind

FUND, WITHDRAW = "fund", "withdraw"


@dataclass(frozen=True, slots=True)
class NewMoney:
    """Money to be put in, with its ``worth`` in the quote currency. ``cycle_at``: see ``Transfer``."""

    asset: str
    amount: Decimal
    worth: Decimal
    cause: str = "user"
    cycle_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """Bids (quote currency) of what a strategy may hold, to pay out at."""

    prices: dict[str, Decimal]
    quote: str


def rebalance_asked(record: StrategyRecord, cause: str, at: datetime) -> StrategyRecord:
    """The record with a request to bring everything on target, instead of one at the end of the line.

    It has an id of its own: a plan for the earlier one may be under way, to targets that are not those any more. Raises
    Refused when too much is open.
    """
    if record.requests and record.requests[-1].kind is RequestKind.REBALANCE:
        record = replace(record, requests=record.requests[:-1])
    return _appended(record, OpenRequest("", RequestKind.REBALANCE, RequestStage.OPEN, cause, at))


def money_added(record: StrategyRecord, money: NewMoney, at: datetime, inputs: dict[str, str]) -> Advance:
    """One version more: the ledger is asked for the money. Raises Refused when too much is open."""
    number = record.counts.funds + 1
    transfer_id = identity.transfer_id(record.strategy_id, FUND, number)
    wanted = OpenRequest(
        "", RequestKind.INVEST, RequestStage.FUNDING, money.cause, at, asset=money.asset, amount=money.amount
    )
    record = _appended(replace(record, counts=replace(record.counts, funds=number)), wanted)
    request_id = _request_id(record)
    transfer = Transfer(transfer_id, FUND, request_id, money.asset, money.amount, money.worth, money.cycle_at)
    fund = FundStrategy(
        transfer_id=transfer_id,
        strategy_id=record.strategy_id,
        venue=record.venue,
        asset=money.asset,
        amount=money.amount,
        value_usdt=money.worth,
    )
    figures = {"asset": money.asset, "amount": plain(money.amount), "worth": plain(money.worth), **inputs}
    made = changed(record, "money_added", inputs=figures, transfers=(*record.transfers, transfer))
    return made.and_sent(Outgoing(subjects.transfer_commands(record.venue), fund, transfer_id))


def cycle_run(record: StrategyRecord, command: RunAutoInvest, money: cycles.CycleMoney | None, at: datetime) -> Advance:
    """Decide a cycle that is due; nothing changes when it is not. Raises Refused when too much is open."""
    if not cycles.is_due(record, command):
        return Advance(record)
    decided = cycles.decided(record, command, money)
    funding = decided.funding
    if funding is None:
        return decided.advance
    new = NewMoney(funding.asset, funding.amount, funding.worth, funding.cause.value, funding.market_time)
    inputs = {**command.inputs, "cycle": str(command.cycle), "due_at": command.due_at.isoformat()}
    made = money_added(decided.advance.record, new, at, inputs)
    if not command.left_out:
        return made
    dates = ", ".join(date.isoformat(sep=" ", timespec="minutes") for date in command.left_out)
    return made.and_told(Severity.WARNING, f"Auto-Invest makes one cycle now and leaves out those of {dates}.")


def withdrawal_asked(
    record: StrategyRecord, asset: str, amount: Decimal | None, percent: Decimal | None, at: datetime
) -> Advance:
    """One version more with a request to pay out. Raises Refused when too much is open."""
    wanted = OpenRequest(
        "", RequestKind.WITHDRAW, RequestStage.OPEN, "user", at, asset=asset, amount=amount, percent=percent
    )
    how_much = (
        {"percent": plain(percent)} if amount is None and percent is not None else {"amount": plain(amount or ZERO)}
    )
    record = in_order(_appended(record, wanted))
    return changed(record, "withdrawal_requested", inputs={"asset": asset, **how_much})


def in_order(record: StrategyRecord) -> StrategyRecord:
    """While paused only payouts are carried out: they come first, else what waits would keep them waiting."""
    if record.status is not Status.PAUSED:
        return record
    ordered = sorted(record.requests, key=lambda one: one.kind is not RequestKind.WITHDRAW)
    return replace(record, requests=tuple(ordered))


def with_settlement(record: StrategyRecord, event: TransferSettled) -> StrategyRecord:
    """The record with the ledger's word on money that is awaited. Raises Refused when it is nobody's."""
    for transfer in record.transfers:
        if transfer.transfer_id == event.transfer_id:
            if transfer.settlement is not None:
                return record
            reason = "" if event.posted else event.reason or "refused by the ledger"
            settlement = Settlement(event.posted, reason, dict(event.amounts), event.position_version)
            told = replace(transfer, settlement=settlement)
            others = (one if one is not transfer else told for one in record.transfers)
            return replace(record, transfers=tuple(others))
    made = ((FUND, record.counts.funds), (WITHDRAW, record.counts.withdrawals))
    for purpose, count in made:
        if any(event.transfer_id == identity.transfer_id(record.strategy_id, purpose, n) for n in range(count, 0, -1)):
            return record
    raise Refused.one("transfer_id", event.transfer_id, "a transfer of this strategy", "is not of this strategy")


def with_progress(record: StrategyRecord, progress: PlanProgressed) -> StrategyRecord:
    """The record with what the executor's word says about requests and the hold."""
    hold = record.hold
    is_held = hold is not None and progress.held_for == hold.hold_id and progress.open_plan_id is None
    if hold is not None and hold.stage is HoldStage.ASKED and is_held:
        held = replace(hold, stage=HoldStage.HELD, sequence=progress.sequence, fills=progress.fills_total)
        record = replace(record, hold=held)
    is_over = hold is not None and progress.sequence > hold.sequence and progress.held_for != hold.hold_id
    if hold is not None and hold.stage is HoldStage.FREEING and is_over:
        record = replace(record, hold=replace(hold, stage=HoldStage.FREED))
    closed = progress.last_closed
    request = record.request(closed.answers) if closed is not None and closed.answers else None
    if closed is None or request is None or request.planned or request.stage is not RequestStage.OPEN:
        return record
    done = closed.outcome in {PlanOutcome.COMPLETED, PlanOutcome.NOTHING_TRADABLE}
    if closed.outcome is PlanOutcome.PARTIAL:
        done = closed.fills > 0 or request.kind is RequestKind.REBALANCE
    return replace(record, requests=record.with_request(replace(request, planned=True))) if done else record


def next_step(record: StrategyRecord) -> Advance | None:
    """The next step that the facts allow for money, holds and requests of an active, paused or exiting strategy."""
    settled = next((one for one in record.transfers if one.settlement is not None), None)
    if settled is not None:
        if settled.purpose == WITHDRAW:
            return _paid(record, settled)
        return _arrived(record, settled) if settled.cycle_at is None else cycles.settled(record, settled)
    if record.hold is not None and (step := _hold_step(record, record.hold)) is not None:
        return step
    planned = next((one for one in record.requests if one.planned and one.stage is RequestStage.OPEN), None)
    if planned is None:
        return None
    if planned.kind is not RequestKind.WITHDRAW:
        return changed(record, "request_done", requests=record.without_request(planned.request_id))
    return _hold_asked(record, planned) if record.hold is None else None


def awaits_payment(record: StrategyRecord) -> OpenRequest | None:
    """The payout that waits for the market's prices, if there is one; see ``paid_at``."""
    hold = record.hold
    if hold is None or hold.stage is not HoldStage.HELD or record.status not in {Status.ACTIVE, Status.PAUSED}:
        return None
    return record.request(hold.hold_id)


def paid_at(record: StrategyRecord, payment: Payment) -> Advance:
    """Ask the ledger to pay at these prices; nothing changes when no payout waits for them."""
    request, hold = awaits_payment(record), record.hold
    if request is None or hold is None:
        return Advance(record)
    number = record.counts.withdrawals + 1
    transfer_id = identity.transfer_id(record.strategy_id, WITHDRAW, number)
    transfer = Transfer(transfer_id, WITHDRAW, request.request_id, request.asset, request.amount)
    command = WithdrawFromStrategy(
        transfer_id=transfer_id,
        strategy_id=record.strategy_id,
        venue=record.venue,
        asset=request.asset,
        amount=request.amount,
        percent=request.percent,
        prices=payment.prices,
        quote=payment.quote,
        fills_required=hold.fills,
    )
    made = changed(
        record,
        "request_advanced",
        requests=record.with_request(replace(request, stage=RequestStage.PAYING)),
        transfers=(*record.transfers, transfer),
        hold=replace(hold, stage=HoldStage.PAYING),
        counts=replace(record.counts, withdrawals=number),
    )
    return made.and_sent(Outgoing(subjects.transfer_commands(record.venue), command, transfer_id))


def payment_waits(record: StrategyRecord, why: str) -> Advance:
    """Tell that a payout waits; once, however often it is called."""
    request = awaits_payment(record)
    if request is None:
        return Advance(record)
    told = NotificationRaised(
        strategy_id=record.strategy_id,
        strategy_version=record.version,
        kind="withdrawal_waits",
        severity=Severity.WARNING,
        text=f"{record.document['name']}: its payout in {request.asset} waits, and with it every plan: {why}.",
        reason="withdrawal_waits",
        inputs={"asset": request.asset, "why": why},
    )
    message_id = f"{request.request_id}.waits.notification"
    return Advance(record, (Outgoing(subjects.notifications(record.strategy_id), told, message_id),))


def _request_id(record: StrategyRecord) -> str:
    return identity.derived_id("rq", record.strategy_id, record.counts.requests)


def _appended(record: StrategyRecord, request: OpenRequest) -> StrategyRecord:
    """The record with the request at the end of the line, under the next id. Raises Refused when the line is full.

    Payouts are counted by themselves: what waits until a strategy is resumed must not keep its owner from the money.
    """
    pays = request.kind is RequestKind.WITHDRAW
    alike = sum((one.kind is RequestKind.WITHDRAW) == pays for one in record.requests)
    if alike >= MAX_REQUESTS:
        allowed = f"at most {MAX_REQUESTS} open {'withdrawals' if pays else 'requests beside withdrawals'}"
        message = "are open: wait until some of them are done"
        raise Refused.one("requests", alike, allowed, message)
    counted = replace(record, counts=replace(record.counts, requests=record.counts.requests + 1))
    return replace(counted, requests=(*record.requests, replace(request, request_id=_request_id(counted))))


def _hold_asked(record: StrategyRecord, request: OpenRequest) -> Advance:
    command = HoldStrategy(strategy_id=record.strategy_id, venue=record.venue, hold_id=request.request_id)
    made = changed(
        record,
        "request_advanced",
        requests=record.with_request(replace(request, stage=RequestStage.HOLDING)),
        hold=Hold(request.request_id, HoldStage.ASKED),
    )
    return made.and_sent(Outgoing(subjects.executor_commands(record.venue), command, f"{request.request_id}.hold"))


def _hold_step(record: StrategyRecord, hold: Hold) -> Advance | None:
    if record.status is Status.EXITING and record.facts.sealed_fills is not None:
        return Advance(replace(record, hold=None))
    request = record.request(hold.hold_id)
    if hold.stage is HoldStage.FREED:
        if request is None:
            return Advance(replace(record, hold=None))
        return changed(record, "request_done", requests=record.without_request(hold.hold_id), hold=None)
    if hold.stage is HoldStage.HELD and request is None:
        # Only now: a FreeStrategy that overtook the HoldStrategy would leave the strategy held for ever.
        freeing = replace(record, hold=replace(hold, stage=HoldStage.FREEING))
        return Advance(freeing, (_free(record, hold, 0),))
    return None


def _free(record: StrategyRecord, hold: Hold, position_version: int) -> Outgoing:
    command = FreeStrategy(
        strategy_id=record.strategy_id, venue=record.venue, hold_id=hold.hold_id, position_version=position_version
    )
    return Outgoing(subjects.executor_commands(record.venue), command, f"{hold.hold_id}.free")


def _arrived(record: StrategyRecord, transfer: Transfer) -> Advance:
    """Money a user added has arrived, or was refused."""
    settlement, request = transfer.settlement or Settlement(posted=False), record.request(transfer.request_id)
    transfers = tuple(one for one in record.transfers if one.transfer_id != transfer.transfer_id)
    money = money_text(transfer.amount or ZERO, transfer.asset)
    figures = {
        "asset": transfer.asset,
        "amount": plain(transfer.amount or ZERO),
        "worth": plain(transfer.worth or ZERO),
    }
    if not settlement.posted:
        requests = record.without_request(transfer.request_id)
        made = changed(
            record, "money_refused", reason=settlement.reason, inputs=figures, transfers=transfers, requests=requests
        )
        return made.and_told(Severity.WARNING, f"{money} were not added: {settlement.reason}.")
    requests = record.requests
    if request is not None:
        there = replace(request, stage=RequestStage.OPEN, position_version=settlement.position_version)
        requests = record.with_request(there)
    return changed(record, "money_arrived", inputs=figures, transfers=transfers, requests=requests)


def _paid(record: StrategyRecord, transfer: Transfer) -> Advance:
    """The ledger has paid, or refused to: in both cases plans are let in again."""
    settlement, request, hold = (
        transfer.settlement or Settlement(posted=False),
        record.request(transfer.request_id),
        record.hold,
    )
    record = replace(
        record, transfers=tuple(one for one in record.transfers if one.transfer_id != transfer.transfer_id)
    )
    free: tuple[Outgoing, ...] = ()
    if hold is not None and hold.stage is HoldStage.PAYING:
        free = (_free(record, hold, settlement.position_version),)
        record = replace(record, hold=replace(hold, stage=HoldStage.FREEING))
    if request is not None:
        record = replace(record, requests=record.with_request(replace(request, stage=RequestStage.FREEING)))
    wanted = {"asset": transfer.asset} | ({} if transfer.amount is None else {"amount": plain(transfer.amount)})
    if not settlement.posted:
        made = changed(record, "withdrawal_refused", reason=settlement.reason, inputs=wanted)
        asked = transfer.asset if transfer.amount is None else money_text(transfer.amount, transfer.asset)
        text = f"the withdrawal of {asked} was refused: {settlement.reason}."
        return made.and_sent(*free).and_told(Severity.WARNING, text)
    paid = settlement.amounts.get(transfer.asset, ZERO)
    made = changed(record, "withdrawal_paid", inputs={**wanted, "paid": plain(paid)}).and_sent(*free)
    text = f"{money_text(paid, transfer.asset)} were paid out to the wallet"
    if transfer.amount is not None and paid < transfer.amount:
        asked = money_text(transfer.amount, transfer.asset)
        return made.and_told(Severity.WARNING, f"{text}, less than the {asked} asked for: no more was held.")
    return made.and_told(Severity.INFO, f"{text}.")

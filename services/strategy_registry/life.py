"""The life of a strategy as a pure state machine: facts in, changes and commands out.

Facts (funded, stop asked, initial purchase closed, money settled, held, freed, exit sold, sealed, released) only ever
become true. ``advance`` takes every step that the facts allow, so neither the order nor the number of times they arrive
matters. What goes on while a strategy runs is in ``requests`` and ``cycles``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.strategy_registry import cycles, notices, requests
from services.strategy_registry.records import (
    Advance,
    ExitStage,
    Outgoing,
    Status,
    StrategyRecord,
    changed,
    event_of,
    refuse_unless,
)
from shared.contracts import subjects
from shared.contracts.books import FundStrategy, ReleaseStrategy, TransferSettled
from shared.contracts.lifecycle import PauseStrategy
from shared.contracts.plans import PlanProgressed, SealStrategy
from shared.contracts.strategies import RecordPeak, StopStrategy
from shared.core import identity
from shared.core.errors import Conflict, Refused, Stop
from shared.core.exits import rebased
from shared.core.position import PlanOutcome, has_purchased
from shared.core.rules import ExitAction
from shared.core.situation import EXIT, INITIAL, Peak
from shared.core.strategy import TRANSITIONS

_SOLD = frozenset({PlanOutcome.COMPLETED, PlanOutcome.NOTHING_TRADABLE})


def strategy_id_of(preview_id: str) -> str:
    """The one strategy that a preview can become."""
    return identity.derived_id("st", preview_id)


def confirmed(
    preview_id: str, document: dict[str, Any], funding_value: Decimal, at: datetime, changed_by: str = ""
) -> Advance:
    """A new strategy, asking the ledger for its money. ``funding_value``: its worth in the quote currency now."""
    strategy_id = strategy_id_of(preview_id)
    record = StrategyRecord(
        strategy_id=strategy_id,
        preview_id=preview_id,
        venue=str(document["venue"]),
        version=1,
        change="confirmed",
        status=Status.FUNDING,
        document=document,
        created_at=at,
        changed_by=changed_by,
    )
    transfer_id = identity.transfer_id(strategy_id, requests.FUND, 0)
    fund = FundStrategy(
        transfer_id=transfer_id,
        strategy_id=strategy_id,
        venue=record.venue,
        asset=str(document["funding_asset"]),
        amount=document["amount"],
        value_usdt=funding_value,
    )
    return Advance(record, (event_of(record), Outgoing(subjects.transfer_commands(record.venue), fund, transfer_id)))


def with_stop(record: StrategyRecord, command: StopStrategy) -> StrategyRecord:
    """The record with the wish to stop; the first one stays. No effect once it is ending or has ended.

    A strategy whose release was refused tries it again. Raises Refused for an action that is no way to end, Conflict
    when it is ending in another way.
    """
    if command.action is ExitAction.PAUSE:
        raise Refused.one("action", command.action.value, "sell, keep", "does not end a strategy")
    facts = record.facts
    if record.status is Status.FAILED:
        again = replace(facts, released=None, release_refusal="")
        counts = replace(record.counts, releases=record.counts.releases + 1)
        return replace(record, facts=again, counts=counts)
    if record.status in {Status.CLOSED, Status.REFUSED}:
        return record
    if facts.stop_reason:
        if command.action is not facts.stop_action:
            raise Conflict.one("action", command.action.value, facts.stop_action.value, "is not how it is ending")
        return record
    stop = replace(facts, stop_reason=command.reason, stop_inputs=dict(command.inputs), stop_action=command.action)
    return replace(record, facts=stop)


def paused(record: StrategyRecord, command: PauseStrategy) -> Advance:
    """One version more: it does nothing by itself any more. Raises Conflict when it does not run."""
    refuse_unless(record, Status.ACTIVE)
    made = changed(record, "paused", reason=command.reason, inputs=command.inputs, status=Status.PAUSED)
    # The line is put in order after the status has changed, and told with it.
    ordered = requests.in_order(made.record)
    return notices.paused(Advance(ordered, (event_of(ordered),)))


def resumed(record: StrategyRecord) -> Advance:
    """One version more: it goes on. Raises Conflict when it is not paused."""
    refuse_unless(record, Status.PAUSED)
    return changed(record, "resumed", status=Status.ACTIVE)


def rebalance_requested(record: StrategyRecord, at: datetime) -> Advance:
    """One version more, with a request to rebalance. Raises Conflict when not active, Refused when too much is open."""
    refuse_unless(record, Status.ACTIVE, advice="resume it first" if record.status is Status.PAUSED else "")
    return changed(requests.rebalance_asked(record, "user", at), "rebalance_requested")


def peak_raised(record: StrategyRecord, command: RecordPeak) -> Advance:
    """One version more when an active strategy has a new peak; no change for one that is not above the recorded one."""
    peak = Peak(command.profit_pct, command.contributed)
    known = record.peak
    is_news = known is None or peak.profit_pct > rebased(known, peak.contributed)
    if record.status is not Status.ACTIVE or not is_news:
        return Advance(record)
    return changed(record, "peak_raised", peak=peak)


def with_transfer(
    record: StrategyRecord, settled: TransferSettled, figures: Mapping[str, str] | None = None
) -> StrategyRecord:
    """The record with the end of one of its transfers; ``figures``: what is known of its whole life, for a release.

    Raises Refused for a transfer that is not its own.
    """
    facts = record.facts
    refusal = "" if settled.posted else settled.reason or "refused by the ledger"
    if settled.transfer_id == identity.transfer_id(record.strategy_id, requests.FUND, 0):
        if facts.funded is not None:
            return record
        return replace(record, facts=replace(facts, funded=settled.posted, funding_refusal=refusal))
    if settled.transfer_id == _release_id(record, record.counts.releases):
        if facts.released is not None:
            return record
        told = replace(
            facts,
            released=settled.posted,
            release_refusal=refusal,
            released_amounts=dict(settled.amounts),
            closing_figures=dict(figures or {}),
        )
        return replace(record, facts=told)
    if any(settled.transfer_id == _release_id(record, number) for number in range(record.counts.releases)):
        return record
    return requests.with_settlement(record, settled)


def with_progress(record: StrategyRecord, progress: PlanProgressed) -> StrategyRecord:
    """The record with the executor's word on its plans; what was learned before stays learned."""
    facts = record.facts
    closed = progress.last_closed
    is_purchase = closed and closed.kind == INITIAL and has_purchased(closed.outcome, closed.fills)
    if closed and is_purchase and facts.initial_closed_at is None:
        facts = replace(facts, initial_closed_at=closed.market_time)
    if closed and closed.kind == EXIT and closed.outcome in _SOLD and not facts.exit_sold:
        facts = replace(facts, exit_sold=True, exit_prices=dict(closed.prices))
    if progress.sealed and facts.sealed_fills is None:
        facts = replace(facts, sealed_fills=progress.fills_total)
    return requests.with_progress(replace(record, facts=facts), progress)


def stepped(before: StrategyRecord, changed_by: str, step: Callable[[StrategyRecord], Advance]) -> Advance | None:
    """A step, and every one that it allows; None when nothing is new. What was left to be done is done first."""
    caught_up = advance(replace(before, changed_by=changed_by))
    made = caught_up.and_then(step(caught_up.record))
    made = made.and_then(advance(made.record))
    if made.record.version == before.version:
        made = Advance(replace(made.record, changed_by=before.changed_by), made.outgoing)
    return made if made.outgoing or made.record != before else None


def advance(record: StrategyRecord) -> Advance:
    """Take every step that the facts allow. Raises Stop if a step were not one of ``TRANSITIONS``."""
    made = Advance(record)
    while (step := _next_step(made.record)) is not None:
        before, after = made.record.status, step.record.status
        if after != before and after not in TRANSITIONS[before]:
            raise Stop(f"{record.strategy_id}: {before} cannot become {after}")
        made = made.and_then(step)
    return made


def _next_step(record: StrategyRecord) -> Advance | None:
    match record.status:
        case Status.FUNDING:
            return _from_funding(record)
        case Status.BUILDING | Status.ACTIVE | Status.PAUSED:
            return _from_running(record)
        case Status.EXITING:
            return _from_exiting(record)
        case Status.FAILED if record.facts.released is None:
            inputs = record.facts.stop_inputs
            return changed(record, "exit_requested", inputs=inputs, status=Status.EXITING, exit_stage=ExitStage.SEALING)
        case _:
            return None


def _from_funding(record: StrategyRecord) -> Advance | None:
    facts = record.facts
    if facts.funded is False:
        return notices.funding_refused(
            changed(record, "funding_refused", status=Status.REFUSED, reason=facts.funding_refusal)
        )
    if facts.funded:
        return changed(record, "funded", status=Status.BUILDING)
    if facts.stop_reason and not record.exit_reason:
        # The money is on its way: the wish is shown now and carried out as soon as the transfer has settled.
        return changed(record, "exit_requested", exit_reason=facts.stop_reason, inputs=facts.stop_inputs)
    return None


def _from_running(record: StrategyRecord) -> Advance | None:
    facts = record.facts
    if facts.stop_reason:
        return _exit_begun(record)
    if record.status is Status.BUILDING:
        if facts.initial_closed_at is None:
            return None
        since = facts.initial_closed_at
        state = cycles.started(record.definition(), since)
        return changed(record, "activated", status=Status.ACTIVE, active_since=since, auto_invest=state)
    return requests.next_step(record)


def _exit_begun(record: StrategyRecord) -> Advance:
    """What was asked for and not done is dropped; money that is on its way is waited for before the release."""
    facts = record.facts
    keeps = facts.stop_action is ExitAction.KEEP
    made = changed(
        record,
        "exit_requested",
        status=Status.EXITING,
        exit_stage=ExitStage.SEALING if keeps else ExitStage.SELLING,
        exit_reason=facts.stop_reason,
        inputs=facts.stop_inputs,
        requests=(),
    )
    return notices.exit_begun(made.and_sent(_seal(record)) if keeps else made)


def _from_exiting(record: StrategyRecord) -> Advance | None:
    facts = record.facts
    if facts.released:
        return notices.closed(changed(record, "closed", status=Status.CLOSED, inputs=facts.closing_figures))
    if facts.released is False:
        reason = facts.release_refusal
        return notices.failed(
            changed(record, "failed", reason=reason, status=Status.FAILED, exit_stage=ExitStage.BLOCKED)
        )
    if (step := requests.next_step(record)) is not None:
        return step
    is_before_release = record.exit_stage in {ExitStage.SELLING, ExitStage.SEALING}
    if facts.sealed_fills is not None and is_before_release and not record.transfers:
        transfer_id = _release_id(record, record.counts.releases)
        release = ReleaseStrategy(
            transfer_id=transfer_id,
            strategy_id=record.strategy_id,
            venue=record.venue,
            fills_required=facts.sealed_fills,
            sold_into="" if facts.stop_action is ExitAction.KEEP else record.definition().funding_asset,
        )
        sealed = changed(record, "sealed", inputs=record.inputs, exit_stage=ExitStage.RELEASING)
        return sealed.and_sent(Outgoing(subjects.transfer_commands(record.venue), release, transfer_id))
    if facts.exit_sold and record.exit_stage is ExitStage.SELLING:
        return Advance(replace(record, exit_stage=ExitStage.SEALING), (_seal(record),))
    return None


def _seal(record: StrategyRecord) -> Outgoing:
    command = SealStrategy(strategy_id=record.strategy_id, venue=record.venue)
    return Outgoing(subjects.executor_commands(record.venue), command, f"{record.strategy_id}.seal")


def _release_id(record: StrategyRecord, number: int) -> str:
    return identity.transfer_id(record.strategy_id, "release", number)

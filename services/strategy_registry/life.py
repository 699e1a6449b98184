"""The life of a strategy as a pure state machine: facts in, changes and commands out.

Facts (funded, stop asked, initial purchase closed, exit sold, sealed, released) only ever become true. ``advance``
takes every step that the facts allow, so neither the order nor the number of times they arrive matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from shared.contracts import subjects
from shared.contracts.books import FundStrategy, ReleaseStrategy, TransferSettled
from shared.contracts.plans import PlanProgressed, SealStrategy
from shared.contracts.strategies import PeakRecorded, RecordPeak, StopStrategy, StrategyChanged
from shared.contracts.wire import Message
from shared.core import identity
from shared.core.errors import Refused, Stop
from shared.core.exits import rebased
from shared.core.position import PlanOutcome, has_purchased
from shared.core.situation import EXIT, INITIAL, Peak
from shared.core.strategy import TRANSITIONS, StrategyStatus

_SOLD = frozenset({PlanOutcome.COMPLETED, PlanOutcome.NOTHING_TRADABLE})


class ExitStage(StrEnum):
    """How far an exit is: plans may still come, the executor is asked to seal, the ledger is asked to release."""

    NONE = ""
    SELLING = "selling"
    SEALING = "sealing"
    RELEASING = "releasing"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the other services and the user have said. ``None`` = nothing yet; a refusal carries its reason."""

    funded: bool | None = None
    funding_refusal: str = ""
    stop_reason: str = ""
    stop_inputs: Mapping[str, str] = field(default_factory=dict)
    initial_closed_at: datetime | None = None
    exit_sold: bool = False
    sealed_fills: int | None = None
    released: bool | None = None
    release_refusal: str = ""


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """One strategy as the registry keeps it: the state it has published, its exit stage and the facts."""

    strategy_id: str
    preview_id: str
    venue: str
    version: int
    change: str
    status: StrategyStatus
    document: dict[str, Any]
    created_at: datetime
    active_since: datetime | None = None
    peak: Peak | None = None
    exit_reason: str = ""
    reason: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    exit_stage: ExitStage = ExitStage.NONE
    facts: Facts = field(default_factory=Facts)

    def changed(self) -> StrategyChanged:
        """The event that tells this state."""
        return StrategyChanged(
            strategy_id=self.strategy_id,
            version=self.version,
            change=self.change,
            status=self.status,
            document=self.document,
            created_at=self.created_at,
            active_since=self.active_since,
            peak=None
            if self.peak is None
            else PeakRecorded(profit_pct=self.peak.profit_pct, contributed=self.peak.contributed),
            exit_reason=self.exit_reason,
            reason=self.reason,
            inputs=dict(self.inputs),
        )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; its id is a function of what it says, so that it exists once."""

    subject: str
    message: Message
    message_id: str


@dataclass(frozen=True, slots=True)
class Advance:
    """The record after every possible step, with what must be published, in order."""

    record: StrategyRecord
    outgoing: tuple[Outgoing, ...] = ()


def strategy_id_of(preview_id: str) -> str:
    """The one strategy that a preview can become."""
    return identity.derived_id("st", preview_id)


def confirmed(preview_id: str, document: dict[str, Any], funding_value: Decimal, at: datetime) -> Advance:
    """A new strategy, asking the ledger for its money. ``funding_value``: its worth in the quote currency now."""
    strategy_id = strategy_id_of(preview_id)
    record = StrategyRecord(
        strategy_id=strategy_id,
        preview_id=preview_id,
        venue=str(document["venue"]),
        version=1,
        change="confirmed",
        status=StrategyStatus.FUNDING,
        document=document,
        created_at=at,
    )
    transfer_id = identity.transfer_id(strategy_id, "fund", 0)
    fund = FundStrategy(
        transfer_id=transfer_id,
        strategy_id=strategy_id,
        venue=record.venue,
        asset=str(document["funding_asset"]),
        amount=document["amount"],
        value_usdt=funding_value,
    )
    return Advance(record, (_event(record), Outgoing(subjects.transfer_commands(record.venue), fund, transfer_id)))


def with_stop(record: StrategyRecord, command: StopStrategy) -> StrategyRecord:
    """The record with the wish to stop; the first reason stays. No effect once it is ending or has ended."""
    ending = record.status in {StrategyStatus.EXITING, StrategyStatus.CLOSED, StrategyStatus.REFUSED}
    if ending or record.facts.stop_reason:
        return record
    facts = replace(record.facts, stop_reason=command.reason, stop_inputs=dict(command.inputs))
    return replace(record, facts=facts)


def peak_raised(record: StrategyRecord, command: RecordPeak) -> Advance:
    """One version more when an active strategy has a new peak; no change for one that is not above the recorded one."""
    peak = Peak(command.profit_pct, command.contributed)
    known = record.peak
    is_news = known is None or peak.profit_pct > rebased(known, peak.contributed)
    if record.status is not StrategyStatus.ACTIVE or not is_news:
        return Advance(record)
    return _changed(record, "peak_raised", peak=peak)


def with_transfer(record: StrategyRecord, settled: TransferSettled) -> StrategyRecord:
    """The record with the end of one of its two transfers. Raises Refused for a transfer that is not its own."""
    facts = record.facts
    refusal = "" if settled.posted else settled.reason or "refused by the ledger"
    if settled.transfer_id == identity.transfer_id(record.strategy_id, "fund", 0):
        if facts.funded is not None:
            return record
        return replace(record, facts=replace(facts, funded=settled.posted, funding_refusal=refusal))
    if settled.transfer_id == identity.transfer_id(record.strategy_id, "release", 0):
        if facts.released is not None:
            return record
        return replace(record, facts=replace(facts, released=settled.posted, release_refusal=refusal))
    raise Refused.one("transfer_id", settled.transfer_id, "the funding or the release", "is not of this strategy")


def with_progress(record: StrategyRecord, progress: PlanProgressed) -> StrategyRecord:
    """The record with the executor's word on its plans; what was learned before stays learned."""
    facts = record.facts
    closed = progress.last_closed
    is_purchase = closed and closed.kind == INITIAL and has_purchased(closed.outcome, closed.fills)
    if closed and is_purchase and facts.initial_closed_at is None:
        facts = replace(facts, initial_closed_at=closed.market_time)
    if closed and closed.kind == EXIT and closed.outcome in _SOLD:
        facts = replace(facts, exit_sold=True)
    if progress.sealed and facts.sealed_fills is None:
        facts = replace(facts, sealed_fills=progress.fills_total)
    return replace(record, facts=facts)


def advance(record: StrategyRecord) -> Advance:
    """Take every step that the facts allow. Raises Stop if a step were not one of ``TRANSITIONS``."""
    outgoing: list[Outgoing] = []
    while (step := _next_step(record)) is not None:
        if step.record.status != record.status and step.record.status not in TRANSITIONS[record.status]:
            raise Stop(f"{record.strategy_id}: {record.status} cannot become {step.record.status}")
        record = step.record
        outgoing += step.outgoing
    return Advance(record, tuple(outgoing))


def _next_step(record: StrategyRecord) -> Advance | None:
    match record.status:
        case StrategyStatus.FUNDING:
            return _from_funding(record)
        case StrategyStatus.BUILDING | StrategyStatus.ACTIVE:
            return _from_running(record)
        case StrategyStatus.EXITING:
            return _from_exiting(record)
        case _:
            return None


def _from_funding(record: StrategyRecord) -> Advance | None:
    facts = record.facts
    if facts.funded is False:
        return _changed(record, "funding_refused", status=StrategyStatus.REFUSED, reason=facts.funding_refusal)
    if facts.funded:
        return _changed(record, "funded", status=StrategyStatus.BUILDING)
    if facts.stop_reason and not record.exit_reason:
        # The money is on its way: the wish is shown now and carried out as soon as the transfer has settled.
        return _changed(record, "exit_requested", exit_reason=facts.stop_reason, inputs=facts.stop_inputs)
    return None


def _from_running(record: StrategyRecord) -> Advance | None:
    facts = record.facts
    if facts.stop_reason:
        return _changed(
            record,
            "exit_requested",
            status=StrategyStatus.EXITING,
            exit_stage=ExitStage.SELLING,
            exit_reason=facts.stop_reason,
            inputs=facts.stop_inputs,
        )
    if record.status is StrategyStatus.BUILDING and facts.initial_closed_at is not None:
        return _changed(record, "activated", status=StrategyStatus.ACTIVE, active_since=facts.initial_closed_at)
    return None


def _from_exiting(record: StrategyRecord) -> Advance | None:
    facts = record.facts
    if facts.released:
        return _changed(record, "closed", status=StrategyStatus.CLOSED)
    if facts.released is False and record.exit_stage is not ExitStage.BLOCKED:
        return _changed(record, "release_refused", exit_stage=ExitStage.BLOCKED, reason=facts.release_refusal)
    if facts.sealed_fills is not None and record.exit_stage in {ExitStage.SELLING, ExitStage.SEALING}:
        transfer_id = identity.transfer_id(record.strategy_id, "release", 0)
        release = ReleaseStrategy(
            transfer_id=transfer_id,
            strategy_id=record.strategy_id,
            venue=record.venue,
            fills_required=facts.sealed_fills,
        )
        sealed = _changed(record, "sealed", exit_stage=ExitStage.RELEASING)
        command = Outgoing(subjects.transfer_commands(record.venue), release, transfer_id)
        return Advance(sealed.record, (*sealed.outgoing, command))
    if facts.exit_sold and record.exit_stage is ExitStage.SELLING:
        seal = SealStrategy(strategy_id=record.strategy_id, venue=record.venue)
        command = Outgoing(subjects.executor_commands(record.venue), seal, f"{record.strategy_id}.seal")
        return Advance(replace(record, exit_stage=ExitStage.SEALING), (command,))
    return None


def _changed(record: StrategyRecord, change: str, **fields: Any) -> Advance:
    """One version more, with its event."""
    after = replace(record, version=record.version + 1, change=change, **fields)
    return Advance(after, (_event(after),))


def _event(record: StrategyRecord) -> Outgoing:
    return Outgoing(subjects.strategies(record.strategy_id), record.changed(), f"{record.strategy_id}.{record.version}")

"""One strategy as the registry keeps it, and how a change of it is told. Pure data; the rules are in ``life``,
``requests``, ``cycles`` and ``editing``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from shared.contracts import subjects
from shared.contracts.lifecycle import NotificationRaised, Severity
from shared.contracts.strategies import AutoInvestProgress, PeakRecorded, RequestMade, RequestStage, StrategyChanged
from shared.contracts.wire import Message
from shared.core.auto_invest import AutoInvestState
from shared.core.errors import Conflict
from shared.core.rules import ExitAction
from shared.core.situation import Peak, RequestKind
from shared.core.strategy import StrategyDefinition, StrategyStatus, parse_strategy

MAX_REQUESTS = 20
"""How many withdrawals of one strategy may be open, and how many other requests."""

Status = StrategyStatus


class ExitStage(StrEnum):
    """How far an exit is: plans may still come, the executor is asked to seal, the ledger is asked to release."""

    NONE = ""
    SELLING = "selling"
    SEALING = "sealing"
    RELEASING = "releasing"
    BLOCKED = "blocked"


class HoldStage(StrEnum):
    """How far a hold at the executor is: asked for, in force, money is being paid out, asked to end, ended."""

    ASKED = "asked"
    HELD = "held"
    PAYING = "paying"
    FREEING = "freeing"
    FREED = "freed"


@dataclass(frozen=True, slots=True)
class Hold:
    """The one hold of a strategy. ``sequence`` and ``fills``: of the executor's word that it is in force."""

    hold_id: str
    stage: HoldStage
    sequence: int = 0
    fills: int = 0


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """One thing asked for and not finished; see ``RequestMade``. ``planned``: its plan has done its work."""

    request_id: str
    kind: RequestKind
    stage: RequestStage
    cause: str
    asked_at: datetime
    asset: str = ""
    amount: Decimal | None = None
    percent: Decimal | None = None
    position_version: int = 0
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """The ledger's word on a transfer."""

    posted: bool
    reason: str = ""
    amounts: Mapping[str, Decimal] = field(default_factory=dict)
    position_version: int = 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """A movement of money into ("fund") or out of ("withdraw") a running strategy that the ledger was asked for.

    ``worth``: in the quote currency, of money put in. ``cycle_at``: market time of the Auto-Invest cycle it is for.
    """

    transfer_id: str
    purpose: str
    request_id: str
    asset: str
    amount: Decimal | None = None
    worth: Decimal | None = None
    cycle_at: datetime | None = None
    settlement: Settlement | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests and transfers a strategy has ever had: their ids are functions of these numbers.

    ``releases``: those the ledger refused, so it is also the number of the next.
    """

    requests: int = 0
    funds: int = 0
    withdrawals: int = 0
    releases: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the other services and the user have said. ``None`` = nothing yet; a refusal carries its reason."""

    funded: bool | None = None
    funding_refusal: str = ""
    stop_reason: str = ""
    stop_inputs: Mapping[str, str] = field(default_factory=dict)
    stop_action: ExitAction = ExitAction.SELL
    initial_closed_at: datetime | None = None
    exit_sold: bool = False
    exit_prices: Mapping[str, Decimal] = field(default_factory=dict)
    sealed_fills: int | None = None
    released: bool | None = None
    release_refusal: str = ""
    released_amounts: Mapping[str, Decimal] = field(default_factory=dict)
    closing_figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StrategyRecord:
    """One strategy as the registry keeps it: the state it has published, its exit stage and the facts.

    ``auto_invest`` stays when Auto-Invest is edited away, so that the numbers of its cycles are never used again.
    ``changed_by``: who made the newest version.
    """

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
    revision: int = 1
    changed_by: str = ""
    requests: tuple[OpenRequest, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    hold: Hold | None = None
    auto_invest: AutoInvestState | None = None
    counts: Counts = field(default_factory=Counts)

    def definition(self) -> StrategyDefinition:
        """The definition in ``document``."""
        return parse_strategy(self.document)

    def request(self, request_id: str) -> OpenRequest | None:
        """The open request with this id."""
        return next((one for one in self.requests if one.request_id == request_id), None)

    def without_request(self, request_id: str) -> tuple[OpenRequest, ...]:
        """The other open requests."""
        return tuple(one for one in self.requests if one.request_id != request_id)

    def with_request(self, changed: OpenRequest) -> tuple[OpenRequest, ...]:
        """The open requests with this one as it is now, in its place; unchanged when it is not open any more."""
        return tuple(changed if one.request_id == changed.request_id else one for one in self.requests)

    def changed(self) -> StrategyChanged:
        """The event that tells this state."""
        peak, state = self.peak, self.auto_invest
        shows_auto_invest = state is not None and self.document.get("auto_invest") is not None
        return StrategyChanged(
            strategy_id=self.strategy_id,
            version=self.version,
            change=self.change,
            status=self.status,
            document=self.document,
            created_at=self.created_at,
            active_since=self.active_since,
            peak=None if peak is None else PeakRecorded(profit_pct=peak.profit_pct, contributed=peak.contributed),
            exit_reason=self.exit_reason,
            exit_action=self.facts.stop_action,
            reason=self.reason,
            inputs=dict(self.inputs),
            revision=self.revision,
            changed_by=self.changed_by,
            requests=tuple(_made(one) for one in self.requests),
            auto_invest=_progress(state) if state is not None and shows_auto_invest else None,
            released=dict(self.facts.released_amounts),
        )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; its id is a function of what it says, so that it exists once."""

    subject: str
    message: Message
    message_id: str


@dataclass(frozen=True, slots=True)
class Advance:
    """The record after one or more steps, with what must be published, in order."""

    record: StrategyRecord
    outgoing: tuple[Outgoing, ...] = ()

    def and_sent(self, *outgoing: Outgoing) -> "Advance":
        """The same with more to publish."""
        return Advance(self.record, (*self.outgoing, *outgoing))

    def and_then(self, later: "Advance") -> "Advance":
        """This step and one made from its record."""
        return Advance(later.record, (*self.outgoing, *later.outgoing))

    def and_told(self, severity: Severity, text: str) -> "Advance":
        """The same with a notification that goes with the newest version; at most one for each version."""
        record = self.record
        notification = NotificationRaised(
            strategy_id=record.strategy_id,
            strategy_version=record.version,
            kind=record.change,
            severity=severity,
            text=f"{record.document['name']}: {text}",
            reason=record.reason,
            inputs=dict(record.inputs),
        )
        message_id = f"{record.strategy_id}.{record.version}.notification"
        return self.and_sent(Outgoing(subjects.notifications(record.strategy_id), notification, message_id))


def changed(
    record: StrategyRecord, change: str, *, reason: str = "", inputs: Mapping[str, str] | None = None, **fields: Any
) -> Advance:
    """One version more, with its event. ``reason`` and ``inputs`` belong to this change alone."""
    after = replace(
        record, version=record.version + 1, change=change, reason=reason, inputs=dict(inputs or {}), **fields
    )
    return Advance(after, (event_of(after),))


def event_of(record: StrategyRecord) -> Outgoing:
    """StrategyChanged of the newest version."""
    return Outgoing(subjects.strategies(record.strategy_id), record.changed(), f"{record.strategy_id}.{record.version}")


def refuse_unless(record: StrategyRecord, *allowed: StrategyStatus, advice: str = "") -> None:
    """Raises Conflict when the strategy's status is none of the ``allowed`` ones."""
    if record.status not in allowed:
        states = " or ".join(one.value for one in allowed)
        hint = f": {advice}" if advice else ""
        raise Conflict.one("status", record.status.value, states, f"does not allow this{hint}")


def _made(one: OpenRequest) -> RequestMade:
    return RequestMade(**{name: getattr(one, name) for name in RequestMade.model_fields})


def _progress(state: AutoInvestState) -> AutoInvestProgress:
    return AutoInvestProgress(**{name: getattr(state, name) for name in AutoInvestProgress.model_fields})

"""What is said on which subject: the messages of each, for people and programs that want to listen.

``deploy.async_api`` makes AsyncAPI documents from this page; who sends and who handles comes from ``access``.
"""

from dataclasses import dataclass

from shared.contracts import subjects
from shared.contracts.audit import (
    ConsistencyProved,
    InclusionProved,
    ProveConsistency,
    ProveInclusion,
    ShowTreeHead,
    TreeHeadSigned,
)
from shared.contracts.books import (
    DustSwept,
    FundStrategy,
    PositionChanged,
    ReleaseStrategy,
    SweepDust,
    TransactionPosted,
    TransferSettled,
    WalletChanged,
    WithdrawFromStrategy,
)
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.halts import HaltChanged, HaltVenue, ResumeVenue
from shared.contracts.lifecycle import (
    AddMoney,
    EditStrategy,
    ListVersions,
    NotificationRaised,
    PauseStrategy,
    RebalanceNow,
    ResumeStrategy,
    RunAutoInvest,
    VersionsListed,
    WithdrawMoney,
)
from shared.contracts.orders import DepositObserved, OrderChanged, OrderFilled
from shared.contracts.plans import FreeStrategy, HoldStrategy, PlanProgressed, RebalancePlanned, SealStrategy
from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.contracts.reconciliation import (
    AcceptSuspense,
    BalanceDiffered,
    BooksTotalled,
    ForeignOrderFound,
    SuspenseAccepted,
    SuspenseChanged,
)
from shared.contracts.reservations import AvailableReported, ReportAvailable
from shared.contracts.results import (
    HistoryReported,
    HoldingsReported,
    ReportHistory,
    ReportHoldings,
    ReportResults,
    ResultsReported,
)
from shared.contracts.strategies import (
    CommandDeferred,
    CommandRefused,
    ConfirmStrategy,
    PreviewStrategy,
    RecordPeak,
    StopStrategy,
    StrategyChanged,
    StrategyPreviewed,
)
from shared.contracts.wire import Message


@dataclass(frozen=True, slots=True)
class Channel:
    """One subject; ``address`` has its parameters in braces. ``replies``: what a request there is answered with."""

    address: str
    messages: tuple[type[Message], ...]
    replies: tuple[type[Message], ...] = ()

    @property
    def pattern(self) -> str:
        """The address with a wildcard for each parameter."""
        return ".".join("*" if token.startswith("{") else token for token in self.address.split("."))


_STRATEGY = "{strategy_id}"
_VENUE = "{venue}"
_ANSWERS = (CommandRefused, CommandDeferred)

CHANNELS: tuple[Channel, ...] = (
    Channel(subjects.price_snapshots(_VENUE), (PricesSnapshotted,)),
    Channel(subjects.instruments(_VENUE), (InstrumentsListed,)),
    Channel(subjects.strategies(_STRATEGY), (StrategyChanged,)),
    Channel(subjects.positions(_STRATEGY), (PositionChanged,)),
    Channel(subjects.wallets(_VENUE), (WalletChanged,)),
    Channel(subjects.plans(_STRATEGY), (RebalancePlanned,)),
    Channel(subjects.plan_results(_STRATEGY), (PlanProgressed,)),
    Channel(subjects.orders_changed(_STRATEGY), (OrderChanged,)),
    Channel(subjects.orders_filled(_STRATEGY), (OrderFilled,)),
    Channel(subjects.deposits(_VENUE), (DepositObserved,)),
    Channel(subjects.transfer_commands(_VENUE), (FundStrategy, WithdrawFromStrategy, ReleaseStrategy)),
    Channel(subjects.executor_commands(_VENUE), (SealStrategy, HoldStrategy, FreeStrategy)),
    Channel(subjects.transfers(_STRATEGY), (TransferSettled,)),
    Channel(subjects.ledger(_VENUE), (TransactionPosted,)),
    Channel(subjects.TREE_HEADS, (TreeHeadSigned,)),
    Channel(subjects.books(_VENUE), (BooksTotalled,)),
    Channel(subjects.balances_differed(_VENUE), (BalanceDiffered,)),
    Channel(subjects.foreign_orders(_VENUE), (ForeignOrderFound,)),
    Channel(subjects.suspense(_VENUE), (SuspenseChanged,)),
    Channel(subjects.evaluations(_STRATEGY), (DecisionRecorded,)),
    Channel(subjects.notifications("{strategy_id_or_venue}"), (NotificationRaised,)),
    Channel(
        subjects.STRATEGY_COMMANDS,
        (
            PreviewStrategy,
            ConfirmStrategy,
            StopStrategy,
            RecordPeak,
            EditStrategy,
            AddMoney,
            WithdrawMoney,
            PauseStrategy,
            ResumeStrategy,
            RebalanceNow,
            RunAutoInvest,
            ListVersions,
        ),
        (StrategyPreviewed, StrategyChanged, VersionsListed, *_ANSWERS),
    ),
    Channel(subjects.halts(_VENUE), (HaltChanged,)),
    Channel(subjects.halt_commands(_VENUE), (HaltVenue, ResumeVenue), (HaltChanged, *_ANSWERS)),
    Channel(
        subjects.LEDGER_COMMANDS,
        (AcceptSuspense, SweepDust, ReportResults, ReportHistory, ReportHoldings, ReportAvailable),
        (
            SuspenseAccepted,
            DustSwept,
            ResultsReported,
            HistoryReported,
            HoldingsReported,
            AvailableReported,
            *_ANSWERS,
        ),
    ),
    Channel(
        subjects.AUDIT_COMMANDS,
        (ShowTreeHead, ProveInclusion, ProveConsistency),
        (TreeHeadSigned, InclusionProved, ConsistencyProved, *_ANSWERS),
    ),
)
"""Every subject that carries messages; price frames and the evaluators' heartbeats are plain values of core NATS."""

"""THE catalogue: every stream and durable consumer with every limit, on one screen. Declared nowhere else.

Provisioning (``python -m deploy.provision``) makes the server equal to this page; services never declare anything.
Money streams refuse new messages when full (``discard_new``) rather than forget old ones; an operator gives them more
room (``trimtab streams enlarge``), which stays: ``max_bytes`` of theirs is the least they have.
"""

from dataclasses import dataclass

from shared.contracts import subjects

GIB = 1024**3
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream. ``last_value_only`` keeps the newest message of each subject; ``discard_new`` refuses when full.

    All streams: file storage, one replica, deletion and purging of single messages denied for the audit streams.
    """

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_age_s: int = 0
    last_value_only: bool = False
    discard_new: bool = True
    deny_delete: bool = True
    duplicate_window_s: int = 120


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """One durable pull consumer, handled one message at a time, in order, by whichever instance fetches it.

    A failed message is retried after ``retry_after_s`` x 2^n, ``max_deliver`` times in all; then it goes to the dead
    letters, never away. ``max_ack_pending`` > 1 lets others pass while one waits for its retry. ``ack_wait_s``: how
    long a message stays with an instance that has died.
    """

    stream: str
    durable: str
    filter_subjects: tuple[str, ...]
    ack_wait_s: float = 5.0
    max_deliver: int = 8
    retry_after_s: float = 0.2
    max_ack_pending: int = 1


STREAMS: tuple[StreamSpec, ...] = (
    StreamSpec("PRICE_SNAPSHOTS", (subjects.PRICE_SNAPSHOTS_ALL,), GIB // 16, last_value_only=True, discard_new=False,
               deny_delete=False),
    StreamSpec("INSTRUMENTS", (subjects.INSTRUMENTS_ALL,), GIB // 16, last_value_only=True, discard_new=False,
               deny_delete=False),
    StreamSpec("STRATEGIES", (subjects.STRATEGIES_ALL,), 4 * GIB),
    StreamSpec("POSITIONS", (subjects.POSITIONS_ALL,), 4 * GIB, last_value_only=True, discard_new=False,
               deny_delete=False),
    StreamSpec("WALLETS", (subjects.WALLETS_ALL,), GIB // 16, last_value_only=True, discard_new=False,
               deny_delete=False),
    StreamSpec("PLANS", (subjects.PLANS_ALL,), 4 * GIB),
    StreamSpec("PLAN_RESULTS", (subjects.PLAN_RESULTS_ALL,), 4 * GIB),
    StreamSpec("ORDERS", (subjects.ORDERS_ALL,), 8 * GIB),
    StreamSpec("DEPOSITS", (subjects.DEPOSITS_ALL,), GIB),
    StreamSpec("COMMANDS", (subjects.TRANSFER_COMMANDS_ALL, subjects.EXECUTOR_COMMANDS_ALL), GIB),
    StreamSpec("TRANSFERS", (subjects.TRANSFERS_ALL,), GIB),
    StreamSpec("LEDGER", (subjects.LEDGER_ALL,), 8 * GIB),
    StreamSpec("TREE_HEADS", (subjects.TREE_HEADS,), GIB),
    StreamSpec("BOOKS", (subjects.BOOKS_ALL,), GIB // 16, last_value_only=True, discard_new=False, deny_delete=False),
    StreamSpec("RECONCILIATION", (subjects.RECONCILIATION_ALL,), GIB),
    StreamSpec("EVALUATIONS", (subjects.EVALUATIONS_ALL,), 2 * GIB, max_age_s=90 * DAY_S, discard_new=False),
    StreamSpec("NOTIFICATIONS", (subjects.NOTIFICATIONS_ALL,), GIB // 4, max_age_s=90 * DAY_S, discard_new=False),
    StreamSpec("HALTS", (subjects.HALTS_ALL,), GIB // 16, last_value_only=True, discard_new=False, deny_delete=False),
    StreamSpec("DEAD_LETTERS", (subjects.DEAD_LETTERS_ALL,), GIB),
)  # fmt: skip

EXECUTOR_PLANS = ConsumerSpec("PLANS", "order_executor-plans", (subjects.PLANS_ALL,), max_ack_pending=64)
EXECUTOR_COMMANDS = ConsumerSpec(
    "COMMANDS", "order_executor-commands", (subjects.EXECUTOR_COMMANDS_ALL,), max_ack_pending=64
)
LEDGER_FILLS = ConsumerSpec("ORDERS", "ledger-fills", (subjects.ORDERS_FILLED_ALL,), max_ack_pending=256)
LEDGER_ORDERS = ConsumerSpec("ORDERS", "ledger-orders", (subjects.ORDERS_CHANGED_ALL,), max_ack_pending=256)
LEDGER_DEPOSITS = ConsumerSpec("DEPOSITS", "ledger-deposits", (subjects.DEPOSITS_ALL,))
LEDGER_COMMANDS = ConsumerSpec("COMMANDS", "ledger-commands", (subjects.TRANSFER_COMMANDS_ALL,), max_ack_pending=64)
LEDGER_DIFFERENCES = ConsumerSpec("RECONCILIATION", "ledger-differences", (subjects.BALANCES_DIFFERED_ALL,))
REGISTRY_PLAN_RESULTS = ConsumerSpec("PLAN_RESULTS", "strategy_registry-plan-results", (subjects.PLAN_RESULTS_ALL,))
REGISTRY_TRANSFERS = ConsumerSpec("TRANSFERS", "strategy_registry-transfers", (subjects.TRANSFERS_ALL,))

CONSUMERS: tuple[ConsumerSpec, ...] = (
    EXECUTOR_PLANS,
    EXECUTOR_COMMANDS,
    LEDGER_FILLS,
    LEDGER_ORDERS,
    LEDGER_DEPOSITS,
    LEDGER_COMMANDS,
    LEDGER_DIFFERENCES,
    REGISTRY_PLAN_RESULTS,
    REGISTRY_TRANSFERS,
)

AUDIT_STREAMS: tuple[str, ...] = (
    "STRATEGIES",
    "PLANS",
    "PLAN_RESULTS",
    "ORDERS",
    "DEPOSITS",
    "COMMANDS",
    "TRANSFERS",
    "LEDGER",
    "TREE_HEADS",
    "RECONCILIATION",
    "EVALUATIONS",
    "HALTS",
)
"""What the user `auditor` may read: everything that happened to money, and why."""

NOT_AUDITED: tuple[str, ...] = (
    "PRICE_SNAPSHOTS",
    "INSTRUMENTS",
    "POSITIONS",
    "WALLETS",
    "BOOKS",
    "NOTIFICATIONS",
    "DEAD_LETTERS",
)
"""Market data, last values that follow from the audit streams, words for people, and copies."""

AUDITOR_POSITIONS = ("auditor-1", "auditor-2", "auditor-3")
"""Durable consumers on every audit stream, for slow auditors: where each of them is, the server remembers."""


def auditor_consumers(spec: StreamSpec) -> tuple[ConsumerSpec, ...]:
    """Where auditors are in a stream; none where it is not for them."""
    if spec.name not in AUDIT_STREAMS:
        return ()
    return tuple(
        ConsumerSpec(spec.name, position, spec.subjects, ack_wait_s=30.0, max_ack_pending=1000)
        for position in AUDITOR_POSITIONS
    )

"""Every subject, built in one place. ``*`` stands for one token, ids never contain dots."""

PRICES_ALL = "prices.*"
PRICE_SNAPSHOTS_ALL = "price-snapshots.*"
INSTRUMENTS_ALL = "instruments.*"
STRATEGIES_ALL = "strategies.*"
POSITIONS_ALL = "positions.*"
WALLETS_ALL = "wallets.*"
PLANS_ALL = "plans.*"
PLAN_RESULTS_ALL = "plan-results.*"
ORDERS_ALL = "orders.>"
ORDERS_FILLED_ALL = "orders.*.filled"
ORDERS_CHANGED_ALL = "orders.*.changed"
DEPOSITS_ALL = "deposits.*"
TRANSFER_COMMANDS_ALL = "transfer-commands.*"
EXECUTOR_COMMANDS_ALL = "executor-commands.*"
TRANSFERS_ALL = "transfers.*"
LEDGER_ALL = "ledger.*"
EVALUATIONS_ALL = "evaluations.*"
NOTIFICATIONS_ALL = "notifications.*"
HALTS_ALL = "halts.*"
BOOKS_ALL = "books.*"
RECONCILIATION_ALL = "reconciliation.>"
BALANCES_DIFFERED_ALL = "reconciliation.*.differed"
SUSPENSE_ALL = "reconciliation.*.suspense"
DEAD_LETTERS_ALL = "dead-letters.>"
TREE_HEADS = "audit.tree-heads"
"""TreeHeadSigned."""

STRATEGY_COMMANDS = "strategy-commands"
"""Core NATS request and reply, queue group ``strategy_registry``: the commands of ``shared.contracts.strategies`` and
``shared.contracts.lifecycle``."""

LEDGER_COMMANDS = "ledger-commands"
"""Core NATS request and reply, queue group ``ledger``: AcceptSuspense, and the questions of
``shared.contracts.results``."""

HALT_COMMANDS_ALL = "halt-commands.*"
"""Core NATS request and reply, queue group ``order_executor``: HaltVenue, ResumeVenue."""

AUDIT_COMMANDS = "audit-commands"
"""Core NATS request and reply, queue group ``ledger``: ShowTreeHead, ProveInclusion, ProveConsistency."""

EVALUATOR_HEARTBEATS = "evaluator-heartbeats"
"""Core NATS: each living evaluator's id once a second."""

EVALUATOR_PROGRESS = "evaluator-progress"
"""Core NATS: EvaluatorProgress whenever it changes, and once a second."""


def prices(venue: str) -> str:
    """Price frames of a venue (core NATS)."""
    return f"prices.{venue}"


def price_snapshots(venue: str) -> str:
    """PricesSnapshotted."""
    return f"price-snapshots.{venue}"


def instruments(venue: str) -> str:
    """InstrumentsListed."""
    return f"instruments.{venue}"


def halts(venue: str) -> str:
    """HaltChanged."""
    return f"halts.{venue}"


def halt_commands(venue: str) -> str:
    """HaltVenue, ResumeVenue (core NATS, request and reply): they must not wait behind anything in a stream."""
    return f"halt-commands.{venue}"


def venue_notifications(venue: str) -> str:
    """NotificationRaised about a whole venue; strategies have ids of another form."""
    return f"notifications.venue-{venue}"


def strategies(strategy_id: str) -> str:
    """StrategyChanged."""
    return f"strategies.{strategy_id}"


def positions(strategy_id: str) -> str:
    """PositionChanged."""
    return f"positions.{strategy_id}"


def wallets(venue: str) -> str:
    """WalletChanged."""
    return f"wallets.{venue}"


def plans(strategy_id: str) -> str:
    """RebalancePlanned."""
    return f"plans.{strategy_id}"


def plan_results(strategy_id: str) -> str:
    """PlanProgressed."""
    return f"plan-results.{strategy_id}"


def orders_changed(strategy_id: str) -> str:
    """OrderChanged."""
    return f"orders.{strategy_id}.changed"


def orders_filled(strategy_id: str) -> str:
    """OrderFilled."""
    return f"orders.{strategy_id}.filled"


def deposits(venue: str) -> str:
    """DepositObserved."""
    return f"deposits.{venue}"


def transfer_commands(venue: str) -> str:
    """FundStrategy, WithdrawFromStrategy, ReleaseStrategy."""
    return f"transfer-commands.{venue}"


def executor_commands(venue: str) -> str:
    """SealStrategy, HoldStrategy, FreeStrategy."""
    return f"executor-commands.{venue}"


def transfers(strategy_id: str) -> str:
    """TransferSettled."""
    return f"transfers.{strategy_id}"


def ledger(venue: str) -> str:
    """TransactionPosted."""
    return f"ledger.{venue}"


def evaluations(strategy_id: str) -> str:
    """DecisionRecorded."""
    return f"evaluations.{strategy_id}"


def notifications(strategy_id: str) -> str:
    """NotificationRaised; for what concerns no strategy the venue's name stands in place of its id."""
    return f"notifications.{strategy_id}"


def books(venue: str) -> str:
    """BooksTotalled."""
    return f"books.{venue}"


def balances_differed(venue: str) -> str:
    """BalanceDiffered."""
    return f"reconciliation.{venue}.differed"


def foreign_orders(venue: str) -> str:
    """ForeignOrderFound."""
    return f"reconciliation.{venue}.foreign-order"


def suspense(venue: str) -> str:
    """SuspenseChanged."""
    return f"reconciliation.{venue}.suspense"


def dead_letters(stream: str, consumer: str) -> str:
    """Messages a consumer could not handle, as they were, with the error in a header."""
    return f"dead-letters.{stream}.{consumer}"

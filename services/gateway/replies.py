"""The shape of every answer: what OpenAPI documents and clients may rely on. Numbers are text, times UTC."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.strategies import OrderForeseen, RequestStage
from shared.contracts.wire import Amount, Number, Timestamp
from shared.core.auto_invest import AutoInvestStatus
from shared.core.rules import ExitAction
from shared.core.situation import RequestKind
from shared.core.strategy import StrategyStatus

Document = dict[str, object]


class Reply(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True)


class ProblemReply(Reply):
    """One thing wrong with the input."""

    field: str
    value: str
    allowed: str
    message: str


class ErrorBody(Reply):
    """What went wrong: its kind tells what to do."""

    kind: Literal["refused", "conflict", "retry_later", "not_found", "unauthorized", "internal"]
    message: str
    problems: list[ProblemReply] = []


class ErrorReply(Reply):
    """The body of every answer that is not a success."""

    error: ErrorBody


class PreviewReply(Reply):
    """What would happen: confirm it with POST /strategies before ``expires_at``."""

    preview_id: str
    expires_at: Timestamp
    document: Document
    warnings: list[str]
    minimum_amount: Amount = Field(description="Smallest amount of the funding asset that works.")
    value_usdt: Number
    estimated_fees_usdt: Number
    first_orders: list[OrderForeseen]


class AssetReply(Reply):
    """One asset of a strategy: what it holds against what it should. Weights in percent, value in quote currency."""

    asset: str
    quantity: Amount
    bid: Amount | None = None
    value: Number | None = None
    target_pct: Number
    actual_pct: Number | None = None
    lower_pct: Number | None = Field(default=None, description="At or under this weight the threshold rule fires.")
    upper_pct: Number | None = Field(default=None, description="At or over this weight the threshold rule fires.")


class PlanReply(Reply):
    """The last plan that ended."""

    plan_id: str
    kind: str
    reason: str
    outcome: str
    detail: str
    closed_at: Timestamp
    market_time: Timestamp
    orders: int
    fills: int
    worst_drift_pct: Number | None = None


class StrategyReply(Reply):
    """A strategy in brief. ``value`` at bid in the quote currency; null while a price or the position is unknown.

    ``contributed``: money put in less what was taken out of it; ``profit``: value less that. Of a closed strategy the
    profit is final: all that was taken out and returned, less all that was put in; null where that is not known.
    """

    id: str
    name: str
    venue: str
    status: StrategyStatus
    version: int
    revision: int = Field(default=1, description="Counts the edits of the definition; an edit names the one it is for.")
    change: str
    created_at: Timestamp
    active_since: Timestamp | None = None
    exit_reason: str = ""
    exit_action: ExitAction | None = Field(default=None, description="How it ends, once it does: sell or keep.")
    reason: str = ""
    contributed: Amount | None = None
    value: Number | None = None
    profit: Number | None = None
    profit_pct: Number | None = None
    peak_profit_pct: Number | None = Field(default=None, description="The highest profit so far, if a rule trails it.")


class RequestReply(Reply):
    """One thing that was asked of the strategy and is not finished; they are carried out in order."""

    request_id: str
    kind: RequestKind
    stage: RequestStage
    cause: str = Field(description="user, edit, schedule or drawdown.")
    asked_at: Timestamp
    asset: str = ""
    amount: Amount | None = None
    percent: Number | None = None
    sentence: str = Field(description="What was asked, and how far it is, in plain words.")


class AutoInvestReply(Reply):
    """How far Auto-Invest has come. Times are market time; ``invested`` is worth in the quote currency."""

    status: AutoInvestStatus
    reason: str = ""
    sentence: str
    since: Timestamp
    cycle: int = Field(description="Cycles decided so far, made or not.")
    settled_until: Timestamp | None = None
    last_made_at: Timestamp | None = None
    invested: Amount
    carried: Amount = Field(description="Left by earlier cycles for the next one, in the asset of Auto-Invest.")
    pending: bool = Field(description="A cycle's money is on its way.")
    next_dates: list[Timestamp] = Field(default=[], description="The next scheduled dates; empty while it stands.")


class StrategyDetailReply(StrategyReply):
    """A strategy in full."""

    document: Document
    inputs: dict[str, str] = {}
    changed_by: str = Field(default="", description="Who made the newest version: user, or the name of a service.")
    requests: list[RequestReply] = Field(default=[], description="What is under way, in order.")
    auto_invest: AutoInvestReply | None = None
    contributed_in: Amount | None = Field(default=None, description="Worth of all that was ever put in.")
    withdrawn: Amount | None = Field(default=None, description="Worth of all that was ever taken out before its end.")
    total_profit: Number | None = Field(default=None, description="Value and withdrawn, less all that was put in.")
    released: dict[str, Amount] = Field(default={}, description="What was returned at its end, dust included.")
    assets: list[AssetReply]
    holdings: dict[str, Amount]
    fees_paid: dict[str, Amount]
    position_version: int | None = None
    open_plan_id: str | None = None
    last_plan: PlanReply | None = None
    warnings: list[str] = []


class StrategiesReply(Reply):
    """A page of strategies, newest first; ``next`` continues with ``?after=`` and is empty at the end."""

    strategies: list[StrategyReply]
    next: str = ""


class DecisionReply(Reply):
    """One decision, or ``count`` equal ones in a row. Times are market time.

    ``sentence`` says it in plain words, with the figures of the newest (``last_at``).
    """

    code: str
    sentence: str
    acted: bool
    count: int
    first_at: Timestamp
    last_at: Timestamp
    strategy_version: int
    plan_id: str = ""
    inputs: dict[str, str] = {}
    evaluator: str = ""


class DecisionsReply(Reply):
    """The newest decisions of a strategy, newest first."""

    strategy_id: str
    decisions: list[DecisionReply]


class WalletReply(Reply):
    """The spot wallet of a venue: money that no strategy holds. ``dust``: beside it, what exits could not sell."""

    venue: str
    version: int
    balances: dict[str, Amount]
    dust: dict[str, Amount] = {}


class SweptReply(Reply):
    """Dust that is in the wallet now."""

    venue: str
    asset: str
    amount: Amount
    transaction_id: str


class WalletsReply(Reply):
    """Every wallet."""

    wallets: list[WalletReply]


class DepositReply(Reply):
    """A paper deposit that the venue has accepted; the wallet shows it once the venue's account was read."""

    id: str
    venue: str
    asset: str
    amount: Amount


class InstrumentReply(Reply):
    """One tradable pair with its rules; ``taker_fee`` is a fraction."""

    symbol: str
    base: str
    quote: str
    lot_step: Amount
    min_quantity: Amount
    max_quantity: Amount
    tick_size: Amount
    min_notional: Amount
    taker_fee: Amount
    tradable: bool
    unreconciled: bool = False


class InstrumentsReply(Reply):
    """Every pair of a venue."""

    venue: str
    quote: str
    instruments: list[InstrumentReply]


class PriceReply(Reply):
    """The newest quote of one asset, at market time ``at``; a stale one is not traded on."""

    asset: str
    bid: Amount
    ask: Amount
    at: Timestamp
    stale: bool


class PricesReply(Reply):
    """The newest quotes of a venue."""

    venue: str
    market_time: Timestamp
    published_at: Timestamp
    prices: list[PriceReply]


class HealthReply(Reply):
    """Whether the gateway can answer."""

    healthy: bool
    problems: list[str] = []


class HaltReply(Reply):
    """Whether orders are sent at a venue. ``cause``: "asked" (a person) or "guards"; "" = the switch was never used."""

    venue: str
    halted: bool
    cause: str = ""
    reason: str = ""
    changed_at: Timestamp | None = None


class HaltsReply(Reply):
    """The kill switches, by venue."""

    halts: list[HaltReply]

"""/strategies/{id}/results, /history, /position and /available: what a strategy has earned, held and may still use."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from services.gateway.backing import Backing
from services.gateway.decision_times import moment_in
from services.gateway.replies import Reply, StrategyDetailReply
from shared.contracts.reservations import AssetAvailable, AvailableReported, OrderReserved, ReportAvailable
from shared.contracts.results import (
    AssetResult,
    HistoryPoint,
    HistoryReported,
    HoldingsReported,
    ReportHistory,
    ReportHoldings,
    ReportResults,
    ResultsReported,
)
from shared.contracts.wire import Amount, Number, Timestamp
from shared.core import drift
from shared.core.errors import Refused, RetryLater
from shared.core.lots import Method

Moment = Annotated[str, Query(max_length=64, description="Market time, as the venue's clock showed it then.")]
Before = Annotated[str, Query(max_length=64, description="Only what is older than this market time.")]


class ResultsReply(Reply):
    """What a strategy has earned. Money in ``quote``, returns as fractions (0.1 is 10 %); null: it has no meaning."""

    strategy_id: str
    method: Method
    quote: str
    sequence: int = Field(description="The newest journal entry that is included.")
    at: Timestamp | None = Field(description="Market time of the prices; null: none were heard.")
    final: bool = Field(description="It holds nothing any more.")
    assets: list[AssetResult]
    put_in: Number
    taken_out: Number
    value: Number
    profit: Number = Field(description="value + taken_out - put_in = realised + unrealised")
    realised: Number
    unrealised: Number
    fees_worth: Number
    simple_return: Number | None
    xirr: Number | None = Field(description="Money-weighted, by the year.")
    twr: Number | None = Field(description="Time-weighted, over its whole life.")
    held_value: Number = Field(description="What the initial basket would be worth, with the same flows.")
    rebalancing_gain: Number = Field(description="Against holding that basket, before the fees.")
    rebalancing_costs: Number
    rebalancing_net: Number
    at_cost: list[str] = Field(description="Assets without a price: they count at their cost.")


class HistoryReply(Reply):
    """Value and weights at the regular marks of market time, newest first; ``next``: pass it as ``before``."""

    strategy_id: str
    points: list[HistoryPoint]
    next: Timestamp | None


class PositionThenReply(Reply):
    """What a strategy held at a market time. ``sequence``: the newest journal entry that could be included."""

    strategy_id: str
    at: Timestamp
    sequence: int
    holdings: dict[str, Amount]


class AvailableReply(Reply):
    """What a strategy holds now, and what of it open orders hold. ``sequence``: the newest journal entry."""

    strategy_id: str
    sequence: int
    assets: list[AssetAvailable] = Field(description="balance = reserved + available")
    orders: list[OrderReserved] = Field(description="What each open order may still take; perhaps more than is held.")


class WalletThenReply(Reply):
    """What a wallet held then."""

    venue: str
    balances: dict[str, Amount]


class WalletsThenReply(Reply):
    """Every wallet at a market time. ``sequence``: the newest journal entry that could be included."""

    at: Timestamp
    sequence: int
    wallets: list[WalletThenReply]


def results_routes(backing: Backing) -> APIRouter:
    """The routes, answering from ``backing``."""
    router = APIRouter(prefix="/strategies", tags=["results"])

    @router.get("/{strategy_id}/results", summary="Profit, returns, lots and the gain from rebalancing")
    async def results(strategy_id: str, method: Method = Method.FIFO) -> ResultsReply:
        backing.known(strategy_id)
        told = await backing.ledger.ask(ReportResults(strategy_id=strategy_id, method=method), ResultsReported)
        return ResultsReply(**{name: getattr(told, name) for name in ResultsReported.model_fields})

    @router.get("/{strategy_id}/history", summary="Value and weights over time, newest first")
    async def history(
        strategy_id: str, limit: Annotated[int, Query(ge=1, le=1000)] = 200, before: Before = ""
    ) -> HistoryReply:
        backing.known(strategy_id)
        question = ReportHistory(strategy_id=strategy_id, limit=limit, before=moment_in(before) if before else None)
        points = list((await backing.ledger.ask(question, HistoryReported)).points)
        following = points[-1].at if len(points) == limit else None
        return HistoryReply(strategy_id=strategy_id, points=points, next=following)

    @router.get("/{strategy_id}/position", summary="What it held at a market time")
    async def position(strategy_id: str, at: Moment) -> PositionThenReply:
        backing.known(strategy_id)
        told = await backing.ledger.ask(ReportHoldings(strategy_id=strategy_id, at=moment_in(at)), HoldingsReported)
        holdings = {asset: amount for one in told.accounts for asset, amount in one.balances.items()}
        return PositionThenReply(strategy_id=strategy_id, at=told.at, sequence=told.sequence, holdings=holdings)

    @router.get("/{strategy_id}/available", summary="What it holds now, and what of it open orders have reserved")
    async def available(strategy_id: str) -> AvailableReply:
        backing.known(strategy_id)
        told = await backing.ledger.ask(ReportAvailable(strategy_id=strategy_id), AvailableReported)
        return AvailableReply(
            strategy_id=strategy_id, sequence=told.sequence, assets=list(told.assets), orders=list(told.orders)
        )

    return router


async def wallets_at(backing: Backing, at: datetime) -> WalletsThenReply:
    """Every wallet at a market time."""
    told = await backing.ledger.ask(ReportHoldings(at=at), HoldingsReported)
    wallets = [WalletThenReply(venue=one.owner, balances=one.balances) for one in told.accounts]
    return WalletsThenReply(at=told.at, sequence=told.sequence, wallets=wallets)


async def with_final_profit(backing: Backing, detail: StrategyDetailReply) -> StrategyDetailReply:
    """A closed strategy with what came of it, as the ledger valued what it gave back; or as it is."""
    try:
        told = await backing.ledger.ask(ReportResults(strategy_id=detail.id), ResultsReported)
    except (Refused, RetryLater):
        return detail
    if not told.final or told.put_in <= 0:
        return detail
    profit, percent = drift.shown(told.profit), drift.profit_pct(told.put_in + told.profit, told.put_in)
    return detail.model_copy(update={"profit": profit, "profit_pct": percent, "total_profit": profit})

"""The messages an evaluator lives on, with sensible defaults."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.contracts.books import PositionChanged
from shared.contracts.frames import FrameQuote, PriceFrame
from shared.contracts.plans import PlanClosedSummary, PlanProgressed
from shared.contracts.prices import InstrumentListed, InstrumentsListed, PricesSnapshotted, QuoteSeen
from shared.contracts.strategies import AutoInvestProgress, RequestMade, RequestStage, StrategyChanged
from shared.core.auto_invest import AutoInvestStatus
from shared.core.position import PlanOutcome
from shared.core.situation import RequestKind
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import AT, BIGONE

D = Decimal
ASSETS = ("ONE", "BTC", "ETH")
NS = 1_000_000_000
AT_MS = int(AT.timestamp() * 1000)


def instruments(*assets: str, tradable: bool = True, min_notional: str = "5") -> InstrumentsListed:
    small = D("0.00000001")
    return InstrumentsListed(
        venue="paper",
        quote="USDT",
        instruments=tuple(
            InstrumentListed(
                symbol=f"{asset}USDT",
                base=asset,
                quote="USDT",
                lot_step=small,
                min_quantity=small,
                max_quantity=D(10**9),
                tick_size=small,
                min_notional=D(min_notional),
                taker_fee=D("0.001"),
                tradable=tradable,
            )
            for asset in assets or ASSETS
        ),
    )


FRIDAYS = {"amount": "50", "schedule": {"every": "friday", "at": "14:00"}}


def strategy(
    strategy_id: str,
    status: str = "active",
    version: int = 4,
    *,
    requests: tuple[RequestMade, ...] = (),
    invested: AutoInvestProgress | None = None,
    **changes: Any,
) -> StrategyChanged:
    return StrategyChanged(
        strategy_id=strategy_id,
        version=version,
        change="activated",
        status=StrategyStatus(status),
        document={**BIGONE, **changes},
        created_at=AT,
        active_since=AT if status == "active" else None,
        requests=requests,
        auto_invest=invested,
    )


def asked(request_id: str, kind: str, stage: str = "open", **changes: Any) -> RequestMade:
    """A request for 100 USDT, or for a rebalance."""
    money = {} if kind == "rebalance" else {"asset": "USDT", "amount": D(100)}
    fields: dict[str, Any] = {"cause": "user", "asked_at": AT, **money, **changes}
    return RequestMade(request_id=request_id, kind=RequestKind(kind), stage=RequestStage(stage), **fields)


def investing(cycle: int = 0, **changes: Any) -> AutoInvestProgress:
    """Auto-Invest that runs since the strategy became active."""
    return AutoInvestProgress(status=AutoInvestStatus.RUNNING, since=AT, cycle=cycle, **changes)


def position(
    strategy_id: str,
    holdings: Mapping[str, str],
    version: int = 1,
    *,
    fills_posted: int = 0,
    contributed: str = "1200",
) -> PositionChanged:
    return PositionChanged(
        strategy_id=strategy_id,
        venue="paper",
        version=version,
        fills_posted=fills_posted,
        holdings={asset: D(held) for asset, held in holdings.items()},
        contributed=D(contributed),
        fees_paid={},
    )


def closed(
    strategy_id: str,
    plan_id: str,
    sequence: int = 1,
    *,
    kind: str = "rebalance",
    outcome: PlanOutcome = PlanOutcome.COMPLETED,
    market_time: datetime = AT - timedelta(hours=1),
    fills_total: int = 0,
    answers: str = "",
    **changes: Any,
) -> PlanProgressed:
    """A plan that ended, with a fill."""
    summary = PlanClosedSummary(
        plan_id=plan_id,
        kind=kind,
        reason="threshold_reached:BTC",
        outcome=outcome,
        detail="",
        closed_at=market_time,
        market_time=market_time,
        orders=1,
        fills=1,
        answers=answers,
    )
    return PlanProgressed(
        strategy_id=strategy_id,
        venue="paper",
        sequence=sequence,
        change="closed",
        open_plan_id=None,
        last_closed=summary,
        fills_total=fills_total,
        sealed=False,
        **changes,
    )


def accepted(strategy_id: str, plan_id: str, sequence: int = 1) -> PlanProgressed:
    return PlanProgressed(
        strategy_id=strategy_id,
        venue="paper",
        sequence=sequence,
        change="accepted",
        open_plan_id=plan_id,
        last_closed=None,
        fills_total=0,
        sealed=False,
    )


def frame(
    sequence: int,
    prices: Mapping[str, str],
    received_ns: int,
    *,
    epoch: str = "e1",
    market_time_ms: int | None = None,
) -> PriceFrame:
    at_ms = AT_MS + sequence * 1000 if market_time_ms is None else market_time_ms
    quotes = tuple(FrameQuote(asset, price, price, at_ms, received_ns) for asset, price in prices.items())
    return PriceFrame("paper", epoch, sequence, at_ms, quotes)


def snapshot(
    sequence: int,
    prices: Mapping[str, str],
    received_ns: int,
    *,
    epoch: str = "e1",
    stale: tuple[str, ...] = (),
) -> PricesSnapshotted:
    at = datetime.fromtimestamp(AT_MS / 1000 + sequence, UTC)
    return PricesSnapshotted(
        venue="paper",
        epoch=epoch,
        sequence=sequence,
        market_time=at,
        quotes=tuple(
            QuoteSeen(asset=asset, bid=D(price), ask=D(price), at=at, received_ns=received_ns)
            for asset, price in prices.items()
        ),
        stale=stale,
    )

"""Strategies, positions and markets for the tests of decisions, certificates and the drift index."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.core.market import Instrument, Quote
from shared.core.position import PlanProgress, Position
from shared.core.situation import Market, Situation, StrategyView
from shared.core.strategy import StrategyStatus, parse_strategy

AT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

BIGONE = {
    "name": "BigONE's example",
    "venue": "paper",
    "funding_asset": "USDT",
    "amount": "1200",
    "targets": {"ONE": "40", "BTC": "30", "ETH": "30"},
    "rebalance": {"threshold": "5"},
}


def instrument(base: str, **changes: Any) -> Instrument:
    made = Instrument(
        venue="paper",
        symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        lot_step=Decimal("0.00000001"),
        min_quantity=Decimal("0.00000001"),
        max_quantity=Decimal(1_000_000_000),
        tick_size=Decimal("0.00000001"),
        min_notional=Decimal(5),
        taker_fee=Decimal("0.001"),
    )
    return replace(made, **changes)


def market(prices: Mapping[str, str], at: datetime = AT, **changes: Any) -> Market:
    """A market where bid = ask, with an instrument for every asset."""
    return replace(
        Market(
            quotes={asset: Quote(Decimal(price), Decimal(price), at) for asset, price in prices.items()},
            instruments={asset: instrument(asset) for asset in prices},
            quote="USDT",
            now=at,
        ),
        **changes,
    )


def situation(
    holdings: Mapping[str, str],
    document: Mapping[str, Any] = BIGONE,
    *,
    status: StrategyStatus = StrategyStatus.ACTIVE,
    contributed: str = "1200",
    progress: PlanProgress | None = None,
    last_kind: str = "",
    **changes: Any,
) -> Situation:
    """An active strategy with these holdings, no plan open, nothing pending."""
    view = StrategyView("s1", 4, status, parse_strategy({**document, **changes}), AT)
    position = Position("s1", 7, 0, {a: Decimal(q) for a, q in holdings.items()}, Decimal(contributed))
    return Situation(view, position, progress or PlanProgress("s1"), last_kind)

"""From the views to answers: what a strategy is worth and how far it is from its targets. Pure."""

from datetime import datetime
from decimal import Decimal

from services.gateway.replies import (
    AssetReply,
    AutoInvestReply,
    PlanReply,
    RequestReply,
    StrategyDetailReply,
    StrategyReply,
)
from services.gateway.views import Views
from services.gateway.wording import auto_invest_sentence, request_sentence
from shared.contracts.books import PositionChanged
from shared.contracts.plans import PlanClosedSummary
from shared.contracts.strategies import StrategyChanged
from shared.core import drift
from shared.core.auto_invest import AutoInvestStatus
from shared.core.exits import rebased
from shared.core.market import Quote
from shared.core.money import HUNDRED, ZERO, parse_decimal
from shared.core.schedule import dates
from shared.core.situation import Peak, RequestKind
from shared.core.strategy import StrategyDefinition, StrategyStatus, warnings_of

_SHOWN_QUOTE = "USDT"
_DATES_SHOWN = 3
_ENDED = frozenset({StrategyStatus.CLOSED, StrategyStatus.REFUSED})


def strategy_brief(strategy: StrategyChanged, views: Views) -> StrategyReply:
    """A strategy in brief, at the newest prices."""
    position = views.positions.get(strategy.strategy_id)
    valuation = _valuation(strategy.definition(), position, views)
    return StrategyReply(**_brief_fields(strategy, position, valuation))


def strategy_detail(strategy: StrategyChanged, views: Views) -> StrategyDetailReply:
    """A strategy in full, at the newest prices."""
    definition = strategy.definition()
    position = views.positions.get(strategy.strategy_id)
    progress = views.progress.get(strategy.strategy_id)
    valuation = _valuation(definition, position, views)
    last = progress.last_closed if progress else None
    return StrategyDetailReply(
        **_brief_fields(strategy, position, valuation),
        document=strategy.document,
        inputs=strategy.inputs,
        changed_by=strategy.changed_by,
        requests=_requests(strategy, definition),
        auto_invest=_auto_invest(strategy, definition, views),
        released=strategy.released,
        **_money_moved(strategy, position, valuation),
        assets=_assets(definition, position, valuation, views),
        holdings=position.holdings if position else {},
        fees_paid=position.fees_paid if position else {},
        position_version=position.version if position else None,
        open_plan_id=progress.open_plan_id if progress else None,
        last_plan=_plan(last) if last else None,
        warnings=_warnings(strategy, definition, position, views),
    )


def _brief_fields(
    strategy: StrategyChanged, position: PositionChanged | None, valuation: drift.Valuation | None
) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": strategy.strategy_id,
        "name": strategy.document["name"],
        "venue": strategy.document["venue"],
        "status": strategy.status,
        "version": strategy.version,
        "revision": strategy.revision,
        "change": strategy.change,
        "created_at": strategy.created_at,
        "active_since": strategy.active_since,
        "exit_reason": strategy.exit_reason,
        "exit_action": strategy.exit_action if strategy.exit_reason else None,
        "reason": strategy.reason,
    }
    if strategy.peak is not None:
        contributed = position.contributed if position is not None else strategy.peak.contributed
        fields["peak_profit_pct"] = drift.shown(
            rebased(Peak(strategy.peak.profit_pct, strategy.peak.contributed), contributed)
        )
    if position is not None:
        fields["contributed"] = position.contributed
    if strategy.status is StrategyStatus.CLOSED:
        profit, put_in = _final_profit(strategy, position), position.contributed_in if position is not None else ZERO
        if profit is not None:
            fields["profit"] = drift.shown(profit)
            fields["profit_pct"] = drift.profit_pct(put_in + profit, put_in)
    elif position is not None and valuation is not None:
        fields["value"] = drift.shown(valuation.total)
        if position.contributed > 0:
            fields["profit"] = drift.shown(valuation.total - position.contributed)
            fields["profit_pct"] = drift.profit_pct(valuation.total, position.contributed)
    return fields


def _final_profit(strategy: StrategyChanged, position: PositionChanged | None) -> Decimal | None:
    """Of a closed strategy: all that was withdrawn and returned, less all that was put in; None when not known.

    As the registry noted it at the time; where all came back in the quote currency the books tell it by themselves.
    """
    if position is None or position.contributed_in <= ZERO:
        return None
    if "profit" in strategy.inputs:
        return parse_decimal(strategy.inputs["profit"], "profit")
    if set(strategy.released) != {_SHOWN_QUOTE}:
        return None
    return position.withdrawn + strategy.released[_SHOWN_QUOTE] - position.contributed_in


def _money_moved(
    strategy: StrategyChanged, position: PositionChanged | None, valuation: drift.Valuation | None
) -> dict[str, object]:
    """What ever went in and out. A position that tells of no money put in is one from before that was counted."""
    if position is None or position.contributed_in <= ZERO:
        return {}
    fields: dict[str, object] = {"contributed_in": position.contributed_in, "withdrawn": position.withdrawn}
    if strategy.status is StrategyStatus.CLOSED:
        final = _final_profit(strategy, position)
        return fields | ({"total_profit": drift.shown(final)} if final is not None else {})
    if valuation is not None:
        fields["total_profit"] = drift.shown(valuation.total + position.withdrawn - position.contributed_in)
    return fields


def _requests(strategy: StrategyChanged, definition: StrategyDefinition) -> list[RequestReply]:
    is_paused = strategy.status is StrategyStatus.PAUSED
    return [
        RequestReply(
            **one.model_dump(exclude={"position_version", "asset"}),
            asset=one.asset or ("" if one.kind is RequestKind.REBALANCE else definition.funding_asset),
            sentence=request_sentence(
                one, is_first=not number, is_paused=is_paused, funding_asset=definition.funding_asset
            ),
        )
        for number, one in enumerate(strategy.requests)
    ]


def _auto_invest(strategy: StrategyChanged, definition: StrategyDefinition, views: Views) -> AutoInvestReply | None:
    """How far Auto-Invest is; None without one, and before it begins."""
    progress, wanted = strategy.auto_invest, definition.auto_invest
    if progress is None or wanted is None:
        return None
    goes_on = strategy.status is StrategyStatus.ACTIVE and progress.status is AutoInvestStatus.RUNNING
    coming: tuple[datetime, ...] = ()
    if goes_on and wanted.schedule is not None:
        told = (progress.since, progress.settled_until, market_time_of(definition.venue, views))
        coming = dates(wanted.schedule, progress.since, max(filter(None, told)), _DATES_SHOWN)
    is_paused = strategy.status is StrategyStatus.PAUSED
    return AutoInvestReply(
        **progress.model_dump(),
        sentence=auto_invest_sentence(progress, wanted.asset, is_paused=is_paused),
        next_dates=list(coming),
    )


def market_time_of(venue: str, views: Views) -> datetime | None:
    """The market time of a venue's newest prices, None while there are none."""
    seen = views.prices.get(venue)
    return seen.snapshot.market_time if seen is not None else None


def _valuation(
    definition: StrategyDefinition, position: PositionChanged | None, views: Views
) -> drift.Valuation | None:
    """Value at bid; None while the position or any price is unknown."""
    if position is None:
        return None
    quotes, quote = _quotes(definition.venue, views), _quote_currency(definition.venue, views)
    held = {asset: amount for asset, amount in position.holdings.items() if amount}
    if drift.without_price(drift.assets_concerned(held, definition.targets), quotes, quote):
        return None
    return drift.value_at_bid(held, definition.targets, quotes, quote)


def _assets(
    definition: StrategyDefinition,
    position: PositionChanged | None,
    valuation: drift.Valuation | None,
    views: Views,
) -> list[AssetReply]:
    if valuation is not None:
        return [
            AssetReply(
                asset=line.asset,
                quantity=line.quantity,
                bid=line.bid,
                value=drift.shown(line.value),
                target_pct=line.target_pct,
                actual_pct=drift.weight_pct(line, valuation.total),
                **_band(definition, line.asset),
            )
            for line in valuation.lines
        ]
    holdings = position.holdings if position else {}
    quotes = _quotes(definition.venue, views)
    concerned = drift.assets_concerned(holdings, definition.targets)
    return [
        AssetReply(
            asset=asset,
            quantity=holdings.get(asset, ZERO),
            bid=quotes[asset].bid if asset in quotes else None,
            target_pct=definition.targets.get(asset, ZERO),
            **_band(definition, asset),
        )
        for asset in concerned
    ]


def _band(definition: StrategyDefinition, asset: str) -> dict[str, Decimal | None]:
    """The weights at which the threshold fires for an asset, whatever kind it is; nothing without a threshold."""
    if definition.rule.threshold is None:
        return {}
    target = definition.targets.get(asset, ZERO)
    width = definition.rule.threshold.width(asset, definition.targets)
    return {
        "lower_pct": max(ZERO, drift.shown(target - width)),
        "upper_pct": min(HUNDRED, drift.shown(target + width)),
    }


def _plan(last: PlanClosedSummary) -> PlanReply:
    return PlanReply(**last.model_dump(exclude={"outcome"}), outcome=last.outcome.value)


def _warnings(
    strategy: StrategyChanged, definition: StrategyDefinition, position: PositionChanged | None, views: Views
) -> list[str]:
    if strategy.status in _ENDED:
        return []
    found = list(warnings_of(definition))
    seen = views.prices.get(definition.venue)
    concerned = drift.assets_concerned(position.holdings if position else {}, definition.targets)
    stale = set(seen.snapshot.stale) if seen else set()
    found += [f"the price of {asset} is stale: it is not traded on" for asset in concerned if asset in stale]
    missing = drift.without_price(concerned, _quotes(definition.venue, views), _quote_currency(definition.venue, views))
    if missing:
        found.append(f"the price of {missing} is not known: the value cannot be told")
    return found


def _quotes(venue: str, views: Views) -> dict[str, Quote]:
    seen = views.prices.get(venue)
    return {one.asset: Quote(one.bid, one.ask, one.at) for one in seen.snapshot.quotes} if seen else {}


def _quote_currency(venue: str, views: Views) -> str:
    listed = views.instruments.get(venue)
    return listed.quote if listed else _SHOWN_QUOTE

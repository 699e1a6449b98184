"""The figures people ask for, from a strategy's results, its flows and the newest prices. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from services.ledger.market import PricesHeard
from services.ledger.results import StrategyResults, Valuation
from shared.contracts.results import AssetResult, ResultsReported
from shared.core.lots import Method
from shared.core.money import ONE, ZERO, exact
from shared.core.returns import Flow, simple_return, xirr


@exact
def report_of(
    results: StrategyResults, method: Method, flows: Sequence[Flow], heard: PricesHeard | None, sequence: int
) -> ResultsReported:
    """Everything about one strategy; ``flows``: all of them, ``heard``: the newest prices of its venue."""
    bids: Mapping[str, Decimal] = {} if heard is None else heard.bids
    now = results.value_at(bids)
    assets = tuple(_asset(results, asset, method, bids) for asset in _assets(results, method))
    realised = sum((asset.realised for asset in assets), ZERO)
    profit = now.value + results.taken_out - results.put_in
    held = now.basket + results.basket.taken_out
    net = now.value + results.taken_out - held
    return ResultsReported(
        strategy_id=results.strategy_id,
        method=method,
        quote=results.quote,
        sequence=sequence,
        at=None if heard is None else heard.market_time,
        final=not results.holdings,
        assets=assets,
        put_in=results.put_in,
        taken_out=results.taken_out,
        value=now.value,
        profit=profit,
        realised=realised,
        unrealised=profit - realised,
        fees_worth=results.fees_worth,
        simple_return=simple_return(results.put_in, results.taken_out, now.value),
        xirr=_yearly(results, flows, now, heard),
        twr=now.growth if flows else None,
        held_value=now.basket,
        rebalancing_gain=net + results.basket.costs,
        rebalancing_costs=results.basket.costs,
        rebalancing_net=net,
        at_cost=now.at_cost,
    )


def _assets(results: StrategyResults, method: Method) -> list[str]:
    realised = {asset for (of, asset) in results.realised if of is method}
    return sorted({*results.holdings, *realised, *results.fees})


def _asset(results: StrategyResults, asset: str, method: Method, bids: Mapping[str, Decimal]) -> AssetResult:
    quantity = results.holdings.get(asset, ZERO)
    book = results.lots.get((method, asset))
    is_quote = asset == results.quote
    cost = quantity if is_quote else (book.cost if book is not None else ZERO)
    price = ONE if is_quote else bids.get(asset)
    value = None if price is None else quantity * price
    return AssetResult(
        asset=asset,
        quantity=quantity,
        cost=cost,
        realised=results.realised.get((method, asset), ZERO),
        fees=results.fees.get(asset, ZERO),
        price=price,
        value=value,
        unrealised=None if value is None else value - cost,
    )


def _yearly(
    results: StrategyResults, flows: Sequence[Flow], now: Valuation, heard: PricesHeard | None
) -> Decimal | None:
    """XIRR until now; of a strategy that has ended, until its last flow."""
    if not flows:
        return None
    last = max(flow.at for flow in flows)
    until: datetime = last if heard is None or not results.holdings else max(last, heard.market_time)
    return xirr(flows, now.value, until)

"""A plan on direct pairs, phase by phase: the orders it makes, and what is left to trade when they did not."""

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from services.order_executor.records import FillRecord, OrderRecord, PlanRecord, holdings_of, traded_on
from services.order_executor.steps import Close, Market, Send, next_step
from shared.contracts.plans import TradedWays, styled
from shared.core.market import Instrument, Quote
from shared.core.matching import Side
from shared.core.money import ONE, ZERO, exact
from shared.core.order_styles import OrderKind, OrderStyle, Styling
from shared.core.orders import OrderState
from shared.core.position import PlanOutcome
from shared.core.routing import DirectPair
from tests.services.order_executor.test_steps import NOW, TERMS, line, record

D = Decimal
FEE = D("0.001")
DRIFTED = (line("BTC", "1", "50000", "50"), line("ETH", "0", "2500", "50"), line("USDT", "0", "1", "0"))


def pair(base: str, quote: str, price: Decimal, half_spread_bps: int = 1, lot: str = "0.00001") -> DirectPair:
    """A pair about ``price``; ``instrument.quote`` USDT makes it one of the legs."""
    tick = D(1).scaleb(price.adjusted() - 6)
    half = price * half_spread_bps / 10_000
    least = D(5) if quote == "USDT" else D("0.0001")
    symbol = f"{base}{quote}"
    listed = Instrument("paper", symbol, base, quote, D(lot), D(lot), D(10**9), tick, least, FEE)
    return DirectPair(listed, Quote((price - half).quantize(tick), (price + half).quantize(tick), NOW))


def market(prices: dict[str, Decimal], *pairs: DirectPair) -> Market:
    legs = {asset: pair(asset, "USDT", price) for asset, price in prices.items()}
    quotes = {asset: leg.quote for asset, leg in legs.items()}
    return Market(quotes, {asset: leg.instrument for asset, leg in legs.items()}, pairs=pairs)


TWO = {"BTC": D(50000), "ETH": D(2500)}


@exact
def filled(
    plan: PlanRecord, step: Send, seen: Market, share: Decimal = ONE, direct: Decimal | None = None
) -> PlanRecord:
    """The record once ``share`` of each order (``direct``: of those on pairs) has traded at the touch."""
    touches = {one.instrument.symbol: one.quote for one in seen.pairs}
    touches |= {one.symbol: seen.quotes[one.base] for one in seen.instruments.values()}
    orders: list[OrderRecord] = []
    fills: list[FillRecord] = []
    for order in step.orders:
        part = share if direct is None or not order.is_direct else direct
        quantity = (order.quantity * part).quantize(D("0.00001"))
        state = OrderState.FILLED if quantity == order.quantity else OrderState.PARTIALLY_FILLED
        orders.append(replace(order, state=state if quantity else OrderState.UNFILLED, filled_quantity=quantity))
        quote = touches[order.symbol]
        price = quote.ask if order.side is Side.BUY else quote.bid
        assert price <= order.limit_price if order.side is Side.BUY else price >= order.limit_price
        if quantity:
            money = quantity * price
            received, asset = (quantity, order.asset) if order.side is Side.BUY else (money, order.quote)
            name = f"{order.client_order_id}:1"
            traded = (name, name, order.asset, order.quote, order.side, quantity, money)
            fills.append(FillRecord(*traded, received * FEE, asset, NOW))
    return replace(plan, orders=(*plan.orders, *orders), fills=(*plan.fills, *fills), sizing=step.sizing)


def run(
    plan: PlanRecord, seen: Market, share: Decimal = ONE, direct: Decimal | None = None
) -> tuple[PlanRecord, Close]:
    """The plan to its end in a market that stands; no step may leave a holding below zero."""
    while True:
        step = next_step(plan, seen, TERMS)
        if isinstance(step, Close):
            return plan, step
        assert isinstance(step, Send)
        plan = filled(plan, step, seen, share, direct)
        held = holdings_of(plan)
        assert all(amount >= 0 for amount in held.values()), held


def direct_of(plan: PlanRecord) -> list[OrderRecord]:
    return [order for order in plan.orders if order.is_direct]


@exact
def worth(plan: PlanRecord, seen: Market) -> Decimal:
    held = holdings_of(plan)
    return held.pop("USDT", ZERO) + sum(amount * seen.quotes[asset].mid for asset, amount in held.items())


def test_next_step_when_a_pair_is_cheaper_sends_one_order_there_and_is_done() -> None:
    seen = market(TWO, pair("ETH", "BTC", D("0.05")))
    plan, done = run(record(*DRIFTED), seen)
    (order,) = plan.orders
    assert (order.symbol, order.asset, order.quote, order.side) == ("ETHBTC", "ETH", "BTC", Side.BUY)
    assert (order.round, order.kind, order.valued_in) == (0, OrderKind.IOC, "USDT")
    assert order.quote_price == seen.quotes["BTC"].bid
    assert done.outcome is PlanOutcome.COMPLETED
    assert done.detail.endswith("direct:BTC to ETH on ETHBTC at 11.0 bps instead of 22.0 bps through USDT")
    by_legs, _ = run(record(*DRIFTED), replace(seen, pairs=()))
    saved = worth(plan, seen) - worth(by_legs, seen)
    assert D(26) < saved < D(29)  # 11 bps of 25,000


@pytest.mark.parametrize("share", ["0", "0.3"])
def test_next_step_when_the_pair_did_not_trade_goes_through_the_quote_currency(share: str) -> None:
    seen = market(TWO, pair("ETH", "BTC", D("0.05")))
    plan, done = run(record(*DRIFTED), seen, direct=D(share))
    assert done.outcome is PlanOutcome.COMPLETED
    assert [order.symbol for order in direct_of(plan)] == ["ETHBTC"]
    assert [(order.symbol, order.side, order.round) for order in plan.orders[1:3]] == [
        ("BTCUSDT", Side.SELL, 2),
        ("ETHUSDT", Side.BUY, 3),
    ]
    assert ("direct:" in done.detail) is (share != "0")


@pytest.mark.parametrize(
    ("kind", "styling"),
    [
        ("exit", Styling()),
        ("withdraw", Styling()),
        ("rebalance", Styling(OrderStyle.MAKER)),
        ("rebalance", Styling(OrderStyle.TWAP, slice_notional=D(1_000_000))),
    ],
)
def test_next_step_when_nothing_is_bought_or_the_style_rests_or_slices_uses_no_pair(
    kind: str, styling: Styling
) -> None:
    seen = market(TWO, pair("ETH", "BTC", D("0.05")))
    plan = record(*DRIFTED, kind=kind)
    plan = replace(plan, plan=plan.plan.model_copy(update={"orders": styled(styling)}))
    step = next_step(plan, seen, TERMS)
    assert not isinstance(step, Send) or not any(order.is_direct for order in step.orders)


def test_next_step_when_the_style_is_market_sends_the_direct_order_with_a_limit() -> None:
    seen = market({**TWO, "SOL": D(100)}, pair("ETH", "BTC", D("0.05")))
    lines = (line("BTC", "1", "50000", "50"), line("ETH", "0", "2500", "25"), line("SOL", "0", "100", "25"))
    plan = record(*lines, line("USDT", "0", "1", "0"))
    terms = replace(TERMS, kinds=frozenset({OrderKind.IOC, OrderKind.MARKET}))
    plan = replace(plan, plan=plan.plan.model_copy(update={"orders": styled(Styling(OrderStyle.MARKET))}))
    step = next_step(plan, seen, terms)
    assert isinstance(step, Send)
    kinds = {order.symbol: (order.kind, order.side) for order in step.orders}
    assert kinds == {"BTCUSDT": (OrderKind.MARKET, Side.SELL), "ETHBTC": (OrderKind.IOC, Side.BUY)}


def test_next_step_when_an_asset_may_only_be_bought_or_sold_sells_and_buys_no_other() -> None:
    lines = [line("BTC", "1", "50000", "50"), line("ETH", "0", "2500", "50"), line("USDT", "0", "1", "0")]
    lines[0] = lines[0].model_copy(update={"ways": TradedWays.BUY})
    seen = market(TWO, pair("ETH", "BTC", D("0.05")))
    step = next_step(record(*lines, kind="invest"), seen, TERMS)
    assert not isinstance(step, Send) or step.orders == ()


@pytest.mark.parametrize(("side", "sold", "bought"), [(Side.SELL, "ETH", "BTC"), (Side.BUY, "BTC", "ETH")])
def test_traded_on_when_a_fill_is_on_a_direct_pair_counts_for_both_assets(side: Side, sold: str, bought: str) -> None:
    fill = FillRecord("t", "o", "ETH", "BTC", side, ONE, ONE, ZERO, "BTC", NOW)
    assert traded_on([fill], Side.SELL, "USDT") == {sold}
    assert traded_on([fill], Side.BUY, "USDT") == {bought}
    usual = replace(fill, quote="USDT")
    assert traded_on([usual], side, "USDT") == {"ETH"}
    assert traded_on([usual], Side.SELL if side is Side.BUY else Side.BUY, "USDT") == set()


def random_plan(rng: random.Random) -> tuple[PlanRecord, Market]:
    names = ("AAA", "BBB", "CCC", "DDD")[: rng.randint(2, 4)]
    prices = {name: D(rng.randint(1, 10**6)).scaleb(-rng.randint(0, 4)) for name in names}
    pairs = []
    for base in names:
        for quote in names:
            if base != quote and rng.random() < 0.5:
                with_premium = prices[base] / prices[quote] * (1 + D(rng.randint(-30, 30)) / 10_000)
                pairs.append(pair(base, quote, +with_premium, rng.choice((0, 1, 5, 30))))
    cuts = sorted(rng.sample(range(1, 100), len(names)))
    shares = [b - a for a, b in zip((0, *cuts), (*cuts, 100), strict=True)]
    lines = [
        line(name, str((D(rng.randint(0, 5000)) / prices[name]).quantize(D("1e-8"))), str(prices[name]), str(share))
        for name, share in zip(names, shares, strict=False)
    ]
    cash = line("USDT", str(rng.choice((0, rng.randint(0, 2000)))), "1", str(shares[-1]))
    return record(*lines, cash), market(prices, *pairs)


def test_plan_over_random_markets_with_pairs_ends_on_target_and_costs_no_more_than_through_the_quote_currency() -> None:
    used = 0
    for seed in range(400):
        rng = random.Random(seed)
        plan, seen = random_plan(rng)
        share = rng.choice((ONE, ONE, D("0.5")))
        routed, done = run(plan, seen, direct=share)
        by_legs, plainly = run(plan, replace(seen, pairs=()))
        symbols = [order.symbol for order in direct_of(routed)]
        assert len(set(symbols)) == len(symbols), "a pair is tried once"
        assert done.outcome is plainly.outcome, (seed, done, plainly)
        assert routed.last_round < 12, (seed, routed.last_round)
        # Rests under the smallest order are left in other places: a lot, or a minimum, more or less to be paid for.
        assert worth(routed, seen) >= worth(by_legs, seen) - D("0.05"), seed
        used += len(symbols)
    assert used > 200, "too few direct orders for this to show anything"

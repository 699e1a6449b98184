"""What comes next for a plan: phases, cycles, and how it ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.order_executor.records import CycleSizing, FillRecord, OrderRecord, PlanRecord, holdings_of
from services.order_executor.steps import MAX_CYCLES, Close, Market, Send, Terms, next_step, with_stale_named
from shared.contracts.plans import PlanLine, RebalancePlanned, TradedWays
from shared.core.market import Instrument, Quote
from shared.core.matching import Side
from shared.core.money import ZERO
from shared.core.orders import OrderState
from shared.core.position import PlanOutcome

D = Decimal
NOW = datetime(2026, 5, 1, tzinfo=UTC)
TERMS = Terms(D(50), 7, NOW, timedelta(seconds=1))


def instrument(base: str) -> Instrument:
    return Instrument(
        "paper", f"{base}USDT", base, "USDT", D("0.0001"), D("0.0001"), D(10**6), D("0.01"), D(5), D("0.001")
    )


def market(btc: str = "1000", eth: str = "100") -> Market:
    quotes = {"BTC": Quote(D(btc), D(btc), NOW), "ETH": Quote(D(eth), D(eth), NOW)}
    return Market(quotes, {"BTC": instrument("BTC"), "ETH": instrument("ETH")})


def line(asset: str, quantity: str, bid: str, target: str) -> PlanLine:
    price = D(bid)
    return PlanLine(
        asset=asset,
        quantity=D(quantity),
        bid=price,
        ask=price,
        value=D(quantity) * price,
        weight_pct=D(0),
        target_weight_pct=D(target),
    )


def record(*lines: PlanLine, kind: str = "rebalance") -> PlanRecord:
    plan = RebalancePlanned(
        plan_id="plan",
        strategy_id="s1",
        strategy_version=1,
        venue="paper",
        kind=kind,
        reason="threshold",
        inputs={},
        position_version=1,
        fills_seen=0,
        previous_plan_id="",
        funding_asset="USDT",
        quote="USDT",
        total_value=D(1000),
        lines=lines,
        market_time=NOW,
        decided_at=NOW,
        expires_at=NOW + timedelta(seconds=30),
        tick_received_ns=1,
    )
    return PlanRecord(plan, is_open=True)


def after(plan: PlanRecord, step: Send, share: str = "1") -> PlanRecord:
    """The record once ``share`` of each order of the phase has filled at its limit."""
    orders, fills = [], []
    for order in step.orders:
        quantity = order.quantity * D(share)
        whole = quantity == order.quantity
        state = OrderState.FILLED if whole else OrderState.PARTIALLY_FILLED if quantity else OrderState.UNFILLED
        orders.append(replace(order, state=state, filled_quantity=quantity))
        if quantity:
            money = quantity * order.limit_price
            fee, fee_asset = (quantity, order.asset) if order.side is Side.BUY else (money, "USDT")
            name = f"{order.client_order_id}:1"
            fills.append(
                FillRecord(name, name, order.asset, "USDT", order.side, quantity, money, fee / 1000, fee_asset, NOW)
            )
    return replace(plan, orders=(*plan.orders, *orders), fills=(*plan.fills, *fills), sizing=step.sizing)


DRIFTED = (line("BTC", "0.6", "1000", "50"), line("ETH", "4", "100", "50"), line("USDT", "0", "1", "0"))


def test_next_step_when_plan_is_new_sells_then_buys_then_closes() -> None:
    plan = record(*DRIFTED)
    sells = next_step(plan, market(), TERMS)
    assert isinstance(sells, Send)
    assert [(order.asset, order.side, order.round) for order in sells.orders] == [("BTC", Side.SELL, 0)]
    assert sells.orders[0].epoch == 7
    assert sells.orders[0].send_deadline == NOW + timedelta(seconds=1)
    assert sells.sizing == CycleSizing(0, {"BTC": D(1000), "ETH": D(100)})
    plan = after(plan, sells)
    buys = next_step(plan, market(), TERMS)
    assert isinstance(buys, Send)
    assert [(order.asset, order.side, order.round) for order in buys.orders] == [("ETH", Side.BUY, 1)]
    plan = after(plan, buys)
    done = next_step(plan, market(), TERMS)
    assert isinstance(done, Close)
    assert done.outcome is PlanOutcome.COMPLETED
    assert done.worst_drift_pct is not None
    assert done.worst_drift_pct < D("0.6")


def test_next_step_when_price_moves_between_phases_keeps_the_sizes_and_moves_the_limits() -> None:
    plan = record(*DRIFTED)
    sells = next_step(plan, market(), TERMS)
    assert isinstance(sells, Send)
    plan = after(plan, sells)
    buys = next_step(plan, market(eth="98", btc="1100"), TERMS)
    assert isinstance(buys, Send)
    assert buys.sizing == sells.sizing
    assert buys.orders[0].limit_price == D("98.04"), "5 bps above the ask: what the bound holds back stays unspent"
    plan = after(plan, buys)
    done = next_step(plan, market(eth="98", btc="1100"), TERMS)
    assert isinstance(done, Close)
    assert done.outcome is PlanOutcome.COMPLETED, "BTC, now dearer, is not sold again: the plan's prices measure it"


def test_next_step_when_sells_fill_partly_buys_from_what_they_brought_and_tries_again_fresh() -> None:
    plan = record(*DRIFTED)
    sells = next_step(plan, market(), TERMS)
    assert isinstance(sells, Send)
    plan = after(plan, sells, "0.5")
    buys = next_step(plan, market(), TERMS)
    assert isinstance(buys, Send)
    spent = sum(order.quantity * order.limit_price for order in buys.orders)
    assert spent <= holdings_of(plan)["USDT"]
    plan = after(plan, buys)
    again = next_step(plan, market(btc="1001"), TERMS)
    assert isinstance(again, Send)
    assert [(order.asset, order.round) for order in again.orders] == [("BTC", 2)]
    assert again.sizing == CycleSizing(1, {"BTC": D(1000), "ETH": D(100)}), "still the plan's own prices"
    ids = {order.client_order_id for order in (*plan.orders, *again.orders)}
    assert len(ids) == len(plan.orders) + 1


def test_next_step_when_nothing_ever_fills_gives_up_after_the_last_cycle() -> None:
    plan = record(*DRIFTED)
    phases = 0
    step = next_step(plan, market(), TERMS)
    while isinstance(step, Send):
        phases += 1
        plan = after(plan, step, "0")
        step = next_step(plan, market(), TERMS)
    assert phases == MAX_CYCLES
    assert step.outcome is PlanOutcome.PARTIAL
    assert "rounds_used_up" in step.detail


NEVER_MET = [
    # 5.1 USDT of ETH to buy are an order at 100; at 90 the smallest takes more than the cash there is.
    ("rebalance", [line("ETH", "4.949", "100", "50"), line("USDT", "505.1", "1", "50")], "nothing_tradable"),
    # 5.1 USDT of ETH to sell are an order at 100, less than any at 90. An exit is tried again.
    ("exit", [line("ETH", "0.051", "100", "0"), line("USDT", "0", "1", "100")], "partial"),
]


@pytest.mark.parametrize(("kind", "lines", "outcome"), NEVER_MET, ids=[row[0] for row in NEVER_MET])
def test_close_when_no_order_was_met_while_there_was_one_is_nothing_tradable(
    kind: str, lines: list[PlanLine], outcome: str
) -> None:
    plan = record(*lines, kind=kind)
    step = next_step(plan, market(), TERMS)
    assert isinstance(step, Send)
    done = next_step(after(plan, step, "0"), market(eth="90"), TERMS)
    assert isinstance(done, Close)
    assert done.outcome.value == outcome


def test_next_step_when_purchases_cost_more_and_bought_assets_are_over_ends_on_target() -> None:
    """Nine assets bought and each 3 over their targets, a tenth 27 under, no cash: it is not left so."""
    names = [f"A{number}" for number in range(9)]
    quotes = {name: Quote(D(10), D(10), NOW) for name in [*names, "B"]}
    now = Market(quotes, {name: instrument(name) for name in quotes})
    lines = [line(name, "9.3", "10", "10") for name in names] + [line("B", "7.3", "10", "10")]
    plan = record(*lines, line("USDT", "90", "1", "0"))
    bought = [
        FillRecord(name, name, name, "USDT", Side.BUY, D(1), D(10), ZERO, name, NOW)  # 10.3 each, all the cash
        for name in names
    ]
    sizing = CycleSizing(0, {name: D(10) for name in quotes})
    plan = replace(plan, fills=tuple(bought), sizing=sizing)
    steps = 0
    step = next_step(plan, now, TERMS)
    while isinstance(step, Send):
        steps += 1
        plan = after(plan, step)
        step = next_step(plan, now, TERMS)
    assert steps == 2, "sold in minimum legs, then bought"
    assert {order.asset for order in plan.orders if order.side is Side.BUY} == {"B"}
    assert step.outcome is PlanOutcome.COMPLETED
    assert step.worst_drift_pct is not None
    assert step.worst_drift_pct < D("0.51"), "an order of 5 in 1,000"


@pytest.mark.parametrize(("started", "outcome"), [(False, PlanOutcome.EXPIRED), (True, PlanOutcome.PARTIAL)])
def test_next_step_when_plan_has_expired_sends_nothing_more(*, started: bool, outcome: PlanOutcome) -> None:
    plan = record(*DRIFTED)
    if started:
        sells = next_step(plan, market(), TERMS)
        assert isinstance(sells, Send)
        plan = after(plan, sells)
    done = next_step(plan, market(), replace(TERMS, now=NOW + timedelta(seconds=30)))
    assert isinstance(done, Close)
    assert done.outcome is outcome
    assert "expired" in done.detail


def test_next_step_when_exit_sells_all_and_keeps_dust() -> None:
    lines = (line("BTC", "0.6", "1000", "0"), line("ETH", "0.03", "100", "0"), line("USDT", "1", "1", "100"))
    plan = record(*lines, kind="exit")
    sells = next_step(plan, market(), TERMS)
    assert isinstance(sells, Send)
    assert [(order.asset, order.quantity) for order in sells.orders] == [("BTC", D("0.6"))]
    done = next_step(after(plan, sells), market(), TERMS)
    assert isinstance(done, Close)
    assert done.outcome is PlanOutcome.COMPLETED
    assert "below_minimum:ETH" in done.detail


def test_next_step_when_nothing_can_trade_closes_with_the_reasons() -> None:
    lines = (line("ETH", "0.03", "100", "0"), line("XYZ", "5", "100", "0"), line("USDT", "1", "1", "100"))
    done = next_step(record(*lines, kind="exit"), market(), TERMS)
    assert isinstance(done, Close)
    assert done.outcome is PlanOutcome.NOTHING_TRADABLE
    assert set(done.detail.split(",")) == {"below_minimum:ETH", "not_tradable:XYZ"}


def test_close_when_an_asset_had_no_usable_price_is_never_nothing_tradable() -> None:
    quiet = replace(market(), quotes={}, stale=frozenset({"BTC", "ETH"}))
    done = next_step(record(*DRIFTED), quiet, TERMS)
    assert isinstance(done, Close)
    named = with_stale_named(done, quiet)
    assert named.outcome is PlanOutcome.PARTIAL
    assert "stale_price:BTC" in named.detail


HALTED = {"halted": True}
UNSALEABLE = [
    # ETH holds 100 USDT (4 to 5 are dust); what is with it, and how an exit with BTC already sold then ends
    ("halted", "1", HALTED, PlanOutcome.PARTIAL),
    ("halted dust", "0.04", HALTED, PlanOutcome.NOTHING_TRADABLE),
    ("silent", "1", {"silent": True}, PlanOutcome.PARTIAL),
    ("silent dust", "0.04", {"silent": True}, PlanOutcome.NOTHING_TRADABLE),
    ("never priced", "1", {"silent": True, "bid": "0"}, PlanOutcome.PARTIAL),
    ("halted and never priced", "1", {"halted": True, "bid": "0"}, PlanOutcome.PARTIAL),
    ("no longer listed", "1", {"unlisted": True}, PlanOutcome.NOTHING_TRADABLE),
    ("no longer listed, never priced", "1", {"unlisted": True, "bid": "0"}, PlanOutcome.NOTHING_TRADABLE),
]


@pytest.mark.parametrize(("held", "eth", "outcome"), [row[1:] for row in UNSALEABLE], ids=[r[0] for r in UNSALEABLE])
@pytest.mark.parametrize("btc", ["0", "0.6"])
def test_exit_when_something_cannot_be_sold_is_not_over_while_it_may_yet_be(
    btc: str, held: str, eth: dict[str, Any], outcome: PlanOutcome
) -> None:
    now = market()
    quotes = {"BTC": now.quotes["BTC"]}
    halted = replace(now.instruments["ETH"], tradable=not eth.get("halted", False))
    listed = {"BTC": now.instruments["BTC"], **({} if eth.get("unlisted") else {"ETH": halted})}
    market_now = Market(quotes, listed, frozenset({"ETH"} if eth.get("silent") else ()))
    lines = (
        line("BTC", btc, "1000", "0"),
        line("ETH", held, eth.get("bid", "100"), "0"),
        line("USDT", "1", "1", "100"),
    )
    plan = record(*lines, kind="exit")
    step = next_step(plan, market_now, TERMS)
    if btc != "0":
        assert isinstance(step, Send), "what can be sold is sold whatever becomes of the rest"
        assert [order.asset for order in step.orders] == ["BTC"]
        step = next_step(after(plan, step), market_now, TERMS)
    assert isinstance(step, Close)
    ended = with_stale_named(step, market_now).outcome
    if btc == "0" or outcome is PlanOutcome.PARTIAL:
        assert ended is outcome
    else:
        assert ended in {PlanOutcome.COMPLETED, PlanOutcome.PARTIAL}, "after a partial one the next finds nothing"


def test_close_when_an_initial_plan_cannot_be_sized_is_neither_bought_nor_over() -> None:
    lines = (line("XYZ", "5", "0", "50"), line("USDT", "100", "1", "50"))
    done = next_step(record(*lines, kind="initial"), market(), TERMS)
    assert isinstance(done, Close)
    assert done.outcome is PlanOutcome.NOTHING_TRADABLE


def test_next_step_when_a_held_asset_was_never_priced_closes_instead_of_failing() -> None:
    lines = (line("XYZ", "5", "0", "0"), line("USDT", "100", "1", "100"))
    done = next_step(record(*lines), market(), TERMS)
    assert isinstance(done, Close)
    assert "XYZ" in done.detail


def test_holdings_when_fees_are_taken_in_each_asset_are_exact() -> None:
    plan = record(*DRIFTED)
    fills = (
        FillRecord("1", "a", "BTC", "USDT", Side.SELL, D("0.1"), D(100), D("0.1"), "USDT", NOW),
        FillRecord("2", "b", "ETH", "USDT", Side.BUY, D("0.5"), D(50), D("0.0005"), "ETH", NOW),
        FillRecord("3", "b", "ETH", "USDT", Side.BUY, D("0.1"), D(10), D("0.002"), "BNB", NOW),
    )
    assert holdings_of(replace(plan, fills=fills)) == {
        "BTC": D("0.5"),
        "ETH": D("4.5995"),
        "USDT": D("39.9"),
        "BNB": D(0),
    }


def test_order_record_when_sent_carries_exactly_the_intent() -> None:
    order = OrderRecord("id", "p", "s", 1, 0, "BTC", "USDT", "BTCUSDT", Side.SELL, D("0.1"), D("9.5"), NOW)
    request = order.request()
    assert (request.client_order_id, request.quantity, request.limit_price) == ("id", D("0.1"), D("9.5"))


def one_way(ways: TradedWays, *lines: PlanLine) -> tuple[PlanLine, ...]:
    """The lines with their ways; those of the quote currency too, where they mean nothing."""
    return tuple(each.model_copy(update={"ways": ways}) for each in lines)


def carried_out(plan: PlanRecord, now: Market) -> tuple[PlanRecord, Close]:
    """The plan at its end, every order filled at its limit."""
    for _ in range(2 * MAX_CYCLES + 1):
        step = next_step(plan, now, TERMS)
        if isinstance(step, Close):
            return plan, step
        plan = after(plan, step)
    raise AssertionError("the plan does not end")


def test_next_step_when_new_money_is_invested_buys_only_and_is_completed_with_that() -> None:
    """BTC is at 700 of 1,400: it stays; the 200 go to ETH, which stays below its half all the same."""
    lines = (line("BTC", "0.7", "1000", "50"), line("ETH", "5", "100", "50"), line("USDT", "200", "1", "0"))
    plan, done = carried_out(record(*one_way(TradedWays.BUY, *lines), kind="invest"), market())
    assert {(order.asset, order.side) for order in plan.orders} == {("ETH", Side.BUY)}
    assert done.outcome is PlanOutcome.COMPLETED
    assert holdings_of(plan)["BTC"] == D("0.7")
    assert D(0) <= holdings_of(plan)["USDT"] < 2


def test_next_step_when_the_new_money_is_a_coin_sells_that_and_nothing_else() -> None:
    lines = (line("BTC", "1", "1000", "66.6666"), line("ETH", "5", "100", "33.3334"), line("USDT", "0", "1", "0"))
    only_buy = one_way(TradedWays.BUY, lines[0], lines[2])
    plan, done = carried_out(record(*only_buy, lines[1].model_copy(update={"quantity": D(8)}), kind="invest"), market())
    assert {(order.asset, order.side) for order in plan.orders} == {("ETH", Side.SELL), ("BTC", Side.BUY)}
    assert done.outcome is PlanOutcome.COMPLETED


def test_next_step_when_money_is_taken_out_sells_only_until_it_is_there() -> None:
    """300 of 1,000 and a margin: 150.3 from each; sold at the limit, 0.5 % below the bid, more has to go."""
    lines = (line("BTC", "0.5", "1000", "34.97"), line("ETH", "5", "100", "34.97"), line("USDT", "0", "1", "30.06"))
    plan, done = carried_out(record(*one_way(TradedWays.SELL, *lines), kind="withdraw"), market())
    assert {order.side for order in plan.orders} == {Side.SELL}
    assert holdings_of(plan)["USDT"] >= D("300")
    assert done.outcome is PlanOutcome.COMPLETED


def test_next_step_when_the_money_to_be_taken_out_is_there_trades_nothing() -> None:
    lines = (line("BTC", "0.5", "1000", "40"), line("ETH", "4", "100", "40"), line("USDT", "300", "1", "20"))
    plan, done = carried_out(record(*one_way(TradedWays.SELL, *lines), kind="withdraw"), market())
    assert (plan.orders, done.outcome) == ((), PlanOutcome.NOTHING_TRADABLE)


def test_next_step_when_a_coin_is_taken_out_buys_that_and_nothing_else() -> None:
    lines = (line("BTC", "0.5", "1000", "70"), line("ETH", "5", "100", "30"), line("USDT", "0", "1", "0"))
    plan = record(lines[0], *one_way(TradedWays.SELL, *lines[1:]), kind="withdraw")
    plan, done = carried_out(plan, market())
    assert {(order.asset, order.side) for order in plan.orders} == {("ETH", Side.SELL), ("BTC", Side.BUY)}
    assert done.outcome is PlanOutcome.COMPLETED
    assert holdings_of(plan)["BTC"] > D("0.69")


@pytest.mark.parametrize("kind", ["invest", "withdraw"])
def test_next_step_when_something_without_a_line_is_held_leaves_it_alone(kind: str) -> None:
    ways = TradedWays.BUY if kind == "invest" else TradedWays.SELL
    lines = one_way(ways, line("BTC", "0.5", "1000", "50"), line("USDT", "500", "1", "50"))
    late = FillRecord("t", "o", "ETH", "USDT", Side.BUY, D(2), D(200), D(0), "USDT", NOW)
    plan = replace(record(*lines, kind=kind), fills=(late,))
    plan, _ = carried_out(plan, market())
    assert "ETH" not in {order.asset for order in plan.orders}


def test_next_step_when_a_withdrawal_cannot_be_sized_is_not_done_with() -> None:
    lines = one_way(TradedWays.SELL, line("BTC", "0.5", "1000", "50"), line("XYZ", "5", "0", "0"))
    plan, done = carried_out(record(*lines, kind="withdraw"), market())
    assert (plan.orders, done.outcome) == ((), PlanOutcome.PARTIAL)

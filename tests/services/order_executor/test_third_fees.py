"""Fees in a third asset: learned from fills, left by the sale of that asset, told with the intent."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from services.order_executor.records import FillRecord, OrderRecord, PlanRecord, holdings_of, may_take
from services.order_executor.steps import Send, next_step
from services.order_executor.third_fees import FeeTaken, ThirdFees
from shared.core.matching import Side
from shared.core.orders import OrderState
from tests.servers import EmbeddedNats
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, ExchangeProcess, Stack, plan_for
from tests.services.order_executor.test_plans import THREE, check_books, check_reservations, ready
from tests.services.order_executor.test_steps import NOW, TERMS, line, market, record

D = Decimal
FEES = {
    "bnb": FeeTaken(D("0.01"), "BNB", "BTC", "USDT"),
    "kcs": FeeTaken(D("0.01"), "KCS", "BTC", "USDT"),
    "quote": FeeTaken(D("0.01"), "USDT", "BTC", "USDT"),
    "base": FeeTaken(D("0.01"), "BTC", "BTC", "USDT"),
    "free": FeeTaken(D(0), "USDT", "BTC", "USDT"),
    "own": FeeTaken(D("0.01"), "BNB", "BNB", "USDT"),
    "own_quote": FeeTaken(D("0.01"), "USDT", "BNB", "USDT"),
    "rebate": FeeTaken(D("-0.01"), "USDT", "BTC", "USDT"),
}


@pytest.mark.parametrize(
    ("fees", "asset"),
    [
        ("", ""),
        ("quote base", ""),
        ("bnb", "BNB"),
        ("quote bnb", "BNB"),
        ("bnb quote", ""),
        ("bnb base", ""),
        ("bnb free", "BNB"),
        ("bnb rebate", "BNB"),
        ("bnb own", "BNB"),
        ("bnb own_quote", "BNB"),
        ("own", ""),
        ("bnb kcs", "KCS"),
    ],
)
def test_third_fees_when_fills_come_are_as_the_newest_that_can_tell_says(fees: str, asset: str) -> None:
    learned = ThirdFees()
    learned.learn(FEES[name] for name in fees.split())
    assert learned.asset == asset


@pytest.mark.parametrize(
    ("side", "third", "most"),
    [
        (Side.SELL, {"ETH": "0.01"}, {"BTC": "0.1", "ETH": "0.01"}),
        (Side.SELL, {"BTC": "0.01"}, {"BTC": "0.11"}),
        (Side.BUY, {"ETH": "0.01"}, {"USDT": "0.95", "ETH": "0.01"}),
        (Side.BUY, {"": "0"}, {"USDT": "0.95"}),
    ],
)
def test_intent_when_its_fee_is_taken_from_a_third_asset_may_take_that_too(
    side: Side, third: dict[str, str], most: dict[str, str]
) -> None:
    order = OrderRecord("id", "p", "s", 1, 0, "BTC", "USDT", "BTCUSDT", side, D("0.1"), D("9.5"), NOW)
    fee = {asset: D(amount) for asset, amount in third.items()}
    assert may_take(order, D(1), fee) == {asset: D(amount) for asset, amount in most.items()}


@pytest.mark.parametrize(("held", "orders"), [("5", 1), ("0", 0)])
def test_phase_when_fees_are_taken_from_what_the_strategy_holds_says_how_much(held: str, orders: int) -> None:
    now = replace(market(), fee_asset="ETH")
    step = next_step(record(line("BTC", "1", "1000", "0"), line("ETH", held, "100", "50")), now, TERMS)
    assert isinstance(step, Send)
    assert step.fee_asset == "ETH"
    assert len(step.third_fees) == orders
    assert all(fee > 0 for fee in step.third_fees.values())


@pytest.mark.parametrize(("filled", "sold"), [("0", {"BTC", "ETH"}), ("0.5", {"BTC"})])
def test_phase_when_a_sale_was_tried_in_vain_sells_the_asset_of_its_fee(filled: str, sold: set[str]) -> None:
    """A guard may withhold an order in every cycle: nothing else waits for it."""
    now = replace(market(), fee_asset="ETH")
    plan = record(line("BTC", "100", "1000", "0"), line("ETH", "0.9", "100", "0"), line("USDT", "0", "1", "100"))
    first = next_step(plan, now, TERMS)
    assert isinstance(first, Send)
    assert {order.asset for order in first.orders} == {"BTC"}
    tried = replace(first.orders[0], state=OrderState.WITHHELD, filled_quantity=D(filled))
    again = next_step(replace(plan, orders=(tried,), sizing=first.sizing), now, TERMS)
    assert isinstance(again, Send)
    assert {order.asset for order in again.orders} == sold


@pytest_asyncio.fixture
async def discounted(provisioned_nats: EmbeddedNats, postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Stack]:
    """An account whose fees are taken from SOL, the last asset in every phase: the others have traded before it."""
    process = ExchangeProcess(tmp_path, TRIMTAB_EXCHANGE_DISCOUNT_ASSET="SOL")
    exchange = Exchange(process)
    await exchange.start()
    answer = await exchange.call("POST", "/control/accounts/discount", {"enabled": True, "account": exchange.key})
    assert answer["enabled"] is True
    way = FaultyWay(exchange.url)
    await way.start()
    made = Stack(provisioned_nats.url, postgres_dsn, exchange, way)
    await made.open()
    yield made
    await made.close()
    await way.stop()
    await exchange.stop()
    process.process.end()


async def holdings(stack: Stack) -> dict[str, str]:
    """What the strategy holds after its fills, the wallet bearing no fee."""
    rows = await stack.rows(
        "SELECT f.trade_id, f.client_order_id, o.asset, o.quote, o.side, f.quantity, f.quote_quantity, f.fee, "
        "f.fee_asset, f.market_time FROM executor.fills f JOIN executor.orders o USING (client_order_id) "
        "ORDER BY f.fill_number"
    )
    fills = tuple(FillRecord(**{**dict(row), "side": Side(row["side"])}) for row in rows)
    start = record(line("USDT", "1200", "1", "0"))
    held = holdings_of(PlanRecord(start.plan, is_open=True, fills=fills))
    return {asset: str(quantity) for asset, quantity in held.items() if quantity > 0}


@pytest.mark.parametrize("restarts", [False, True])
async def test_exit_when_fees_are_taken_from_what_it_sells_is_refused_nothing(
    discounted: Stack, *, restarts: bool
) -> None:
    stack = discounted
    await stack.exchange.deposit("some", "SOL", "0.01")  # the fees of the purchase, and not those of the exit
    await ready(stack)
    first = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(first)
    assert (await stack.closed(first))["outcome"] == "completed"
    if restarts:
        await stack.stop_apps()
        await stack.app()
    held = await holdings(stack)
    assert {"BTC", "ETH", "SOL"} <= set(held)
    last = await plan_for(
        stack.exchange, "s1", {"USDT": "100"}, held, kind="exit", position_version=2, previous_plan_id=first.plan_id,
        fills_seen=3,
    )  # fmt: skip
    await stack.send_plan(last)
    assert (await stack.closed(last))["outcome"] == "completed"
    orders = await stack.rows("SELECT * FROM executor.orders WHERE plan_id = $1", last.plan_id)
    assert {row["state"] for row in orders} == {"filled"}
    fees = await stack.rows("SELECT DISTINCT fee_asset FROM executor.fills WHERE plan_id = $1", last.plan_id)
    assert "SOL" in {row["fee_asset"] for row in fees}
    await check_books(stack)
    await check_reservations(stack)

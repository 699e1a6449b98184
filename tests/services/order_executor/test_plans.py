"""The executor on real servers and a real venue: a plan from acceptance to its end."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from shared.contracts import subjects
from shared.contracts.plans import FreeStrategy, HoldStrategy, RebalancePlanned, SealStrategy, TradedWays
from tests.services.order_executor.rig import Stack, eventually, plan_for

THREE = {"BTC": "40", "ETH": "30", "SOL": "30"}


async def ready(stack: Stack, amount: str = "10000") -> None:
    """Money at the venue and an executor at work."""
    await stack.exchange.deposit("first", "USDT", amount)
    await stack.app()


async def events(stack: Stack, kind: str) -> list[dict[str, Any]]:
    rows = await stack.rows("SELECT headers, payload FROM executor.outbox ORDER BY id")
    return [orjson.loads(row["payload"]) for row in rows if orjson.loads(row["headers"])["ce-type"] == kind]


async def check_books(stack: Stack) -> None:
    """Every fill of the venue is booked once, exactly; every order there belongs to one intent."""
    venue_orders = await stack.exchange.orders()
    intents = {row["client_order_id"]: row for row in await stack.rows("SELECT * FROM executor.orders")}
    assert all(count == 1 for count in Counter(order["clientOrderId"] for order in venue_orders).values())
    assert {order["clientOrderId"] for order in venue_orders} <= set(intents)
    for order in venue_orders:
        assert intents[order["clientOrderId"]]["filled_quantity"] == Decimal(order["executedQty"])
        assert intents[order["clientOrderId"]]["state"] in {"filled", "partially_filled", "unfilled"}
    booked: Counter[str] = Counter()
    for row in await stack.rows(
        "SELECT f.*, o.side, o.asset FROM executor.fills f JOIN executor.orders o USING (client_order_id)"
    ):
        sign = 1 if row["side"] == "BUY" else -1
        booked[row["asset"]] += sign * row["quantity"]
        booked["USDT"] -= sign * row["quote_quantity"]
        booked[row["fee_asset"]] -= row["fee"]
    for row in await stack.rows("SELECT asset, amount FROM executor.deposits WHERE NOT in_opening"):
        booked[row["asset"]] += row["amount"]
    assert {asset: amount for asset, amount in booked.items() if amount} == await stack.exchange.balances()


async def check_reservations(stack: Stack) -> None:
    """What an intent says that it may take is told once, and covers what its fills took."""
    words, may_take = await events(stack, "trimtab.order.changed"), dict[tuple[str, str], Decimal]()
    for word in words:
        assert bool(word["may_take"]) == (word["version"] == 1) == (word["state"] == "intended")
        may_take |= {(word["client_order_id"], asset): Decimal(most) for asset, most in word["may_take"].items()}
    for fill in await events(stack, "trimtab.order.filled"):
        given, amount = ("quote", "quote_quantity") if fill["side"] == "BUY" else ("base", "quantity")
        may_take[fill["client_order_id"], fill[given]] -= Decimal(fill[amount])
        if (third := (fill["client_order_id"], fill["fee_asset"])) in may_take:
            may_take[third] -= Decimal(fill["fee"])
    assert may_take
    assert min(may_take.values()) >= 0


async def test_plan_when_prices_are_older_than_its_own_waits_for_them(stack: Stack) -> None:
    await ready(stack)
    later = await stack.exchange.market_time() + timedelta(minutes=1)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial", market_time=later)
    await stack.send_plan(plan)
    sent = stack.prices.sent

    async def several_frames_later() -> bool:
        return stack.prices.sent >= sent + 4 and bool(await stack.rows("SELECT FROM executor.plans"))

    await eventually(several_frames_later)
    assert await stack.rows("SELECT FROM executor.orders") == []
    stack.prices.ahead_ms = 60_000
    assert (await stack.closed(plan))["outcome"] == "completed"


async def test_plan_when_executed_ends_on_target_with_every_fill_published(stack: Stack) -> None:
    await ready(stack)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    closed = await stack.closed(plan)
    assert closed["outcome"] == "completed"
    progress = await events(stack, "trimtab.plan.progressed")
    assert [event["change"] for event in progress] == ["accepted", "closed"]
    assert [event["sequence"] for event in progress] == [1, 2]
    assert progress[0]["open_plan_id"] == plan.plan_id
    summary = progress[1]["last_closed"]
    assert Decimal(summary["worst_drift_pct"]) < Decimal("0.5")
    fills = await events(stack, "trimtab.order.filled")
    assert [event["fill_number"] for event in fills] == list(range(1, progress[1]["fills_total"] + 1))
    assert {event["base"] for event in fills} == {"BTC", "ETH", "SOL"}
    changed = [event["state"] for event in await events(stack, "trimtab.order.changed")]
    assert changed.count("intended") == changed.count("filled")
    await check_reservations(stack)
    await check_books(stack)


async def test_plan_when_rebalancing_sells_first_and_buys_from_the_proceeds(stack: Stack) -> None:
    await ready(stack)
    first = await plan_for(stack.exchange, "s1", {"BTC": "60", "ETH": "40"}, {"USDT": "5000"})
    await stack.send_plan(first)
    await stack.closed(first)
    held = {"USDT": Decimal(5000)}
    for fill in await events(stack, "trimtab.order.filled"):
        held[fill["base"]] = held.get(fill["base"], Decimal(0)) + Decimal(fill["quantity"]) - Decimal(fill["fee"])
        held["USDT"] -= Decimal(fill["quote_quantity"])
    fills = (await events(stack, "trimtab.plan.progressed"))[-1]["fills_total"]
    second = await plan_for(
        stack.exchange,
        "s1",
        {"BTC": "30", "ETH": "30", "SOL": "40"},
        {asset: str(quantity) for asset, quantity in held.items()},
        position_version=2,
        previous_plan_id=first.plan_id,
        fills_seen=fills,
    )
    await stack.send_plan(second)
    assert (await stack.closed(second))["outcome"] == "completed"
    orders = await stack.rows("SELECT * FROM executor.orders WHERE plan_id = $1 ORDER BY round", second.plan_id)
    assert {(row["side"], row["asset"]) for row in orders if row["round"] == 0} == {("SELL", "BTC"), ("SELL", "ETH")}
    assert {(row["side"], row["asset"]) for row in orders if row["round"] > 0} == {("BUY", "SOL")}
    await check_books(stack)


async def test_plan_when_delivered_again_or_stale_or_late_changes_nothing(stack: Stack) -> None:
    await ready(stack)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"})
    await stack.send_plan(plan)
    await stack.send_plan(plan, again=".again")
    await stack.closed(plan)
    stale = [
        await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, position_version=2),
        await plan_for(
            stack.exchange, "s1", THREE, {"USDT": "1200"}, position_version=3, previous_plan_id=plan.plan_id
        ),
    ]
    for late in stale:
        await stack.send_plan(late)
    expired = await plan_for(
        stack.exchange, "s2", THREE, {"USDT": "1200"}, expires_at=datetime.now(UTC) - timedelta(milliseconds=1)
    )
    await stack.send_plan(expired)
    assert (await stack.closed(expired))["outcome"] == "expired"
    await stack.send_plan(plan, again=".third")
    marker = await plan_for(stack.exchange, "s3", {"USDT": "100"}, {"USDT": "50"})
    await stack.send_plan(marker)  # handled in order: when it is closed, all before it have been looked at
    assert (await stack.closed(marker))["outcome"] == "nothing_tradable"
    known = {row["plan_id"] for row in await stack.rows("SELECT plan_id FROM executor.plans")}
    assert known == {plan.plan_id, expired.plan_id, marker.plan_id}
    assert not await stack.rows("SELECT FROM executor.orders WHERE strategy_id <> 's1'")
    await check_books(stack)


async def test_plans_when_of_many_strategies_run_side_by_side(stack: Stack) -> None:
    await ready(stack, "100000")
    plans = [await plan_for(stack.exchange, f"s{n}", THREE, {"USDT": "2000"}) for n in range(10)]
    for plan in plans:
        await stack.send_plan(plan)
    for plan in plans:
        assert (await stack.closed(plan))["outcome"] == "completed"
    await check_books(stack)


async def test_seal_when_a_plan_is_open_waits_for_its_end(stack: Stack) -> None:
    await ready(stack)
    stack.way.faults = ["late_reply"] * 3
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="exit")
    await stack.send_plan(plan)
    await eventually(lambda: stack.rows("SELECT FROM executor.plans"))
    for number in range(2):
        seal = SealStrategy(strategy_id="s1", venue="paper")
        await stack.publish(subjects.executor_commands("paper"), seal, f"seal{number}")
    await stack.closed(plan)

    async def sealed() -> list[str]:
        changes = [event["change"] for event in await events(stack, "trimtab.plan.progressed")]
        return changes if "sealed" in changes else []

    assert await eventually(sealed) == ["accepted", "closed", "sealed"]
    late: RebalancePlanned = await plan_for(
        stack.exchange, "s1", THREE, {"USDT": "1"}, position_version=9, previous_plan_id=plan.plan_id
    )
    await stack.send_plan(late)
    await stack.publish(subjects.executor_commands("paper"), SealStrategy(strategy_id="s9", venue="paper"), "seal9")

    async def other() -> list[Any]:
        return [e for e in await events(stack, "trimtab.plan.progressed") if e["strategy_id"] == "s9" and e["sealed"]]

    await eventually(other)
    assert len(await stack.rows("SELECT FROM executor.plans")) == 1
    await check_books(stack)


async def test_withdrawal_when_carried_out_sells_only_holds_plans_off_and_lets_newer_ones_in(stack: Stack) -> None:
    """From the plan that answers the request to the first plan that knows of the payout."""
    await ready(stack)
    holdings = {"BTC": "0.05", "ETH": "1", "USDT": "100"}
    for asset in ("BTC", "ETH"):
        await stack.exchange.deposit(asset, asset, holdings[asset])
    plan = await plan_for(stack.exchange, "s1", {"BTC": "30", "ETH": "30", "USDT": "40"}, holdings, kind="withdraw")
    only_sell = tuple(line.model_copy(update={"ways": TradedWays.SELL}) for line in plan.lines)
    plan = plan.model_copy(update={"lines": only_sell, "answers": "rq1"})
    commands = subjects.executor_commands("paper")
    await stack.send_plan(plan)
    await eventually(lambda: stack.rows("SELECT FROM executor.plans"))
    for number in range(2):
        await stack.publish(commands, HoldStrategy(strategy_id="s1", venue="paper", hold_id="rq1"), f"hold{number}")
    assert (await stack.closed(plan))["outcome"] == "completed"
    sold = await stack.rows("SELECT side FROM executor.orders")
    assert {row["side"] for row in sold} == {"SELL"}

    async def said(change: str) -> list[dict[str, Any]]:
        return [event for event in await events(stack, "trimtab.plan.progressed") if event["change"] == change]

    (held,) = await eventually(lambda: said("held"))
    assert (held["held_for"], held["open_plan_id"], held["last_closed"]["answers"]) == ("rq1", None, "rq1")
    fills = held["fills_total"]
    assert fills == len(await stack.rows("SELECT FROM executor.fills"))
    changes = {"previous_plan_id": plan.plan_id, "fills_seen": fills}
    early, stale, late = [
        await plan_for(stack.exchange, "s1", THREE, {"USDT": "50"}, position_version=version, **changes)
        for version in (2, 3, 4)
    ]
    await stack.send_plan(early)
    marker = await plan_for(stack.exchange, "s2", {"USDT": "100"}, {"USDT": "50"})
    await stack.send_plan(marker)  # handled in order: when it is closed, the one before it has been looked at
    await stack.closed(marker)
    free = FreeStrategy(strategy_id="s1", venue="paper", hold_id="rq1", position_version=4)
    for number in range(2):
        await stack.publish(commands, free, f"free{number}")
    (freed,) = await eventually(lambda: said("freed"))
    assert (freed["held_for"], freed["position_required"]) == ("", 4)
    await stack.publish(commands, HoldStrategy(strategy_id="s1", venue="paper", hold_id="rq1"), "hold-again")
    await stack.send_plan(stale)
    await stack.send_plan(late)
    await stack.closed(late)
    known = {row["plan_id"] for row in await stack.rows("SELECT plan_id FROM executor.plans")}
    assert known == {plan.plan_id, marker.plan_id, late.plan_id}
    await check_books(stack)


async def test_deposits_when_before_and_after_first_start_are_each_announced_once(stack: Stack) -> None:
    await stack.exchange.deposit("early", "USDT", "700")
    await stack.exchange.deposit("early2", "BTC", "0.5")
    await stack.app()
    await stack.exchange.deposit("later", "USDT", "300")

    async def announced() -> dict[str, str]:
        found = {event["deposit_id"]: event["amount"] for event in await events(stack, "trimtab.deposit.observed")}
        return found if stack.exchange.deposit_id("later") in found else {}

    later = stack.exchange.deposit_id("later")
    expected = {"opening:paper:USDT": "700", "opening:paper:BTC": "0.5", later: "300"}
    assert await eventually(announced) == expected
    assert len(await events(stack, "trimtab.deposit.observed")) == 3


async def test_plan_when_prices_are_silent_waits_and_expires_without_an_order(stack: Stack) -> None:
    await stack.exchange.deposit("first", "USDT", "10000")
    stack.prices.paused = True
    await stack.app()
    expiry = datetime.now(UTC) + timedelta(seconds=1.5)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, expires_at=expiry)
    await stack.send_plan(plan)
    assert (await stack.closed(plan))["outcome"] == "expired"
    assert not await stack.rows("SELECT FROM executor.orders")
    assert stack.way.orders_seen == []

"""A planner gone mad: whatever it asks for, the guards on the send path stop it, and a restart forgets nothing."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from services.order_executor import runner
from services.order_executor.records import CycleSizing, OrderRecord, PlanRecord
from services.order_executor.steps import Close, Market, Send, Terms, next_step
from shared.contracts.halts import ResumeVenue
from shared.core.identity import client_order_id
from shared.core.matching import Side
from tests.services.order_executor.rig import Stack, eventually, plan_for
from tests.services.order_executor.test_plans import THREE, check_books, events, ready

Planner = Callable[[PlanRecord, Market, Terms], Send | Close]


def with_orders(change: Callable[[OrderRecord], OrderRecord]) -> Planner:
    """The planner, its orders changed."""

    def mutated(record: PlanRecord, market: Market, terms: Terms) -> Send | Close:
        step = next_step(record, market, terms)
        return replace(step, orders=tuple(map(change, step.orders))) if isinstance(step, Send) else step

    return mutated


def endless(record: PlanRecord, market: Market, terms: Terms) -> Send | Close:
    """Buys and sells the same small piece for as long as it is let."""
    if terms.now >= record.plan.expires_at:
        return next_step(record, market, terms)
    number = record.last_round + 1
    side = Side.SELL if number % 2 else Side.BUY
    quote = market.quotes["BTC"]
    order = OrderRecord(
        client_order_id=client_order_id(record.plan.plan_id, number, "BTCUSDT", side),
        plan_id=record.plan.plan_id,
        strategy_id=record.plan.strategy_id,
        epoch=terms.epoch,
        round=number,
        asset="BTC",
        quote="USDT",
        symbol="BTCUSDT",
        side=side,
        quantity=Decimal("0.01") if side is Side.BUY else Decimal("0.0099"),
        limit_price=(quote.ask * Decimal("1.001") if side is Side.BUY else quote.bid * Decimal("0.999")).quantize(
            Decimal("0.01")
        ),
        send_deadline=terms.now + terms.send_within,
    )
    return Send((order,), CycleSizing(number // 2, {"BTC": quote.mid}))


async def halted(stack: Stack) -> str:
    """Why the venue is halted, once it is."""

    async def row() -> str:
        rows = await stack.rows("SELECT reason, cause FROM executor.halts WHERE halted")
        assert all(row["cause"] == "guards" for row in rows)
        return rows[0]["reason"] if rows else ""

    async def is_booked() -> bool:
        return not await stack.rows("SELECT FROM executor.orders WHERE state = 'intended'")

    reason = str(await eventually(row))
    await eventually(is_booked)  # the halt is in force before what became of the phase is booked
    return reason


async def withheld(stack: Stack) -> set[str]:
    """The guards that withheld orders, from the stored orders."""
    rows = await stack.rows("SELECT detail FROM executor.orders WHERE state = 'withheld' AND detail LIKE 'guard:%'")
    return {row["detail"].split(":")[1] for row in rows}


@pytest.mark.parametrize(
    ("planner", "guards"),
    [
        (with_orders(lambda order: replace(order, quantity=order.quantity * 100)), {"plan_turnover"}),
        (with_orders(lambda order: replace(order, limit_price=round(order.limit_price * 11 / 10, 2))), {"price_away"}),
        (with_orders(lambda order: replace(order, limit_price=round(order.limit_price * 9 / 10, 2))), {"price_away"}),
    ],
    ids=["x100", "10 % above", "10 % below"],
)
async def test_planner_when_it_asks_for_absurd_orders_sends_none_and_the_venue_is_halted(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, planner: Planner, guards: set[str]
) -> None:
    monkeypatch.setattr(runner, "next_step", planner)
    stack.further = {"TRIMTAB_GUARD_TRIPS_TO_HALT": "2"}
    await ready(stack, "1000000")
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    assert "guards withheld" in await halted(stack)
    assert stack.way.orders_seen == []
    assert await withheld(stack) == guards
    changed = [event for event in await events(stack, "trimtab.order.changed") if event["state"] == "withheld"]
    assert {event["detail"].split(":")[1] for event in changed} == guards
    assert (await events(stack, "trimtab.notification.raised"))[-1]["severity"] == "alert"
    (app, _) = stack._apps[0]
    facts = app.health.figures()["sending"]
    assert facts["guards_tripped"] == {next(iter(guards)): len(changed)}
    assert str(facts["halted"]).startswith("guards withheld")


async def test_planner_when_it_asks_for_large_orders_is_stopped_by_their_value(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.further = {"TRIMTAB_GUARD_TRIPS_TO_HALT": "1", "TRIMTAB_GUARD_ORDER_NOTIONAL": "450"}
    await ready(stack)
    plan = await plan_for(stack.exchange, "s1", THREE, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    await halted(stack)
    assert await withheld(stack) == {"order_notional"}
    sent = await stack.rows("SELECT quantity * limit_price AS notional FROM executor.orders WHERE state <> 'withheld'")
    assert sent
    assert all(row["notional"] <= 450 for row in sent)
    await check_books(stack)


@pytest.mark.parametrize(
    ("further", "guard"),
    [
        ({"TRIMTAB_GUARD_ORDERS_PER_MINUTE": "5"}, "orders_per_minute"),
        ({"TRIMTAB_GUARD_DAY_NOTIONAL": "2500"}, "day_notional"),
        ({"TRIMTAB_GUARD_PLAN_TURNOVER": "0.5"}, "plan_turnover"),
    ],
)
async def test_planner_when_it_loops_without_end_is_stopped_also_over_restarts_and_plans(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, further: dict[str, str], guard: str
) -> None:
    monkeypatch.setattr(runner, "next_step", endless)
    stack.further = {"TRIMTAB_GUARD_TRIPS_TO_HALT": "1", **further}
    await ready(stack, "100000")
    plan = await plan_for(stack.exchange, "s1", {"BTC": "100"}, {"USDT": "5000"}, kind="initial")
    await stack.send_plan(plan)
    await halted(stack)
    assert await withheld(stack) == {guard}
    traded = len(stack.way.orders_seen)
    smallest = Decimal("0.0099") * Decimal((await stack.exchange.quotes())["BTC"][0]) * Decimal("0.999")
    assert 2 <= traded <= (5 if guard == "orders_per_minute" else 2500 // smallest)
    (app, task) = stack._apps.pop()
    before = app.guards.tally if app.guards is not None else None
    task.cancel()
    await app.stop()
    await check_books(stack)

    again = await stack.app()
    assert before is not None
    assert again.guards is not None
    ((day, notional),), ((day_before, notional_before),) = again.guards.tally.by_day, before.by_day
    assert day == day_before
    assert abs(notional - notional_before) < notional_before / 500  # stored, a sale counts by its limit, not the bid
    assert sum(count for _, count in again.guards.tally.by_second) == traded
    assert again.guards.switch.reason is not None
    await stack.ask(ResumeVenue(venue="paper"), "r1")
    assert again.guards.tally.trips_in_a_row == 0
    await halted(stack)
    if guard != "plan_turnover":
        assert len(stack.way.orders_seen) == traded, "what was sent before the restart was forgotten"

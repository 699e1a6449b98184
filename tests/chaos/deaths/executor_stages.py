"""The stages of the executor: together they pass every point that can be passed at all."""

import asyncio
import os
import signal
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import nats.errors

from shared.contracts import subjects
from shared.contracts.halts import HaltChanged, HaltVenue, ResumeVenue
from shared.contracts.plans import FreeStrategy, HoldStrategy, SealStrategy
from shared.contracts.wire import Message
from shared.messaging.decoding import decode
from tests.chaos.deaths.laws import rounds_of, without_room
from tests.chaos.deaths.stages import Held, Outcome, Stage, until
from tests.chaos.deaths.world import World
from tests.services.order_executor.rig import eventually

HELD = {"BTC": "0.01", "USDT": "150"}
TARGETS = {"BTC": "25", "ETH": "40", "SOL": "35"}
OUTAGE_S = 1.0
LOCKED_S = 3.0
LOTS = {"BTC": Decimal("0.000001"), "ETH": Decimal("0.00001"), "SOL": Decimal("0.0001"), "USDT": Decimal("0.05")}

_UNFUNDED = "SELECT FROM ledger.strategies WHERE strategy_id = $1 AND version = 2"
_DONE = (
    "SELECT WHERE EXISTS (SELECT FROM executor.plans WHERE strategy_id = $1) "
    "AND NOT EXISTS (SELECT FROM executor.plans WHERE outcome IS NULL) "
    "AND NOT EXISTS (SELECT FROM executor.outbox WHERE published_at IS NULL) "
    "AND NOT EXISTS (SELECT FROM ledger.outbox WHERE published_at IS NULL) "
    "AND (SELECT fills_total FROM executor.strategies WHERE strategy_id = $1) = "
    "(SELECT fills_posted FROM ledger.strategies WHERE strategy_id = $1)"
)
_HELD = "SELECT asset, amount FROM ledger.balances WHERE account = 'strategy:' || $1 AND amount <> 0"
_PROGRESS = (
    "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'change' AS change FROM executor.outbox "
    "WHERE subject = 'plan-results.' || $1 ORDER BY id"
)


async def fund(world: World, strategy_id: str) -> None:
    """Money for the strategy, posted."""
    await world.fund(strategy_id, HELD)
    await until(world, _UNFUNDED, strategy_id)


async def rebalance(world: World, strategy_id: str, **changes: Any) -> None:
    """A plan that sells and buys, to the last posting of its last fill."""
    plan = world.plan(strategy_id, TARGETS, HELD, **changes)
    await world.publish(subjects.plans(strategy_id), plan, plan.plan_id)
    await until(world, _DONE, strategy_id)


async def traded(world: World, strategy_id: str) -> Outcome:
    """The end of the plan, what was told of it, and what the ledger says the strategy holds."""
    plans = await world.rows("SELECT outcome FROM executor.plans WHERE strategy_id = $1", strategy_id)
    return {
        "plans": [row["outcome"] for row in plans],
        "told": [row["change"] for row in await world.rows(_PROGRESS, strategy_id)],
        "held": await _held(world, strategy_id),
    }


async def _held(world: World, strategy_id: str) -> Held:
    amounts = {row["asset"]: row["amount"] for row in await world.rows(_HELD, strategy_id)}
    intents = await world.books.intents(strategy_id)
    return Held(amounts, without_room(amounts, intents, world.account.market), LOTS, rounds_of(intents))


async def _ambiguous(world: World, strategy_id: str) -> None:
    if not await world.rows("SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id):
        world.way.faults = ["5xx_after", "5xx_before", "garbage", "refused_after"]
    await rebalance(world, strategy_id)
    world.way.faults = []


async def _blind(world: World, strategy_id: str) -> None:
    """No user stream, and a venue that finds no order by its name: only trades tell."""
    world.environment = {"TRIMTAB_VENUE_WS_API_URL": "ws://127.0.0.1:1/ws-api/v3"}
    await fund(world, strategy_id)


async def _ambiguous_and_nameless(world: World, strategy_id: str) -> None:
    world.way.forgets_names = True
    await _ambiguous(world, strategy_id)
    world.way.forgets_names = False


async def _in_the_dark(world: World, strategy_id: str) -> None:
    """A venue that does not answer: at the start, and again with an order on its way."""
    world.environment = {"TRIMTAB_VENUE_INSTRUMENTS_REFRESH_S": "0.5"}
    await fund(world, strategy_id)
    world.way.is_dark = True


async def _light_returns(world: World, strategy_id: str) -> None:
    if not await world.rows("SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id):
        await asyncio.sleep(OUTAGE_S)
        world.way.is_dark = False
        world.way.faults = ["5xx_after"]
        world.way.on_order = lambda moment: _goes_dark(world) if moment == "after" else None
    await rebalance(world, strategy_id)
    world.way.faults = []


def _goes_dark(world: World) -> None:
    world.way.on_order = lambda _moment: None
    world.way.is_dark = True
    asyncio.get_running_loop().call_later(OUTAGE_S / 2, lambda: setattr(world.way, "is_dark", False))


async def _deposited(world: World, strategy_id: str) -> None:
    """Money that arrives."""
    await world.exchange.deposit(strategy_id, "USDT", "1")
    deposit = world.exchange.deposit_id(strategy_id)
    await until(world, "SELECT FROM ledger.transactions WHERE transaction_id = 'deposit:paper:' || $1", deposit)


async def _deposit_outcome(world: World, strategy_id: str) -> Outcome:
    deposit = world.exchange.deposit_id(strategy_id)
    return {
        "observed": await world.value("SELECT count(*) FROM executor.deposits WHERE deposit_id = $1", deposit),
        "told": await world.value("SELECT count(*) FROM executor.outbox WHERE message_id LIKE '%' || $1", deposit),
    }


async def _slow(world: World, strategy_id: str) -> None:
    """A command that has to wait for a lock longer than its message may stay unanswered."""
    if not await world.rows("SELECT FROM executor.strategies WHERE strategy_id = $1 AND sealed", strategy_id):
        async with world.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM executor.strategies WHERE strategy_id = $1 FOR UPDATE", strategy_id)
            hold = HoldStrategy(strategy_id=strategy_id, venue="paper", hold_id="h1")
            await world.publish(subjects.executor_commands("paper"), hold, f"{strategy_id}.held")
            await asyncio.sleep(LOCKED_S)
    await _command(world, strategy_id, _free(strategy_id, "h1"), "freed")
    await _command(world, strategy_id, SealStrategy(strategy_id=strategy_id, venue="paper"), "sealed")


async def _fund_and_trade(world: World, strategy_id: str) -> None:
    await fund(world, strategy_id)
    await rebalance(world, strategy_id)


async def _commanded(world: World, strategy_id: str) -> None:
    """Held and freed again with nothing to wait for, then a plan, then sealed."""
    await _command(world, strategy_id, HoldStrategy(strategy_id=strategy_id, venue="paper", hold_id="h1"), "held")
    await _command(world, strategy_id, _free(strategy_id, "h1"), "freed")
    await rebalance(world, strategy_id)
    await _command(world, strategy_id, SealStrategy(strategy_id=strategy_id, venue="paper"), "sealed")


async def _commanded_meanwhile(world: World, strategy_id: str) -> None:
    """A plan that waits for its prices; meanwhile it is to be held (twice: the first is replaced) and sealed."""
    is_new = not await world.rows("SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id)
    if is_new:
        await _accepted(world, strategy_id)
    for name in ("h1", "h2"):
        hold = HoldStrategy(strategy_id=strategy_id, venue="paper", hold_id=name)
        await world.publish(subjects.executor_commands("paper"), hold, f"{strategy_id}.{name}")
        if is_new:  # commands are carried out side by side: a second hold that comes first is ended by the first
            held = "SELECT FROM executor.strategies WHERE strategy_id = $1 AND hold_requested = $2"
            await until(world, held, strategy_id, name)
    seal = SealStrategy(strategy_id=strategy_id, venue="paper")
    await world.publish(subjects.executor_commands("paper"), seal, f"{strategy_id}.seal")
    if is_new:  # in a second life the plan has its prices already, and may have ended before this is seen
        await until(world, "SELECT FROM executor.strategies WHERE strategy_id = $1 AND seal_requested", strategy_id)
        world.ahead += timedelta(minutes=1)
    await until(world, _DONE, strategy_id)
    await _command(world, strategy_id, _free(strategy_id, "h2"), "freed")


def _free(strategy_id: str, name: str) -> FreeStrategy:
    return FreeStrategy(strategy_id=strategy_id, venue="paper", hold_id=name, position_version=0)


async def _command(world: World, strategy_id: str, command: Message, change: str) -> None:
    name = f"{strategy_id}.{change}"
    await world.publish(subjects.executor_commands("paper"), command, name)
    told = (
        "SELECT FROM executor.outbox WHERE subject = 'plan-results.' || $1 AND published_at IS NOT NULL "
        "AND convert_from(payload, 'UTF8')::jsonb ->> 'change' = $2"
    )
    await until(world, told, strategy_id, change)


async def _halted(world: World, strategy_id: str) -> None:
    """Halted (twice) while a plan waits for its prices, a second one refused, resumed, and the first goes on."""
    if not await world.rows("SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id):
        await _accepted(world, strategy_id)
        for name in ("halt", "again"):
            await _asked(world, HaltVenue(venue="paper", reason=strategy_id), f"{strategy_id}.{name}")
        world.ahead += timedelta(minutes=1)
        refused = world.plan(f"{strategy_id}-refused", TARGETS, HELD)
        await world.publish(subjects.plans(refused.strategy_id), refused, refused.plan_id)
        await until(world, "SELECT FROM executor.plans WHERE strategy_id = $1", refused.strategy_id)
    await _asked(world, ResumeVenue(venue="paper"), f"{strategy_id}.resume")
    await until(world, _DONE, strategy_id)


async def _accepted(world: World, strategy_id: str) -> None:
    """A plan that waits for prices a minute ahead."""
    later = world.market_time + world.ahead + timedelta(minutes=1)
    plan = world.plan(strategy_id, TARGETS, HELD, market_time=later)
    await world.publish(subjects.plans(strategy_id), plan, plan.plan_id)
    await until(world, "SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id)


async def _asked(world: World, command: HaltVenue | ResumeVenue, name: str) -> None:
    """Ask until somebody answers that it is so: as a person does whose command failed."""
    while True:
        with suppress(nats.errors.Error, AssertionError):
            answer = await world.ask(subjects.halt_commands("paper"), command, name)
            changed, _ = decode(answer.headers, answer.data)
            if isinstance(changed, HaltChanged) and changed.halted == isinstance(command, HaltVenue):
                return
        await asyncio.sleep(0.05)


async def _halt_outcome(world: World, strategy_id: str) -> Outcome:
    refused = await world.rows("SELECT outcome FROM executor.plans WHERE strategy_id = $1 || '-refused'", strategy_id)
    halted = await world.rows("SELECT halted FROM executor.halts WHERE venue = 'paper'")
    return {
        **await traded(world, strategy_id),
        "refused": [row["outcome"] for row in refused],
        "halted": [row["halted"] for row in halted],
    }


async def _closing(world: World, strategy_id: str) -> None:
    """Asked to end with an order on its way."""
    sent = len(world.way.orders_seen)
    if not await world.rows("SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id):
        world.way.faults = ["late_reply"]
        plan = world.plan(strategy_id, TARGETS, HELD)
        await world.publish(subjects.plans(strategy_id), plan, plan.plan_id)
        await eventually(lambda: _is(len(world.way.orders_seen) > sent))
        with suppress(ProcessLookupError):
            os.kill(world.lives["order_executor"].pid, signal.SIGTERM)
    await until(world, _DONE, strategy_id)


async def _is(value: bool) -> bool:
    return value


async def _busy(world: World, strategy_id: str) -> None:
    """A venue that wants to be left alone for a second."""
    if not await world.rows("SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id):
        world.way.faults = ["busy", "skewed"]
    await rebalance(world, strategy_id)
    world.way.faults = []


async def _live_with(world: World, environment: dict[str, str]) -> None:
    world.environment = environment
    await world.lives["order_executor"].kill()
    await world.live("order_executor")


async def _unreadable(world: World, strategy_id: str) -> None:
    """A command nobody can carry out: tried again, and again, until it is among the dead letters; and a wrong one."""
    before = await world.dead_letters()
    if not await world.rows("SELECT FROM executor.plans WHERE strategy_id = $1", strategy_id):
        await world.jetstream.publish(
            subjects.executor_commands("paper"), b"no message", headers={"Nats-Msg-Id": f"{strategy_id}.unreadable"}
        )
        await world.dead_letters(before + 1)
        stray = world.plan(strategy_id, TARGETS, HELD)
        await world.publish(subjects.executor_commands("paper"), stray, f"{strategy_id}.stray")
        refused = HoldStrategy(strategy_id=strategy_id, venue="paper", hold_id="")
        await world.publish(subjects.executor_commands("paper"), refused, f"{strategy_id}.refused")
    await rebalance(world, strategy_id)


async def _new_account(world: World, strategy_id: str) -> None:
    """An account of its own, with money, at the same exchange."""
    name = f"{strategy_id}-key"
    await world.exchange.call("POST", "/control/accounts", {"api_key": name, "api_secret": "s"})
    body = {"id": f"{strategy_id}.d", "asset": "USDT", "amount": "500", "account": name}
    await world.exchange.call("POST", "/control/deposits", body)
    world.environment = {
        "TRIMTAB_VENUE_NAME": strategy_id,
        "TRIMTAB_VENUE_API_KEY": name,
        "TRIMTAB_VENUE_API_SECRET": "s",
    }


async def _opened(world: World, strategy_id: str) -> None:
    await until(world, "SELECT FROM executor.accounts WHERE account = $1 AND opened_at IS NOT NULL", strategy_id)
    await until(world, "SELECT FROM ledger.balances WHERE account = 'wallet:' || $1", strategy_id)


async def _opening_outcome(world: World, strategy_id: str) -> Outcome:
    rows = await world.rows(
        "SELECT b.asset, b.amount, d.amount AS deposited FROM ledger.balances b JOIN executor.deposits d USING (asset) "
        "WHERE b.account = 'wallet:' || $1 AND d.account = $1 AND NOT d.in_opening",
        strategy_id,
    )
    return {"wallet": [(row["asset"], row["amount"], row["deposited"]) for row in rows]}


async def _as_before(world: World) -> None:
    await _live_with(world, {})


async def _touched_by_its_owner(world: World, strategy_id: str) -> None:
    """Coins that leave the account by another hand, and an order that is not ours; the reconciler is to find both."""
    await world.foreign_order()
    body = {"id": f"{strategy_id}.w", "asset": "ADA", "amount": str(_left(strategy_id)), "account": world.exchange.key}
    await world.exchange.call("POST", "/control/withdrawals", body)
    world.environment = {"TRIMTAB_RECONCILE_EVERY_S": "0.3"}
    await fund(world, strategy_id)


def _left(strategy_id: str) -> Decimal:
    """An amount that tells this play from all others."""
    return 1 + Decimal(sum(ord(letter) * 31**place for place, letter in enumerate(strategy_id)) % 99_991) / 10**6


async def _reconciled(world: World, strategy_id: str) -> None:
    await until(world, "SELECT FROM executor.differences WHERE amount = $1", -_left(strategy_id))
    await rebalance(world, strategy_id)
    await until(
        world,
        "SELECT FROM ledger.transactions t JOIN executor.differences d "
        "ON t.transaction_id LIKE 'difference:%' || d.account || '.' || d.number WHERE d.amount = $1",
        -_left(strategy_id),
    )


async def _reconciled_outcome(world: World, strategy_id: str) -> Outcome:
    called = await world.value("SELECT count(*) FROM executor.differences WHERE amount = $1", -_left(strategy_id))
    return {**await traded(world, strategy_id), "called": called, "foreign": await world.foreign_orders_told()}


STAGES = (
    Stage("rebalance", "a plan that sells and buys", rebalance, traded, fund),
    Stage("commanded", "hold, free, plan, seal", _commanded, traded, fund),
    Stage("meanwhile", "hold, hold and seal while a plan is open", _commanded_meanwhile, traded, fund),
    Stage("halted", "halt and resume", _halted, _halt_outcome, fund),
    Stage("deposit", "money that arrives", _deposited, _deposit_outcome),
    Stage("ambiguous", "replies that do not tell", _ambiguous, traded, fund),
    Stage("unreadable", "messages nobody can handle", _unreadable, traded, fund),
    Stage("busy", "a venue that wants to be left alone", _busy, traded, fund),
    Stage("closing", "asked to end", _closing, traded, fund, may_end_with=frozenset({0})),
    Stage("birth", "start-up", rebalance, traded, fund, is_birth=True),
    Stage("standby", "start-up beside another writer", rebalance, traded, fund, is_birth=True, lease_left_s=2.0),
    Stage("blind", "no user stream, no names", _ambiguous_and_nameless, traded, _blind, _as_before, is_birth=True),
    Stage("dark", "a venue that does not answer", _light_returns, traded, _in_the_dark, _as_before, is_birth=True),
    Stage(
        "opening", "the first start of an account", _opened, _opening_outcome, _new_account, _as_before, is_birth=True
    ),
    Stage(
        "owner",
        "start-up after the owner has used the account",
        _reconciled,
        _reconciled_outcome,
        _touched_by_its_owner,
        _as_before,
        is_birth=True,
    ),
    Stage("slow", "a command that waits for a lock", _slow, traded, _fund_and_trade),
)
"""In this order points are given to stages: the quickest first."""

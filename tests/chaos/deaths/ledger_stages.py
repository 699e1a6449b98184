"""The stages of the ledger: every kind of entry it makes, told to it directly."""

import asyncio
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import nats.errors

from shared.contracts import subjects
from shared.contracts.books import FundStrategy, ReleaseStrategy, SweepDust, WithdrawFromStrategy
from shared.contracts.orders import DepositObserved, OrderChanged, OrderFilled
from shared.contracts.reconciliation import AcceptSuspense, BalanceDiffered
from tests.chaos.deaths.laws import Trade
from tests.chaos.deaths.stages import Outcome, Stage, until
from tests.chaos.deaths.venue_account import unequal
from tests.chaos.deaths.world import World

D = Decimal
START = datetime(2020, 3, 12, tzinfo=UTC)
OUTAGE_S = 1.0
_PUBLISHED = "SELECT WHERE NOT EXISTS (SELECT FROM ledger.outbox WHERE published_at IS NULL)"


def _venue(strategy_id: str) -> str:
    """Each play has a venue of its own, so that whatever it leaves can be told from all others."""
    return f"v-{strategy_id}"


def _at_the_venue(world: World, strategy_id: str) -> dict[str, dict[str, Decimal]]:
    """What has moved at the play's venue, each move once under its name, however often it is told."""
    return world.moves.setdefault(_venue(strategy_id), {})


async def _deposit(world: World, strategy_id: str, amount: str = "1000") -> None:
    venue = _venue(strategy_id)
    await _came(world, strategy_id, amount)
    await until(world, "SELECT FROM ledger.balances WHERE account = 'wallet:' || $1", venue)


async def _came(world: World, strategy_id: str, amount: str = "1000") -> None:
    venue = _venue(strategy_id)
    came = DepositObserved(deposit_id="d1", venue=venue, asset="USDT", amount=D(amount), market_time=START)
    _at_the_venue(world, strategy_id)["deposit"] = {"USDT": D(amount)}
    await world.publish(subjects.deposits(venue), came, f"{strategy_id}.deposit")


async def _fund(world: World, strategy_id: str) -> None:
    command = FundStrategy(
        transfer_id=f"{strategy_id}.t1",
        strategy_id=strategy_id,
        venue=_venue(strategy_id),
        asset="USDT",
        amount=D(600),
        value_usdt=D(600),
    )
    await world.publish(subjects.transfer_commands(command.venue), command, command.transfer_id)


async def _fill(world: World, strategy_id: str, number: int, side: str = "BUY", quantity: str = "0.01") -> None:
    fill = OrderFilled(
        trade_id=f"BTCUSDT:{strategy_id}.{number}",
        fill_number=number,
        client_order_id=f"o{number}",
        plan_id="pl1",
        strategy_id=strategy_id,
        venue=_venue(strategy_id),
        symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        side=side,
        quantity=D(quantity),
        price=D(20_000),
        quote_quantity=D(quantity) * 20_000,
        fee=D("0.00001") if side == "BUY" else D("0.2"),
        fee_asset="BTC" if side == "BUY" else "USDT",
        market_time=START,
        received_at=START,
    )
    traded = Trade(
        fill.trade_id, fill.client_order_id, "BTC", side, fill.quantity, fill.quote_quantity, fill.fee, fill.fee_asset
    )
    _at_the_venue(world, strategy_id)[fill.trade_id] = traded.changes()
    await world.publish(subjects.orders_filled(strategy_id), fill, fill.trade_id)


async def _word(world: World, strategy_id: str, number: int, state: str, version: int) -> None:
    """What the executor says of an order: the first word is its intent."""
    word = OrderChanged(
        client_order_id=f"o{number}",
        plan_id="pl1",
        strategy_id=strategy_id,
        venue=_venue(strategy_id),
        symbol="BTCUSDT",
        side="BUY",
        quantity=D("0.01"),
        limit_price=D(20_000),
        state=state,
        filled_quantity=D(0),
        version=version,
        may_take={"USDT": D(200)} if version == 1 else {},
    )
    await world.publish(subjects.orders_changed(strategy_id), word, f"{strategy_id}.o{number}.{version}")


async def _story(world: World, strategy_id: str) -> None:
    """Deposit, funding, fills, a withdrawal and the end; the end asks for a fill that comes last."""
    venue = _venue(strategy_id)
    await _deposit(world, strategy_id)
    await _fund(world, strategy_id)
    await until(world, "SELECT FROM ledger.strategies WHERE strategy_id = $1", strategy_id)
    await _word(world, strategy_id, 1, "intended", 1)
    await _fill(world, strategy_id, 1)
    await _fill(world, strategy_id, 2)
    await _word(world, strategy_id, 1, "filled", 2)
    prices = {"BTC": D(20_000), "USDT": D(1)}
    withdraw = WithdrawFromStrategy(
        transfer_id=f"{strategy_id}.t2",
        strategy_id=strategy_id,
        venue=venue,
        asset="USDT",
        amount=D(50),
        prices=prices,
        quote="USDT",
        fills_required=2,
    )
    await world.publish(subjects.transfer_commands(venue), withdraw, withdraw.transfer_id)
    # As the registry does: a strategy is not released before the word on its last withdrawal is there.
    settled = "SELECT FROM ledger.transfers WHERE transfer_id = $1 AND state <> 'waiting'"
    await until(world, settled, withdraw.transfer_id)
    release = ReleaseStrategy(
        transfer_id=f"{strategy_id}.t3", strategy_id=strategy_id, venue=venue, fills_required=3, sold_into="USDT"
    )
    await world.publish(subjects.transfer_commands(venue), release, release.transfer_id)
    await _fill(world, strategy_id, 3, "SELL", "0.005")
    await until(world, settled, f"{strategy_id}.t3")
    await until(world, "SELECT FROM ledger.order_holds WHERE strategy_id = $1 AND version = 2", strategy_id)
    await _sweep(world, strategy_id)
    await until(world, _PUBLISHED)


async def _sweep(world: World, strategy_id: str) -> None:
    """A part of the dust, to the wallet: asked until it is there."""
    venue = _venue(strategy_id)
    sweep = SweepDust(venue=venue, asset="BTC", amount=D("0.001"))
    await _ask_until(world, sweep, f"{strategy_id}.sweep", "sweep")


async def _books(world: World, strategy_id: str) -> Outcome:
    """Everything the ledger knows of the play's venue."""
    venue = _venue(strategy_id)
    await _check_with_the_venue(world, strategy_id)
    balances = await world.rows(
        "SELECT split_part(account, ':', 1) AS kind, asset, amount FROM ledger.balances "
        "WHERE account IN ('wallet:' || $1, 'fees:' || $1, 'venue:' || $1, 'suspense:' || $1, 'dust:' || $1, "
        "'strategy:' || $2) "
        "AND amount <> 0 ORDER BY 1, 2",
        venue,
        strategy_id,
    )
    kinds = await world.rows("SELECT kind, count(*) FROM ledger.transactions WHERE venue = $1 GROUP BY 1", venue)
    transfers = await world.rows(
        "SELECT purpose, state, reason, amounts FROM ledger.transfers WHERE venue = $1 ORDER BY transfer_id", venue
    )
    orders = await world.rows(
        "SELECT client_order_id, version, is_open, taken, held FROM ledger.order_holds WHERE strategy_id = $1 "
        "ORDER BY client_order_id",
        strategy_id,
    )
    told = await world.value(
        "SELECT count(*) FROM ledger.outbox o WHERE o.subject = 'ledger.' || $1 AND o.published_at IS NOT NULL", venue
    )
    return {
        "balances": [tuple(row) for row in balances],
        "entries": sorted(tuple(row) for row in kinds),
        "transfers": [tuple(row) for row in transfers],
        "orders": [tuple(row) for row in orders],
        "told": told,
    }


async def _check_with_the_venue(world: World, strategy_id: str) -> None:
    """Fails unless the books hold what the venue does, each fill is posted once, and nothing is below zero."""
    venue, moves = _venue(strategy_id), _at_the_venue(world, strategy_id)
    rows = await world.rows(
        "SELECT account, asset, amount FROM ledger.balances "
        "WHERE account IN ('wallet:' || $1, 'suspense:' || $1, 'dust:' || $1, 'strategy:' || $2) AND amount <> 0",
        venue,
        strategy_id,
    )
    there: dict[str, Decimal] = {}
    booked: dict[str, Decimal] = {}
    for changes in moves.values():
        for asset, change in changes.items():
            there[asset] = there.get(asset, D(0)) + change
    for row in rows:
        assert row["amount"] >= 0, row
        booked[row["asset"]] = booked.get(row["asset"], D(0)) + row["amount"]
    assert not (apart := unequal(booked, there)), f"in the books and at the venue: {apart}"
    posted = await world.rows(
        "SELECT request ->> 'trade_id' AS trade_id, count(*) AS times FROM ledger.transactions "
        "WHERE kind = 'fill' AND venue = $1 GROUP BY 1",
        venue,
    )
    fills = {name: 1 for name in moves if name not in {"deposit", "difference"}}
    assert not (apart := unequal({row["trade_id"]: row["times"] for row in posted}, fills)), f"fills: {apart}"


async def _difference(world: World, strategy_id: str) -> None:
    """More at the venue than in the books, accepted by the wallet: asked until somebody answers that it is so."""
    venue = _venue(strategy_id)
    await _deposit(world, strategy_id)
    body = BalanceDiffered(
        difference_id=f"{strategy_id}.1",
        venue=venue,
        asset="USDT",
        amount=D(7),
        at_venue=D(1007),
        in_books=D(1000),
        market_time=START,
    )
    _at_the_venue(world, strategy_id)["difference"] = {"USDT": body.amount}
    await world.publish(subjects.balances_differed(venue), body, body.difference_id)
    await until(world, "SELECT FROM ledger.balances WHERE account = 'suspense:' || $1", venue)
    accept = AcceptSuspense(venue=venue, asset="USDT", amount=D(7))
    await _ask_until(world, accept, f"{strategy_id}.accept", "accept")
    await until(world, _PUBLISHED)


async def _ask_until(world: World, command: AcceptSuspense | SweepDust, message_id: str, kind: str) -> None:
    """Ask, always under the same name, until the venue has an entry of this kind."""
    while not await world.rows("SELECT FROM ledger.transactions WHERE venue = $1 AND kind = $2", command.venue, kind):
        try:
            await world.ask(subjects.LEDGER_COMMANDS, command, message_id)
        except nats.errors.Error:
            await asyncio.sleep(0.05)


async def _unreadable(world: World, strategy_id: str) -> None:
    """Nothing that can be read, nothing that is handled here, a fill that is not covered yet; then the story."""
    venue = _venue(strategy_id)
    if not await world.rows("SELECT FROM ledger.strategies WHERE strategy_id = $1", strategy_id):
        before = await world.dead_letters()
        await world.jetstream.publish(
            subjects.transfer_commands(venue), b"no message", headers={"Nats-Msg-Id": f"{strategy_id}.unreadable"}
        )
        stray = AcceptSuspense(venue=venue, asset="USDT", amount=D(1))
        await world.publish(subjects.transfer_commands(venue), stray, f"{strategy_id}.stray")
        await world.dead_letters(before + 2)
        await _fill(world, strategy_id, 1)
    await _story(world, strategy_id)


async def _behind_a_gate(world: World, strategy_id: str) -> None:
    await _live_with(world, {"TRIMTAB_POSTGRES_DSN": world.gated_dsn})
    await _deposit(world, f"{strategy_id}-up")  # it is at work


async def _closing(world: World, strategy_id: str) -> None:
    """Asked to end in the middle of the story."""
    venue = _venue(strategy_id)
    if not await world.rows("SELECT FROM ledger.balances WHERE account = 'wallet:' || $1", venue):
        await _deposit(world, strategy_id)
        await _fund(world, strategy_id)
        with suppress(ProcessLookupError):
            os.kill(world.lives["ledger"].pid, signal.SIGTERM)
    await _story(world, strategy_id)


async def _without_database(world: World, strategy_id: str) -> None:
    """The database is away when money comes."""
    venue = _venue(strategy_id)
    if not await world.rows("SELECT FROM ledger.balances WHERE account = 'wallet:' || $1", venue):
        await world.gate.close()
        await _came(world, strategy_id)
        await asyncio.sleep(OUTAGE_S)
        await world.gate.open()
    await _story(world, strategy_id)


async def _live_with(world: World, environment: dict[str, str]) -> None:
    world.environment = environment
    await world.lives["ledger"].kill()
    await world.live("ledger")


async def _as_before(world: World) -> None:
    await _live_with(world, {})


STAGES = (
    Stage("story", "a strategy's money from deposit to release", _story, _books),
    Stage("difference", "a difference, accepted", _difference, _books),
    Stage("birth", "start-up", _story, _books, is_birth=True),
    Stage("unreadable", "messages nobody can handle", _unreadable, _books),
    Stage("closing", "asked to end", _closing, _books, may_end_with=frozenset({0})),
    Stage("outage", "no database", _without_database, _books, _behind_a_gate, _as_before),
)
"""In this order points are given to stages: the quickest first."""

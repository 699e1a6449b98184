"""Books and venue on real servers, with executor and ledger: fees in every asset, money moved behind our back."""

import asyncio
import random
import signal
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import nats
import pytest

from services.ledger.adapters.postgres_checks import check_books
from services.order_executor import reconciler
from shared.contracts import subjects
from shared.contracts.books import FundStrategy
from shared.contracts.reconciliation import AcceptSuspense, SuspenseAccepted
from shared.contracts.strategies import CommandRefused
from shared.contracts.wire import Meta, headers_of, payload_of
from shared.messaging.decoding import decode
from tests.services.order_executor.rig import Stack, eventually, plan_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

D = Decimal
PATIENCE_S = 60.0


class Money:
    """The stack with a ledger, as its owner sees it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.reconcile_every_s = "0.3"
        self.ledger = stack.ledger()
        self._commands = 0

    async def start(self, **deposits: str) -> None:
        for asset, amount in deposits.items():
            await self.stack.exchange.deposit(asset, asset, amount)
        await self.stack.app()
        await self.equal()

    async def fund(self, strategy_id: str, asset: str, amount: str) -> None:
        name = f"{strategy_id}-{asset}"
        command = FundStrategy(
            transfer_id=name,
            strategy_id=strategy_id,
            venue="paper",
            asset=asset,
            amount=D(amount),
            value_usdt=D(amount),
        )
        await self.stack.publish(subjects.transfer_commands("paper"), command, name)
        query = "SELECT state FROM ledger.transfers WHERE transfer_id = $1"
        (row,) = await eventually(lambda: self.stack.rows(query, name), PATIENCE_S)
        assert row["state"] == "posted"

    async def equal(self) -> None:
        """Wait until the books hold what the venue shows, to the last digit; then an outsider checks them."""

        async def same() -> bool:
            booked = (await check_books(self.stack.dsn)).held.get("paper", {})
            return booked == await self.stack.exchange.balances()

        await eventually(same, PATIENCE_S)
        assert (await check_books(self.stack.dsn)).differences == ()

    async def suspense(self) -> dict[str, Decimal]:
        query = "SELECT asset, amount FROM ledger.balances WHERE account = 'suspense:paper' AND amount <> 0"
        return {row["asset"]: D(row["amount"]).normalize() for row in await self.stack.rows(query)}

    async def until_suspense(self, **expected: str) -> None:
        async def is_so() -> bool:
            return await self.suspense() == {asset: D(amount) for asset, amount in expected.items()}

        await eventually(is_so, PATIENCE_S)

    async def calls(self) -> int:
        (row,) = await self.stack.rows("SELECT count(*) FROM executor.differences")
        return int(row[0])

    async def accept(self, asset: str, amount: str, again: str = "") -> Any:
        if not again:
            self._commands += 1
        name = again or f"accept-{self._commands}"
        command = AcceptSuspense(venue="paper", asset=asset, amount=D(amount))
        client = await nats.connect(self.stack.nats_url)
        try:
            meta = Meta(name, "test", datetime.now(UTC), name, "")
            reply = await client.request(
                subjects.LEDGER_COMMANDS, payload_of(command), timeout=5, headers=headers_of(command, meta)
            )
        finally:
            await client.close()
        return decode(reply.headers or {}, reply.data)[0]

    async def withdraw(self, name: str, asset: str, amount: str) -> None:
        exchange = self.stack.exchange
        body = {"id": exchange.deposit_id(name), "asset": asset, "amount": amount, "account": exchange.key}
        assert "id" in await exchange.call("POST", "/control/withdrawals", body)

    async def by_hand(self, side: str, quantity: str, **fields: str) -> Any:
        """An order of the account's owner, in BTC."""
        venue = self.stack.exchange.venue()
        order = {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": quantity, **fields}
        try:
            return await venue._exchange.private_post_order(order)
        finally:
            await venue.close()

    async def alerts(self) -> list[str]:
        rows = await self.stack.rows(
            "SELECT payload FROM ledger.outbox WHERE subject LIKE 'notifications.%' UNION ALL "
            "SELECT payload FROM executor.outbox WHERE subject LIKE 'notifications.%'"
        )
        return [bytes(row["payload"]).decode() for row in rows]

    async def traded(self, strategy_id: str, holdings: dict[str, str], **changes: Any) -> Any:
        """The end of a plan half BTC, half ETH."""
        plan = await plan_for(self.stack.exchange, strategy_id, {"BTC": "50", "ETH": "50"}, holdings, **changes)
        await self.stack.send_plan(plan)
        return await self.stack.closed(plan, PATIENCE_S)


@pytest.mark.parametrize(
    ("mode", "bnb", "suspended"),
    [("received", None, False), ("third", "10", False), ("runs_out", "0.008", False), ("another's", "1", True)],
)
async def test_fees_when_taken_in_any_asset_leave_the_books_equal_to_the_venue(
    stack: Stack, mode: str, bnb: str | None, suspended: bool
) -> None:
    money = Money(stack)
    deposits = {"USDT": "5000"} | ({"BNB": bnb} if bnb else {})
    await money.start(**deposits)
    if bnb:
        choice = {"enabled": True, "account": stack.exchange.key}
        assert (await stack.exchange.call("POST", "/control/accounts/discount", choice))["enabled"]
    if suspended:
        await money.fund("other", "BNB", "1")
    await money.fund("s1", "USDT", "4000")
    closed = await money.traded("s1", {"USDT": "4000"})
    assert closed["outcome"] == "completed"
    await money.equal()
    paid_in = {row["fee_asset"] for row in await stack.rows("SELECT DISTINCT fee_asset FROM executor.fills")}
    expected = {"received": {"BTC", "ETH"}, "runs_out": {"BNB", "BTC", "ETH"}}.get(mode, {"BNB"})
    assert paid_in <= {"BTC", "ETH", "BNB"}
    assert paid_in & {"BNB"} == expected & {"BNB"}
    assert paid_in - {"BNB"} <= expected, (mode, paid_in)
    assert set(await money.suspense()) == ({"BNB"} if suspended else set())
    assert bool(await money.alerts()) is suspended
    assert await money.calls() == 0, "fills under way are no difference"
    (dead,) = await stack.rows(
        "SELECT count(*) FROM executor.fills f LEFT JOIN ledger.transactions t "
        "ON t.transaction_id = 'fill:paper:' || f.trade_id WHERE t.sequence IS NULL"
    )
    assert dead[0] == 0


async def test_withdrawal_when_made_outside_is_suspense_stops_trading_and_can_be_accepted(stack: Stack) -> None:
    money = Money(stack)
    await money.start(USDT="5000")
    await money.fund("s1", "USDT", "2000")
    await money.withdraw("w", "USDT", "100")
    await money.until_suspense(USDT="-100")
    await money.equal()
    (alert,) = await money.alerts()
    assert "holds 100 USDT less than the books" in alert
    closed = await money.traded("s1", {"USDT": "2000"})
    assert (closed["outcome"], "unreconciled:BTC" in closed["detail"]) == ("partial", True)
    assert await stack.rows("SELECT * FROM executor.orders") == []

    assert isinstance(await money.accept("USDT", "-99"), CommandRefused), "not what is in suspense"
    accepted = await money.accept("USDT", "-100")
    assert isinstance(accepted, SuspenseAccepted)
    assert await money.accept("USDT", "-100", again="accept-2") == accepted, "the same command, the same answer"
    assert await money.suspense() == {}
    await money.equal()

    async def trades() -> bool:
        last = await stack.rows("SELECT plan_id FROM executor.plans ORDER BY accepted_at DESC LIMIT 1")
        row = await money.traded("s1", {"USDT": "2000"}, previous_plan_id=last[0]["plan_id"])
        return bool(row["outcome"] == "completed")

    await eventually(trades, PATIENCE_S)
    await money.equal()
    assert await money.calls() == 1


async def test_trade_when_made_by_hand_is_explained_and_gone_when_it_is_undone(stack: Stack) -> None:
    money = Money(stack)
    await money.start(USDT="5000", BTC="1")
    order = await money.by_hand("SELL", "0.01")
    proceeds = D(order["cummulativeQuoteQty"]) * D("0.999")

    async def both() -> bool:
        return set(await money.suspense()) == {"BTC", "USDT"}

    await eventually(both, PATIENCE_S)
    assert (await money.suspense())["BTC"] == D("-0.01")
    assert abs((await money.suspense())["USDT"] - proceeds) < D("0.00001")
    texts = " ".join(await money.alerts())
    assert "trades in BTCUSDT that are not Trimtab's: BTCUSDT:" in texts
    await money.by_hand("BUY", "0.01")

    async def less() -> bool:
        return abs((await money.suspense()).get("BTC", D(0))) == D("0.00001")

    await eventually(less, PATIENCE_S)
    await money.equal()


async def test_order_when_placed_by_hand_and_open_is_told_once(stack: Stack) -> None:
    money = Money(stack)
    await stack.exchange.deposit("USDT", "USDT", "5000")
    bid = D((await stack.exchange.quotes())["BTC"][0])
    price = str((bid * D("0.9")).quantize(D(1)))
    await money.by_hand("BUY", "0.01", type="LIMIT", timeInForce="GTC", price=price)
    await stack.app()
    found = await eventually(lambda: stack.rows("SELECT * FROM executor.foreign_orders"), PATIENCE_S)
    assert len(found) == 1
    (told,) = await stack.rows(
        "SELECT count(*) FROM executor.outbox WHERE subject = 'reconciliation.paper.foreign-order'"
    )
    assert told[0] == 1
    assert "is open at paper and is not Trimtab's" in " ".join(await money.alerts())
    await money.equal()


async def test_start_when_money_left_meanwhile_compares_before_anything_is_traded(stack: Stack) -> None:
    money = Money(stack)
    await stack.exchange.deposit("USDT", "USDT", "5000")
    process = stack.process()
    await money.equal()
    await money.fund("s1", "USDT", "2000")
    process.end()
    plan = await plan_for(stack.exchange, "s1", {"BTC": "100"}, {"USDT": "2000"})
    await stack.send_plan(plan)
    await money.withdraw("w", "USDT", "3500")
    stack.process("2")
    closed = await stack.closed(plan, PATIENCE_S)
    assert "unreconciled:BTC" in closed["detail"]
    assert await stack.rows("SELECT * FROM executor.orders") == []
    await money.until_suspense(USDT="-3500")
    assert isinstance(await money.accept("USDT", "-3500"), CommandRefused), "the wallet holds 3000"
    await money.equal()


async def test_executor_when_killed_while_money_moves_calls_every_difference_once(stack: Stack) -> None:
    money = Money(stack)
    await stack.exchange.deposit("USDT", "USDT", "5000")
    process = stack.process()
    await money.equal()
    for number in range(3):
        writing = f"SELECT FROM executor.accounts WHERE epoch = {number + 1}"
        await eventually(lambda query=writing: stack.rows(query), PATIENCE_S)
        await money.withdraw(f"w{number}", "USDT", "10")
        await asyncio.sleep(0.5 + 0.5 * number)  # before, at about and after the second reading
        process.end(signal.SIGKILL)
        process = stack.process(str(number))
    await money.until_suspense(USDT="-30")
    await money.equal()
    (posted,) = await stack.rows(
        "SELECT count(*), sum((request ->> 'amount')::numeric) FROM ledger.transactions WHERE kind = 'suspense'"
    )
    assert (posted[0], posted[1]) == (await money.calls(), D(-30))


async def test_start_when_the_ledger_has_not_posted_everything_trades_nothing_and_alerts(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "START_PATIENCE_S", 1.0)
    money = Money(stack)
    await stack.exchange.deposit("USDT", "USDT", "5000")
    money.ledger.end()
    await stack.app()
    plan = await plan_for(stack.exchange, "s1", {"BTC": "100"}, {"USDT": "2000"})
    await stack.send_plan(plan)
    closed = await stack.closed(plan, PATIENCE_S)
    assert "unreconciled:BTC" in closed["detail"]
    (alert,) = await money.alerts()
    assert "USDT: books and account at paper could not be compared" in alert
    stack.ledger()
    await money.equal()
    await money.fund("s1", "USDT", "2000")

    async def trades() -> bool:
        last = await stack.rows("SELECT plan_id FROM executor.plans ORDER BY accepted_at DESC LIMIT 1")
        row = await money.traded("s1", {"USDT": "2000"}, previous_plan_id=last[0]["plan_id"])
        return bool(row["outcome"] == "completed")

    await eventually(trades, PATIENCE_S)
    await money.equal()
    assert await money.calls() == 0


@pytest.mark.timeout(240)
async def test_books_when_both_are_killed_among_trades_and_manual_trades_equal_the_venue_in_the_end(
    stack: Stack,
) -> None:
    """Fees in BNB that runs out, plans, manual trades and withdrawals, while executor and ledger die at random."""
    money, chance = Money(stack), random.Random(7)
    for asset, amount in (("USDT", "9000"), ("BTC", "1"), ("BNB", "0.02")):
        await stack.exchange.deposit(asset, asset, amount)
    choice = {"enabled": True, "account": stack.exchange.key}
    await stack.exchange.call("POST", "/control/accounts/discount", choice)
    executor, ledger = stack.process(), money.ledger
    await money.equal()
    for number in range(3):
        await money.fund(f"s{number}", "USDT", "1500")
    plans = []
    for number in range(6):
        if number < 3:
            plan = await plan_for(stack.exchange, f"s{number}", {"BTC": "50", "ETH": "50"}, {"USDT": "1500"})
            await stack.send_plan(plan)
            plans.append(plan)
        await asyncio.sleep(chance.random())
        await money.by_hand(chance.choice(["BUY", "SELL"]), "0.003")
        await money.withdraw(f"w{number}", "USDT", "7")
        if number % 2:
            ledger.end(signal.SIGKILL)
            ledger = stack.ledger()
        else:
            executor.end(signal.SIGKILL)
            executor = stack.process(f"after-{number}")
    for plan in plans:
        await stack.closed(plan, PATIENCE_S)
    await money.equal()

    async def judged() -> bool:
        (posted,) = await stack.rows("SELECT count(*) FROM ledger.transactions WHERE kind = 'suspense'")
        return int(posted[0]) == await money.calls() > 0

    await eventually(judged, PATIENCE_S)
    (twice,) = await stack.rows(
        "SELECT count(*) - count(DISTINCT transaction_id) AS repeats, count(*) FILTER (WHERE kind = 'fill') AS fills "
        "FROM ledger.transactions"
    )
    (fills,) = await stack.rows("SELECT count(*) FROM executor.fills")
    assert (twice["repeats"], twice["fills"]) == (0, fills[0])
    for asset, amount in (await money.suspense()).items():
        reply = await money.accept(asset, format(amount, "f"))
        assert isinstance(reply, SuspenseAccepted | CommandRefused), reply
    await money.equal()

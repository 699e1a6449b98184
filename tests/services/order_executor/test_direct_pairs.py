"""A strategy on a venue with a pair of its two assets: feed, executor and ledger on real servers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.ledger.adapters.postgres_checks import check_books
from services.order_executor.app import Executor
from shared.contracts import subjects
from shared.contracts.books import FundStrategy
from shared.contracts.plans import RebalancePlanned
from tests.servers import EmbeddedNats
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, ExchangeProcess, Stack, eventually, plan_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

D = Decimal
HALF = {"BTC": "50", "ETH": "50"}


@asynccontextmanager
async def direct_stack(nats: EmbeddedNats, dsn: str, folder: Path, **venue: str) -> AsyncIterator[Stack]:
    """Everything real, at an exchange of its own that lists ETH/BTC; the prices come from a feed."""
    process = ExchangeProcess(folder, TRIMTAB_EXCHANGE_CROSS_PAIRS="ETH/BTC", **venue)
    exchange = Exchange(process)
    await exchange.start()
    way = FaultyWay(exchange.url)
    await way.start()
    stack = Stack(nats.url, dsn, exchange, way)
    stack.reconcile_every_s = "0.3"
    await stack.open()
    stack.feed()
    stack.ledger()
    try:
        yield stack
    finally:
        await stack.close()
        await way.stop()
        await exchange.stop()
        process.process.end()


async def funded(stack: Stack, asset: str, amount: str) -> None:
    """A strategy s1 that holds so much, and nothing else."""
    await stack.exchange.deposit("first", asset, amount)
    command = FundStrategy(
        transfer_id="fund", strategy_id="s1", venue="paper", asset=asset, amount=D(amount), value_usdt=D(40_000)
    )

    async def has_arrived() -> bool:
        query = "SELECT amount FROM ledger.balances WHERE account = 'wallet:paper' AND asset = $1"
        return any(row["amount"] == D(amount) for row in await stack.rows(query, asset))

    await eventually(has_arrived)
    await stack.publish(subjects.transfer_commands("paper"), command, "fund")


async def held(stack: Stack) -> dict[str, str]:
    """What the ledger says that the strategy holds, once it has posted every fill that was booked."""

    async def posted() -> bool:
        query = (
            "SELECT coalesce((SELECT fills_total FROM executor.strategies WHERE strategy_id = 's1'), 0) = "
            "(SELECT count(*) FROM ledger.transactions WHERE kind = 'fill')"
        )
        return bool((await stack.rows(query))[0][0])

    await eventually(posted)
    query = "SELECT asset, trim_scale(amount)::text AS amount FROM ledger.balances "
    query += "WHERE account = 'strategy:s1' AND amount > 0"
    rows: list[asyncpg.Record] = await eventually(lambda: stack.rows(query))
    return {row["asset"]: row["amount"] for row in rows}


async def traded(stack: Stack, targets: dict[str, str], before: RebalancePlanned | None) -> RebalancePlanned:
    """A plan from what is held, followed to its end."""
    holdings = await held(stack)
    follows: dict[str, Any] = {}
    if before is not None:
        (row,) = await stack.rows("SELECT fills_total FROM executor.strategies WHERE strategy_id = 's1'")
        version = before.position_version + 1
        follows = {"position_version": version, "previous_plan_id": before.plan_id, "fills_seen": row["fills_total"]}
    plan = await plan_for(stack.exchange, "s1", targets, holdings, **follows)
    await stack.send_plan(plan)
    return plan


async def until_quoted(app: Executor) -> None:
    async def is_quoted() -> bool:
        return app._market.look_direct("ETH", "BTC") is not None

    await eventually(is_quoted)


async def balanced(stack: Stack) -> None:
    """The books hold what the venue shows, to the last digit, with nothing in suspense."""

    async def same() -> bool:
        return (await check_books(stack.dsn)).held.get("paper", {}) == await stack.exchange.balances()

    await eventually(same)
    assert (await check_books(stack.dsn)).differences == ()
    suspense = "SELECT FROM ledger.balances WHERE account = 'suspense:paper' AND amount <> 0"
    assert await stack.rows(suspense) == []


async def symbols_of(stack: Stack, plan: RebalancePlanned) -> list[str]:
    query = "SELECT symbol FROM executor.orders WHERE plan_id = $1 ORDER BY round, symbol"
    return [row["symbol"] for row in await stack.rows(query, plan.plan_id)]


async def costs_bps(stack: Stack, plan: RebalancePlanned) -> Decimal:
    """Fees of a plan's fills, each as a part of what it traded, together."""
    query = (
        "SELECT sum(CASE WHEN f.fee_asset = o.asset THEN f.fee / f.quantity ELSE f.fee / f.quote_quantity END) "
        "FROM executor.fills f JOIN executor.orders o USING (client_order_id) WHERE f.plan_id = $1"
    )
    (row,) = await stack.rows(query, plan.plan_id)
    return D(row[0]) * 10_000


async def test_plan_when_the_pair_is_cheaper_is_one_order_there_and_the_books_are_the_venues(
    provisioned_nats: EmbeddedNats, postgres_dsn: str, tmp_path: Path
) -> None:
    async with direct_stack(provisioned_nats, postgres_dsn, tmp_path) as stack:
        app = await stack.app()
        await funded(stack, "BTC", "1")
        # The first plan has the pair listed; whether it is quoted in time for that plan itself is chance.
        first = await traded(stack, HALF, None)
        closed = await stack.closed(first)
        assert closed["outcome"] == "completed", closed["detail"]
        await until_quoted(app)
        second = await traded(stack, {"BTC": "20", "ETH": "80"}, first)
        closed = await stack.closed(second)
        assert closed["outcome"] == "completed"
        assert await symbols_of(stack, second) == ["ETHBTC"]
        told = r"direct:BTC to ETH on ETHBTC at 11\.\d bps instead of 22\.\d bps through USDT"
        assert re.search(told, closed["detail"]), closed["detail"]
        assert D("9.9") < await costs_bps(stack, second) < D("10.1")
        await balanced(stack)
        # The next executor knows from the plans of the past what to list, before the first plan comes.
        await stack.stop_apps()
        app = await stack.app()
        await until_quoted(app)
        third = await traded(stack, HALF, second)
        assert (await stack.closed(third))["outcome"] == "completed"
        assert await symbols_of(stack, third) == ["ETHBTC"]
        await balanced(stack)
        rows = await stack.rows("SELECT side, valued_in, quote_price FROM executor.orders WHERE valued_in <> ''")
        assert {(row["side"], row["valued_in"]) for row in rows} == {("BUY", "USDT"), ("SELL", "USDT")}
        bid = D((await stack.exchange.quotes())["BTC"][0])
        assert {row["quote_price"] for row in rows} == {bid}


@pytest.mark.parametrize(
    ("spread_bps", "routing"), [("100", "direct_when_cheaper"), ("2", "quote_only")], ids=["dearer", "turned off"]
)
async def test_plan_when_the_pair_is_dearer_or_routing_is_off_goes_through_the_quote_currency(
    provisioned_nats: EmbeddedNats, postgres_dsn: str, tmp_path: Path, spread_bps: str, routing: str
) -> None:
    spread = {"TRIMTAB_EXCHANGE_CROSS_SPREAD_BPS": spread_bps}
    async with direct_stack(provisioned_nats, postgres_dsn, tmp_path, **spread) as stack:
        stack.further["TRIMTAB_ROUTING"] = routing
        app = await stack.app()
        await funded(stack, "BTC", "1")
        first = await traded(stack, HALF, None)
        closed = await stack.closed(first)
        assert closed["outcome"] == "completed", closed["detail"]
        if routing != "quote_only":
            await until_quoted(app)
        second = await traded(stack, {"BTC": "20", "ETH": "80"}, first)
        assert (await stack.closed(second))["outcome"] == "completed"
        assert set(await symbols_of(stack, second)) == {"BTCUSDT", "ETHUSDT"}
        assert await costs_bps(stack, second) > D("19.9")
        await balanced(stack)

"""The executor trades on the simulated exchange's BigONE face: a rebalance, also when answers are lost on the way."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.servers import EmbeddedNats
from tests.services.order_executor.rig import Exchange, ExchangeProcess, Process, Stack, free_port, plan_for

TWO = {"BTC": "60", "ETH": "40"}
PLACE = {"method": "POST", "path": "/api/v3/viewer/orders"}


class BigoneProcess(ExchangeProcess):
    """The simulated exchange in BigONE's dialect, its market held still."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "TRIMTAB_EXCHANGE_DIALECT": "bigone",
            "TRIMTAB_EXCHANGE_PORT": str(self.port),
            "TRIMTAB_EXCHANGE_STATE_DIR": str(folder / "exchange"),
            "TRIMTAB_EXCHANGE_START_PAUSED": "true",
        }
        self.process = Process("services.simulated_exchange", environment, folder / "exchange.log")


class BigoneExchange(Exchange):
    """The exchange as one account sees it."""

    async def quotes(self) -> dict[str, tuple[str, str]]:
        rows = (await self.call("GET", "/api/v3/asset_pairs/tickers"))["data"]
        return {row["asset_pair_name"].split("-")[0]: (row["bid"]["price"], row["ask"]["price"]) for row in rows}


@pytest.fixture(scope="module")
def bigone_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigoneProcess]:
    made = BigoneProcess(tmp_path_factory.mktemp("bigone"))
    yield made
    made.process.end()


@pytest_asyncio.fixture
async def market(bigone_process: BigoneProcess) -> AsyncIterator[BigoneExchange]:
    made = BigoneExchange(bigone_process)
    await made.start()
    await made.deposit("d-1", "USDT", "10000")
    yield made
    await made.call("DELETE", "/control/faults")
    await made.stop()


@pytest_asyncio.fixture
async def stack(provisioned_nats: EmbeddedNats, postgres_dsn: str, market: BigoneExchange) -> AsyncIterator[Stack]:
    """Servers, venue and prices; no executor yet."""
    direct: Any = market
    made = Stack(provisioned_nats.url, postgres_dsn, market, direct)
    made.further = {"TRIMTAB_VENUE_DIALECT": "bigone"}
    await made.open()
    yield made
    await made.close()


async def check_books(stack: Stack) -> None:
    """What the executor booked is what the account did, to the last digit; every order was placed once."""
    held = {"USDT": Decimal(10_000)}
    query = "SELECT f.*, o.side, o.asset FROM executor.fills f JOIN executor.orders o USING (client_order_id)"
    for row in await stack.rows(query):
        sign = 1 if row["side"] == "BUY" else -1
        for asset, change in (
            (row["asset"], sign * row["quantity"]),
            ("USDT", -sign * row["quote_quantity"]),
            (row["fee_asset"], -row["fee"]),
        ):
            held[asset] = held.get(asset, Decimal(0)) + change
    assert {asset: amount for asset, amount in held.items() if amount} == await stack.exchange.balances()


@pytest.mark.parametrize("fault", ["none", "lost_reply", "error_after", "contradiction"])
async def test_rebalance_when_the_venue_speaks_bigone_is_carried_out_and_booked(stack: Stack, fault: str) -> None:
    await stack.app()
    if fault != "none":
        answer = await stack.exchange.call("POST", "/control/faults", PLACE | {"kind": fault, "nth": 1, "code": 10005})
        assert "id" in answer
    plan = await plan_for(stack.exchange, "s1", TWO, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    closed = await stack.closed(plan)
    assert closed["outcome"] == "completed", closed["detail"]
    balances = await stack.exchange.balances()
    assert balances.keys() == {"BTC", "ETH", "USDT"}
    await check_books(stack)
    more = await plan_for(
        stack.exchange, "s2", {"BTC": "20", "USDT": "80"}, {"BTC": f"{balances['BTC']:f}"}, kind="initial"
    )
    await stack.send_plan(more)
    assert (await stack.closed(more))["outcome"] == "completed"
    assert (await stack.exchange.balances())["BTC"] < balances["BTC"]
    await check_books(stack)
    if fault != "none":
        assert (await stack.exchange.call("GET", "/control/faults"))["injected"][fault] >= 1

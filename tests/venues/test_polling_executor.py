"""An executor at a venue without a user stream: what trades is seen by asking only, and booked once, exactly."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from shared.core.errors import Refused
from shared.venues.dialects import DIALECTS
from tests.servers import EmbeddedNats
from tests.services.order_executor.rig import Stack, eventually, plan_for
from tests.venues.loopback import TOUCH, LoopbackVenue
from tests.venues.subjects import FACES, SECRETS, adapter_of

POLLED = ("bigone", "bybit", "kucoin", "okx")  # those whose quote currency and budget are the rig's
TWO = {"BTC": "60", "ETH": "40"}


class LoopbackMarket:
    """A venue on loopback as the rig's exchange: its prices, its time, its account."""

    ws_api_url = ""

    def __init__(self, server: LoopbackVenue) -> None:
        self.url = server.url
        self.key, self.secret, _ = SECRETS.get(server.face.name, ("key", "secret", ""))

    async def quotes(self) -> dict[str, tuple[str, str]]:
        return dict(TOUCH)

    async def market_time(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture(params=POLLED)
def name(request: pytest.FixtureRequest) -> str:
    """A venue that is only asked."""
    found: str = request.param
    return found


@pytest_asyncio.fixture
async def server(name: str) -> AsyncIterator[LoopbackVenue]:
    made = LoopbackVenue(FACES[name]())
    await made.start()
    made.books.deposit("first", "USDT", "10000")
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def stack(
    provisioned_nats: EmbeddedNats, postgres_dsn: str, name: str, server: LoopbackVenue
) -> AsyncIterator[Stack]:
    """Servers, a venue on loopback, prices; no executor yet."""
    market: Any = LoopbackMarket(server)
    made = Stack(provisioned_nats.url, postgres_dsn, market, market)
    made.further = {"TRIMTAB_VENUE_DIALECT": name, "TRIMTAB_VENUE_API_PASSPHRASE": "phrase"}
    await made.open()
    yield made
    await made.close()


async def check_books(stack: Stack, server: LoopbackVenue) -> None:
    """What the executor booked is what the account did, trade by trade and to the last digit."""
    rows = await stack.rows(
        "SELECT f.*, o.side, o.asset FROM executor.fills f JOIN executor.orders o USING (client_order_id)"
    )
    assert len(rows) == len(server.books.trades) > 0
    held = {"USDT": Decimal(10_000)}
    for row in rows:
        sign = 1 if row["side"] == "BUY" else -1
        for asset, change in (
            (row["asset"], sign * row["quantity"]),
            ("USDT", -sign * row["quote_quantity"]),
            (row["fee_asset"], -row["fee"]),
        ):
            held[asset] = held.get(asset, Decimal(0)) + change
    assert held == server.books.held
    states = {row["state"] for row in await stack.rows("SELECT state FROM executor.orders")}
    assert states <= {"filled", "partially_filled", "unfilled"}
    ids = [order.client_id for order in server.books.orders]
    assert len(set(ids)) == len(ids)


async def test_plan_when_fills_are_seen_by_polling_only_is_booked_exactly(
    stack: Stack, server: LoopbackVenue, name: str
) -> None:
    assert not DIALECTS[name].has_user_stream
    await stack.app()
    server.faults = ["lost_reply"]  # what became of the first order is found out by asking, too
    plan = await plan_for(stack.exchange, "s1", TWO, {"USDT": "1200"}, kind="initial")
    await stack.send_plan(plan)
    closed = await stack.closed(plan)
    assert closed["outcome"] == "completed", closed["detail"]
    await check_books(stack, server)
    held = {asset: f"{server.books.held[asset]:f}" for asset in TWO}
    more = await plan_for(
        stack.exchange, "s2", {"BTC": "20", "USDT": "80"}, {"BTC": held["BTC"]}, kind="initial"
    )  # one that sells
    await stack.send_plan(more)
    assert (await stack.closed(more))["outcome"] == "completed"
    assert any(not order.is_buy for order in server.books.orders)
    await check_books(stack, server)


async def test_deposit_when_it_arrives_at_a_polled_venue_is_announced(stack: Stack, server: LoopbackVenue) -> None:
    await stack.app()
    server.books.deposit("second", "ETH", "2")
    query = "SELECT FROM executor.deposits WHERE asset = 'ETH' AND amount = 2 AND NOT in_opening"
    assert await eventually(lambda: stack.rows(query))


async def test_news_when_there_is_no_user_stream_is_refused(server: LoopbackVenue) -> None:
    venue = adapter_of(server)
    with pytest.raises(Refused, match="has none"):
        venue.news()
    await venue.close()

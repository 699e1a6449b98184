"""The price feed follows the simulated exchange's BigONE face, over its websocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from services.price_feed.adapters.back_off import BackOff
from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.adapters.table import open_prices
from tests.services.price_feed.scripted_venue import eventually
from tests.services.price_feed.venue_player import Told
from tests.services.simulated_exchange.running import Running, serving, write_prices

TIMES = ConnectionTimes(quiet_s=5.0, back_off=BackOff(0.01, 0.05))
ROWS = [("2024-01-01", "10000", "0.02"), ("2024-01-02", "10100", "0.021")]


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Running]:
    """Two days of two assets, paused at the first."""
    prices = write_prices(tmp_path / "prices.csv", ("date", "BTC", "ONE"), ROWS)
    async with serving(tmp_path / "state", exchange_dialect="bigone", exchange_prices_file=str(prices)) as running:
        yield running


async def test_prices_when_the_market_moves_are_followed_from_the_snapshot_on(exchange: Running) -> None:
    told = Told()
    prices = open_prices("bigone", exchange.ws, Listener(told.receive, told.connected, told.connection), TIMES)
    prices.follow(["BTC-USDT", "ONE-USDT"])
    running = asyncio.create_task(prices.run())
    try:
        await eventually(lambda: {symbol for symbol, _, _ in told.quotes} == {"BTC-USDT", "ONE-USDT"})
        assert all(float(str(bid)) < 10_000 < float(str(ask)) for symbol, bid, ask in told.quotes if symbol[0] == "B")
        await exchange.advance()
        await eventually(lambda: any(float(str(bid)) > 10_050 for _, bid, _ in told.quotes))
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert told.connections == 1

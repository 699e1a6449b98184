"""Prices by asking over REST: ccxt, unmodified, against the simulated exchange."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from services.price_feed.adapters.back_off import BackOff
from services.price_feed.adapters.polling.ccxt_prices import PolledPrices, exchange_of
from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.adapters.table import open_prices
from services.price_feed.freshness import Freshness
from services.price_feed.price_book import PriceBook
from services.price_feed.venue_events import TimeReceived
from shared.core.errors import Refused
from tests.services.price_feed.scripted_venue import eventually
from tests.services.price_feed.test_price_book import listed
from tests.services.price_feed.venue_player import Told
from tests.services.simulated_exchange.running import Running, serving, write_prices

TIMES = ConnectionTimes(quiet_s=0.3, back_off=BackOff(0.01, 0.05))
ROWS = [("2024-01-01", "10000", "0.02"), ("2024-01-02", "10100", "0.021")]


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Running]:
    """Two days of two assets, paused at the first."""
    prices = write_prices(tmp_path / "prices.csv", ("date", "BTC", "ONE"), ROWS)
    async with serving(tmp_path / "state", exchange_prices_file=str(prices)) as running:
        yield running


@asynccontextmanager
async def polling(root: str, *symbols: str) -> AsyncIterator[tuple[PolledPrices, Told]]:
    """Prices of these symbols, asked for often."""
    told = Told()
    prices = PolledPrices(
        exchange_of("binance", root),
        Listener(told.receive, told.connected, told.connection),
        TIMES,
        interval_s=0.05,
        chance=lambda: 0.5,
    )
    prices.follow(symbols)
    running = asyncio.create_task(prices.run())
    try:
        yield prices, told
        assert not running.done()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_polled_when_asked_tells_text_that_the_guards_believe(exchange: Running) -> None:
    book = PriceBook("paper", "e1", Freshness(3_000_000_000))
    book.list_instruments([listed("BTCUSDT"), listed("ONEUSDT")])
    async with polling(exchange.http, "BTCUSDT", "ONEUSDT", "GONEUSDT") as (_, told):
        await eventually(lambda: len(told.quotes) >= 2)
        first = {symbol: (str(bid), str(ask)) for symbol, bid, ask in told.quotes}
        await exchange.advance()
        await eventually(lambda: told.quotes[-1][1] not in {first["BTCUSDT"][0], first["ONEUSDT"][0]})
    assert first.keys() == {"BTCUSDT", "ONEUSDT"}
    assert float(first["BTCUSDT"][0]) < 10_000 < float(first["BTCUSDT"][1])
    clocks = [event.at_ms for event in told.events if isinstance(event, TimeReceived)]
    assert clocks == sorted(clocks)
    for number, event in enumerate(told.events):
        book.receive(event, clocks[0] * 1_000_000 + number)
    assert (book.guard.refused, book.accepted, told.connections) == ({}, len(told.quotes), 1)


async def test_polled_when_the_venue_is_gone_says_so_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    prices = write_prices(tmp_path / "prices.csv", ("date", "BTC", "ONE"), ROWS)
    async with serving(tmp_path / "state", exchange_prices_file=str(prices)) as running:
        port = running.port
        context = polling(running.http, "BTCUSDT")
        _, told = await context.__aenter__()
        await eventually(lambda: told.quotes)
    try:
        await eventually(lambda: told.alive == [(frozenset({"BTCUSDT"}), False)])
        async with serving(tmp_path / "state", exchange_prices_file=str(prices), exchange_port=port):
            seen = len(told.quotes)
            await eventually(lambda: len(told.quotes) > seen)
        assert told.connections == 2
    finally:
        await context.__aexit__(None, None, None)


async def test_open_prices_when_only_ccxt_knows_the_venue_polls_it() -> None:
    told = Told()
    listener = Listener(told.receive, told.connected)
    prices = open_prices("bitstamp", "http://127.0.0.1:1", listener, replace(TIMES, quiet_s=0.1))
    assert isinstance(prices, PolledPrices)


def test_open_prices_when_there_is_no_pulse_refuses_whole_moments() -> None:
    told = Told()
    with pytest.raises(Refused, match="binance"):
        open_prices("kraken", "", Listener(told.receive, told.connected), TIMES, pulse=True)

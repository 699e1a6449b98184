"""Staying connected to a venue that drops, closes, falls silent, refuses, and cuts after a day."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from http import HTTPStatus

import pytest

from services.price_feed.adapters.back_off import BackOff
from services.price_feed.adapters.binance.connection import BINANCE_LIMITS, BinanceDialect
from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.adapters.table import open_prices
from services.price_feed.adapters.websocket_prices import WebsocketPrices
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue, QuoteReceived
from shared.core.errors import Refused
from tests.services.price_feed.scripted_venue import ScriptedVenue, eventually, quote

QUICK = ConnectionTimes(silence_s=30.0, reply_s=5.0, steady_s=10.0, back_off=BackOff(0.01, 0.05))


class SmallDialect(BinanceDialect):
    """Binance with limits small enough for a test."""

    limits: DialectLimits = replace(
        BINANCE_LIMITS, symbols_per_connection=4, symbols_per_request=3, request_interval_s=0.001
    )


class Told:
    """What the prices have told so far."""

    def __init__(self) -> None:
        self.events: list[FromVenue] = []
        self.connections = 0

    def receive(self, event: FromVenue, received_ns: int) -> None:
        assert abs(time.time_ns() - received_ns) < 5_000_000_000
        self.events.append(event)

    def connected(self) -> None:
        self.connections += 1

    @property
    def bids(self) -> list[object]:
        """The bids in the order of their arrival."""
        return [event.bid for event in self.events if isinstance(event, QuoteReceived)]


@asynccontextmanager
async def following(
    venue: ScriptedVenue, symbols: tuple[str, ...] = ("AUSDT",), times: ConnectionTimes = QUICK
) -> AsyncIterator[tuple[WebsocketPrices, Told]]:
    """Prices of these symbols, running, subscribed."""
    told = Told()
    listener = Listener(told.receive, told.connected)
    prices = WebsocketPrices(SmallDialect(), venue.url, listener, times, chance=lambda: 0.5)
    prices.follow(symbols)
    running = asyncio.create_task(prices.run())
    try:
        yield prices, told
        assert not running.done()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def streams_of(*symbols: str) -> set[str]:
    """The streams of these symbols."""
    return {f"{symbol.lower()}@{stream}" for symbol in symbols for stream in ("bookTicker", "miniTicker")}


def subscribed(venue: ScriptedVenue) -> set[str]:
    """The streams that open connections are subscribed to."""
    return set().union(*(visitor.streams for visitor in venue.present))


async def test_run_when_symbols_are_many_subscribes_in_chunks_and_connections() -> None:
    symbols = tuple(f"A{number}USDT" for number in range(10))
    async with ScriptedVenue() as venue, following(venue, symbols) as (_, told):
        await eventually(lambda: subscribed(venue) == streams_of(*symbols))
        assert [len(visitor.streams) for visitor in venue.visitors] == [8, 8, 4]
        first = venue.visitors[0].requests
        assert [len(request["params"]) for request in first] == [6, 2]  # type: ignore[arg-type]
        assert [request["id"] for request in first] == [1, 2]
        assert set(venue.paths) == {"/stream"}
        assert told.connections == 3


async def test_follow_when_symbols_change_subscribes_and_unsubscribes_on_the_same_connection() -> None:
    async with ScriptedVenue() as venue, following(venue, ("AUSDT", "BUSDT")) as (prices, _):
        await eventually(lambda: subscribed(venue) == streams_of("AUSDT", "BUSDT"))
        prices.follow(["BUSDT", "CUSDT"])
        await eventually(lambda: subscribed(venue) == streams_of("BUSDT", "CUSDT"))
        prices.follow(["BUSDT", "CUSDT"])
        methods = [request["method"] for request in venue.visitors[0].requests]
        assert (methods, len(venue.visitors)) == (["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"], 1)


async def test_follow_when_there_are_no_symbols_does_not_connect_until_there_are() -> None:
    async with ScriptedVenue() as venue, following(venue, ()) as (prices, _):
        with pytest.raises(AssertionError, match="not met"):
            await eventually(lambda: venue.paths, timeout_s=0.2)
        prices.follow(["AUSDT"])
        await eventually(lambda: subscribed(venue) == streams_of("AUSDT"))


@pytest.mark.parametrize("end", ["cut", "close"])
async def test_run_when_connection_ends_reconnects_and_subscribes_again(end: str) -> None:
    async with ScriptedVenue() as venue, following(venue) as (_, told):
        for number in range(3):
            await eventually(lambda: subscribed(venue) == streams_of("AUSDT"))
            await venue.tell(quote("AUSDT", str(number), "9"))
            await eventually(lambda seen=number: len(told.bids) == seen + 1)
            visitor = venue.present[0]
            if end == "cut":
                visitor.cut()
            else:
                await visitor.socket.close()
            await eventually(lambda seen=number: len(venue.visitors) == seen + 2)
        await eventually(lambda: told.connections == 4)
        assert told.bids == ["0", "1", "2"]


async def test_run_when_venue_is_silent_reconnects() -> None:
    times = replace(QUICK, silence_s=0.3)
    async with ScriptedVenue() as venue, following(venue, times=times) as (_, told):
        await eventually(lambda: bool(subscribed(venue)))
        venue.mute = True
        await eventually(lambda: len(venue.visitors) >= 3)
        venue.mute = False
        await eventually(lambda: bool(subscribed(venue)))
        await venue.tell(quote("AUSDT", "1", "2"))
        await eventually(lambda: told.bids == ["1"])


async def test_run_when_venue_talks_within_the_limit_stays_connected() -> None:
    times = replace(QUICK, silence_s=0.5)
    async with ScriptedVenue() as venue, following(venue, times=times) as (_, told):
        await eventually(lambda: bool(subscribed(venue)))
        began = time.monotonic()
        while time.monotonic() - began < 1.2:
            await venue.tell(quote("AUSDT", "1", "2"))
            await asyncio.sleep(0.02)
        assert (told.connections, len(venue.visitors)) == (1, 1)


async def test_run_when_subscription_is_not_answered_reconnects() -> None:
    times = replace(QUICK, reply_s=0.1)
    async with ScriptedVenue() as venue, following(venue, times=times):
        venue.mute = True
        await eventually(lambda: len(venue.visitors) >= 2)
        venue.mute = False
        await eventually(lambda: subscribed(venue) == streams_of("AUSDT"))


async def test_run_when_subscription_is_refused_reconnects() -> None:
    async with ScriptedVenue() as venue, following(venue):
        venue.error = {"code": 2, "msg": "Invalid request"}
        await eventually(lambda: len(venue.visitors) >= 3)
        venue.error = None
        await eventually(lambda: subscribed(venue) == streams_of("AUSDT"))


async def test_run_when_venue_refuses_connections_tries_until_it_does_not() -> None:
    async with ScriptedVenue() as venue:
        venue.refuse_with = HTTPStatus.SERVICE_UNAVAILABLE
        async with following(venue):
            await eventually(lambda: len(venue.paths) >= 4)
            venue.refuse_with = None
            await eventually(lambda: subscribed(venue) == streams_of("AUSDT"))


async def test_run_when_venue_counts_too_many_connections_waits_as_long_as_it_says() -> None:
    async with ScriptedVenue() as venue:
        venue.refuse_with, venue.retry_after = HTTPStatus.TOO_MANY_REQUESTS, "1"
        async with following(venue):
            await eventually(lambda: len(venue.paths) == 1)
            refused_at = time.monotonic()
            venue.refuse_with = None
            await eventually(lambda: len(venue.paths) == 2)
            assert time.monotonic() - refused_at > 0.9


async def test_run_when_nobody_listens_keeps_trying() -> None:
    async with ScriptedVenue() as gone:
        root = gone.url
    told = Told()
    prices = WebsocketPrices(SmallDialect(), root, Listener(told.receive, told.connected), QUICK)
    prices.follow(["AUSDT"])
    running = asyncio.create_task(prices.run())
    done, _ = await asyncio.wait({running}, timeout=0.3)
    assert (done, told.connections) == (set(), 0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_run_when_connection_is_old_rolls_over_without_a_gap() -> None:
    times = replace(QUICK, roll_after_s=0.3)
    async with ScriptedVenue() as venue, following(venue, times=times) as (_, told):
        await eventually(lambda: bool(subscribed(venue)))
        number, open_connections = 0, []
        while len(venue.visitors) < 4:
            await venue.tell(quote("AUSDT", str(number), "9", number))
            open_connections.append(len(venue.present))
            number += 1
            await asyncio.sleep(0.005)
        # Each number was told at least once: by the old connection until the new one had taken over.
        await eventually(lambda: str(number - 1) in told.bids)
        assert sorted({int(str(bid)) for bid in told.bids}) == list(range(number))
        assert (min(open_connections), told.connections) == (1, 1)


async def test_run_when_shutdown_is_announced_opens_the_next_connection_at_once() -> None:
    async with ScriptedVenue() as venue, following(venue) as (_, told):
        await eventually(lambda: bool(subscribed(venue)))
        old = venue.visitors[0]
        await old.tell('{"e":"serverShutdown","E":1770123456789}')
        await eventually(lambda: len(venue.visitors) == 2 and bool(venue.visitors[1].streams))
        await venue.tell(quote("AUSDT", "1", "2"))
        await eventually(lambda: old not in venue.present)
        assert (len(venue.present), told.connections) == (1, 1)


async def test_run_when_second_connection_tells_nothing_keeps_the_first() -> None:
    times = replace(QUICK, roll_after_s=0.1, open_s=0.1, reply_s=0.1)
    async with ScriptedVenue() as venue, following(venue, times=times) as (_, told):
        await eventually(lambda: bool(subscribed(venue)))
        venue.mute = True
        await eventually(lambda: len(venue.visitors) >= 3)
        assert venue.visitors[0] in venue.present
        await venue.visitors[0].tell(quote("AUSDT", "1", "2"))
        await eventually(lambda: told.bids == ["1"])
        assert told.connections == 1


async def test_run_when_venue_pings_answers_with_the_same_payload() -> None:
    async with ScriptedVenue() as venue, following(venue):
        await eventually(lambda: bool(subscribed(venue)))
        answered = await venue.visitors[0].socket.ping(b"1723161255208")
        async with asyncio.timeout(5):
            await answered


@pytest.mark.parametrize("rubbish", ["<html>", "[]", "7", '{"u":1,"s":7,"b":"1","a":"1"}'])
async def test_run_when_venue_talks_rubbish_goes_on(rubbish: str) -> None:
    async with ScriptedVenue() as venue, following(venue) as (_, told):
        await eventually(lambda: bool(subscribed(venue)))
        await venue.visitors[0].tell(rubbish)
        await venue.tell(quote("AUSDT", "1", "2"))
        await eventually(lambda: told.bids == ["1"])
        assert len(venue.visitors) == 1


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("ws://127.0.0.1:1", "ws://127.0.0.1:1/stream"),
        ("wss://stream.binance.com:9443/", "wss://stream.binance.com:9443/stream"),
        ("wss://example.org/stream", "wss://example.org/stream"),
        ("wss://example.org/ws", "wss://example.org/ws"),
    ],
)
def test_url_when_root_is_this_adds_the_path_once(root: str, expected: str) -> None:
    assert BinanceDialect().url(root) == expected


def test_limits_when_a_connection_is_full_stay_under_the_venues() -> None:
    assert BINANCE_LIMITS.symbols_per_connection * 2 <= 1024
    assert 1 / BINANCE_LIMITS.request_interval_s < 5


def test_open_prices_when_dialect_is_unknown_refuses_naming_the_known() -> None:
    told = Told()
    with pytest.raises(Refused, match="binance"):
        open_prices("mtgox", "ws://127.0.0.1:1", Listener(told.receive, told.connected), QUICK)

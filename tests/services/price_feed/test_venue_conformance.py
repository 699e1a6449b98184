"""What every venue's websocket adapter must do, against a server on loopback that speaks the venue's language."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from services.price_feed.adapters.back_off import BackOff
from services.price_feed.adapters.kucoin.connection import KucoinDialect
from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.adapters.table import VENUE_DIALECTS
from services.price_feed.adapters.websocket_prices import WebsocketPrices
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.freshness import Freshness
from services.price_feed.price_book import PriceBook
from services.price_feed.venue_events import FromVenue, Unreadable
from shared.venues.dialects import DIALECTS
from tests.services.price_feed.scripted_venue import eventually
from tests.services.price_feed.test_price_book import listed
from tests.services.price_feed.venue_player import Told, Venue
from tests.services.price_feed.venue_scripts import SCRIPTS, Talk, VenueScript

QUICK = ConnectionTimes(silence_s=30.0, reply_s=5.0, quiet_s=20.0, back_off=BackOff(0.01, 0.05))
BUSY = replace(QUICK, quiet_s=1.0)
PINGED = [each for each in SCRIPTS if each.dialect().limits.ping_interval_s and each.dialect().ping(1) is not None]
LEAVING = [each for each in SCRIPTS if each.leaving]
REFUSING = [each for each in SCRIPTS if each.refused]


def name_of(script: VenueScript) -> str:
    """The id of a test."""
    return script.name


@pytest.fixture(params=SCRIPTS, ids=name_of)
def script(request: pytest.FixtureRequest) -> VenueScript:
    """Each venue in turn."""
    found: VenueScript = request.param
    return found


def _has(count: Callable[[], int], number: int) -> bool:
    return count() == number


def _small(script: VenueScript, **changes: Any) -> Any:
    """The venue's dialect with limits small and quick enough for a test."""
    real = script.dialect()
    limits: DialectLimits = replace(
        real.limits, symbols_per_connection=3, symbols_per_request=2, request_interval_s=0.001, **changes
    )
    kind: Any = type(real)
    made: Any = type("Small", (kind,), {"limits": limits})()
    if isinstance(real, KucoinDialect):
        # The address comes from a REST call, which test_kucoin_address covers.
        async def address(root: str) -> str:
            return f"{root}/endpoint?token=t0ken"

        made.address = address
    return made


@asynccontextmanager
async def following(
    venue: Venue, *symbols: str, times: ConnectionTimes = QUICK, **limits: Any
) -> AsyncIterator[tuple[WebsocketPrices, Told]]:
    """Prices of these symbols (default: the first two), running."""
    told = Told()
    listener = Listener(told.receive, told.connected, told.connection)
    prices = WebsocketPrices(_small(venue.script, **limits), venue.url, listener, times, chance=lambda: 0.5)
    prices.follow(symbols or venue.script.symbols[:2])
    running = asyncio.create_task(prices.run())
    try:
        yield prices, told
        assert not running.done()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def test_table_when_listed_has_a_script_for_every_dialect() -> None:
    assert sorted(VENUE_DIALECTS) == sorted(script.name for script in SCRIPTS)


def test_table_when_orders_are_sent_in_a_dialect_has_its_prices() -> None:
    assert set(DIALECTS) <= set(VENUE_DIALECTS)


async def test_adapter_when_connected_asks_at_the_venues_address_in_requests_it_allows(script: VenueScript) -> None:
    async with Venue(script) as venue, following(venue, *script.symbols) as (_, told):
        await eventually(lambda: venue.subscribed == set(script.symbols))
        assert venue.paths == [script.path]
        assert venue.subprotocols == [script.dialect().subprotocol]
        (talk,) = venue.present.values()
        assert (max(talk.sizes), sum(talk.sizes)) == (2, 3)
        assert told.connections == 1


async def test_adapter_when_quotes_come_passes_their_exact_text_on_into_frames(script: VenueScript) -> None:
    first, second, _ = script.symbols
    book = PriceBook("paper", "e1", Freshness(3_000_000_000))
    asset_of = {first: "BTC", second: "ETH"}
    book.list_instruments(
        listed("BTCUSDT").model_copy(update={"symbol": symbol, "base": base}) for symbol, base in asset_of.items()
    )
    async with Venue(script) as venue, following(venue) as (_, told):
        await eventually(lambda: venue.subscribed == {first, second})
        await venue.tell(first, "61737.630000", "61737.640000")
        await venue.tell(second, "0.00001234", "0.00001235")
        await eventually(lambda: len(told.quotes) == 2)
    assert told.quotes == [(first, "61737.630000", "61737.640000"), (second, "0.00001234", "0.00001235")]
    for event in told.events:
        book.receive(event, time.time_ns())
    assert book.accepted == 2
    if script.name != "binance":  # there the clock comes in another stream
        frame = book.take_frame()
        assert frame is not None
        assert {(quote.asset, quote.bid) for quote in frame.quotes} == {("BTC", "61737.630000"), ("ETH", "0.00001234")}


async def test_adapter_when_cut_says_so_comes_back_and_subscribes_again(script: VenueScript) -> None:
    first, second, _ = script.symbols
    async with Venue(script) as venue, following(venue) as (_, told):
        for number in range(1, 4):
            await eventually(lambda: venue.subscribed == {first, second})
            await venue.tell(first, str(number), "9")
            await eventually(partial(_has, told.quotes_so_far, number))
            next(iter(venue.present)).transport.abort()
            await eventually(partial(_has, venue.talks_so_far, number + 1))
        await eventually(lambda: told.connections == 4)
    assert [bid for _, bid, _ in told.quotes] == ["1", "2", "3"]
    assert told.alive == [(frozenset({first, second}), False)] * 3


async def test_adapter_when_symbols_change_asks_for_the_difference(script: VenueScript) -> None:
    first, second, third = script.symbols
    async with Venue(script) as venue, following(venue, first, second) as (prices, _):
        await eventually(lambda: venue.subscribed == {first, second})
        prices.follow([second, third])
        await eventually(lambda: venue.subscribed == {second, third})
        assert len(venue.talks) == 1


async def test_adapter_when_the_market_is_quiet_asks_for_signs_of_life_and_stays(script: VenueScript) -> None:
    times = replace(QUICK, quiet_s=0.3, silence_s=1.0)
    async with Venue(script) as venue, following(venue, times=times) as (_, told):
        await eventually(lambda: len(venue.subscribed) == 2)
        await asyncio.sleep(1.5)  # longer than a silent connection is kept
        assert (len(venue.talks), told.alive) == (1, [])


async def test_adapter_when_the_venue_is_silent_says_so_in_time_and_reconnects(script: VenueScript) -> None:
    times = replace(QUICK, quiet_s=0.3, silence_s=1.0)
    async with Venue(script) as venue, following(venue, times=times) as (_, told):
        await eventually(lambda: len(venue.subscribed) == 2)
        venue.mute = True
        for socket in venue.present:
            socket.transport.pause_reading()  # not even the websocket's own pings are answered
        began = time.monotonic()
        await eventually(lambda: told.alive == [(frozenset(script.symbols[:2]), False)])
        assert time.monotonic() - began < 0.9
        venue.mute = False
        await eventually(lambda: len(venue.talks) >= 2 and len(venue.subscribed) == 2)


@pytest.mark.parametrize("script", PINGED, ids=name_of)
async def test_adapter_when_the_venue_demands_pings_sends_them_however_busy_it_is(script: VenueScript) -> None:
    async with Venue(script) as venue, following(venue, times=BUSY, ping_interval_s=0.1) as (_, _told):
        await eventually(lambda: len(venue.subscribed) == 2)
        (talk,) = venue.present.values()
        began = time.monotonic()
        while time.monotonic() - began < 4.0 and talk.pings < 2:
            await venue.tell(script.symbols[0], "1", "2")
            await asyncio.sleep(0.01)
        assert talk.pings >= 2
        assert len(venue.talks) == 1


async def test_adapter_when_its_connection_is_old_rolls_over_without_a_gap(script: VenueScript) -> None:
    first = script.symbols[0]
    times = replace(QUICK, roll_after_s=0.4)
    async with Venue(script) as venue, following(venue, times=times) as (_, told):
        await eventually(lambda: len(venue.subscribed) == 2)
        number, fewest = 0, 9
        while len(venue.talks) < 3:
            number += 1
            await venue.tell(first, str(number), "99999")
            fewest = min(fewest, len(venue.present))
            await asyncio.sleep(0.005)
        await eventually(lambda: str(number) in [bid for _, bid, _ in told.quotes])
    assert sorted({int(str(bid)) for _, bid, _ in told.quotes}) == list(range(1, number + 1))
    assert (fewest, told.connections, told.alive) == (1, 1, [])


@pytest.mark.parametrize("script", LEAVING, ids=name_of)
async def test_adapter_when_the_venue_announces_a_cut_has_the_next_connection_ready(script: VenueScript) -> None:
    async with Venue(script) as venue, following(venue) as (_, told):
        await eventually(lambda: len(venue.subscribed) == 2)
        (old,) = venue.present
        await old.send(script.leaving)
        await eventually(lambda: len(venue.talks) == 2 and len(venue.present[list(venue.talks)[1]].symbols) == 2)
        while old in venue.present:  # the venue knows of a subscription before the adapter knows that it was heard
            await venue.tell(script.symbols[0], "1", "2")
            await asyncio.sleep(0.005)
        assert (len(venue.present), told.connections) == (1, 1)


@pytest.mark.parametrize("script", REFUSING, ids=name_of)
async def test_adapter_when_one_symbol_is_refused_tells_the_others(script: VenueScript) -> None:
    first, _, third = script.symbols  # in one request with the first, in the order of their names: the refused
    async with Venue(script) as venue, following(venue, first, third, script.refused) as (_, told):
        await eventually(lambda: venue.subscribed == {first, third})
        await venue.tell(first, "1", "2")
        await eventually(lambda: told.quotes == [(first, "1", "2")])
        await eventually(lambda: Unreadable("subscription_refused") in told.events)
        assert (len(venue.talks), told.connections) == (1, 1)


@pytest.mark.parametrize("script", REFUSING, ids=name_of)
async def test_adapter_when_all_is_refused_tries_again_later(script: VenueScript) -> None:
    async with Venue(script) as venue, following(venue, script.refused):
        await eventually(lambda: len(venue.talks) >= 3)


async def test_adapter_when_requests_are_not_answered_reconnects(script: VenueScript) -> None:
    async with Venue(script) as venue:
        venue.mute = True
        async with following(venue, times=replace(QUICK, reply_s=0.1)):
            await eventually(lambda: len(venue.talks) >= 2)
            venue.mute = False
            await eventually(lambda: len(venue.subscribed) == 2)


@pytest.mark.parametrize("rubbish", ["<html>", "[]", "7", "{}", '{"channel":"ticker","data":7}', '"x"', "null"])
async def test_adapter_when_the_venue_talks_rubbish_goes_on(script: VenueScript, rubbish: str) -> None:
    first = script.symbols[0]
    async with Venue(script) as venue, following(venue) as (_, told):
        await eventually(lambda: len(venue.subscribed) == 2)
        await next(iter(venue.present)).send(rubbish)
        await venue.tell(first, "1", "2")
        await eventually(lambda: told.quotes == [(first, "1", "2")])
        assert len(venue.talks) == 1


async def test_coinbase_when_a_message_is_missing_reconnects() -> None:
    script = next(each for each in SCRIPTS if each.name == "coinbase")
    async with Venue(script) as venue, following(venue) as (_, told):
        await eventually(lambda: len(venue.subscribed) == 2)
        (talk,) = venue.present.values()
        talk.sent += 1
        await venue.tell(script.symbols[0], "1", "2")
        await eventually(lambda: len(venue.talks) == 2 and len(venue.subscribed) == 2)
        assert told.alive == [(frozenset(script.symbols[:2]), False)]


async def test_kucoin_address_when_asked_for_names_server_and_token() -> None:
    replies = [
        b'{"code":"200000","data":{"token":"a/b+c","instanceServers":[{"endpoint":"wss://ws-api-spot.kucoin.com/"}]}}',
        b'{"code":"400100","msg":"no"}',
        b"<html>",
    ]
    asked: list[bytes] = []
    head = "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        body = replies[len(asked) - 1]
        writer.write(head.format(len(body)).encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        assert await KucoinDialect().address(root) == "wss://ws-api-spot.kucoin.com/?token=a%2Fb%2Bc"
        for _ in replies[1:]:
            with pytest.raises(OSError, match="named no websocket"):
                await KucoinDialect().address(root)
    assert asked[0].startswith(b"POST /api/v1/bullet-public HTTP/1.1\r\n")
    with pytest.raises(OSError, match="REST address"):
        await KucoinDialect().address("wss://ws-api-spot.kucoin.com")


def test_parse_when_messages_are_mangled_never_raises(script: VenueScript) -> None:
    dice = random.Random(5)
    parse: Callable[[bytes], FromVenue] = script.dialect().parse
    talk = Talk()
    samples = [script.quote(talk, script.symbols[0], "1.5", "1.6", 5), script.leaving, script.greeting]
    words = ["null", "true", "-1", "1e400", "NaN", '""', "[]", "{}", '"x"', "99999999999999999999", "[[]]", "[{}]"]
    for sample, _ in itertools.product([each for each in samples if each], range(600)):
        cut = dice.randrange(len(sample))
        parts = sample.split(":")
        at = dice.randrange(1, len(parts)) if len(parts) > 1 else 0
        swapped = [*parts]
        rest = swapped[at].partition(",")
        swapped[at] = dice.choice(words) + rest[1] + rest[2]
        for mangled in (sample[:cut], sample[:cut] + sample[cut + 1 :], ":".join(swapped)):
            parse(mangled.encode("utf-8", "ignore"))
    for payload in (b"\xff\xfe", b"", b"[" * 5_000, b"0" * 5_000):
        assert isinstance(parse(payload), Unreadable)

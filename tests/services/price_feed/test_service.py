"""The whole service on a real NATS server, against a scripted venue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from deploy.provision import provision_streams
from services.price_feed.app import build_app
from services.price_feed.settings import Settings
from shared.contracts import subjects
from shared.contracts.frames import FrameQuote, PriceFrame, decode_frame
from shared.contracts.prices import InstrumentListed, InstrumentsListed, PricesSnapshotted
from shared.messaging.broker import make_broker
from shared.messaging.publishing import Publisher
from tests.servers import EmbeddedNats
from tests.services.price_feed.scripted_venue import ScriptedVenue, clock, eventually, quote
from tests.services.price_feed.test_price_book import listed
from tests.services.price_feed.venue_player import Venue
from tests.services.price_feed.venue_scripts import SCRIPTS

pytestmark = pytest.mark.servers

T = 1_723_161_255_000


class Heard:
    """Everything the feed has published."""

    def __init__(self) -> None:
        self.frames: list[PriceFrame] = []
        self.snapshots: list[PricesSnapshotted] = []

    @property
    def quotes(self) -> list[FrameQuote]:
        """The quotes of all frames."""
        return [told for frame in self.frames for told in frame.quotes]

    @property
    def newest(self) -> PricesSnapshotted | None:
        """The last snapshot."""
        return self.snapshots[-1] if self.snapshots else None


@asynccontextmanager
async def hearing(url: str) -> AsyncIterator[Heard]:
    """Listen as any auditor could: a plain client, core subscriptions."""
    heard = Heard()
    client = await nats.connect(url)

    async def on_frame(message: Msg) -> None:
        heard.frames.append(decode_frame(message.data))

    async def on_snapshot(message: Msg) -> None:
        heard.snapshots.append(PricesSnapshotted.model_validate_json(message.data))

    await client.subscribe(subjects.prices("paper"), cb=on_frame)
    await client.subscribe(subjects.price_snapshots("paper"), cb=on_snapshot)
    await client.flush()
    try:
        yield heard
    finally:
        await client.close()


async def list_instruments(url: str, *instruments: InstrumentListed) -> None:
    """Publish as the executor does."""
    broker = make_broker(url, "test")
    await broker.start()
    message = InstrumentsListed(venue="paper", quote="USDT", instruments=instruments)
    message_id = ",".join(f"{instrument.symbol}.{instrument.tradable}" for instrument in instruments)
    await Publisher(broker, "test").publish(
        subjects.instruments("paper"), message, message_id=message_id, correlation_id="test"
    )
    await broker.stop()


@asynccontextmanager
async def running_feed(
    url: str, venue: ScriptedVenue, stale_after_s: float = 30.0, **changes: Any
) -> AsyncIterator[None]:
    """The service, from its composition root, inside this process."""
    settings = Settings(
        nats_url=url, venue_name="paper", venue_ws_url=venue.url, prices_stale_after_s=stale_after_s, **changes
    )
    async with running(settings):
        yield


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    """The service with these settings."""
    app = build_app(settings)
    await app.start()
    tasks = [asyncio.create_task(coroutine) for coroutine in app.background()]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await app.stop()


@pytest.fixture
async def nats_url(fresh_nats: EmbeddedNats) -> str:
    """A server with the catalogue's streams on it."""
    await provision_streams(fresh_nats.url)
    return fresh_nats.url


async def test_feed_when_venue_tells_prices_publishes_frames_and_snapshots(nats_url: str) -> None:
    await list_instruments(nats_url, listed("BTCUSDT"), listed("ETHUSDT"), listed("OLDUSDT", tradable=False))
    async with ScriptedVenue() as venue, hearing(nats_url) as heard, running_feed(nats_url, venue):
        await eventually(lambda: venue.present and len(venue.present[0].streams) == 4)
        await venue.tell(clock("BTCUSDT", T))
        await venue.tell(quote("BTCUSDT", "61737.63000000", "61737.64000000", 1))
        await eventually(lambda: heard.quotes)
        btc = heard.quotes[0]
        assert (btc.asset, btc.bid, btc.ask, btc.at_ms) == ("BTC", "61737.63000000", "61737.64000000", T)
        # At once, not after the second that lies between two snapshots; then again and again.
        await eventually(lambda: heard.newest and heard.newest.quotes, timeout_s=0.9)
        await venue.tell(quote("ETHUSDT", "2683.80", "2683.81", 1))
        await venue.tell(quote("ETHUSDT", "0", "2683.81", 2))
        await eventually(lambda: heard.newest and len(heard.newest.quotes) == 2 and heard.newest.refused)
        newest = heard.newest
        assert newest is not None
        assert {seen.asset: seen.bid for seen in newest.quotes} == {
            "BTC": Decimal("61737.63"),
            "ETH": Decimal("2683.8"),
        }
        assert (newest.refused, newest.venue) == ({"zero": 1}, "paper")
        await eventually(lambda: heard.newest and heard.newest.stale_because == {"ETH": "doubted"})
        await venue.tell(quote("ETHUSDT", "2683.80", "2683.81", 2))
        await eventually(lambda: heard.newest and heard.newest.stale == ())
        numbers = [frame.sequence for frame in heard.frames]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert newest.sequence <= numbers[-1] + 1
        assert {frame.epoch for frame in heard.frames} == {newest.epoch}


async def test_feed_when_venue_tells_nothing_new_sends_heartbeats_with_market_time(nats_url: str) -> None:
    await list_instruments(nats_url, listed("BTCUSDT"))
    async with ScriptedVenue() as venue, hearing(nats_url) as heard, running_feed(nats_url, venue):
        await eventually(lambda: venue.present and venue.present[0].streams)
        await venue.tell(clock("BTCUSDT", T))
        await eventually(lambda: len(heard.frames) >= 3)
        assert {(frame.market_time_ms, frame.quotes) for frame in heard.frames} == {(T, ())}


async def test_feed_when_a_symbol_falls_mute_names_it_stale_until_it_talks(nats_url: str) -> None:
    await list_instruments(nats_url, listed("BTCUSDT"), listed("ETHUSDT"))
    async with (
        ScriptedVenue() as venue,
        hearing(nats_url) as heard,
        running_feed(nats_url, venue, stale_after_s=1.0),
    ):
        await eventually(lambda: venue.present and len(venue.present[0].streams) == 4)

        tick = 0

        async def talk(*symbols: str) -> None:
            nonlocal tick
            while True:
                tick += 1
                await venue.tell(clock("BTCUSDT", T + 50 * tick))
                for symbol in symbols:
                    await venue.tell(quote(symbol, "100", "101"))
                await asyncio.sleep(0.05)

        for talking, stale in ((("BTCUSDT", "ETHUSDT"), ()), (("BTCUSDT",), ("ETH",)), (("BTCUSDT", "ETHUSDT"), ())):
            talker = asyncio.create_task(talk(*talking))
            seen = len(heard.snapshots)
            habit = tick + 30  # without a habit there is nothing against which to be mute
            await eventually(lambda habit=habit: tick > habit)
            await eventually(
                lambda seen=seen, stale=stale: (
                    heard.snapshots[seen + 1 :]
                    and heard.snapshots[-1].stale == stale
                    and len(heard.snapshots[-1].quotes) == 2
                )
            )
            talker.cancel()


async def test_feed_when_instruments_change_follows_them(nats_url: str) -> None:
    await list_instruments(nats_url, listed("BTCUSDT"))
    async with ScriptedVenue() as venue, hearing(nats_url) as heard, running_feed(nats_url, venue):
        await eventually(lambda: venue.present and venue.present[0].streams)
        await venue.tell(clock("BTCUSDT", T))
        await venue.tell(quote("BTCUSDT", "1", "2"))
        await eventually(lambda: heard.quotes)
        await list_instruments(nats_url, listed("BTCUSDT", tradable=False), listed("ETHUSDT"))
        await eventually(lambda: venue.present[0].streams == {"ethusdt@bookTicker", "ethusdt@miniTicker"})
        await venue.tell(quote("ETHUSDT", "3", "4"))
        await eventually(lambda: heard.newest and heard.newest.stale == ("BTC",) and len(heard.newest.quotes) == 2)


async def test_feed_when_connection_is_cut_goes_on_in_the_same_epoch(nats_url: str) -> None:
    await list_instruments(nats_url, listed("BTCUSDT"))
    async with ScriptedVenue() as venue, hearing(nats_url) as heard, running_feed(nats_url, venue):
        await eventually(lambda: venue.present and venue.present[0].streams)
        await venue.tell(clock("BTCUSDT", T))
        await venue.tell(quote("BTCUSDT", "1", "2", 1_000_000))
        await eventually(lambda: heard.quotes)
        venue.present[0].cut()
        await eventually(lambda: len(venue.visitors) == 2 and venue.present and venue.present[0].streams)
        # A venue that was started again numbers its book from the beginning.
        await venue.tell(quote("BTCUSDT", "1.5", "2.5", 1))
        await eventually(lambda: heard.quotes[-1].bid == "1.5")
        assert len({frame.epoch for frame in heard.frames}) == 1


async def test_feed_when_nats_is_killed_goes_on_when_it_is_back(fresh_nats: EmbeddedNats) -> None:
    await provision_streams(fresh_nats.url)
    await list_instruments(fresh_nats.url, listed("BTCUSDT"))
    async with ScriptedVenue() as venue, running_feed(fresh_nats.url, venue):
        await eventually(lambda: venue.present and venue.present[0].streams)
        await venue.tell(clock("BTCUSDT", T))
        await venue.tell(quote("BTCUSDT", "1", "2"))
        fresh_nats.kill()
        await venue.tell(quote("BTCUSDT", "1.5", "2"))
        fresh_nats.restart()
        async with hearing(fresh_nats.url) as heard:
            await eventually(
                lambda: heard.newest and heard.newest.quotes[0].bid == Decimal("1.5") and heard.frames, timeout_s=30.0
            )
        assert len(venue.visitors) == 1


async def test_feed_when_moments_are_whole_publishes_nothing_before_the_pulse(nats_url: str) -> None:
    pulse = '{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"1"}]}'
    await list_instruments(nats_url, listed("BTCUSDT"), listed("ETHUSDT"))
    async with (
        ScriptedVenue() as venue,
        hearing(nats_url) as heard,
        running_feed(nats_url, venue, prices_whole_moments=True),
    ):
        await eventually(lambda: venue.present and len(venue.present[0].streams) == 4)
        assert venue.paths == ["/stream?streams=!miniTicker@arr"]
        for row in range(1, 40):
            at_ms = T + row * 60_000
            for symbol in ("BTCUSDT", "ETHUSDT"):
                await venue.tell(clock(symbol, at_ms))
                await asyncio.sleep(0.005)  # longer than the feed waits between two frames
                await venue.tell(quote(symbol, f"{row}.1", f"{row}.2", row))
            await venue.present[0].tell(pulse)
        await eventually(lambda: any(told.bid == "39.1" for told in heard.quotes))
    filled = [frame for frame in heard.frames if frame.quotes]
    assert all({told.asset for told in frame.quotes} == {"BTC", "ETH"} for frame in filled)
    assert all(len({(told.bid, told.at_ms) for told in frame.quotes}) == 1 for frame in filled)
    assert all(frame.market_time_ms == frame.quotes[0].at_ms for frame in filled)
    assert all(len({seen.bid for seen in snapshot.quotes}) <= 1 for snapshot in heard.snapshots)


async def test_feed_when_the_dialect_is_krakens_follows_pairs_by_the_streams_names(nats_url: str) -> None:
    kraken = next(each for each in SCRIPTS if each.name == "kraken")
    pairs = [
        listed(symbol).model_copy(update={"base": base, "quote": "USD"})
        for symbol, base in (("XXBTZUSD", "BTC"), ("XETHZUSD", "ETH"))
    ]
    await list_instruments(nats_url, *pairs)
    async with Venue(kraken) as venue, hearing(nats_url) as heard:
        settings = Settings(nats_url=nats_url, venue_name="paper", venue_dialect="kraken", venue_ws_url=venue.url)
        async with running(settings):
            await eventually(lambda: venue.subscribed == {"BTC/USD", "ETH/USD"})
            await venue.tell("BTC/USD", "61737.60", "61737.70")
            await eventually(lambda: heard.newest and heard.newest.quotes)
            assert (heard.quotes[0].asset, heard.quotes[0].bid) == ("BTC", "61737.60")
            await venue.tell("ETH/USD", "2500.1", "2500.2")
            await venue.tell("ETH/USD", "25001.1", "25001.2")
            await eventually(lambda: heard.newest and heard.newest.stale_because == {"ETH": "doubted"})
            assert heard.newest is not None
            assert heard.newest.refused == {"jump": 1}

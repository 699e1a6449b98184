"""Instruments as the venue lists them: an empty list is a fault, not a market without pairs."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from services.order_executor import listing
from services.order_executor.listing import InstrumentListing
from services.order_executor.market_view import MarketView
from shared.contracts.frames import FrameQuote, PriceFrame, encode_frame
from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.contracts.wire import Meta
from shared.core.market import Instrument
from shared.messaging.publishing import Publisher
from shared.venues.port import Venue
from tests.services.order_executor.test_steps import NOW, instrument


class Answers:
    """A venue that answers so, in turn."""

    def __init__(self, *lists: tuple[Instrument, ...]) -> None:
        self._lists = list(lists)

    async def fetch_instruments(self, *, in_any_quote: bool = False) -> tuple[Instrument, ...]:
        return self._lists.pop(0)


async def test_read_when_the_venue_lists_nothing_keeps_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "RETRY_S", 0.0)
    market = MarketView(10.0)
    btc = instrument("BTC")
    reader = InstrumentListing(cast(Venue, Answers((btc,), (), (btc, instrument("ETH")))), market, "paper", "USDT")
    await reader.read()
    assert set(market.look(["BTC", "ETH"]).instruments) == {"BTC"}
    await reader.read()
    assert set(market.look(["BTC", "ETH"]).instruments) == {"BTC", "ETH"}


class Stored:
    """What would be published."""

    def __init__(self) -> None:
        self.lists: list[InstrumentsListed] = []
        self.reconnections = 0

    async def publish(self, _subject: str, message: InstrumentsListed, **_names: str) -> None:
        self.lists.append(message)


@pytest.mark.parametrize(
    ("blocked", "pairs"), [({"BTC"}, {"BTC"}), ({"USDT"}, {"BTC", "ETH"}), ({"AIRDROP"}, set()), (set(), set())]
)
async def test_block_when_told_names_the_pairs_of_these_assets_and_nobody_trades_them(
    blocked: set[str], pairs: set[str]
) -> None:
    market, stored = MarketView(10.0), Stored()
    reader = InstrumentListing(cast(Venue, Answers((instrument("BTC"), instrument("ETH")))), market, "paper", "USDT")
    await reader.read()
    await reader.publish(cast(Publisher, stored), 1)
    reader.block(frozenset(blocked))
    look = market.look(["BTC", "ETH"])
    assert look.unreconciled == pairs
    assert {asset for asset, found in look.instruments.items() if not found.tradable} == pairs
    await reader.publish(cast(Publisher, stored), 1)
    assert {row.base for row in stored.lists[-1].instruments if row.unreconciled} == pairs
    assert all(row.tradable for row in stored.lists[-1].instruments), "the feed goes on pricing them"
    reader.block(frozenset())
    await reader.publish(cast(Publisher, stored), 1)
    assert not any(row.unreconciled for row in stored.lists[-1].instruments)
    assert len(stored.lists) == (3 if pairs else 1)
    assert all(found.tradable for found in market.look(["BTC", "ETH"]).instruments.values())


async def test_publish_when_the_connection_is_a_new_one_tells_it_again() -> None:
    market, stored = MarketView(10.0), Stored()
    reader = InstrumentListing(cast(Venue, Answers((instrument("BTC"),))), market, "paper", "USDT")
    await reader.read()
    for connection in (0, 0, 1, 1):
        stored.reconnections = connection
        await reader.publish(cast(Publisher, stored), 1)
    assert len(stored.lists) == 2


def cross(base: str, quote: str) -> Instrument:
    return replace(instrument(base), symbol=f"{base}{quote}", quote=quote)


async def test_want_when_assets_are_traded_together_lists_their_pairs_and_no_other() -> None:
    market, stored = MarketView(10.0), Stored()
    listed = [instrument(base) for base in ("BTC", "ETH", "SOL")]
    listed += [cross("ETH", "BTC"), cross("SOL", "BTC"), cross("ETH", "EUR"), cross("XRP", "ETH")]
    venue = cast(Venue, Answers(tuple(listed), tuple(listed[:3])))
    reader = InstrumentListing(venue, market, "paper", "USDT", lists_direct_pairs=True)
    reader.want(["BTC", "ETH", "USDT", "EUR"])
    await reader.read()
    for assets in ([], ["ETH", "BTC"], ["SOL", "XRP"], ["SOL", "BTC"]):
        reader.want(assets)
        await reader.publish(cast(Publisher, stored), 1)
    told = [([pair.symbol for pair in one.crosses], len(one.instruments)) for one in stored.lists]
    assert told == [(["ETHBTC"], 3), (["ETHBTC", "SOLBTC"], 3)]
    await reader.read()
    await reader.publish(cast(Publisher, stored), 1)
    assert stored.lists[-1].crosses == (), "no longer listed by the venue"


async def test_want_when_routing_is_off_lists_none() -> None:
    market, stored = MarketView(10.0), Stored()
    listed = (instrument("BTC"), instrument("ETH"), cross("ETH", "BTC"))
    reader = InstrumentListing(cast(Venue, Answers(listed)), market, "paper", "USDT")
    reader.want(["BTC", "ETH"])
    await reader.read()
    await reader.publish(cast(Publisher, stored), 1)
    assert ([pair.symbol for pair in stored.lists[0].instruments], stored.lists[0].crosses) == (
        ["BTCUSDT", "ETHUSDT"],
        (),
    )


def test_look_when_a_direct_pair_is_not_quoted_stale_or_halted_does_not_offer_it() -> None:
    market = MarketView(10.0)
    market.set_instruments([instrument("BTC"), instrument("ETH")])
    pair = cross("ETH", "BTC")
    market.set_pairs([pair])

    def hear(*rows: FrameQuote, crosses: tuple[FrameQuote, ...] = ()) -> list[str]:
        market.on_frame(encode_frame(PriceFrame("paper", "e", 1, 1000, rows, crosses)))
        return [one.instrument.symbol for one in market.look(["BTC", "ETH"]).pairs]

    btc, eth, quoted = (FrameQuote(name, "1", "2", 1000, 0) for name in ("BTC", "ETH", "ETH/BTC"))
    assert hear(btc, eth) == []
    assert hear(crosses=(quoted,)) == ["ETHBTC"]
    assert [one.instrument.symbol for one in market.look(["ETH"]).pairs] == [], "one leg is not looked at"
    stale = PricesSnapshotted(
        venue="paper", epoch="e", sequence=2, market_time=NOW, quotes=(), stale=("ETH/BTC",), crosses=()
    )
    market.on_snapshot("", stale, Meta("1", "test", datetime.now(UTC), "1", ""))
    assert market.look_direct("ETH", "BTC") is None
    assert hear() == []
    market.on_snapshot("", stale.model_copy(update={"stale": ()}), Meta("2", "test", datetime.now(UTC), "2", ""))
    assert hear() == ["ETHBTC"]
    market.set_pairs([replace(pair, tradable=False)])
    assert hear() == []

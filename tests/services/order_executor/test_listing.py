"""Instruments as the venue lists them: an empty list is a fault, not a market without pairs."""

from typing import cast

import pytest

from services.order_executor import listing
from services.order_executor.listing import InstrumentListing
from services.order_executor.market_view import MarketView
from shared.contracts.prices import InstrumentsListed
from shared.core.market import Instrument
from shared.messaging.publishing import Publisher
from shared.venues.port import Venue
from tests.services.order_executor.test_steps import instrument


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

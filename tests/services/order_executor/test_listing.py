"""Instruments as the venue lists them: an empty list is a fault, not a market without pairs."""

from typing import cast

import pytest

from services.order_executor import listing
from services.order_executor.listing import InstrumentListing
from services.order_executor.market_view import MarketView
from shared.core.market import Instrument
from shared.venues.port import Venue
from tests.services.order_executor.test_steps import instrument


class Answers:
    """A venue that answers so, in turn."""

    def __init__(self, *lists: tuple[Instrument, ...]) -> None:
        self._lists = list(lists)

    async def fetch_instruments(self) -> tuple[Instrument, ...]:
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

"""The newest prices of each venue, as the ledger has heard them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.contracts.prices import PricesSnapshotted
from shared.contracts.wire import Message, Meta


@dataclass(frozen=True, slots=True)
class PricesHeard:
    """Bids by asset in the quote currency, at the venue's market time."""

    market_time: datetime
    bids: Mapping[str, Decimal]


class Market:
    """The newest snapshot of each venue; what comes twice or late changes nothing."""

    def __init__(self) -> None:
        self.venues: dict[str, PricesHeard] = {}

    def take(self, _subject: str, message: Message, _meta: Meta) -> None:
        """Hear a price snapshot."""
        if not isinstance(message, PricesSnapshotted):
            return
        known = self.venues.get(message.venue)
        if known is None or message.market_time >= known.market_time:
            bids = {quote.asset: quote.bid for quote in message.quotes}
            self.venues[message.venue] = PricesHeard(message.market_time, bids)

    def bids(self, venue: str) -> Mapping[str, Decimal]:
        """The newest bids of a venue; empty before any were heard."""
        heard = self.venues.get(venue)
        return {} if heard is None else heard.bids

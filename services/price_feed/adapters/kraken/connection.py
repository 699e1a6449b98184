"""Kraken spot websocket v2: where to connect, how to subscribe, what is allowed."""

from collections.abc import Collection, Sequence

import orjson

from services.price_feed.adapters.kraken import parse
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue
from shared.contracts.prices import InstrumentListed

LIVE_ROOT = "wss://ws.kraken.com"

KRAKEN_LIMITS = DialectLimits(
    # The documents name no limit; a connection of some hundred symbols keeps a cut small.
    symbols_per_connection=200,
    symbols_per_request=50,
    request_interval_s=0.25,
    # No cut after a day is documented; a fresh connection a day costs nothing.
    roll_after_s=23 * 3600.0,
    # One acknowledgement for each symbol.
    answers_each=True,
    # The venue asks for a ping within a minute; its answer tells the venue's clock when no ticker does.
    ping_interval_s=5.0,
)
"""Source: docs.kraken.com, "Spot WebSocket v2": ticker, ping; "heartbeats about once a second in the absence of any
other channel updates"."""


def wire_symbol(listed: InstrumentListed) -> str:
    """``BTC/USD``: v2 names pairs by their currencies, unlike REST (``XXBTZUSD``)."""
    return f"{listed.base}/{listed.quote}"


class KrakenDialect:
    """Fills ``Dialect``. The ticker with ``event_trigger`` bbo tells every change of best bid and ask."""

    limits = KRAKEN_LIMITS
    subprotocol = None

    async def address(self, root: str) -> str:
        """See ``Dialect``."""
        trimmed = (root or LIVE_ROOT).rstrip("/")
        return trimmed if trimmed.endswith("/v2") else f"{trimmed}/v2"

    def hello(self) -> Sequence[str]:
        """Nothing: heartbeats come with any subscription."""
        return ()

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """``{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"],...},"req_id":1}``."""
        params: dict[str, object] = {"channel": "ticker", "symbol": list(symbols), "event_trigger": "bbo"}
        if wanted:
            params["snapshot"] = True
        method = "subscribe" if wanted else "unsubscribe"
        return orjson.dumps({"method": method, "params": params, "req_id": request_id}).decode()

    def ping(self, request_id: int) -> str:
        """``{"method":"ping","req_id":1}``."""
        return orjson.dumps({"method": "ping", "req_id": request_id}).decode()

    def parse(self, payload: bytes) -> FromVenue:
        """See ``parse.parse``."""
        return parse.parse(payload)

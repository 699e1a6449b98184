"""Coinbase Advanced Trade market data: where to connect, how to subscribe, what is allowed."""

from collections.abc import Collection, Sequence

import orjson

from services.price_feed.adapters.coinbase import parse
from services.price_feed.adapters.websocket_session import DialectLimits
from services.price_feed.venue_events import FromVenue
from shared.contracts.prices import InstrumentListed

LIVE_ROOT = "wss://advanced-trade-ws.coinbase.com"
_TOLD_AS_THEMSELVES = frozenset({"USDT", "EURC"})

COINBASE_LIMITS = DialectLimits(
    # No limit is documented for the ticker; some hundred symbols keep a cut small.
    symbols_per_connection=100,
    symbols_per_request=50,
    # At most 8 unauthenticated messages a second and address.
    request_interval_s=0.25,
    # No cut after a day is documented; a fresh connection a day costs nothing.
    roll_after_s=23 * 3600.0,
)
"""Source: docs.cdp.coinbase.com, "Advanced Trade WebSocket" overview, rate limits and channels."""


def wire_symbol(listed: InstrumentListed) -> str:
    """``BTC-USD``. Pairs against USDC are told as those against USD, but for USDT-USDC and EURC-USDC ("Channels")."""
    quote = "USD" if listed.quote == "USDC" and listed.base not in _TOLD_AS_THEMSELVES else listed.quote
    return f"{listed.base}-{quote}"


class CoinbaseDialect:
    """Fills ``Dialect``. The ticker tells bid and ask with every match; heartbeats come every second.

    The venue has no ping of its own and heartbeats need none: to ask for a sign of life is to subscribe to them again.
    """

    limits = COINBASE_LIMITS
    subprotocol = None

    async def address(self, root: str) -> str:
        """See ``Dialect``."""
        return root or LIVE_ROOT

    def hello(self) -> Sequence[str]:
        """Heartbeats keep a quiet connection from being closed after 60 to 90 s."""
        return ('{"type":"subscribe","channel":"heartbeats"}',)

    def request(self, request_id: int, symbols: Collection[str], *, wanted: bool) -> str:
        """``{"type":"subscribe","product_ids":["BTC-USD"],"channel":"ticker"}``: there is no place for a number."""
        del request_id
        kind = "subscribe" if wanted else "unsubscribe"
        return orjson.dumps({"type": kind, "product_ids": list(symbols), "channel": "ticker"}).decode()

    def ping(self, request_id: int) -> str:
        """The heartbeats' subscription once more."""
        del request_id
        return self.hello()[0]

    def parse(self, payload: bytes) -> FromVenue:
        """See ``parse.parse``."""
        return parse.parse(payload)

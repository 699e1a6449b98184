"""Every venue dialect the feed speaks: a folder here, a row in the table."""

from collections.abc import Callable, Mapping

from services.price_feed.adapters.binance.connection import BinanceDialect
from services.price_feed.adapters.port import ConnectionTimes, Listener, VenuePrices
from services.price_feed.adapters.websocket_prices import WebsocketPrices
from shared.core.errors import Refused

OpenPrices = Callable[[str, Listener, ConnectionTimes, bool], VenuePrices]

VENUE_DIALECTS: Mapping[str, OpenPrices] = {
    "binance": lambda root, listener, times, pulse: WebsocketPrices(BinanceDialect(pulse=pulse), root, listener, times),
}


def open_prices(
    dialect: str, root: str, listener: Listener, times: ConnectionTimes, *, pulse: bool = False
) -> VenuePrices:
    """The price connection of a venue that speaks ``dialect`` at ``root``. Raises Refused for an unknown dialect.

    ``pulse``: tell the venue's pulse (``PulseReceived``) too.
    """
    make = VENUE_DIALECTS.get(dialect)
    if make is None:
        raise Refused.one("venue_dialect", dialect, ", ".join(sorted(VENUE_DIALECTS)), "is not a dialect of the feed")
    return make(root, listener, times, pulse)

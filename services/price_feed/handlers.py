"""Messages in: thin, what to do is decided elsewhere."""

import logging
from collections.abc import Callable, Collection

from services.price_feed.price_book import PriceBook
from shared.contracts.prices import InstrumentsListed
from shared.contracts.wire import Message, Meta

_log = logging.getLogger(__name__)


class InstrumentsHandler:
    """Follows the venue's list of instruments."""

    def __init__(self, book: PriceBook, follow: Callable[[Collection[str]], None]) -> None:
        self._book, self._follow = book, follow
        self._symbols: tuple[str, ...] = ()

    def __call__(self, subject: str, message: Message, meta: Meta) -> None:
        """A list arrived: the newest one counts, repeats change nothing."""
        if not isinstance(message, InstrumentsListed) or message.venue != self._book.venue:
            _log.warning("ignored %s %s on %s", message.TYPE, meta.message_id, subject)
            return
        symbols = self._book.list_instruments(message.instruments, message.crosses)
        if symbols != self._symbols:
            listed = len(message.instruments) + len(message.crosses)
            _log.info("following %d of %d pairs of %s", len(symbols), listed, message.venue)
            self._symbols = symbols
            self._follow(symbols)

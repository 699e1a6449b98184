"""What a venue's price connection can tell, whatever its dialect. Numbers stay the text the venue sent."""

from collections.abc import Callable
from typing import NamedTuple


class QuoteReceived(NamedTuple):
    """Best bid and ask of one symbol.

    ``order`` rises with every change of the symbol's book at the venue (0: the venue does not number them);
    ``at_ms`` is the venue's event time (0: the message carries none).
    """

    symbol: str
    bid: object
    ask: object
    order: int = 0
    at_ms: int = 0


class TimeReceived(NamedTuple):
    """The venue's clock, and the price of the last trade ("" if not told). ``symbol`` is "" where it is of none."""

    symbol: str
    at_ms: int
    last: object = ""


class ReplyReceived(NamedTuple):
    """The venue's answer to request ``request_id`` (-1: it names none); ``error`` is "" when it was granted.

    ``symbol``: the one it is about, at venues that answer for each symbol ("": all that was asked for).
    """

    request_id: int
    error: str = ""
    symbol: str = ""


class Greeted(NamedTuple):
    """The venue is ready for requests: some ask to wait for this."""

    kind: str


class ShutdownAnnounced(NamedTuple):
    """The venue will close this connection soon: open another one before it does."""

    at_ms: int


class PulseReceived(NamedTuple):
    """Everything that changed at one moment has been told, up to here."""

    stream: str


class Unreadable(NamedTuple):
    """A message that is not what the venue documents."""

    reason: str


class Ignored(NamedTuple):
    """A documented message that carries nothing we use."""

    kind: str


One = QuoteReceived | TimeReceived | ReplyReceived | Greeted | ShutdownAnnounced | PulseReceived | Unreadable | Ignored


class Several(NamedTuple):
    """One message that tells several things, in order.

    ``number`` counts the messages of the connection, each one more than the one before (-1: the venue does not count).
    """

    events: tuple[One, ...]
    number: int = -1


FromVenue = One | Several

Receive = Callable[[FromVenue, int], None]
"""Takes one event and the wall clock (ns) at its arrival. Never waits, never raises."""

"""The port every venue's price connection fills."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from services.price_feed.adapters.back_off import BackOff
from services.price_feed.venue_events import Receive


class VenuePrices(Protocol):
    """One venue's prices, for as long as the process lives."""

    def follow(self, symbols: Collection[str]) -> None:
        """Tell prices of exactly these symbols from now on; may be called at any time, before ``run`` too."""

    async def run(self) -> None:
        """Stay connected until cancelled; every trouble ends in another attempt, never in an exception."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told. ``connected``: a connection stands that does not continue an earlier one.

    ``alive``: the connection of these symbols has ended or is silent (False), or talks on after a silence (True).
    None of them may wait.
    """

    receive: Receive
    connected: Callable[[], None]
    alive: Callable[[Collection[str], bool], None] = lambda _symbols, _is_alive: None


@dataclass(frozen=True, slots=True)
class ConnectionTimes:
    """How long a connection waits. All in seconds.

    ``silence_s`` without any message, ``reply_s`` without an answer to a request, ``idle_s`` without a price though
    there are signs of life: the connection is given up. ``quiet_s`` without any message: its prices are not fresh; the
    venue is asked for a sign of life in time.
    ``roll_after_s``: a second connection takes over from one of this age (0: the venue's own limit decides).
    ``steady_s``: a connection that lived this long begins again with the shortest wait.
    """

    open_s: float = 10.0
    silence_s: float = 10.0
    quiet_s: float = 3.0
    idle_s: float = 60.0
    reply_s: float = 10.0
    roll_after_s: float = 0.0
    steady_s: float = 10.0
    back_off: BackOff = field(default_factory=BackOff)

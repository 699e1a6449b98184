"""Which assets may be traded on, and why not. Pure: market time (ms) and wall clock (ns) are arguments.

A price is fresh when nothing says that it could have moved without our hearing of it. Age alone says nothing: the best
bid and ask of a quiet pair stand for minutes, and the venue tells changes only. What does say something:

- its connection is silent: neither a message nor an answer to "are you there?";
- the venue gives signs of life but tells no prices of any pair, against its habit;
- the pair tells nothing, or the same price for ever, against its own habit;
- the newest message of the pair could not be believed: the last good price is not the newest one;
- the pair traded away from its quote, and the quote did not follow;
- the venue's clock stands while prices move;
- the pair is halted or no longer listed.

A habit is the longest pause of late: three times that is more than chance. It fades by half in ten minutes.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

_MS = 1_000_000
_FADING_MS = 600_000
_MANY_BEATS = 20
_UNUSUAL = 3
_UNKNOWN_HABIT = 4


class Staleness(StrEnum):
    """Why an asset's price must not be traded on."""

    NOT_TRADABLE = "not_tradable"
    CLOCK_STANDS = "clock_stands"
    NO_CONNECTION = "no_connection"
    NO_PRICES = "no_prices"
    DOUBTED = "doubted"
    MUTE = "mute"
    REPEATED = "repeated"
    CONTRADICTED = "contradicted"
    TOO_OLD = "too_old"


@dataclass(slots=True)
class Habit:
    """The longest pause between two beats of late, in ms. ``beats`` since the start; fewer than 20 make no habit.

    A pause much longer than any before is an outage more often than a new habit: it counts a little longer only, and
    has to come again and again to be one.
    """

    at_ms: int = 0
    longest_ms: float = 0.0
    beats: int = 0

    def beat(self, now_ms: int) -> None:
        """It happened again."""
        if now_ms == self.at_ms:
            self.beats += 1
            return
        if self.at_ms:
            pause_ms = float(max(0, now_ms - self.at_ms))
            if self.beats >= _MANY_BEATS:
                pause_ms = min(pause_ms, 1.25 * self.longest_ms + 250.0)
            self.longest_ms = max(pause_ms, self.longest_ms * max(0.0, 1.0 - pause_ms / _FADING_MS))
            self.beats += 1
        self.at_ms = now_ms

    def interrupt(self) -> None:
        """What comes next ends no pause: nobody listened."""
        self.at_ms = 0

    def is_overdue(self, now_ms: int, limit_ms: float, unknown_ms: float) -> bool:
        """Whether the pause is longer than ``limit_ms`` and than is usual; ``unknown_ms``: where there is no habit."""
        if not self.at_ms:
            return False
        usual_ms = _UNUSUAL * self.longest_ms if self.beats >= _MANY_BEATS else unknown_ms
        return now_ms - self.at_ms > max(limit_ms, usual_ms)


@dataclass(slots=True)
class _Pair:
    """What is known of one asset's pair. Pauses in market time."""

    received_ns: int = 0
    told: Habit = field(default_factory=Habit)
    moved: Habit = field(default_factory=Habit)
    bid: str = ""
    ask: str = ""
    doubted_ns: int = 0
    last: str = ""
    contradicted_ms: int = 0
    is_connected: bool = True


@dataclass(slots=True)
class Freshness:
    """``limit_ns``: how long anything may be missing before it is noticed, at least.

    ``oldest_ns``: how long an unrepeated price is believed on a living connection. ``doubt_ns``: how long a message
    that was not believed may wait for a better one. ``apart``: how many times away from its quote a trade is odd.
    """

    limit_ns: int
    oldest_ns: int = 900_000_000_000
    doubt_ns: int = 500_000_000
    apart: float = 1.02
    _pairs: dict[str, _Pair] = field(default_factory=dict)
    _data: Habit = field(default_factory=Habit)
    _clock: Habit = field(default_factory=Habit)
    _moved_ns: int = 0

    def quoted(self, asset: str, prices: tuple[str, str], now_ms: int, received_ns: int) -> None:
        """A quote was believed. ``prices``: its bid and ask, plain positive decimals. On the way of every tick."""
        pair = self._pairs.get(asset) or self._pair(asset)
        pair.told.beat(now_ms)
        bid, ask = prices
        if bid != pair.bid or ask != pair.ask:
            pair.bid, pair.ask = bid, ask
            pair.moved.beat(now_ms)
            pair.contradicted_ms = 0
            self._moved_ns = received_ns
        pair.received_ns, pair.doubted_ns, pair.is_connected = received_ns, 0, True
        self._data.beat(received_ns // _MS)

    def heard_of_prices(self, received_ns: int) -> None:
        """A time or a quote that is not believed came: the venue does tell prices."""
        self._data.beat(received_ns // _MS)

    def clock_moved(self, advanced_ns: int) -> None:
        """The venue's clock went on."""
        self._clock.beat(advanced_ns // _MS)

    def doubted(self, asset: str, received_ns: int) -> None:
        """A message of the pair was not believed: nobody knows what it costs now."""
        pair = self._pair(asset)
        pair.doubted_ns = pair.doubted_ns or received_ns

    def traded(self, asset: str, last: str, now_ms: int) -> None:
        """The price of the pair's last trade was told; only a new one says anything."""
        pair = self._pair(asset)
        if not pair.bid or last == pair.last:
            return
        price, is_first, pair.last = float(last), not pair.last, last
        is_apart = price * self.apart < float(pair.bid) or price > float(pair.ask) * self.apart
        if not is_apart or is_first:
            pair.contradicted_ms = 0
        else:
            pair.contradicted_ms = pair.contradicted_ms or now_ms

    def connection(self, assets: Iterable[str], *, is_alive: bool) -> None:
        """The connection that tells these assets has fallen silent or has ended; or talks on after a silence."""
        for asset in assets:
            pair = self._pair(asset)
            pair.is_connected = is_alive
            pair.told.interrupt()
            pair.moved.interrupt()

    def stale(self, assets: Collection[str], tradable: Collection[str], now_ms: int, now_ns: int) -> dict[str, str]:
        """The assets not to be traded on at market time ``now_ms`` and wall clock ``now_ns``, each with the reason."""
        reason = self._of_all(now_ns)
        found = {}
        for asset in sorted(assets):
            why = Staleness.NOT_TRADABLE if asset not in tradable else reason or self._of_one(asset, now_ms, now_ns)
            if why is not None:
                found[asset] = str(why)
        return found

    def _of_all(self, now_ns: int) -> Staleness | None:
        limit_ms = self.limit_ns / _MS
        unknown_ms = _UNKNOWN_HABIT * limit_ms
        if self._moved_ns and self._clock.is_overdue(self._moved_ns // _MS, limit_ms, unknown_ms):
            return Staleness.CLOCK_STANDS
        if self._data.is_overdue(now_ns // _MS, limit_ms, unknown_ms):
            return Staleness.NO_PRICES
        return None

    def _of_one(self, asset: str, now_ms: int, now_ns: int) -> Staleness | None:
        pair = self._pair(asset)
        limit_ms = self.limit_ns / _MS
        # A negative age means that the wall clock was set back: how old the quote is, nobody knows.
        if not 0 <= now_ns - pair.received_ns <= max(self.oldest_ns, self.limit_ns):
            return Staleness.TOO_OLD
        if not pair.is_connected:
            return Staleness.NO_CONNECTION
        if pair.doubted_ns and now_ns - pair.doubted_ns >= self.doubt_ns:
            return Staleness.DOUBTED
        if pair.told.is_overdue(now_ms, limit_ms, float("inf")):
            return Staleness.MUTE
        if pair.moved.is_overdue(now_ms, limit_ms, float("inf")):
            return Staleness.REPEATED
        if pair.contradicted_ms and now_ms - pair.contradicted_ms >= limit_ms:
            return Staleness.CONTRADICTED
        return None

    def _pair(self, asset: str) -> _Pair:
        pair = self._pairs.get(asset)
        if pair is None:
            pair = self._pairs[asset] = _Pair()
        return pair

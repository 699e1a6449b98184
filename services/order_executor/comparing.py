"""Where the venue's account and the books differ, and in which assets that can be said at all. Pure.

With E what the executor has booked (deposits, fills, differences called before), L what the ledger has posted of it
(wallet + strategies + suspense) and V what the venue shows, an asset can be judged when nothing of it is on its way:

    E before reading V = E after it = L,   no order is unsettled that moves it,   E has not changed for the read lag

and then it differs by V - L. A fill that was booked and not posted yet makes E and L differ; one that was not booked
yet belongs to an unsettled order. So neither is ever called a difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shared.core.double_entry import EXACT_SUMS
from shared.core.money import ZERO


@dataclass(frozen=True, slots=True)
class Booked:
    """What the executor knows at one moment: E by asset, and the assets that unsettled orders may move."""

    expected: Mapping[str, Decimal]
    moving: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at everything. ``lagging``: assets whose E changed so lately that the venue may not show it yet."""

    before: Booked
    at_venue: Mapping[str, Decimal]
    after: Booked
    in_books: Mapping[str, Decimal]
    lagging: frozenset[str] = frozenset()

    @property
    def assets(self) -> frozenset[str]:
        """Every asset of which anything is known."""
        return frozenset({*self.before.expected, *self.at_venue, *self.after.expected, *self.in_books})

    def undecided(self) -> frozenset[str]:
        """The assets that cannot be judged by this reading."""
        moving = self.before.moving | self.after.moving | self.lagging
        return frozenset(asset for asset in self.assets if asset in moving or not self._is_still(asset))

    def differences(self) -> dict[str, Decimal]:
        """V - L of every asset that can be judged, zeros included."""
        undecided = self.undecided()
        return {
            asset: EXACT_SUMS.subtract(self.at_venue.get(asset, ZERO), self.in_books.get(asset, ZERO))
            for asset in sorted(self.assets - undecided)
        }

    def _is_still(self, asset: str) -> bool:
        expected = self.before.expected.get(asset, ZERO)
        return expected == self.after.expected.get(asset, ZERO) == self.in_books.get(asset, ZERO)


@dataclass(slots=True)
class Suspicions:
    """What is known of differences between readings; a difference is called when it is seen twice.

    ``seen``: once, with the time. ``called``: until a reading shows it in the books. ``unjudged``: at the start, until
    judged for the first time (``is_start``); what begins to be held later is not among them.
    """

    seen: dict[str, tuple[Decimal, float]] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    unjudged: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    readings: int = 0
    is_start: bool = True

    @property
    def doubted(self) -> frozenset[str]:
        """The assets of which it is not certain that books and venue agree, whatever the books say."""
        return frozenset({*self.seen, *self.called, *self.unjudged})

    def confirmed(self, reading: Reading, now_s: float, apart_s: float) -> dict[str, Decimal]:
        """What is called now: the same difference as at least ``apart_s`` before, not judged otherwise in between."""
        found: dict[str, Decimal] = {}
        # What was doubted and is nowhere to be found any more does not differ.
        gone = dict.fromkeys(sorted(self.doubted - reading.assets), ZERO)
        for asset, amount in (reading.differences() | gone).items():
            known = self.seen.get(asset)
            if not amount:
                self.seen.pop(asset, None)
                self.called.discard(asset)
                self._has_been_judged(asset)
            elif known is None or known[0] != amount:
                self.seen[asset] = (amount, now_s)
            elif now_s - known[1] >= apart_s:
                found[asset] = amount
                del self.seen[asset]
                self.called.add(asset)
                self._has_been_judged(asset)
        if self.is_start:
            self.unjudged |= reading.undecided() - self.judged
        self.readings += 1
        return found

    def _has_been_judged(self, asset: str) -> None:
        self.judged.add(asset)
        self.unjudged.discard(asset)

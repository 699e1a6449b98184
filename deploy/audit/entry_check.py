"""What an entry must be by itself and after the one before it; and stretches of entries that are checked apart."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.audit.books import Books
from deploy.audit.records import LEAF_VERSION, Entry, Wrong
from deploy.audit.trades import VenueTrades
from shared.core.merkle import HASH_SIZE

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


class EntryCheck:
    """Checks entries one after the other and books them. ``size``: entries so far, those before ``first`` included."""

    def __init__(self, books: Books, trades: VenueTrades | None = None, *, first: int = 1) -> None:
        self.books = books
        self.size = first - 1
        self.posted_at = _BEGINNING
        self.market_time = _BEGINNING
        self._trades = trades

    def take(self, entry: Entry) -> None:
        """Check the next entry. Raises Wrong."""
        sequence = self.size + 1
        if entry.sequence != sequence:
            raise Wrong.at(sequence, f"it is missing: the next one is {entry.sequence}")
        if entry.hash != entry.logged:
            raise Wrong.at(sequence, f"its content gives the leaf {entry.hash.hex()}, the log has {entry.logged.hex()}")
        version = entry.fields["leaf_version"]
        if version != LEAF_VERSION:
            raise Wrong.at(sequence, f"its leaf is of version {version}; this auditor knows {LEAF_VERSION}")
        if entry.posted_at < self.posted_at:
            raise Wrong.at(sequence, "it was posted before the one before it")
        try:
            fill = self.books.take(entry.fields)
            if fill is not None and self._trades is not None:
                self._trades.compare(fill)
        except ValueError as error:
            raise Wrong.at(sequence, str(error)) from None
        except (KeyError, TypeError, AttributeError) as error:
            raise Wrong.at(sequence, f"it has another form than an entry: {error!r}") from None
        self.size = sequence
        self.posted_at = entry.posted_at
        self.market_time = max(self.market_time, entry.market_time)

    def add(self, stretch: "Stretch") -> None:
        """Append what was checked apart. Raises ValueError when it does not follow."""
        if stretch.first != self.size + 1 or stretch.began < self.posted_at:
            raise ValueError(f"entry {self.size + 1} is missing or older than the one before it")
        self.books.add(stretch.books)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries from ``first`` on that are right by themselves: leaves one after the other, what they change in books.

    ``began``: when the first was posted. ``marks``: by size of the log, posting time there and the newest market time
    of the stretch so far; at its end in any case.
    """

    first: int
    leaves: bytes
    began: datetime
    marks: Mapping[int, tuple[datetime, datetime]]
    books: Books

    def each_leaf(self) -> Iterator[bytes]:
        """The hashes."""
        for at in range(0, len(self.leaves), HASH_SIZE):
            yield self.leaves[at : at + HASH_SIZE]


def stretch_of(first: int, entries: Iterable[Entry], sizes: frozenset[int]) -> Stretch | None:
    """Check entries apart from those before them; None when there are none. ``sizes``: where to mark. Raises Wrong."""
    check = EntryCheck(Books(relative=True), first=first)
    leaves = bytearray()
    began: datetime | None = None
    marks: dict[int, tuple[datetime, datetime]] = {}
    for entry in entries:
        check.take(entry)
        leaves += entry.hash
        if began is None:
            began = entry.posted_at
        if check.size in sizes:
            marks[check.size] = (check.posted_at, check.market_time)
    if began is None:
        return None
    marks[check.size] = (check.posted_at, check.market_time)
    return Stretch(first, bytes(leaves), began, marks, check.books)

"""The check itself: entries in their order, heads at the sizes they cover, and what an auditor has kept from before.

Nothing is believed: leaves, tree, balances are computed again from the entries; what is stored of them must be equal.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deploy.audit.books import Books
from deploy.audit.entry_check import EntryCheck, Stretch
from deploy.audit.growing_tree import GrowingTree
from deploy.audit.notes import check_signature
from deploy.audit.records import Entry, Head, Wrong
from deploy.audit.trades import VenueTrades


@dataclass(frozen=True, slots=True)
class KeptHead:
    """A head that was right at an earlier check."""

    number: int
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Trusted:
    """What an auditor brings along: the log's name, the keys he accepts by id, and heads from before.

    Without an origin nothing is known yet: the name and the keys of the first check are believed.
    """

    origin: str = ""
    keys: frozenset[str] = frozenset()
    heads: tuple[KeptHead, ...] = ()


NOTHING_KNOWN = Trusted()


@dataclass(frozen=True, slots=True)
class Findings:
    """The result. ``wrong``: every fault found, that of the entries first; empty when all is right.

    ``covered``: entries under the newest head that is right.
    """

    entries: int
    postings: int
    heads: Sequence[Head]
    covered: int
    root: bytes
    wrong: tuple[str, ...]
    first_wrong_entry: int | None = None


@dataclass(slots=True)
class _Checkpoints:
    """The sizes at which a root is to be compared: what is expected there, and of whom."""

    by_size: dict[int, list[tuple[str, bytes]]] = field(default_factory=dict)

    def add(self, size: int, who: str, root: bytes) -> None:
        self.by_size.setdefault(size, []).append((who, root))


class Verification:
    """One check. Give it the heads, then every entry in order of its sequence, then ``findings``."""

    def __init__(self, trusted: Trusted = NOTHING_KNOWN, trades: VenueTrades | None = None) -> None:
        self.tree = GrowingTree()
        self.check = EntryCheck(Books(), trades)
        self._trusted = trusted
        self._trades = trades
        self._heads: list[Head] = []
        self._by_size: dict[int, Head] = {}
        self._kept = _Checkpoints()
        self._covered = 0
        self._wrong: list[Wrong] = []
        self._wrong_entry: int | None = None
        for kept in trusted.heads:
            self._kept.add(kept.size, f"head {kept.number}, kept from an earlier check,", kept.root)

    def note(self, wrong: Wrong) -> None:
        """Add a fault that ``take`` has raised or that was found elsewhere."""
        self._wrong.append(wrong)
        if self._wrong_entry is None:
            self._wrong_entry = wrong.entry

    def take_heads(self, heads: Iterable[Head]) -> None:
        """Check the heads by themselves: numbers, growth, times, keys, signatures."""
        before: Head | None = None
        for head in sorted(heads, key=lambda each: each.number):
            try:
                self._check_head(head, before)
            except Wrong as wrong:
                self._wrong.append(wrong)
            else:
                self._heads.append(head)
                self._by_size[head.size] = head
            before = head
        last = 0 if before is None else before.number
        kept = max((each.number for each in self._trusted.heads), default=0)
        if kept > last:
            self._wrong.append(Wrong(f"head {kept}", f"it was there at an earlier check; now the last one is {last}"))

    def _check_head(self, head: Head, before: Head | None) -> None:
        place, trusted = f"head {head.number}", self._trusted
        expected = 1 if before is None else before.number + 1
        if head.number != expected:
            raise Wrong(f"head {expected}", f"it is missing: the next one is {head.number}")
        if before is not None and head.size <= before.size:
            raise Wrong(place, f"it covers {head.size} entries, the one before it {before.size}")
        if before is not None and head.signed_at < before.signed_at:
            raise Wrong(place, "it is signed before the one before it")
        if trusted.origin and head.origin != trusted.origin:
            raise Wrong(place, f"it is of the log {head.origin}, not of {trusted.origin}")
        if trusted.origin and head.key_id not in trusted.keys:
            raise Wrong(place, f"it is signed by a key that is not accepted: {head.key_id}")
        check_signature(head)
        for kept in trusted.heads:
            if kept.number == head.number and (kept.size, kept.root) != (head.size, head.root):
                raise Wrong(place, "it is another one than at an earlier check")

    def take(self, entry: Entry) -> None:
        """Check the next entry and the heads that end with it. Raises Wrong; nothing can be taken after that."""
        self.check.take(entry)
        self.tree.append(entry.hash)
        self._compare()

    def take_stretch(self, stretch: Stretch) -> None:
        """Take entries that were checked elsewhere. Raises Wrong, ValueError; nothing can be taken after that."""
        check = self.check
        check.add(stretch)
        for leaf in stretch.each_leaf():
            self.tree.append(leaf)
            mark = stretch.marks.get(self.tree.size)
            if mark is not None:
                check.size, check.posted_at = self.tree.size, mark[0]
                check.market_time = max(check.market_time, mark[1])
                self._compare()

    @property
    def sizes(self) -> frozenset[int]:
        """The sizes at which something is compared: a stretch must be told them, to mark them."""
        return frozenset({*self._by_size, *self._kept.by_size})

    def _compare(self) -> None:
        """Compare the root with those that are known of this size."""
        sequence = self.tree.size
        head = self._by_size.get(sequence)
        if head is not None:
            self._check_root(head)
        for who, root in self._kept.by_size.get(sequence, ()):
            if root != self.tree.root:
                raise self._rewritten(f"{who} had another root over the first {sequence} entries")

    def _check_root(self, head: Head) -> None:
        """A head at the size it covers. Raises Wrong: between the head before it and this one entries were changed."""
        place = f"head {head.number}"
        if head.root != self.tree.root:
            raise self._rewritten(f"{place} was signed over other content of the first {head.size} entries")
        if head.signed_at < self.check.posted_at:
            self._wrong.append(Wrong(place, "it is signed before its newest entry was posted"))
        if head.market_time != self.check.market_time:
            self._wrong.append(Wrong(place, "its market time is not the newest of its entries"))
        self._covered = head.size

    def _rewritten(self, reason: str) -> Wrong:
        first, last = self._covered + 1, self.tree.size
        return Wrong(f"entry {first}" if first == last else f"entries {first} to {last}", reason, first)

    def end(self) -> None:
        """Compare what can only be known at the end: heads beyond the last entry, sums, the venue's trades."""
        size = self.tree.size
        for head in self._heads:
            if head.size > size:
                self.note(Wrong.at(size + 1, f"it is missing: head {head.number} covers {head.size}"))
                break
        for kept in self._trusted.heads:
            if kept.size > size:
                reason = f"it is missing: head {kept.number}, kept from an earlier check, covers {kept.size}"
                self.note(Wrong.at(size + 1, reason))
        for asset in self.check.books.unbalanced():
            self._wrong.append(Wrong("balances", f"all of {asset} together is not 0"))
        if self._trades is not None:
            self._wrong += [Wrong("trades", missing) for missing in self._trades.missing()]

    def findings(self) -> Findings:
        """All that was found."""
        of_entries = sorted(self._wrong, key=lambda wrong: wrong.entry is None)
        return Findings(
            entries=self.tree.size,
            postings=self.check.books.postings,
            heads=self._heads,
            covered=self._covered,
            root=self.tree.root,
            wrong=tuple(str(wrong) for wrong in of_entries),
            first_wrong_entry=self._wrong_entry,
        )


def check_keys(keys: Mapping[str, bytes], used: Iterable[str]) -> Iterable[Wrong]:
    """Faults of a table of keys: each must be what its id says, and have signed something."""
    signed = set(used)
    for key_id, public_key in sorted(keys.items()):
        if hashlib.sha256(public_key).hexdigest() != key_id:
            yield Wrong("keys", f"{key_id} is another key than its id says")
        elif key_id not in signed:
            yield Wrong("keys", f"{key_id} has signed nothing")

"""Merkle trees over a growing list, as in RFC 6962 / RFC 9162: roots, inclusion and consistency proofs.

A tree of n leaves is split at the largest power of two below n. The hash of a leaf is SHA-256(0x00 || data), that of a
node SHA-256(0x01 || left || right), so that no leaf can be taken for a node.

Of a list that only grows, three things are needed: the roots of its perfect subtrees (``Frontier``, O(log n), to
append), the perfect subtrees a proof is made of (``inclusion_spans``, ``consistency_spans``), and the proofs' checks.
Hashes are 32 bytes everywhere.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

HASH_SIZE = 32

Span = tuple[int, int]
"""The leaves from the first (counted from 0) up to, not including, the second."""

Node = tuple[int, int]
"""A perfect subtree: its level (0: a leaf) and its place among those of its level; it holds 2**level leaves."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over its two subtrees (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without leaves."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed of a tree to append to it: its size, and the roots of its perfect subtrees, largest first.

    There is one root for each 1 in the binary number ``size``. Raises ValueError when there is another number of them.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.peaks) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves has not {len(self.peaks)} perfect subtrees")

    @property
    def root(self) -> bytes:
        """The tree's root."""
        return fold(self.peaks)

    def extended(self, leaves: Iterable[bytes]) -> tuple["Frontier", list[tuple[Node, bytes]]]:
        """The frontier after appending leaf hashes, and every perfect subtree that became complete, leaves included."""
        size, peaks = self.size, list(self.peaks)
        made: list[tuple[Node, bytes]] = []
        for leaf in leaves:
            index, level, root = size, 0, leaf
            made.append(((0, index), root))
            while index & 1:
                root = node_hash(peaks.pop(), root)
                index >>= 1
                level += 1
                made.append(((level, index), root))
            peaks.append(root)
            size += 1
        return Frontier(size, tuple(peaks)), made


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root over the roots of perfect subtrees, largest first."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def perfect_subtrees(span: Span) -> Iterator[Node]:
    """The perfect subtrees a span of a proof consists of, largest first."""
    start, end = span
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def root_of(span: Span, hashes: Mapping[Node, bytes]) -> bytes:
    """The root over a span, from the hashes of its perfect subtrees. Raises KeyError when one is missing."""
    return fold([hashes[node] for node in perfect_subtrees(span)])


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The spans whose roots prove that leaf ``index`` is in the tree of ``size`` leaves, from the leaf up.

    RFC 9162, 2.1.3.1. Raises ValueError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(first: int, second: int) -> list[Span]:
    """The spans whose roots prove that the tree of ``second`` leaves begins with that of ``first``.

    RFC 9162, 2.1.4.1. Raises ValueError unless 0 < first <= second.
    """
    if not 0 < first <= second:
        raise ValueError(f"a tree of {second} leaves cannot have grown from one of {first}")
    spans: list[Span] = []
    start, end, is_known = 0, second, True
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start, is_known = middle, False
    if not is_known:
        spans.append((start, end))
    return spans[::-1]


def _split(size: int) -> int:
    """The largest power of two below ``size`` (> 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves that the tree of ``size`` leaves with ``root`` holds ``leaf`` at ``index``.

    RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(step, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, step)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


@dataclass(frozen=True, slots=True)
class Tree:
    """What a tree head says of a tree."""

    size: int
    root: bytes


def extends(older: Tree, newer: Tree, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the newer tree begins with all of the older one (RFC 9162, 2.1.4.2)."""
    if not 0 < older.size <= newer.size:
        return False
    if older.size == newer.size:
        return not path and older.root == newer.root
    steps = list(path)
    if older.size.bit_count() == 1:
        steps.insert(0, older.root)
    if not steps:
        return False
    place, last = older.size - 1, newer.size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, step)
        place, last = place >> 1, last >> 1
    return last == 0 and old == older.root and new == newer.root

"""The auditor's own Merkle tree: it only grows, and shows every stored node and every root on the way."""

from shared.core.merkle import EMPTY_ROOT, node_hash

STORED_LEVELS = 8


class GrowingTree:
    """Append leaves, ask for the root at any time. ``nodes``: every subtree of 256, 65,536, ... leaves, by level and
    place.
    """

    def __init__(self) -> None:
        self.size = 0
        self.nodes: dict[tuple[int, int], bytes] = {}
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        at = self.size
        self.size += 1
        root, level, peaks = leaf, 0, self._peaks
        while at & 1:
            root = node_hash(peaks.pop(), root)
            at >>= 1
            level += 1
            if level % STORED_LEVELS == 0:
                self.nodes[level, at] = root
        peaks.append(root)

    @property
    def peaks(self) -> bytes:
        """The roots of the perfect subtrees, largest first, one after the other."""
        return b"".join(self._peaks)

    @property
    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

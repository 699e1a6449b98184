"""The proof of the journal: signed tree heads, and what an auditor may ask for."""

from typing import ClassVar

from shared.contracts.wire import Message, Timestamp


class TreeHeadSigned(Message):
    """The state of the Merkle log over the journal: the first ``size`` entries have the root ``root``.

    ``number`` counts the heads from 1. ``note`` is what was signed, with its signature: a checkpoint as in C2SP
    tlog-checkpoint with the lines "number", "signed-at" and "market-time"; the other fields repeat it. Hashes, the
    key's id (SHA-256 of the public key) and the public key (Ed25519) are hexadecimal.
    """

    TYPE: ClassVar[str] = "trimtab.tree_head.signed"

    number: int
    origin: str
    size: int
    root: str
    signed_at: Timestamp
    market_time: Timestamp
    key_id: str
    public_key: str
    note: str


class ShowTreeHead(Message):
    """Answer with the newest head; ``covering_all``: sign a new one first, unless it covers every entry."""

    TYPE: ClassVar[str] = "trimtab.tree_head.show"

    covering_all: bool = False


class ProveInclusion(Message):
    """Prove that an entry is in the log; ``entry`` is its sequence or its transaction id."""

    TYPE: ClassVar[str] = "trimtab.inclusion.prove"

    entry: str


class InclusionProved(Message):
    """``leaf_data`` (canonical JSON) is entry ``sequence``; ``path`` leads from its hash to the root of ``head``."""

    TYPE: ClassVar[str] = "trimtab.inclusion.proved"

    sequence: int
    leaf_data: str
    leaf_hash: str
    path: tuple[str, ...]
    head: TreeHeadSigned


class ProveConsistency(Message):
    """Prove that the log of ``second`` entries begins with the log of ``first`` entries; 0: as many as there are."""

    TYPE: ClassVar[str] = "trimtab.consistency.prove"

    first: int
    second: int = 0


class ConsistencyProved(Message):
    """The roots of both sizes, and the path between them."""

    TYPE: ClassVar[str] = "trimtab.consistency.proved"

    first: int
    second: int
    first_root: str
    second_root: str
    path: tuple[str, ...]

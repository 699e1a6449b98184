"""Signed tree heads: what is signed of the Merkle log, and how it is written down.

A head is a checkpoint as in C2SP tlog-checkpoint, signed as in C2SP signed-note with Ed25519: lines of origin, size and
root (base64), then ours ("number", "signed-at", "market-time"), an empty line, and the signature. Every tool that
checks such notes checks these.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.contracts.audit import TreeHeadSigned
from shared.core.merkle import Tree

_ED25519 = b"\x01"  # the kind of signature, by signed-note


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The log at one moment. ``number`` counts from 1; ``market_time`` is the newest of any entry in the tree."""

    origin: str
    number: int
    tree: Tree
    signed_at: datetime
    market_time: datetime

    @property
    def text(self) -> str:
        """What is signed."""
        lines = (
            self.origin,
            str(self.tree.size),
            base64.b64encode(self.tree.root).decode(),
            f"number {self.number}",
            f"signed-at {_moment(self.signed_at)}",
            f"market-time {_moment(self.market_time)}",
        )
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head with its signature and the public key that checks it (raw bytes: 64 and 32)."""

    head: TreeHead
    public_key: bytes
    signature: bytes

    @property
    def note(self) -> str:
        """The signed note."""
        origin = self.head.origin
        hint = hashlib.sha256(origin.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]
        return f"{self.head.text}\n\u2014 {origin} {base64.b64encode(hint + self.signature).decode()}\n"

    @property
    def message(self) -> TreeHeadSigned:
        """The event that tells of it."""
        head = self.head
        return TreeHeadSigned(
            number=head.number,
            origin=head.origin,
            size=head.tree.size,
            root=head.tree.root.hex(),
            signed_at=head.signed_at,
            market_time=head.market_time,
            key_id=key_id_of(self.public_key),
            public_key=self.public_key.hex(),
            note=self.note,
        )


class Signer:
    """Signs heads with one private key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key().public_bytes_raw()

    def signed(self, head: TreeHead) -> SignedHead:
        """The head, signed."""
        return SignedHead(head, self.public_key, self._private_key.sign(head.text.encode()))


def key_id_of(public_key: bytes) -> str:
    """What a key is called."""
    return hashlib.sha256(public_key).hexdigest()


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

"""Signed heads as notes: what was signed is written again from the head's fields, and its signature is checked."""

import base64
import hashlib
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy.audit.records import Head, Wrong


def text_of(head: Head) -> str:
    """What is signed: origin, size, root, number, time of signing, market time; a line each."""
    root = base64.b64encode(head.root).decode()
    times = f"signed-at {_moment(head.signed_at)}\nmarket-time {_moment(head.market_time)}\n"
    return f"{head.origin}\n{head.size}\n{root}\nnumber {head.number}\n{times}"


def note_of(head: Head) -> str:
    """The text with its signature, as it is published (C2SP signed-note)."""
    hint = hashlib.sha256(head.origin.encode() + b"\n\x01" + head.public_key).digest()[:4]
    return f"{text_of(head)}\n\u2014 {head.origin} {base64.b64encode(hint + head.signature).decode()}\n"


def signature_in(note: str) -> bytes:
    """The 64 bytes of signature in a note. Raises ValueError when it has none."""
    raw = base64.b64decode(note.rstrip("\n").rpartition(" ")[2], validate=True)
    if len(raw) != 68:
        raise ValueError("the note carries no Ed25519 signature")
    return raw[4:]


def check_signature(head: Head) -> None:
    """Raises Wrong unless the head is signed by its key, and the key is the one its id names."""
    place = f"head {head.number}"
    if hashlib.sha256(head.public_key).hexdigest() != head.key_id:
        raise Wrong(place, f"the key {head.key_id} is another one than its id says")
    try:
        Ed25519PublicKey.from_public_bytes(head.public_key).verify(head.signature, text_of(head).encode())
    except (InvalidSignature, ValueError):
        raise Wrong(place, f"it is not signed by the key {head.key_id}") from None


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

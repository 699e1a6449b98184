"""The file with the private key that signs tree heads (PKCS #8 PEM, 0600), made at the first start."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.core.errors import Stop

_OTHERS = 0o077


def load_or_make_key(file: Path) -> Ed25519PrivateKey:
    """The key in ``file``. When there is none a new one is made; of several that start at once, all get the same.

    Raises Stop when the file cannot be read or written, holds something else, or others may read it.
    """
    try:
        if not file.exists():
            _make(file)
        mode = file.stat().st_mode
        content = file.read_bytes()
    except OSError as error:
        raise Stop(f"the signing key {file} cannot be used: {error.strerror}") from error
    if mode & _OTHERS:
        raise Stop(f"the signing key {file} may be read by others: chmod 600 {file}")
    try:
        key = load_pem_private_key(content, password=None)
    except ValueError as error:
        raise Stop(
            f"{file} holds no private key; remove it only if heads signed with it need not be continued"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Stop(f"{file} holds a key of another kind than Ed25519")
    return key


def _make(file: Path) -> None:
    """Written whole beside its place, then linked into it: it is there complete or not at all, and never replaced."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    building = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    fd = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            file.hardlink_to(building)
        except FileExistsError:
            return
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        building.unlink()

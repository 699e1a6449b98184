"""Who asks: a token of JWT (HS256) in the header, made for this very request.

Source: open.bigone.com, "Authentication": payload ``type`` OpenAPIV2, ``sub`` the API key, ``nonce`` the time in
nanoseconds, and an optional ``recv_window`` in seconds (30 where it is not given).
"""

import hmac
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from hashlib import sha256
from typing import Any

import orjson

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.bigone.errors import INVALID_TOKEN, UNAUTHORIZED
from services.simulated_exchange.venue import Venue

DEFAULT_WINDOW_S = 30.0
MAX_WINDOW_S = 60.0
_SCHEME = "Bearer "


def authorise(venue: Venue, header: str | None, clock_ms: int) -> Account:
    """The account of an ``Authorization`` header. Raises BigoneError 40004."""
    if header is None or not header.startswith(_SCHEME):
        raise UNAUTHORIZED
    signed, _, signature = header[len(_SCHEME) :].rpartition(".")
    head, claims = (_part(part) for part in [*signed.split("."), "", ""][:2])
    account = venue.account_of_key(str(claims.get("sub")))
    if account is None or head.get("alg") != "HS256" or claims.get("type") != "OpenAPIV2":
        raise INVALID_TOKEN
    expected = hmac.new(account.api_secret.encode(), signed.encode(errors="replace"), sha256).digest()
    if not hmac.compare_digest(_bytes(signature), expected):
        raise INVALID_TOKEN
    _check_window(claims, clock_ms)
    return account


def _check_window(claims: dict[str, Any], clock_ms: int) -> None:
    try:
        made_ms = int(claims["nonce"]) / 1_000_000
        window_s = float(claims.get("recv_window", DEFAULT_WINDOW_S))
    except (KeyError, TypeError, ValueError):
        raise INVALID_TOKEN from None
    if not 0 < window_s <= MAX_WINDOW_S or abs(clock_ms - made_ms) > window_s * 1000:
        raise INVALID_TOKEN


def _bytes(part: str) -> bytes:
    try:
        return urlsafe_b64decode(part.encode() + b"=" * (-len(part) % 4))
    except (Base64Error, ValueError):
        raise INVALID_TOKEN from None


def _part(part: str) -> dict[str, Any]:
    try:
        found = orjson.loads(_bytes(part))
    except orjson.JSONDecodeError:
        raise INVALID_TOKEN from None
    if not isinstance(found, dict):
        raise INVALID_TOKEN
    return found

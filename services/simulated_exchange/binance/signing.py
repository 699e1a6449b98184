"""Signed calls: HMAC-SHA256 over the text as sent, within the receive window of the wall clock.

Binance spot documents, "SIGNED endpoint security": REST signs query string + body; the websocket API signs its
parameters sorted by name as k=v joined by &.
"""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.binance.endpoints import Security
from services.simulated_exchange.binance.errors import BinanceError, missing
from services.simulated_exchange.binance.parameters import Parameters
from services.simulated_exchange.venue import Venue

DEFAULT_WINDOW_MS = 5_000
MAX_WINDOW_MS = 60_000
AHEAD_MS = 1_000
_SIGNATURE = re.compile(r"(?:^|&)signature=[^&]*")


def rest_payload(raw_query: str, raw_body: str) -> str:
    """What a REST call signs: the raw query and the raw body, one after the other, without the signature itself."""
    return _SIGNATURE.sub("", raw_query).lstrip("&") + _SIGNATURE.sub("", raw_body).lstrip("&")


def ws_payload(values: Mapping[str, str]) -> str:
    """What a websocket API call signs."""
    return "&".join(f"{name}={values[name]}" for name in sorted(values) if name != "signature")


def identify(venue: Venue, api_key: str | None) -> Account:
    """The account of an API key (-2014, -2015)."""
    if not api_key:
        raise BinanceError(-2014, "API-key format invalid.", status=401)
    account = venue.account_of_key(api_key)
    if account is None:
        raise BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", status=401)
    return account


def authorise(
    venue: Venue, security: Security, api_key: str | None, parameters: Parameters, payload: str, wall_ms: int
) -> Account | None:
    """The account of a call after all checks that its endpoint asks for; None for public ones. Raises BinanceError."""
    if security is Security.NONE:
        return None
    account = identify(venue, api_key)
    if security is Security.SIGNED:
        _check_window(parameters, wall_ms)
        signature = parameters.required("signature")
        # A query may carry bytes that are no text: they are signed as they came.
        message = payload.encode(errors="surrogateescape")
        expected = hmac.new(account.api_secret.encode(), message, sha256).hexdigest()
        if not hmac.compare_digest(signature.lower().encode(errors="replace"), expected.encode()):
            raise BinanceError(-1022, "Signature for this request is not valid.")
    return account


def _check_window(parameters: Parameters, wall_ms: int) -> None:
    timestamp = parameters.integer("timestamp")
    if timestamp is None:
        raise missing("timestamp")
    window = parameters.text("recvWindow")
    # Binance takes fractions of a millisecond here.
    if window is not None and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", window):
        raise BinanceError(-1131, "recvWindow must be less than 60000.")
    window_ms = float(window) if window is not None else DEFAULT_WINDOW_MS
    if window_ms > MAX_WINDOW_MS:
        raise BinanceError(-1131, "recvWindow must be less than 60000.")
    if timestamp >= wall_ms + AHEAD_MS:
        raise BinanceError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if wall_ms - timestamp > window_ms:
        raise BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")

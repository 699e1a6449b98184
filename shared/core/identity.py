"""Ids that are functions of their inputs, so that a retry of anything names the same thing.

Source of the method: end-to-end idempotency ids made by the initiator (TigerBeetle, "reliable transaction submission").
"""

import hashlib

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case: no i, l, o, u to misread


def derived_id(prefix: str, *parts: str | int, length: int = 26) -> str:
    """``prefix`` + ``length`` base-32 characters of SHA-256 over the parts (5 bits each: 26 characters = 130 bits).

    Parts are length-prefixed before hashing, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(f"{len(text)}:".encode())
        digest.update(text)
    number = int.from_bytes(digest.digest(), "big")
    characters = []
    for _ in range(length):
        number, index = divmod(number, 32)
        characters.append(_ALPHABET[index])
    return prefix + "".join(characters)


def plan_id(strategy_id: str, position_version: int, last_closed_plan_id: str) -> str:
    """The one plan that may follow ``last_closed_plan_id`` ("" for none) at this position version."""
    return derived_id("pl", strategy_id, position_version, last_closed_plan_id)


def client_order_id(of_plan_id: str, round_number: int, symbol: str, side: str) -> str:
    """Client order id of one attempt: 28 characters [a-z0-9]. OKX takes 32 at most; Kraken a UUID instead, which
    ``shared.venues.identity`` makes of it.
    """
    return derived_id("tt", of_plan_id, round_number, symbol, side)


def transfer_id(strategy_id: str, purpose: str, sequence: int) -> str:
    """Id of a movement of money between a wallet and a strategy."""
    return derived_id("tr", strategy_id, purpose, sequence)

"""From bytes and headers to one of the contracts' messages, by the CloudEvents type."""

import json
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from shared.contracts import (
    audit,
    books,
    evaluations,
    halts,
    lifecycle,
    orders,
    plans,
    prices,
    reconciliation,
    reservations,
    results,
    strategies,
)
from shared.contracts.upcasting import STEPS, upcast
from shared.contracts.wire import Message, Meta, meta_from

_MODULES: tuple[ModuleType, ...] = (
    audit,
    books,
    evaluations,
    halts,
    lifecycle,
    orders,
    plans,
    prices,
    reconciliation,
    reservations,
    results,
    strategies,
)


class Undecodable(ValueError):  # noqa: N818 - it says what the message is
    """The message cannot be read: headers missing, type unknown, newer than this program, or the body is invalid."""


def message_types() -> dict[str, type[Message]]:
    """Every message of the contracts by its name on the wire. Raises ValueError when a name is used twice."""
    types: dict[str, type[Message]] = {}
    for module in _MODULES:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Message) and value.__module__ == module.__name__:
                if value.TYPE in types:
                    raise ValueError(f"the type {value.TYPE} names two messages")
                types[value.TYPE] = value
    return types


TYPES: Mapping[str, type[Message]] = MappingProxyType(message_types())


def decode(headers: Mapping[str, Any] | None, body: bytes) -> tuple[Message, Meta]:
    """The message and what it carries besides. Raises ``Undecodable`` with the reason."""
    if not headers:
        raise Undecodable("no headers")
    name = headers.get("ce-type")
    message_type = TYPES.get(name) if name else None
    if name is None or message_type is None:
        raise Undecodable(f"unknown type {name!r}")
    version = headers.get("ce-schemaversion", "")
    if not version.isdecimal() or int(version) < 1:
        raise Undecodable(f"schema version {version!r} is not a positive whole number")
    if int(version) > message_type.SCHEMA_VERSION:
        raise Undecodable(
            f"schema version {version} of {name} is newer than this program knows ({message_type.SCHEMA_VERSION})"
        )
    try:
        if int(version) < message_type.SCHEMA_VERSION:
            newest = upcast(name, int(version), message_type.SCHEMA_VERSION, json.loads(body), STEPS)
            body = json.dumps(newest).encode()
        return message_type.model_validate_json(body), meta_from(headers)
    except ValueError as error:
        raise Undecodable(f"{name}: {error}") from None

"""Edits of a strategy's document: from FIELD=VALUE or a file to the changes that the gateway is asked for. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from deploy.command_line.strategy_file import NOTHING, parse_document
from shared.contracts.lifecycle import EDITABLE_FIELDS
from shared.core.errors import Problem, Refused, shown
from shared.core.strategy import OPTIONAL_FIELDS, REQUIRED_FIELDS, parse_strategy, strategy_document

Document = dict[str, Any]

_SHORT_FORMS: Mapping[str, str] = {
    "take_profit": "percent",
    "stop_loss": "percent",
    "rebalance.threshold": "points",
    "auto_invest.schedule": "every",
}
"""What a single value stands for where a mapping may be written, too."""


@dataclass(frozen=True, slots=True)
class FieldDiffers:
    """One field, by dotted path, that differs between two documents; None on the side where it is not there."""

    field: str
    before: str | None
    after: str | None


def with_values(document: Mapping[str, Any], settings: Sequence[str]) -> Document:
    """The document with each FIELD=VALUE in it; a dotted field goes into a mapping, an empty value takes it away.

    Raises Refused for what is no FIELD=VALUE, no field of a strategy, or no YAML.
    """
    changed: Document = deepcopy(dict(document))
    for setting in settings:
        field, is_given, text = setting.partition("=")
        if not is_given or not field.strip():
            raise Refused.one("--set", setting, "FIELD=VALUE, as in take_profit=15", "has no value")
        path = field.strip().split(".")
        if path[0] not in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS):
            raise Refused.one(path[0], setting, ", ".join(EDITABLE_FIELDS), "is not a field of a strategy")
        _set(changed, path, _value(text.strip(), field))
    return changed


def _value(text: str, field: str) -> Any:
    """A mapping or a quoted text is read as YAML, as in a file; anything else is what it says."""
    if text[:1] in {"{", '"', "'"}:
        return parse_document(f"value: {text}".encode(), f"the value of {field}").get("value")
    return None if text in NOTHING else text


def _set(document: Document, path: Sequence[str], value: Any) -> None:
    where: Document = document
    for depth, name in enumerate(path[:-1], start=1):
        inner = where.get(name)
        if not isinstance(inner, dict):
            short = _SHORT_FORMS.get(".".join(path[:depth]))
            inner = {short: inner} if short and inner is not None else {}
            where[name] = inner
        where = inner
    if value is None:
        where.pop(path[-1], None)
    else:
        where[path[-1]] = value


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any], allowed: Sequence[str]) -> Document:
    """The fields that differ with their new values, None for one taken away; both as they would be stored.

    Raises Refused when ``after`` is not valid, when it differs in a field that is not ``allowed``, or not at all.
    """
    old = strategy_document(parse_strategy(before))
    new = strategy_document(parse_strategy(after))
    changes = {field: new.get(field) for field in (*old, *new) if old.get(field) != new.get(field)}
    problems = [
        Problem(field, shown(_text(value) or ""), ", ".join(allowed), "cannot be changed in a strategy that runs")
        for field, value in changes.items()
        if field not in allowed
    ]
    if problems:
        raise Refused(problems)
    if not changes:
        raise Refused.one("changes", "(none)", "a value that differs from the one now", "changes nothing")
    return changes


def differences(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Iterator[FieldDiffers]:
    """What the changes differ in, field by field, as they are written in a file."""
    for name, value in changes.items():
        old, new = _leaves({name: before.get(name)}), _leaves({name: value})
        for field in dict.fromkeys((*old, *new)):
            if old.get(field) != new.get(field):
                yield FieldDiffers(field, old.get(field), new.get(field))


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        elif (text := _text(value)) is not None:
            found[f"{prefix}{key}"] = text
    return found


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""A strategy's document as a file: YAML that reads back to the same text everywhere, or JSON. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Literal

from shared.core.errors import Refused

FileFormat = Literal["yaml", "json"]
MEDIA_TYPES: Mapping[FileFormat, str] = {"yaml": "application/yaml", "json": "application/json"}

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NOT_BARE = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_JSON_TYPES = frozenset({"application/json", "application/*+json"})
_YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "*/*", "application/*"})


def wanted_format(format_: str, accept: str) -> FileFormat:
    """The form asked for by ``?format=``, else by the Accept header, else YAML. Raises Refused for an unknown one."""
    if format_ == "yaml":
        return "yaml"
    if format_ == "json":
        return "json"
    if format_:
        raise Refused.one("format", format_, "yaml, json", "is not one of them")
    weights: dict[FileFormat, float] = {"yaml": 0.0, "json": 0.0}
    for part in accept.split(","):
        media_type, _, parameters = part.partition(";")
        weight = _weight(parameters)
        if media_type.strip().lower() in _JSON_TYPES:
            weights["json"] = max(weights["json"], weight)
        elif media_type.strip().lower() in _YAML_TYPES:
            weights["yaml"] = max(weights["yaml"], weight)
    return "json" if weights["json"] > weights["yaml"] else "yaml"


def _weight(parameters: str) -> float:
    match = re.search(r"\bq=([01](?:\.[0-9]{0,3})?)(?:\s|;|$)", parameters)
    return float(match[1]) if match else 1.0


def file_text(document: Mapping[str, object], form: FileFormat, heading: str = "") -> str:
    """The document as a file; ``heading`` becomes a comment where the form has comments."""
    if form == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    comment = f"# {heading}\n" if heading else ""
    return comment + "".join(f"{line}\n" for line in _yaml(document, ""))


def _yaml(mapping: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{_scalar(str(key))}:"
            yield from _yaml(value, f"{indent}  ")
        else:
            yield f"{indent}{_scalar(str(key))}: {_scalar(value)}"


def _scalar(value: object) -> str:
    """Numbers are text and stay it: quoted, no reader makes floats of them. JSON's quoting is YAML's, too."""
    if isinstance(value, str) and _BARE.fullmatch(value) and value.lower() not in _NOT_BARE:
        return value
    return json.dumps(value, ensure_ascii=False)

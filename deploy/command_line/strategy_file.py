"""Strategy files: YAML (or JSON) read safely, every number kept as the text that was written."""

from pathlib import Path
from typing import Any

import yaml

from shared.core.errors import Refused, shown

MAX_FILE_BYTES = 64 * 1024
NOTHING = frozenset({"", "~", "null"})


class _DuplicateKey(yaml.MarkedYAMLError):
    """A key that is there twice: one of the two would be lost."""


class _TextLoader(yaml.BaseLoader):
    """Scalars stay text (5 is "5", 0.10 is "0.10"); no tags, no anchors, no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem="an alias (*name) is not allowed here", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = True) -> Any:
        if isinstance(node, yaml.MappingNode):
            self._refuse_duplicates(node)
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in NOTHING:
            return None
        return super().construct_object(node, deep=deep)

    def _refuse_duplicates(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _DuplicateKey(problem=key.value, problem_mark=key.start_mark)
                seen.add(key.value)


def load_document(file: Path) -> dict[str, Any]:
    """The mapping in a strategy file; what it means is checked elsewhere.

    Raises Refused for a file that cannot be read, is too large, is broken (with the line) or has a key twice.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Refused.one("file", str(file), "a readable file", f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise Refused.one("file", str(file), f"at most {MAX_FILE_BYTES} bytes", "is too large")
    return parse_document(data, str(file))


def parse_document(data: bytes, name: str) -> dict[str, Any]:
    """The mapping in the bytes of a strategy file; ``name`` is used in messages. Raises Refused."""
    try:
        document = yaml.load(data, Loader=_TextLoader)  # noqa: S506 - it builds text, lists and mappings only
    except _DuplicateKey as twice:
        raise Refused.one(shown(str(twice.problem)), name, "each name once", f"is given twice{_line(twice)}") from None
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context or "unreadable"
        raise Refused.one("file", name, "valid YAML", f"is not valid YAML: {problem}{_line(error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused.one(
            "file", name, "valid YAML", f"is not valid YAML: {shown(' '.join(str(error).split()))}"
        ) from None
    if not isinstance(document, dict):
        raise Refused.one("file", name, "a mapping with name, venue, ...", "is not a mapping")
    return document


def _line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""

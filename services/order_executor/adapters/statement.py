"""Statements put together from parts, each with values of its own."""

from collections.abc import Iterable
from typing import Any


class Arguments:
    """The values of one statement; a part asks for the placeholder of each of its own."""

    def __init__(self, values: Iterable[object] = ()) -> None:
        """``values``: those that have their numbers already."""
        self.values: list[Any] = list(values)

    def __call__(self, value: object, as_type: str = "") -> str:
        """The placeholder of one more value; ``as_type`` where its place alone does not tell what it is."""
        self.values.append(value)
        return f"${len(self.values)}::{as_type}" if as_type else f"${len(self.values)}"

    def all(self, *values: object) -> str:
        """The placeholders of several, with commas."""
        return ", ".join(self(value) for value in values)

"""How a message that was stored by an older version of Trimtab is read by this one: one step per version.

A step turns the body of version n into one of version n + 1: it renames, moves, fills in. It knows nothing of newer
versions, and stays for ever: streams and outboxes keep what they were given.
"""

from collections.abc import Callable, Mapping
from typing import Any

Body = dict[str, Any]
Step = Callable[[Body], Body]


def _fields_added(body: Body) -> Body:
    """Nothing to do: what the next version added has defaults that say that it is not known."""
    return body


STEPS: Mapping[tuple[str, int], Step] = {("trimtab.transaction.posted", 1): _fields_added}
"""From (type, version) to the next version. Every version a type has had, but the newest, has one."""


def upcast(message_type: str, version: int, newest: int, body: Body, steps: Mapping[tuple[str, int], Step]) -> Body:
    """The body as the newest version has it. Raises ValueError when a step is missing."""
    for older in range(version, newest):
        step = steps.get((message_type, older))
        if step is None:
            raise ValueError(f"schema version {older} of {message_type} has no step to {older + 1}")
        body = step(body)
    return body

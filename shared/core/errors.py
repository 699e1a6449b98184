"""Errors that say what to do: retry later, refuse, or stop.

Every error of Trimtab is one of three kinds, and a caller needs to know nothing more than the kind:

* ``RetryLater``: nothing is wrong with the request; the same call may succeed after ``after_s`` seconds.
* ``Refused``: the request is wrong; it names field, value and what is allowed, and has changed nothing.
* ``Stop``: going on would risk money or data; the process exits and is started again (start-up is recovery).
"""

from collections.abc import Iterable
from dataclasses import dataclass


class TrimtabError(Exception):
    """Any error that Trimtab raises on purpose."""


class RetryLater(TrimtabError):  # noqa: N818 - the name is the instruction
    """The outcome is 'not now': try the same call again after ``after_s`` seconds."""

    def __init__(self, message: str, *, after_s: float = 1.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Stop(TrimtabError):  # noqa: N818 - the name is the instruction
    """An invariant is broken or unprovable: exit non-zero rather than go on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: the field, the value as given, what is allowed, and why."""

    field: str
    value: str
    allowed: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message} (given: {self.value}; allowed: {self.allowed})"


class Refused(TrimtabError):  # noqa: N818 - the name is the instruction
    """The input is refused; ``problems`` lists every fault found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))

    @classmethod
    def one(cls, field: str, value: object, allowed: str, message: str) -> "Refused":
        """Refuse a single field."""
        return cls([Problem(field=field, value=shown(value), allowed=allowed, message=message)])


class Conflict(Refused):
    """The input was right once, for a state that is not there any more: look at the state and decide anew."""


def shown(value: object) -> str:
    """A value as it may appear in a message: bounded, so that hostile input cannot flood a log."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

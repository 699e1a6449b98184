"""The kill switch of a venue: commands to its executor (request and reply), and its state (last value)."""

from enum import StrEnum
from typing import ClassVar

from shared.contracts.wire import Message, Timestamp


class HaltCause(StrEnum):
    """Who used the switch last: a person, or the guards on the send path."""

    ASKED = "asked"
    GUARDS = "guards"


class HaltVenue(Message):
    """Send no more orders at this venue, from now until it is resumed, whatever restarts. Answered by HaltChanged.

    Halting what is halted changes nothing, not even the reason.
    """

    TYPE: ClassVar[str] = "trimtab.venue.halt"

    venue: str
    reason: str = ""


class ResumeVenue(Message):
    """Orders may be sent again. Answered by HaltChanged."""

    TYPE: ClassVar[str] = "trimtab.venue.resume"

    venue: str


class HaltChanged(Message):
    """Whether orders are sent at a venue. ``sequence`` rises by one with each change; 0: the switch was never used.

    ``reason``: in words; ``changed_at``: wall clock.
    """

    TYPE: ClassVar[str] = "trimtab.halt.changed"

    venue: str
    sequence: int
    halted: bool
    cause: HaltCause
    reason: str
    changed_at: Timestamp

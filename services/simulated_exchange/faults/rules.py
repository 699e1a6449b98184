"""What can go wrong between a client and the venue, as data."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_DELAY_MS = 600_000


class Kind(StrEnum):
    """What happens to a request or to a user event that a rule hits."""

    LOST_REQUEST = "lost_request"
    """The venue never sees it; the client gets no answer."""
    LATE_REQUEST = "late_request"
    """The venue sees it after ``delay_ms``, whether or not the client still waits."""
    ERROR_BEFORE = "error_before"
    """An error is answered and nothing is done."""
    LOST_REPLY = "lost_reply"
    """It is done; the client gets no answer."""
    LATE_REPLY = "late_reply"
    """It is done at once; the answer comes after ``delay_ms``."""
    ERROR_AFTER = "error_after"
    """It is done, and a server error is answered."""
    CONTRADICTION = "contradiction"
    """It is done, and a refusal is answered."""
    GARBAGE = "garbage"
    """It is done; the answer has status 200 and a body that means nothing."""
    RESET = "reset"
    """It is done; the connection is reset after ``bytes`` bytes of the answer."""

    DROP_EVENT = "drop_event"
    """The event is never sent."""
    DUPLICATE_EVENT = "duplicate_event"
    """The event is sent ``copies`` times."""
    REORDER_EVENT = "reorder_event"
    """The event is sent after the account's next one, or after ``delay_ms`` when none comes."""
    LATE_EVENT = "late_event"
    """The event is sent after ``delay_ms``; later ones overtake it."""


EVENT_KINDS = frozenset({Kind.DROP_EVENT, Kind.DUPLICATE_EVENT, Kind.REORDER_EVENT, Kind.LATE_EVENT})
BEFORE_KINDS = frozenset({Kind.LOST_REQUEST, Kind.LATE_REQUEST, Kind.ERROR_BEFORE})
"""Kinds that act before the venue does, and so fit the opening of a websocket too."""

EventName = Literal["NEW", "TRADE", "CANCELED", "EXPIRED", "BALANCES", "DEPOSIT"]
Defaults = dict[Kind, tuple[int, int | None, str]]
ERRORS: Defaults = {
    Kind.ERROR_BEFORE: (503, None, ""),
    Kind.ERROR_AFTER: (504, None, ""),
    Kind.CONTRADICTION: (400, -2010, "Account has insufficient balance for requested action."),
}
"""Status, code and message of errors whose rule names none. Without a code the body is a gateway's web page."""


class FaultRule(BaseModel):
    """One fault: what it hits, how often, and what it does. Fields that a kind has no use for are ignored.

    A request or event is hit when it matches everything named (``path`` may hold ``*``) and, with ``nth``, is the n-th
    to match (from 1), with ``rate``, is drawn by a generator seeded with ``seed``; at most ``times`` in all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Kind = Field(strict=False)
    method: str = Field(default="", max_length=16)
    path: str = Field(default="", max_length=200)
    symbol: str = Field(default="", max_length=40)
    side: Literal["", "BUY", "SELL"] = ""
    event: EventName | None = None

    nth: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, gt=0, le=1)
    seed: int = Field(default=1, ge=0)
    times: int | None = Field(default=None, ge=1)

    delay_ms: int = Field(default=1000, ge=0, le=MAX_DELAY_MS)
    ending: Literal["close", "hang"] = "close"
    """Of lost requests and replies: the connection is closed at once, or held for two minutes."""
    status: int | None = Field(default=None, ge=400, le=599)
    code: int | None = None
    message: str = Field(default="", max_length=500)
    retry_after_s: int | None = Field(default=None, ge=0)
    bytes: int | None = Field(default=None, ge=0)
    """Where a reset cuts the answer, head included; None: drawn with ``seed``, anywhere in it."""
    copies: int = Field(default=2, ge=2, le=100)

    @model_validator(mode="after")
    def _one_choice(self) -> "FaultRule":
        if self.nth is not None and self.rate is not None:
            raise ValueError("nth and rate are two ways to choose: give one of them")
        if self.event is not None and self.kind not in EVENT_KINDS:
            raise ValueError("event is for kinds that act on events")
        return self

    def error(self) -> tuple[int, int | None, str]:
        """Status, code (None: no body of the venue's) and message to answer with."""
        status, code, message = ERRORS.get(self.kind, (503, None, ""))
        return self.status or status, self.code if self.code is not None else code, self.message or message

"""The shape of answers about what was and what will be: versions, dates, notifications."""

from pydantic import Field

from services.gateway.replies import Reply
from shared.contracts.lifecycle import Severity
from shared.contracts.wire import Timestamp
from shared.core.strategy import StrategyStatus


class FieldChangeReply(Reply):
    """One field that a version changed; "" for a side where it is not there, else JSON text."""

    field: str
    before: str
    after: str


class VersionReply(Reply):
    """One version of a strategy: who, when, what. ``revision`` counts the edits of its definition."""

    version: int
    revision: int
    recorded_at: Timestamp
    changed_by: str
    change: str
    sentence: str
    status: StrategyStatus
    reason: str = ""
    exit_reason: str = ""
    inputs: dict[str, str] = Field(default={})
    fields: list[FieldChangeReply] = Field(default=[])
    causation_id: str = ""


class VersionsReply(Reply):
    """A page of a strategy's history, newest first; ``next`` continues with ``?before=``, 0 at the end."""

    strategy_id: str
    versions: list[VersionReply]
    next: int = 0


class DateReply(Reply):
    """One date of a schedule: local time with its offset, the zone, and the same in UTC."""

    local: str
    weekday: str
    zone: str
    utc: Timestamp
    remarks: list[str] = Field(default=[], description="What is odd about it: a shorter month, the clocks' change.")


class CalendarReply(Reply):
    """The next dates of an Auto-Invest, counted from ``since``; those that have come already are left out."""

    since: Timestamp
    dates: list[DateReply]
    remarks: list[str] = Field(default=[])


class NotificationReply(Reply):
    """Something a person should hear of, in words."""

    id: str
    raised_at: Timestamp
    strategy_id: str
    strategy_name: str = ""
    strategy_version: int
    kind: str
    severity: Severity
    text: str
    reason: str = ""
    inputs: dict[str, str] = Field(default={})


class NotificationsReply(Reply):
    """The newest notifications, newest first."""

    notifications: list[NotificationReply]

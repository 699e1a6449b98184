"""What people should hear of: the newest notifications out of their stream."""

from services.gateway.adapters.newest import KEPT, Newest
from shared.contracts import subjects
from shared.contracts.lifecycle import NotificationRaised
from shared.contracts.wire import Meta
from shared.messaging.broker import NatsBroker

NOTIFICATIONS_KEPT = KEPT


class Notifications:
    """Reads of the stream NOTIFICATIONS."""

    def __init__(self, broker: NatsBroker) -> None:
        self._newest = Newest(broker, "NOTIFICATIONS", NotificationRaised)

    async def newest(self, strategy_id: str, limit: int) -> list[tuple[NotificationRaised, Meta]]:
        """The newest ``limit`` (at most ``NOTIFICATIONS_KEPT``), of a strategy or ("") of all, newest first.

        Raises RetryLater.
        """
        subject = subjects.notifications(strategy_id) if strategy_id else subjects.NOTIFICATIONS_ALL
        followed = await self._newest.following(subject)
        return list(reversed(followed.kept))[:limit]

    async def close(self) -> None:
        """Stop following."""
        await self._newest.close()

"""Commands to the strategy registry, by request and reply."""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from shared.contracts import subjects
from shared.contracts.lifecycle import ListVersions, VersionsListed
from shared.contracts.strategies import (
    ConfirmStrategy,
    PreviewStrategy,
    StrategyChanged,
    StrategyPreviewed,
)
from shared.contracts.wire import Message, Meta
from shared.core.errors import RetryLater
from shared.messaging.broker import NatsBroker
from shared.messaging.requests import request

_log = logging.getLogger(__name__)
_TIMEOUT_S = 6.0

_R = TypeVar("_R", bound=Message)


class RegistryCommands:
    """Each call raises Refused with the problems, or RetryLater: the outcome is unknown, the same key may be resent."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def preview(self, document: Mapping[str, Any], key: str | None) -> StrategyPreviewed:
        """Check a strategy document and store it as a preview."""
        return await self._ask(PreviewStrategy(document=dict(document)), key, StrategyPreviewed)

    async def confirm(self, preview_id: str, key: str | None) -> StrategyChanged:
        """Start the strategy of a preview; the same preview is the same strategy."""
        return await self._ask(ConfirmStrategy(preview_id=preview_id), key, StrategyChanged)

    async def change(self, command: Message, key: str | None) -> StrategyChanged:
        """Ask something of a strategy; the state as it is afterwards. Raises Conflict when it is another's by now."""
        return await self._ask(command, key, StrategyChanged)

    async def versions(self, strategy_id: str, before: int, limit: int) -> VersionsListed:
        """A page of a strategy's history, newest first."""
        return await self._ask(ListVersions(strategy_id=strategy_id, before=before, limit=limit), None, VersionsListed)

    async def _ask(self, command: Message, key: str | None, expected: type[_R]) -> _R:
        message_id = f"api.{key or uuid.uuid4().hex}"
        meta = Meta(
            message_id=message_id,
            source="gateway",
            occurred_at=datetime.now(UTC),
            correlation_id=message_id,
            causation_id="",
        )
        reply = await request(self._broker, subjects.STRATEGY_COMMANDS, command, meta, timeout_s=_TIMEOUT_S)
        if not isinstance(reply, expected):
            _log.error("%s was answered with %s", command.TYPE, reply.TYPE)
            raise RetryLater("the answer of the registry was not understood")
        return reply

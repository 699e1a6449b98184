"""What the routes answer from: views, commands and streams, handed to each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway.adapters.audit import AuditQuestions
from services.gateway.adapters.decisions import Decisions
from services.gateway.adapters.event_streams import EventStreams
from services.gateway.adapters.faucet import Faucets
from services.gateway.adapters.ledger import LedgerCommands
from services.gateway.adapters.notifications import Notifications
from services.gateway.adapters.registry import RegistryCommands
from services.gateway.adapters.switches import Switches
from services.gateway.http_errors import NotFoundError
from services.gateway.views import Views
from shared.contracts.strategies import StrategyChanged
from shared.core.errors import RetryLater
from shared.core.strategy import MAX_ASSETS
from shared.messaging.following import Follower


@dataclass(frozen=True, slots=True)
class Backing:
    """Everything behind the routes."""

    views: Views
    followers: Sequence[Follower]
    registry: RegistryCommands
    switches: Switches
    decisions: Decisions
    notifications: Notifications
    events: EventStreams
    faucets: Faucets
    ledger: LedgerCommands
    audit: AuditQuestions
    max_assets: int = MAX_ASSETS

    def refuse_until_caught_up(self) -> None:
        """Raises RetryLater until the views hold what the streams held at the start: never tell half of the truth."""
        if not all(follower.caught_up.is_set() for follower in self.followers):
            raise RetryLater("the gateway is still reading the current state")

    def known(self, strategy_id: str) -> StrategyChanged:
        """The newest state of a strategy. Raises RetryLater until the views are complete, NotFoundError after that."""
        self.refuse_until_caught_up()
        strategy = self.views.strategies.get(strategy_id)
        if strategy is None:
            raise NotFoundError(f"there is no strategy {strategy_id[:80]}")
        return strategy

    def learn(self, changed: StrategyChanged) -> None:
        """Show what the registry has just replied at once; the stream brings the same a moment later."""
        self.views.take_strategy(changed)

"""A registry over real NATS that answers as it is told: for what is made of its answers, not for what is right."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from deploy.provision import provision_streams
from services.gateway.app import build_app as build_gateway
from services.gateway.settings import Settings as GatewaySettings
from shared.contracts import lifecycle, subjects
from shared.contracts.lifecycle import FieldChanged, ListVersions, VersionKept, VersionsListed
from shared.contracts.strategies import PreviewStrategy, StopStrategy, StrategyChanged, StrategyPreviewed
from shared.contracts.wire import Message, Meta
from shared.core.auto_invest import AutoInvestStatus
from shared.core.errors import Conflict, Refused
from shared.core.identity import derived_id
from shared.core.strategy import StrategyStatus
from shared.messaging.broker import make_broker
from shared.messaging.publishing import Publisher
from shared.messaging.requests import serve
from tests.servers import EmbeddedNats
from tests.services.strategy_registry.world import MARKET_TIME, TOKEN, VENUE, World, document, instruments

MADE_AT = datetime(2026, 1, 1, 13, tzinfo=UTC)
AUTO_INVEST = {"amount": "50", "schedule": {"every": "friday", "at": "14:00", "zone": "Europe/Berlin"}}

_CHANGES: dict[type[Message], str] = {
    lifecycle.EditStrategy: "edited",
    lifecycle.AddMoney: "money_added",
    lifecycle.WithdrawMoney: "withdrawal_requested",
    lifecycle.PauseStrategy: "paused",
    lifecycle.ResumeStrategy: "resumed",
    lifecycle.RebalanceNow: "rebalance_requested",
    StopStrategy: "exit_requested",
}
_STATUSES = {
    "paused": StrategyStatus.PAUSED,
    "resumed": StrategyStatus.ACTIVE,
    "exit_requested": StrategyStatus.EXITING,
}


class StandIn:
    """What it was asked, and the states it keeps; ``refusal``: raised once, in place of the next answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[Message, Meta]] = []
        self.states: dict[str, list[StrategyChanged]] = {}
        self.refusal: Refused | None = None
        self._answered: dict[str, Message] = {}

    def handlers(self) -> dict[type[Message], Any]:
        """By type of command."""
        changing = dict.fromkeys(_CHANGES, self.change)
        return {**changing, PreviewStrategy: self.preview, ListVersions: self.versions}

    async def change(self, command: Any, meta: Meta) -> Message:
        """The state after a command, one version more; the same for the same message id."""
        self.asked.append((command, meta))
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal
        if meta.message_id in self._answered:
            return self._answered[meta.message_id]
        versions = self.states.get(command.strategy_id)
        if versions is None:
            raise Refused.one("strategy_id", command.strategy_id, "the id of a strategy", "is not known")
        known, change = versions[-1], _CHANGES[type(command)]
        update: dict[str, Any] = {"version": known.version + 1, "change": change, "changed_by": "user"}
        if isinstance(command, lifecycle.EditStrategy):
            if command.revision != known.revision:
                raise Conflict.one("revision", command.revision, str(known.revision), "is not the newest revision")
            merged = {name: value for name, value in {**known.document, **command.changes}.items() if value is not None}
            update |= {"document": merged, "revision": known.revision + 1}
        state = known.model_copy(update={**update, "status": _STATUSES.get(change, known.status)})
        versions.append(state)
        self._answered[meta.message_id] = state
        return state

    async def preview(self, command: PreviewStrategy, meta: Meta) -> Message:
        """A preview that foresees nothing."""
        self.asked.append((command, meta))
        return StrategyPreviewed(
            preview_id=derived_id("pv", meta.message_id),
            expires_at=MADE_AT + timedelta(minutes=15),
            document=command.document,
            warnings=(),
            minimum_amount=Decimal(105),
            value_usdt=Decimal(1200),
            estimated_fees_usdt=Decimal("1.2"),
            first_orders=(),
        )

    async def versions(self, command: ListVersions, meta: Meta) -> Message:
        """Every version, newest first; each edit has changed the take-profit."""
        self.asked.append((command, meta))
        kept = reversed(self.states[command.strategy_id])
        after = [one for one in kept if not command.before or one.version < command.before]
        fields = (FieldChanged(field="take_profit", before="", after='"15"'),)
        page = tuple(
            VersionKept(
                recorded_at=MADE_AT + timedelta(minutes=one.version),
                causation_id="api.k",
                state=one,
                fields=fields if one.change == "edited" else (),
            )
            for one in after[: command.limit]
        )
        following = page[-1].state.version if len(after) > command.limit else 0
        return VersionsListed(strategy_id=command.strategy_id, versions=page, following=following)


class StandInWorld(World):
    """A gateway, and a stand-in for the registry; the test plays everybody else."""

    def __init__(self, nats_url: str) -> None:
        super().__init__(nats_url, dsn="")
        self.stand_in = StandIn()

    def running(self, name: str, **state: Any) -> str:
        """A strategy of this name, in the stream and with the stand-in; its id. ``state``: its fields."""
        strategy_id = derived_id("st", name)
        changes = state.pop("document", {})
        made: dict[str, Any] = {
            "strategy_id": strategy_id,
            "version": 4,
            "change": "activated",
            "status": StrategyStatus.ACTIVE,
            # What is stored does not keep the order of a file.
            "document": dict(reversed(document(name=name, **changes).items())),
            "created_at": MADE_AT,
            "active_since": MARKET_TIME,
            "changed_by": "order_executor",
            **state,
        }
        known = StrategyChanged(**made)
        self.stand_in.states[strategy_id] = [known]
        self.publish(subjects.strategies(strategy_id), known, f"{strategy_id}.{known.version}")
        self.until(lambda: self.http.get(f"/strategies/{strategy_id}").status_code == 200, "the strategy")
        return strategy_id

    def auto_investing(self, name: str, **progress: Any) -> str:
        """A strategy with Auto-Invest every Friday at two in Berlin."""
        made = {"status": AutoInvestStatus.RUNNING, "since": MARKET_TIME, **progress}
        return self.running(name, document={"auto_invest": AUTO_INVEST}, auto_invest=made)

    def last_asked(self) -> Message:
        """The newest command."""
        return self.stand_in.asked[-1][0]

    async def _start(self) -> None:
        await provision_streams(self.nats_url)
        self._broker = make_broker(self.nats_url, "test", end=lambda _code, reason: self.ends.append(reason))
        serve(self._broker, subjects.STRATEGY_COMMANDS, "strategy_registry", self.stand_in.handlers())
        await self._broker.start()
        self._publisher = Publisher(self._broker, "test")
        await self._publisher.publish(
            subjects.instruments(VENUE), instruments(), message_id="instruments", correlation_id="test"
        )
        self._spawn(self._feed())
        settings = GatewaySettings(nats_url=self.nats_url, gateway_port=0, api_token=TOKEN)
        self.gateway = build_gateway(settings)
        await self.gateway.start()
        for work in self.gateway.background():
            self._spawn(work)

    async def _end_registry(self) -> None:
        await asyncio.sleep(0)


@contextmanager
def running_stand_in() -> Iterator[StandInWorld]:
    """The world on a NATS server of its own."""
    nats = EmbeddedNats()
    world = StandInWorld(nats.url)
    try:
        world.start()
        yield world
    finally:
        world.stop()
        nats.stop()

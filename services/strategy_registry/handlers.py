"""From the wire to the registry: which message is answered or learned by what."""

from services.strategy_registry.commands import Registry
from services.strategy_registry.running import RunningStrategies
from shared.contracts import catalogue, subjects
from shared.contracts.books import TransferSettled
from shared.contracts.lifecycle import (
    AddMoney,
    EditStrategy,
    ListVersions,
    PauseStrategy,
    RebalanceNow,
    ResumeStrategy,
    RunAutoInvest,
    WithdrawMoney,
)
from shared.contracts.plans import PlanProgressed
from shared.contracts.strategies import ConfirmStrategy, PreviewStrategy, RecordPeak, StopStrategy
from shared.messaging.broker import NatsBroker
from shared.messaging.consuming import consume
from shared.messaging.requests import serve

QUEUE = "strategy_registry"


def connect_handlers(broker: NatsBroker, registry: Registry, running: RunningStrategies) -> None:
    """Bind the registry to its subjects; call before the broker starts."""
    serve(
        broker,
        subjects.STRATEGY_COMMANDS,
        QUEUE,
        {
            PreviewStrategy: registry.preview,
            ConfirmStrategy: registry.confirm,
            StopStrategy: registry.stop,
            RecordPeak: registry.record_peak,
            EditStrategy: running.edit,
            AddMoney: running.add_money,
            WithdrawMoney: running.withdraw,
            PauseStrategy: running.pause,
            ResumeStrategy: running.resume,
            RebalanceNow: running.rebalance_now,
            RunAutoInvest: running.run_auto_invest,
            ListVersions: running.versions,
        },
    )
    consume(broker, catalogue.REGISTRY_TRANSFERS, {TransferSettled: registry.transfer_settled})
    consume(broker, catalogue.REGISTRY_PLAN_RESULTS, {PlanProgressed: registry.plan_progressed})

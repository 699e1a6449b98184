"""Commands to a strategy that runs: first what they need of the market is read, then each is one transaction."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.strategy_registry import amounts, cycles, editing, life, requests
from services.strategy_registry.adapters.market_data import MarketData
from services.strategy_registry.adapters.postgres import Transaction
from services.strategy_registry.answering import Answering, Step, known, take_steps
from services.strategy_registry.market import Market
from services.strategy_registry.records import Advance, Status, StrategyRecord, refuse_unless
from shared.contracts.books import PositionChanged
from shared.contracts.lifecycle import (
    AddMoney,
    EditStrategy,
    ListVersions,
    PauseStrategy,
    RebalanceNow,
    ResumeStrategy,
    RunAutoInvest,
    Severity,
    VersionKept,
    VersionsListed,
    WithdrawMoney,
)
from shared.contracts.strategies import StrategyChanged
from shared.contracts.wire import Message, Meta
from shared.core.errors import Refused, RetryLater
from shared.core.money import ZERO
from shared.core.rules import ExitAction

MAX_VERSIONS = 200
"""How many versions one reply may have: it must stay below what a message can carry."""

_MAY_HAVE_MONEY_MOVED = (Status.ACTIVE, Status.PAUSED)

T = TypeVar("T")
RunningCommand = EditStrategy | AddMoney | WithdrawMoney | PauseStrategy | ResumeStrategy | RebalanceNow


@dataclass(frozen=True, slots=True)
class Worth:
    """What a strategy holds and its market now. ``funds_settled``: of the record, before the position was read."""

    position: PositionChanged
    market: Market
    funds_settled: int


class RunningStrategies:
    """Each command replies StrategyChanged (the state now) or CommandRefused, once for each id; raises RetryLater.

    ``max_assets``: how many targets an edit may lead to, unless the strategy has more already.
    """

    def __init__(self, answering: Answering, market_data: MarketData, max_assets: int) -> None:
        self._answering = answering
        self._market_data = market_data
        self._max_assets = max_assets

    async def edit(self, command: EditStrategy, meta: Meta) -> Message:
        """Change the definition."""

        async def prepare() -> tuple[editing.Edit, datetime | None]:
            record = await self._answering.record(command.strategy_id)
            edit = editing.edit_of(record, command, self._max_assets)
            if not edit.needs_market:
                return edit, None
            worth = await self._worth(record)
            editing.refuse_infeasible(edit, worth.position.holdings, worth.market)
            return edit, worth.market.now

        def step(record: StrategyRecord, prepared: tuple[editing.Edit, datetime | None]) -> Advance:
            edit, market_time = prepared
            # The same revision is the same document: the edit that was checked is still the one that was asked for.
            editing.edit_of(record, command, self._max_assets)
            now = self._answering.clock()
            return editing.edited(record, edit, command.rebalance, now, market_time or now)

        return await self._prepared(command, meta, prepare, step)

    async def add_money(self, command: AddMoney, meta: Meta) -> Message:
        """Ask for money from the wallet, to be invested."""

        async def prepare() -> Worth:
            record = await self._answering.record(command.strategy_id)
            refuse_unless(record, *_MAY_HAVE_MONEY_MOVED)
            return await self._worth(record)

        def step(record: StrategyRecord, known_worth: Worth) -> Advance:
            refuse_unless(record, *_MAY_HAVE_MONEY_MOVED)
            amounts.require_same_money(record, known_worth.funds_settled)
            asset = command.asset or str(record.document["funding_asset"])
            contributed_in = known_worth.position.contributed_in
            worth = amounts.added_worth(record, asset, command.amount, contributed_in, known_worth.market)
            money = requests.NewMoney(asset, command.amount, worth)
            return requests.money_added(record, money, self._answering.clock(), {})

        return await self._prepared(command, meta, prepare, step)

    async def withdraw(self, command: WithdrawMoney, meta: Meta) -> Message:
        """Have money made available and paid out."""

        async def prepare() -> Worth:
            record = await self._answering.record(command.strategy_id)
            refuse_unless(record, *_MAY_HAVE_MONEY_MOVED)
            return await self._worth(record)

        def step(record: StrategyRecord, worth: Worth) -> Advance:
            refuse_unless(record, *_MAY_HAVE_MONEY_MOVED)
            asset = command.asset or str(record.document["funding_asset"])
            wanted = (command.amount, command.percent)
            amounts.refuse_withdrawal(record.definition(), asset, wanted, worth.position.holdings, worth.market)
            made = requests.withdrawal_asked(record, asset, *wanted, self._answering.clock())
            why = amounts.too_small_after(record.definition(), asset, wanted, worth.position.holdings, worth.market)
            return made.and_told(Severity.WARNING, why) if why else made

        return await self._prepared(command, meta, prepare, step)

    async def pause(self, command: PauseStrategy, meta: Meta) -> Message:
        """Have it do nothing by itself any more."""
        return await self._at_once(command, meta, lambda record: life.paused(record, command))

    async def resume(self, command: ResumeStrategy, meta: Meta) -> Message:
        """Have it go on; refused while a take-profit or stop-loss that pauses is reached."""

        async def prepare() -> Worth | None:
            record = await self._answering.record(command.strategy_id)
            return await self._worth(record) if _may_pause_itself(record) else None

        def step(record: StrategyRecord, worth: Worth | None) -> Advance:
            refuse_unless(record, Status.PAUSED)
            if _may_pause_itself(record):
                if worth is None:
                    raise RetryLater("the strategy has just been changed", after_s=0.2)
                amounts.refuse_to_resume(record, worth.position, worth.market)
            return life.resumed(record)

        return await self._prepared(command, meta, prepare, step)

    async def rebalance_now(self, command: RebalanceNow, meta: Meta) -> Message:
        """Have every asset brought to its target."""
        now = self._answering.clock
        return await self._at_once(command, meta, lambda record: life.rebalance_requested(record, now()))

    async def run_auto_invest(self, command: RunAutoInvest, meta: Meta) -> StrategyChanged:
        """Decide a cycle that is due; the state now if it is not. Raises Refused for an unknown strategy, RetryLater.

        No reply is remembered: the number of the cycle makes the command idempotent, and one that came while the
        strategy was paused must be heard when it comes again under the same id.
        """
        record = await self._answering.record(command.strategy_id)
        plan, state = record.definition().auto_invest, record.auto_invest
        if not cycles.is_due(record, command) or plan is None or state is None:
            return record.changed()
        amount = cycles.amount_of(plan, state)
        money: cycles.CycleMoney | None = None
        if command.made:
            position = await self._market_data.position(record.strategy_id)
            if command.price is not None:
                if command.price <= ZERO:
                    raise Refused.one("price", str(command.price), "more than 0", "is no price")
                value = amounts.worth_at(amount, command.price)
            else:
                market = await self._market_data.market(record.venue, self._answering.clock())
                value = amounts.worth_of(plan.asset, amount, market)
            money = cycles.CycleMoney(value, position.contributed_in)

        def step(found: StrategyRecord) -> Advance:
            if not cycles.is_due(found, command):
                return Advance(found)
            if found.revision != record.revision or found.auto_invest != state:
                raise RetryLater("the strategy has just been changed", after_s=0.2)
            amounts.require_same_money(found, amounts.funds_settled(record))
            try:
                return requests.cycle_run(found, command, money, self._answering.clock())
            except Refused as full:
                raise RetryLater(str(full), after_s=5) from full

        return (await self._answering.stepped(command.strategy_id, meta, step)).changed()

    async def versions(self, command: ListVersions, meta: Meta) -> VersionsListed:  # noqa: ARG002 - as every command
        """A page of the history, newest first. Raises Refused for an unknown strategy or a limit out of range."""
        if not 1 <= command.limit <= MAX_VERSIONS:
            raise Refused.one("limit", command.limit, f"1 to {MAX_VERSIONS}", "is out of range")
        await self._answering.record(command.strategy_id)
        async with self._answering.store.transaction(self._answering.clock()) as transaction:
            # One more than asked for: what changed in the oldest is told by the one before it.
            found = await transaction.versions(command.strategy_id, command.before, command.limit + 1)
        kept = []
        for index, one in enumerate(found[: command.limit]):
            earlier = found[index + 1].state.document if index + 1 < len(found) else one.state.document
            fields = editing.fields_changed(earlier, one.state.document)
            kept.append(
                VersionKept(recorded_at=one.recorded_at, causation_id=one.causation_id, state=one.state, fields=fields)
            )
        following = kept[-1].state.version if len(found) > command.limit else 0
        return VersionsListed(strategy_id=command.strategy_id, versions=tuple(kept), following=following)

    async def _worth(self, record: StrategyRecord) -> Worth:
        position = await self._market_data.position(record.strategy_id)
        market = await self._market_data.market(record.venue, self._answering.clock())
        return Worth(position, market, amounts.funds_settled(record))

    async def _prepared(
        self,
        command: RunningCommand,
        meta: Meta,
        prepare: Callable[[], Awaitable[T]],
        step: Callable[[StrategyRecord, T], Advance],
    ) -> Message:
        """Answer with a step that rests on what ``prepare`` reads, outside of the transaction: that can take long."""
        if (given := await self._answering.given_reply(command, meta)) is not None:
            return given
        outcome: T | Refused
        try:
            outcome = await prepare()
        except Refused as refused:
            outcome = refused

        def checked(record: StrategyRecord) -> Advance:
            if isinstance(outcome, Refused):
                raise outcome
            return step(record, outcome)

        return await self._at_once(command, meta, checked)

    async def _at_once(self, command: RunningCommand, meta: Meta, step: Step) -> Message:
        async def work(transaction: Transaction) -> Message:
            record = await known(transaction, command.strategy_id)
            return (await take_steps(transaction, record, step, meta)).changed()

        return await self._answering.answered(command, meta, work)


def _may_pause_itself(record: StrategyRecord) -> bool:
    definition = record.definition()
    levels = (definition.take_profit, definition.stop_loss)
    return any(level is not None and level.action is ExitAction.PAUSE for level in levels)

"""What the registry does when told something: answer a command once, or learn a fact and take the steps it allows."""

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from services.strategy_registry import life
from services.strategy_registry.adapters.market_data import MarketData
from services.strategy_registry.adapters.postgres import (
    CommandReusedError,
    Preview,
    ReceivedCommand,
    RegistryStore,
    StoredReply,
    Transaction,
)
from services.strategy_registry.preview import CheckedPreview, checked_preview, funding_value, refuse_unknown_venue
from shared.contracts.books import TransferSettled
from shared.contracts.plans import PlanProgressed
from shared.contracts.strategies import (
    CommandRefused,
    ConfirmStrategy,
    PreviewStrategy,
    ProblemFound,
    RecordPeak,
    StopStrategy,
    StrategyChanged,
    StrategyPreviewed,
)
from shared.contracts.wire import Message, Meta
from shared.core import identity
from shared.core.errors import Refused
from shared.core.strategy import MAX_ASSETS, StrategyDefinition, parse_strategy, strategy_document

_log = logging.getLogger(__name__)
_CONFIRMABLE = "the id of a preview that has not expired"
_REPLIES: dict[str, type[Message]] = {
    reply.TYPE: reply for reply in (StrategyPreviewed, StrategyChanged, CommandRefused)
}


@dataclass(frozen=True, slots=True)
class PreviewTerms:
    """Venues that may be used, how long a preview may be confirmed (wall clock), the slippage orders are sized with,
    how many targets a new strategy may have."""

    venues: tuple[str, ...]
    valid_for: timedelta
    slippage_bps: Decimal
    max_assets: int = MAX_ASSETS


class Registry:
    """Commands and facts, each in one transaction. ``clock`` is wall-clock UTC; ``wake`` hurries the outbox relay."""

    def __init__(
        self,
        store: RegistryStore,
        market_data: MarketData,
        terms: PreviewTerms,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._market_data = market_data
        self._terms = terms
        self._clock = clock
        self._wake = wake

    async def preview(self, command: PreviewStrategy, meta: Meta) -> Message:
        """Check a definition and store it. Replies StrategyPreviewed or CommandRefused; raises RetryLater."""
        if (given := await self._given_reply(command, meta)) is not None:
            return given
        now = self._clock()
        # Outside of the transaction: prices are read from the streams, which can take long.
        outcome = await self._checked(command)

        async def work(transaction: Transaction) -> Message:
            if isinstance(outcome, Refused):
                raise outcome
            definition, checked = outcome
            reply = StrategyPreviewed(
                preview_id=identity.derived_id("pv", meta.message_id),
                expires_at=now + self._terms.valid_for,
                document=strategy_document(definition),
                warnings=checked.warnings,
                minimum_amount=checked.minimum_amount,
                value_usdt=checked.value,
                estimated_fees_usdt=checked.estimated_fees,
                first_orders=checked.orders,
            )
            await transaction.insert_preview(
                Preview(
                    preview_id=reply.preview_id,
                    document=reply.document,
                    reply=reply.model_dump(mode="json"),
                    funding_value=checked.value,
                    created_at=now,
                    expires_at=reply.expires_at,
                )
            )
            return reply

        return await self._answered(command, meta, work)

    async def confirm(self, command: ConfirmStrategy, meta: Meta) -> Message:
        """Make the strategy of a preview, once. Replies StrategyChanged or CommandRefused; raises RetryLater."""
        if (given := await self._given_reply(command, meta)) is not None:
            return given
        outcome = await self._worth_now(command.preview_id)

        async def work(transaction: Transaction) -> Message:
            preview = await transaction.preview(command.preview_id)
            existing = await transaction.strategy(life.strategy_id_of(command.preview_id))
            if existing is not None:
                return existing.changed()
            if isinstance(outcome, Refused):
                raise outcome
            if preview is None:
                raise _unknown_preview(command.preview_id)
            made = life.confirmed(preview.preview_id, preview.document, outcome, self._clock())
            await transaction.insert(made, meta)
            return made.record.changed()

        return await self._answered(command, meta, work)

    async def stop(self, command: StopStrategy, meta: Meta) -> Message:
        """Begin the exit, once. Replies StrategyChanged (the state now) or CommandRefused; raises RetryLater."""

        async def work(transaction: Transaction) -> Message:
            record = await transaction.strategy(command.strategy_id)
            if record is None:
                raise Refused.one("strategy_id", command.strategy_id, "the id of a strategy", "is not known")
            after = await _take_steps(transaction, record, life.with_stop(record, command), meta)
            return after.changed()

        return await self._answered(command, meta, work)

    async def record_peak(self, command: RecordPeak, meta: Meta) -> Message:
        """Note a new peak, once. Replies StrategyChanged (the state now) or CommandRefused; raises RetryLater."""

        async def work(transaction: Transaction) -> Message:
            record = await transaction.strategy(command.strategy_id)
            if record is None:
                raise Refused.one("strategy_id", command.strategy_id, "the id of a strategy", "is not known")
            advanced = life.peak_raised(record, command)
            if advanced.record != record:
                await transaction.update(advanced, meta)
            return advanced.record.changed()

        return await self._answered(command, meta, work)

    async def transfer_settled(self, event: TransferSettled, meta: Meta) -> None:
        """The ledger's answer to a funding or a release. Raises RetryLater, and Refused if it is nobody's."""
        await self._learned(event.strategy_id, meta, lambda record: life.with_transfer(record, event))

    async def plan_progressed(self, event: PlanProgressed, meta: Meta) -> None:
        """The executor's word on a strategy's plans. Raises RetryLater, and Refused if the strategy is unknown."""
        await self._learned(event.strategy_id, meta, lambda record: life.with_progress(record, event))

    async def forget_old(self) -> None:
        """Remove expired previews and old replies. Raises RetryLater."""
        async with self._store.transaction(self._clock()) as transaction:
            await transaction.forget_old()

    async def _checked(self, command: PreviewStrategy) -> tuple[StrategyDefinition, CheckedPreview] | Refused:
        try:
            definition = parse_strategy(command.document, max_assets=self._terms.max_assets)
            refuse_unknown_venue(definition.venue, self._terms.venues)
            market = await self._market_data.market(definition.venue, self._clock())
            wallet = await self._market_data.wallet(definition.venue)
            return definition, checked_preview(definition, market, wallet, self._terms.slippage_bps)
        except Refused as refused:
            return refused

    async def _worth_now(self, preview_id: str) -> Decimal | Refused:
        """What the money of a preview is worth in the quote currency at this moment, or why it cannot be confirmed."""
        now = self._clock()
        async with self._store.transaction(now) as transaction:
            preview = await transaction.preview(preview_id)
        if preview is None:
            return _unknown_preview(preview_id)
        if now >= preview.expires_at:
            message = f"expired at {preview.expires_at.isoformat(timespec='seconds')}: preview the strategy again"
            return Refused.one("preview_id", preview_id, _CONFIRMABLE, message)
        try:
            definition = parse_strategy(preview.document)
            return funding_value(definition, await self._market_data.market(definition.venue, now))
        except Refused as refused:
            return refused

    async def _given_reply(self, command: Message, meta: Meta) -> Message | None:
        async with self._store.transaction(self._clock()) as transaction:
            try:
                given = await transaction.given_reply(ReceivedCommand(meta.message_id, _digest(command)))
            except CommandReusedError:
                raise _reused(meta.message_id) from None
        return None if given is None else _REPLIES[given.type].model_validate(given.body)

    async def _learned(
        self, strategy_id: str, meta: Meta, learn: Callable[[life.StrategyRecord], life.StrategyRecord]
    ) -> None:
        async with self._store.transaction(self._clock()) as transaction:
            record = await transaction.strategy(strategy_id)
            if record is None:
                raise Refused.one("strategy_id", strategy_id, "a strategy of this registry", "is not known")
            after = await _take_steps(transaction, record, learn(record), meta)
        if after.exit_stage is life.ExitStage.BLOCKED:
            _log.error("the ledger refused to release %s: %s", strategy_id, after.reason)
        self._wake()

    async def _answered(
        self, command: Message, meta: Meta, work: Callable[[Transaction], Awaitable[Message]]
    ) -> Message:
        received = ReceivedCommand(meta.message_id, _digest(command))
        try:
            async with self._store.transaction(self._clock()) as transaction:
                remembered = await transaction.remembered_reply(received)
                if remembered is not None:
                    return _REPLIES[remembered.type].model_validate(remembered.body)
                reply = await _reply_or_refusal(transaction, work)
                await transaction.remember_reply(
                    meta.message_id, StoredReply(reply.TYPE, reply.model_dump(mode="json"))
                )
        except CommandReusedError:
            raise _reused(meta.message_id) from None
        self._wake()
        return reply


def _reused(message_id: str) -> Refused:
    allowed = "a new key for every different request"
    return Refused.one("idempotency_key", message_id, allowed, "was used for another request")


def _unknown_preview(preview_id: str) -> Refused:
    return Refused.one("preview_id", preview_id, _CONFIRMABLE, "is not known")


async def _reply_or_refusal(transaction: Transaction, work: Callable[[Transaction], Awaitable[Message]]) -> Message:
    try:
        async with transaction.all_or_nothing():
            return await work(transaction)
    except Refused as refused:
        return CommandRefused(
            problems=tuple(
                ProblemFound(field=p.field, value=p.value, allowed=p.allowed, message=p.message)
                for p in refused.problems
            )
        )


async def _take_steps(
    transaction: Transaction, before: life.StrategyRecord, informed: life.StrategyRecord, cause: Meta
) -> life.StrategyRecord:
    """Take the steps the new facts allow and store them; nothing is written when nothing is new."""
    advanced = life.advance(informed)
    if advanced.record != before:
        await transaction.update(advanced, cause)
    return advanced.record


def _digest(command: Message) -> str:
    """Names the content of a command. The figures behind a stop are no part of it: a retry may bring newer ones."""
    body = command.model_dump(mode="json", exclude={"inputs"})
    return hashlib.sha256(f"{command.TYPE} {json.dumps(body, sort_keys=True)}".encode()).hexdigest()

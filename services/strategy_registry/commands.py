"""The registry's part in how strategies begin and end: previews, confirmations, stops, and the others' words."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from services.strategy_registry import amounts, life
from services.strategy_registry.adapters.market_data import MarketData
from services.strategy_registry.adapters.postgres import Preview, Transaction
from services.strategy_registry.answering import Answering, actor, known, take_steps
from services.strategy_registry.preview import CheckedPreview, checked_preview, funding_value, refuse_unknown_venue
from services.strategy_registry.records import Advance, Status
from shared.contracts.books import TransferSettled
from shared.contracts.plans import PlanProgressed
from shared.contracts.strategies import (
    ConfirmStrategy,
    PreviewStrategy,
    RecordPeak,
    StopStrategy,
    StrategyChanged,
    StrategyPreviewed,
)
from shared.contracts.wire import Message, Meta
from shared.core import identity
from shared.core.errors import Refused, RetryLater
from shared.core.money import exact, plain
from shared.core.strategy import MAX_ASSETS, StrategyDefinition, parse_strategy, strategy_document

_log = logging.getLogger(__name__)
_CENT = Decimal("0.01")
_CONFIRMABLE = "the id of a preview that has not expired"


@dataclass(frozen=True, slots=True)
class PreviewTerms:
    """Venues that may be used, how long a preview may be confirmed (wall clock), the slippage orders are sized with,
    how many targets a new strategy may have."""

    venues: tuple[str, ...]
    valid_for: timedelta
    slippage_bps: Decimal
    max_assets: int = MAX_ASSETS


class Registry:
    """Commands and facts, each in one transaction."""

    def __init__(self, answering: Answering, market_data: MarketData, terms: PreviewTerms) -> None:
        self._answering = answering
        self._market_data = market_data
        self._terms = terms

    async def preview(self, command: PreviewStrategy, meta: Meta) -> Message:
        """Check a definition and store it. Replies StrategyPreviewed or CommandRefused; raises RetryLater."""
        if (given := await self._answering.given_reply(command, meta)) is not None:
            return given
        now = self._answering.clock()
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

        return await self._answering.answered(command, meta, work)

    async def confirm(self, command: ConfirmStrategy, meta: Meta) -> Message:
        """Make the strategy of a preview, once. Replies StrategyChanged or CommandRefused; raises RetryLater."""
        if (given := await self._answering.given_reply(command, meta)) is not None:
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
            made = life.confirmed(preview.preview_id, preview.document, outcome, self._answering.clock(), actor(meta))
            await transaction.insert(made, meta)
            return made.record.changed()

        return await self._answering.answered(command, meta, work)

    async def stop(self, command: StopStrategy, meta: Meta) -> Message:
        """Begin the exit, once. Replies StrategyChanged (the state now) or CommandRefused; raises RetryLater."""

        async def work(transaction: Transaction) -> Message:
            record = await known(transaction, command.strategy_id)
            after = await take_steps(transaction, record, lambda one: Advance(life.with_stop(one, command)), meta)
            return after.changed()

        return await self._answering.answered(command, meta, work)

    async def record_peak(self, command: RecordPeak, meta: Meta) -> StrategyChanged:
        """Note a new peak. Replies the state now; raises Refused for an unknown strategy, RetryLater.

        No reply is remembered: a peak that is not above the recorded one changes nothing anyway, and after an edit that
        made the peak count anew the same one must be heard again.
        """
        step = await self._answering.stepped(command.strategy_id, meta, lambda one: life.peak_raised(one, command))
        return step.changed()

    async def transfer_settled(self, event: TransferSettled, meta: Meta) -> None:
        """The ledger's answer to a transfer. Raises RetryLater, and Refused if it is nobody's."""
        figures: Mapping[str, str] = {}
        if event.posted and event.purpose == "release":
            figures = await self._closing_figures(event)
        after = await self._answering.stepped(
            event.strategy_id, meta, lambda record: Advance(life.with_transfer(record, event, figures))
        )
        if after.status is Status.FAILED:
            _log.error("the ledger refused to release %s: %s", after.strategy_id, after.reason)

    async def plan_progressed(self, event: PlanProgressed, meta: Meta) -> None:
        """The executor's word on a strategy's plans. Raises RetryLater, and Refused if the strategy is unknown."""
        await self._answering.stepped(
            event.strategy_id, meta, lambda record: Advance(life.with_progress(record, event))
        )

    async def forget_old(self) -> None:
        """Remove expired previews and old replies. Raises RetryLater."""
        async with self._answering.store.transaction(self._answering.clock()) as transaction:
            await transaction.forget_old()

    async def _checked(self, command: PreviewStrategy) -> tuple[StrategyDefinition, CheckedPreview] | Refused:
        try:
            definition = parse_strategy(command.document, max_assets=self._terms.max_assets)
            refuse_unknown_venue(definition.venue, self._terms.venues)
            market = await self._market_data.market(definition.venue, self._answering.clock())
            wallet = await self._market_data.wallet(definition.venue)
            return definition, checked_preview(definition, market, wallet, self._terms.slippage_bps)
        except Refused as refused:
            return refused

    async def _worth_now(self, preview_id: str) -> Decimal | Refused:
        """What the money of a preview is worth in the quote currency at this moment, or why it cannot be confirmed."""
        now = self._answering.clock()
        async with self._answering.store.transaction(now) as transaction:
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

    async def _closing_figures(self, event: TransferSettled) -> Mapping[str, str]:
        """What its whole life came to (quote currency), as far as it is known now: closing waits for nothing.

        What its own rule has ended is worth what led to that; the market's newest snapshot may be of another moment.
        """
        try:
            record = await self._answering.record(event.strategy_id)
            bids = record.facts.exit_prices or amounts.bids_told(record.facts.stop_inputs)
            position = await self._market_data.position(event.strategy_id)
            market = await self._market_data.market(event.venue, self._answering.clock())
            returned = amounts.total_of(event.amounts, market, bids)
        except (RetryLater, Refused) as reason:
            _log.info("%s closes without figures: %s", event.strategy_id, reason)
            return {}
        return _figures(position.contributed_in, position.withdrawn, returned)


@exact
def _figures(contributed_in: Decimal, withdrawn: Decimal, returned: Decimal) -> dict[str, str]:
    profit = withdrawn + returned - contributed_in
    named = {"contributed_in": contributed_in, "withdrawn": withdrawn, "returned": returned, "profit": profit}
    return {name: plain(amount.quantize(_CENT)) for name, amount in named.items()}


def _unknown_preview(preview_id: str) -> Refused:
    return Refused.one("preview_id", preview_id, _CONFIRMABLE, "is not known")

"""Payouts that wait for prices: they are asked of the ledger as soon as the market tells everything they need."""

import asyncio
import logging
import time
from datetime import UTC, datetime

from services.strategy_registry import amounts, requests
from services.strategy_registry.adapters.market_data import MarketData
from services.strategy_registry.answering import Answering
from services.strategy_registry.records import OpenRequest, StrategyRecord
from shared.contracts.wire import Meta
from shared.core.errors import Refused, RetryLater

_log = logging.getLogger(__name__)
POLL_S = 1.0
"""How long a payout waits at most to be looked at; usually it is woken for."""

TOLD_AFTER_S = 60.0
"""A payout that has waited for so long is told to its owner."""


class Payouts:
    """Looks after every strategy that is held for a payout; any number may run, the strategy's row is locked."""

    def __init__(self, answering: Answering, market_data: MarketData) -> None:
        self._answering = answering
        self._market_data = market_data
        self._woken = asyncio.Event()
        self._waiting_since_s: dict[str, float] = {}

    def wake(self) -> None:
        """Look now: something has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Pay until cancelled. What Postgres or NATS cannot do now is tried again."""
        while True:
            self._woken.clear()
            try:
                await self.pay_all()
            except RetryLater as later:
                _log.warning("payouts wait: %s", later)
            try:
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def pay_all(self) -> None:
        """Ask for every payout that can be made now. Raises RetryLater when Postgres is away."""
        async with self._answering.store.transaction(self._answering.clock()) as transaction:
            waiting = await transaction.held_strategies()
        for strategy_id in waiting:
            try:
                await self._pay(strategy_id)
                self._waiting_since_s.pop(strategy_id, None)
            except (RetryLater, Refused) as reason:
                _log.info("the payout of %s waits: %s", strategy_id, reason)
                await self._waits(strategy_id, str(reason))
        for strategy_id in self._waiting_since_s.keys() - set(waiting):
            del self._waiting_since_s[strategy_id]

    async def _waits(self, strategy_id: str, why: str) -> None:
        """Tell its owner once it has waited for long: the message has the request's id, so it exists once."""
        now_s = time.monotonic()
        if now_s - self._waiting_since_s.setdefault(strategy_id, now_s) < TOLD_AFTER_S:
            return
        record = await self._answering.record(strategy_id)
        request = requests.awaits_payment(record)
        if request is not None:
            meta = Meta(f"{request.request_id}.waits", "strategy_registry", datetime.now(UTC), request.request_id, "")
            await self._answering.stepped(strategy_id, meta, lambda found: requests.payment_waits(found, why))

    async def _pay(self, strategy_id: str) -> None:
        record = await self._answering.record(strategy_id)
        request = requests.awaits_payment(record)
        if request is None:
            return
        payment = await self._payment(record, request)
        meta = Meta(f"{request.request_id}.pay", "strategy_registry", datetime.now(UTC), request.request_id, "")
        await self._answering.stepped(strategy_id, meta, lambda found: requests.paid_at(found, payment))

    async def _payment(self, record: StrategyRecord, request: OpenRequest) -> requests.Payment:
        """Every price the payout needs. Raises RetryLater when one is not known."""
        position = await self._market_data.position(record.strategy_id)
        market = await self._market_data.market(record.venue, self._answering.clock())
        prices = amounts.payment_prices(record.definition(), request.asset, position.holdings, market)
        return requests.Payment(prices, market.quote)

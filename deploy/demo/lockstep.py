"""The market in lockstep: the next row comes when everybody is done with the one before: a run can be repeated exactly.

A row is done when every living evaluator has evaluated it and nothing is under way: no plan or exit that has not ended,
no fill that is not posted, no first purchase, no cycle of Auto-Invest and no request that could go on without the
market, nothing on its way between the services.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from deploy.demo.clients import ExchangeControl, MarketProgress
from deploy.demo.evaluators import Evaluators, Row
from deploy.demo.postgres_report import is_settled
from deploy.demo.scenario import VENUE
from deploy.demo.session import DemoSession, Ending
from deploy.embedded.nats_server import USER as NATS_USER
from deploy.embedded.stack import Stack
from shared.contracts import subjects
from shared.core.errors import Stop
from shared.messaging.broker import make_broker
from shared.messaging.following import listen

ROW_WITHIN_S = 180.0
_NEWS_WITHIN_S = 0.25
_SETTLED_POLL_S = 0.01
_PICTURE_S = 1.0


@dataclass(frozen=True, slots=True)
class RowsPassed:
    """``rows`` were passed in ``seconds`` of wall clock; in ``traded`` of them somebody acted, which took
    ``seconds_trading`` of it.
    """

    rows: int
    traded: int
    seconds: float
    seconds_trading: float


class Lockstep:
    """Moves one paper market."""

    def __init__(self, exchange: ExchangeControl, evaluators: Evaluators, dsn: str) -> None:
        self._acted = 0
        self._traded: set[int] = set()
        self._seconds_trading = 0.0
        self._exchange = exchange
        self._evaluators = evaluators
        self._dsn = dsn
        self._row = Row(VENUE, 0, 0)
        self._ticks = -1

    async def run(self, session: DemoSession, ending: Ending, stop: asyncio.Event) -> RowsPassed:
        """Row by row until the ending or ``stop``. Raises Stop when a row does not come to an end."""
        started, rows = time.monotonic(), 0
        watching = asyncio.create_task(self._watch(session))
        try:
            market = await self._exchange.market()
            await self._done(market, stop)
            if await session.start_listed(market.listed):
                await self._done(market, stop)
            self._traded, self._seconds_trading, began = set(), 0.0, time.monotonic()
            while not (stop.is_set() or market.ended or _is_over(ending, started)):
                market = await self._exchange.advance_to(market.row + 1)
                rows += 1
                await self._done(market, stop)
                if await session.start_listed(market.listed):
                    await self._done(market, stop)
            await self._wait(self._row, stop, most_unsaid=0)
            return RowsPassed(rows, len(self._traded), time.monotonic() - began, self._seconds_trading)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _done(self, market: MarketProgress, stop: asyncio.Event) -> None:
        """Wait until a row is done; where somebody acted, until the databases say so too."""
        if market.ticks != self._ticks:  # a row without any price is nothing that anybody could see
            self._row = Row(VENUE, _milliseconds(market.market_time), len(market.listed))
            self._ticks = market.ticks
        began = time.monotonic()
        await self._wait(self._row, stop)
        if self._evaluators.acted == self._acted:
            return
        await self._settled(stop)
        await self._wait(self._row, stop)
        self._acted = self._evaluators.acted
        self._traded.add(market.row)
        self._seconds_trading += time.monotonic() - began

    async def _settled(self, stop: asyncio.Event) -> None:
        for _ in range(round(ROW_WITHIN_S / _SETTLED_POLL_S)):
            if stop.is_set() or await is_settled(self._dsn):
                return
            await asyncio.sleep(_SETTLED_POLL_S)
        raise Stop(f"plans, orders or messages are still on their way after {ROW_WITHIN_S:.0f} s")

    async def _wait(self, row: Row, stop: asyncio.Event, **most: int) -> None:
        deadline = time.monotonic() + ROW_WITHIN_S
        news = self._evaluators.news
        while missing := self._evaluators.missing(row, **most):
            if stop.is_set():
                return
            if time.monotonic() > deadline:
                raise Stop(f"the market stands still since {ROW_WITHIN_S:.0f} s: {missing}")
            news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEWS_WITHIN_S):
                    await news.wait()

    async def _watch(self, session: DemoSession) -> None:
        while True:
            await asyncio.sleep(_PICTURE_S)
            await session.look()


@asynccontextmanager
async def lockstep(stack: Stack, exchange: ExchangeControl) -> AsyncIterator[Lockstep]:
    """A driver for the market of a running stack, which hears the evaluators as long as the context lasts."""
    broker = make_broker(
        f"nats://127.0.0.1:{stack.ports.nats}", "lockstep", user=NATS_USER, password=stack.secrets.nats_password
    )
    evaluators = Evaluators(time.monotonic)
    await broker.start()
    listener = listen(broker, subjects.EVALUATOR_PROGRESS, evaluators.take)
    await listener.start()
    try:
        yield Lockstep(exchange, evaluators, stack.postgres_dsn)
    finally:
        await listener.stop()
        await broker.stop()


def _is_over(ending: Ending, began: float) -> bool:
    return ending.exit_after_s is not None and time.monotonic() - began >= ending.exit_after_s


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)

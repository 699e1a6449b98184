"""A registry and a gateway on real servers, run in a thread of their own; the test plays the other services."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import asyncpg
import httpx

from deploy.provision import migrate, provision_streams
from services.gateway.app import build_app as build_gateway
from services.gateway.settings import Settings as GatewaySettings
from services.strategy_registry.app import build_app as build_registry
from services.strategy_registry.settings import Settings as RegistrySettings
from shared.contracts import subjects
from shared.contracts.books import PositionChanged, TransferSettled, WalletChanged
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.plans import PlanClosedSummary, PlanProgressed
from shared.contracts.prices import InstrumentListed, InstrumentsListed, PricesSnapshotted, QuoteSeen
from shared.contracts.wire import Message, Meta
from shared.core.position import PlanOutcome
from shared.messaging.broker import make_broker
from shared.messaging.following import Follower
from shared.messaging.publishing import Publisher

TOKEN = "a-token-for-the-tests"
VENUE = "paper"
MARKET_TIME = datetime(2026, 1, 1, 12, tzinfo=UTC)

ASSETS = {"BTC": "50000", "ETH": "2500", "SOL": "100", "ONE": "0.02", "ADA": "0.5", "XRP": "2", "BNB": "600"}
EXTRA = {"DOT": "5", "AVAX": "20", "LINK": "15", "UNI": "8", "STALE": "1", "HALT": "1", "QUIET": "1"}

T = TypeVar("T")


def document(**changes: Any) -> dict[str, Any]:
    """A valid strategy, with changes; a change to ``None`` removes the field."""
    made: dict[str, Any] = {
        "name": "Three majors",
        "venue": VENUE,
        "funding_asset": "USDT",
        "amount": "1200",
        "targets": {"BTC": "40", "ETH": "30", "SOL": "30"},
        "rebalance": {"threshold": "5"},
    }
    made |= changes
    return {name: value for name, value in made.items() if value is not None}


def instruments() -> InstrumentsListed:
    return InstrumentsListed(
        venue=VENUE,
        quote="USDT",
        instruments=tuple(
            InstrumentListed(
                symbol=f"{asset}USDT",
                base=asset,
                quote="USDT",
                lot_step=Decimal("0.00001"),
                min_quantity=Decimal("0.00001"),
                max_quantity=Decimal(10_000_000),
                tick_size=Decimal("0.0001"),
                min_notional=Decimal(5),
                taker_fee=Decimal("0.001"),
                tradable=asset != "HALT",
            )
            for asset in ASSETS | EXTRA
        ),
    )


def prices() -> PricesSnapshotted:
    quotes = tuple(
        QuoteSeen(asset=asset, bid=Decimal(bid), ask=Decimal(bid) * Decimal("1.0002"), at=MARKET_TIME, received_ns=1)
        for asset, bid in (ASSETS | EXTRA).items()
        if asset != "QUIET"
    )
    return PricesSnapshotted(
        venue=VENUE, epoch="e1", sequence=1, market_time=MARKET_TIME, quotes=quotes, stale=("STALE",)
    )


def wallet(version: int, **balances: str) -> WalletChanged:
    return WalletChanged(
        venue=VENUE, version=version, balances={asset: Decimal(amount) for asset, amount in balances.items()}
    )


def position(strategy_id: str, version: int, contributed: str, **holdings: str) -> PositionChanged:
    return PositionChanged(
        strategy_id=strategy_id,
        venue=VENUE,
        version=version,
        fills_posted=0,
        holdings={asset: Decimal(amount) for asset, amount in holdings.items()},
        contributed=Decimal(contributed),
        fees_paid={},
    )


def settled(strategy_id: str, transfer_id: str, purpose: str, *, reason: str = "") -> TransferSettled:
    """The ledger's answer; refused when there is a reason."""
    return TransferSettled(
        transfer_id=transfer_id,
        strategy_id=strategy_id,
        venue=VENUE,
        purpose=purpose,
        posted=not reason,
        reason=reason,
        amounts={} if reason else {"USDT": Decimal(1200)},
    )


def progressed(
    strategy_id: str,
    sequence: int,
    change: str,
    *,
    kind: str = "",
    outcome: PlanOutcome = PlanOutcome.COMPLETED,
    fills: int = 0,
    sealed: bool = False,
) -> PlanProgressed:
    """The executor's word; ``kind`` is that of the last closed plan, if any."""
    last = None
    if kind:
        last = PlanClosedSummary(
            plan_id=f"pl{kind}",
            kind=kind,
            reason="",
            outcome=outcome,
            detail="",
            closed_at=MARKET_TIME,
            market_time=MARKET_TIME,
            orders=3,
            fills=fills,
        )
    return PlanProgressed(
        strategy_id=strategy_id,
        venue=VENUE,
        sequence=sequence,
        change=change,
        open_plan_id=f"pl{sequence}" if change == "accepted" else None,
        last_closed=last,
        fills_total=fills,
        sealed=sealed,
    )


def decision(strategy_id: str, code: str, count: int = 1) -> DecisionRecorded:
    return DecisionRecorded(
        strategy_id=strategy_id,
        strategy_version=1,
        evaluator="e1",
        acted=False,
        code=code,
        count=count,
        first_at=MARKET_TIME,
        last_at=MARKET_TIME,
        inputs={"weight.BTC": "40.1"},
    )


class World:
    """Registry and gateway over ``nats_url`` and ``dsn``; everything here may be called from the test's thread."""

    def __init__(self, nats_url: str, dsn: str, faucets: dict[str, str] | None = None) -> None:
        self.nats_url, self.dsn = nats_url, dsn
        self.seen: list[tuple[str, Message, Meta]] = []
        self.feed_is_alive = True
        self._faucets = faucets or {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: list[asyncio.Task[Any]] = []
        self._numbers = 0
        self.ends: list[str] = []

    def start(self) -> None:
        self._thread.start()
        self.call(self._start())
        self.http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=15, trust_env=False
        )
        self.until(lambda: self.http.get("/healthz").status_code == 200, "the gateway is healthy")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def stop(self) -> None:
        self.http.close()
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(30)

    def until(self, condition: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
        """Wait for a truthy answer and return it."""
        deadline = time.monotonic() + within_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s} s: {what}; ends: {self.ends}")
            time.sleep(0.01)
        return found

    def publish(self, subject: str, message: Message, message_id: str = "") -> None:
        self._numbers += 1
        message_id = message_id or f"test.{self._numbers}"
        self.call(self._publisher.publish(subject, message, message_id=message_id, correlation_id="test"))

    def published(self, kind: type[Message], strategy_id: str) -> list[Any]:
        """What the registry has published of one type about one strategy, in order."""
        return [
            message
            for _, message, _ in list(self.seen)
            if isinstance(message, kind) and getattr(message, "strategy_id", "") == strategy_id
        ]

    def rows(self, query: str, *args: object) -> list[asyncpg.Record]:
        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.dsn)
            try:
                return list(await connection.fetch(query, *args))
            finally:
                await connection.close()

        return self.call(fetch())

    def restart_registry(self) -> None:
        """End the registry without goodbye to its work in flight, and start a new one."""

        async def restart() -> None:
            await self._end_registry()
            await self._start_registry()

        self.call(restart())

    async def _start(self) -> None:
        await provision_streams(self.nats_url)
        await migrate(self.dsn)
        self._broker = make_broker(self.nats_url, "test", end=lambda _code, reason: self.ends.append(reason))
        await self._broker.start()
        self._publisher = Publisher(self._broker, "test")
        await self._publisher.publish(
            subjects.instruments(VENUE), instruments(), message_id="instruments", correlation_id="test"
        )
        self._spawn(self._feed())
        for stream, subject in (("STRATEGIES", "strategies.*"), ("COMMANDS", ">")):
            self._spawn(Follower(self._broker, stream, [subject], self._saw, start="all").run())
        await self._start_registry()
        self.gateway = build_gateway(
            GatewaySettings(
                nats_url=self.nats_url, gateway_port=0, api_token=TOKEN, faucets=self._faucets, faucet_token="faucet"
            )
        )
        await self.gateway.start()
        for work in self.gateway.background():
            self._spawn(work)

    async def _start_registry(self) -> None:
        self.registry = build_registry(RegistrySettings(nats_url=self.nats_url, postgres_dsn=self.dsn))
        await self.registry.start()
        self._registry_tasks = [asyncio.ensure_future(work) for work in self.registry.background()]

    async def _end_registry(self) -> None:
        for task in self._registry_tasks:
            task.cancel()
        await asyncio.gather(*self._registry_tasks, return_exceptions=True)
        await self.registry.stop()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.gateway.stop()
        await self._end_registry()
        await self._broker.stop()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.append(self._loop.create_task(work))

    async def _feed(self) -> None:
        """The price feed's snapshots, once a second."""
        while True:
            if self.feed_is_alive:
                await self._publisher.publish(
                    subjects.price_snapshots(VENUE),
                    prices(),
                    message_id=f"prices.{time.monotonic_ns()}",
                    correlation_id="test",
                )
            await asyncio.sleep(0.5)

    def _saw(self, subject: str, message: Message, meta: Meta) -> Awaitable[None] | None:
        self.seen.append((subject, message, meta))
        return None

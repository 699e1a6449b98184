"""A small world for lives of executor and ledger: servers and a venue account of its own, its prices standing still."""

import asyncio
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import nats
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from deploy.provision import provision_streams
from shared.contracts import subjects
from shared.contracts.books import FundStrategy
from shared.contracts.catalogue import CONSUMERS
from shared.contracts.frames import FrameQuote, PriceFrame, encode_frame
from shared.contracts.plans import PlanLine, RebalancePlanned
from shared.contracts.wire import Message, Meta, headers_of, payload_of
from shared.core.identity import plan_id
from tests.chaos.deaths.fail_points import FailPoint, Marks
from tests.chaos.deaths.lives import Life, Nursery
from tests.chaos.deaths.venue_account import Books, VenueAccount
from tests.chaos.deaths.ways import Gate, Way
from tests.servers import EmbeddedNats
from tests.services.order_executor.rig import Exchange, ExchangeProcess, eventually

D = Decimal
ACK_WAIT_S = 0.4
PRICES_EVERY_S = 0.05
TRADED = ("BTC", "ETH", "SOL")


class World:
    """NATS, a database and an account at the exchange, and the lives that work there."""

    def __init__(
        self,
        name: str,
        dsn: str,
        admin_dsn: str,
        exchange: ExchangeProcess,
        nurseries: dict[str, Nursery],
        folder: Path,
    ):
        self.name = name
        self.dsn, self.admin_dsn = dsn, admin_dsn
        self.exchange = Exchange(exchange)
        self.way = Way(self.exchange.url)
        self.gate = Gate(int(urlsplit(dsn).port or 0))
        self.folder = folder / name
        self.lives: dict[str, Life] = {}
        self.marks: dict[str, Marks] = {}
        self.points: dict[str, tuple[FailPoint, ...]] = {}
        self.environment: dict[str, str] = {}
        self.quotes: dict[str, tuple[str, str]] = {}
        self.market_time = datetime.now(UTC)
        self.ahead = timedelta()
        self.account = VenueAccount(self.exchange, TRADED)
        self.apart = ""
        self.moves: dict[str, dict[str, dict[str, Decimal]]] = {}  # at venues that are only told of
        self.funded: dict[str, dict[str, Decimal]] = {}
        self.born = 0
        self._nurseries = nurseries
        self._prices: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self.folder.mkdir(parents=True)
        self.nats = await asyncio.to_thread(EmbeddedNats)
        await provision_streams(self.nats.url)
        self.client = await nats.connect(self.nats.url)
        self.jetstream = self.client.jetstream(timeout=10)
        await self._answer_sooner()
        self.pool: Any = await asyncpg.create_pool(self.dsn, min_size=1, max_size=3)
        await self.exchange.start()
        await self.way.start()
        await self.gate.open()
        self.quotes = await self.exchange.quotes()
        self.market_time = await self.exchange.market_time()
        await self.account.open()
        self.books = Books(self.pool)
        for service, nursery in self._nurseries.items():
            self.points[service] = nursery.points
            self.marks[service] = Marks(self.folder / f"{service}.marks", len(nursery.points))
        self._prices = asyncio.create_task(self._publish_prices())

    async def _answer_sooner(self) -> None:
        """Messages that a dead life held come again after ``ACK_WAIT_S``: the one thing that is not as provisioned."""
        for spec in CONSUMERS:
            info = await self.jetstream.consumer_info(spec.stream, spec.durable)
            config: ConsumerConfig = info.config
            config.ack_wait = ACK_WAIT_S
            await self.jetstream.add_consumer(spec.stream, config=config)

    async def close(self) -> None:
        for life in self.lives.values():
            await life.kill()
        if self._prices is not None:
            self._prices.cancel()
            with suppress(asyncio.CancelledError):
                await self._prices
        await self.way.stop()
        await self.gate.close()
        await self.account.close()
        await self.exchange.stop()
        await self.client.close()
        await self.pool.close()
        await asyncio.to_thread(self.nats.stop)

    async def _publish_prices(self) -> None:
        sequence = 0
        while True:
            sequence += 1
            at_ms = int((self.market_time + self.ahead).timestamp() * 1000)
            now = time.time_ns()
            rows = tuple(FrameQuote(asset, bid, ask, at_ms, now) for asset, (bid, ask) in self.quotes.items())
            await self.client.publish(
                subjects.prices("paper"), encode_frame(PriceFrame("paper", "test", sequence, at_ms, rows))
            )
            await asyncio.sleep(PRICES_EVERY_S)

    async def live(self, service: str, lease_left_s: float = -1.0) -> Life:
        """A new life of the service. The account is free for it, because whoever had the lease is known to be dead;
        or not before ``lease_left_s``.
        """
        assert service not in self.lives or self.lives[service].is_over
        if service == "order_executor":
            lease = "UPDATE executor.accounts SET lease_until = now() + make_interval(secs => $1)"
            await self.pool.execute(lease, lease_left_s)
        self.born += 1
        environment = {
            "TRIMTAB_NATS_URL": self.nats.url,
            "TRIMTAB_POSTGRES_DSN": self.dsn,
            "TRIMTAB_INSTANCE": str(self.born),
            "TRIMTAB_VENUE_REST_URL": self.way.url,
            "TRIMTAB_VENUE_WS_API_URL": self.exchange.ws_api_url,
            "TRIMTAB_VENUE_API_KEY": self.exchange.key,
            "TRIMTAB_VENUE_API_SECRET": self.exchange.secret,
            "TRIMTAB_REQUEST_TIMEOUT_MS": "1000",
            "TRIMTAB_SEND_DEADLINE_MS": "500",
            "TRIMTAB_LEASE_S": "3",
            "TRIMTAB_VENUE_DEPOSITS_POLL_S": "0.5",
            "TRIMTAB_RECONCILE_EVERY_S": "0",
            "TRIMTAB_GUARD_ORDERS_PER_MINUTE": "1000000",
            "TRIMTAB_GUARD_DAY_NOTIONAL": "1000000000",
            **self.environment,
        }
        log = self.folder / f"{service}.log"
        self.lives[service] = await self._nurseries[service].bear(self.marks[service], log, environment)
        return self.lives[service]

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await self.pool.fetch(query, *arguments)
        return found

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.pool.fetchval(query, *arguments)

    async def publish(self, subject: str, message: Message, message_id: str) -> None:
        meta = Meta(message_id, "test", datetime.now(UTC), message_id, "")
        await self.jetstream.publish(subject, payload_of(message), headers=headers_of(message, meta))

    async def ask(self, subject: str, message: Message, message_id: str) -> Msg:
        """The answer to a request. Raises a NATS error when there is none within a second."""
        meta = Meta(message_id, "test", datetime.now(UTC), message_id, "")
        return await self.client.request(
            subject, payload_of(message), timeout=1, headers={k: str(v) for k, v in headers_of(message, meta).items()}
        )

    async def contradiction(self, strategy_id: str) -> str:
        """What the venue, the books and the laws say otherwise of each other, the strategy's plan having ended; "" when
        they agree to the last digit. What one death has done to the account is not held against those after it.
        """
        before, self.apart = self.apart, await self.books.unlike(self.account, self.exchange, self.way.orders_seen)
        if self.apart != before:
            return self.apart or f"no longer apart: {before}"
        funded = self.funded.get(strategy_id)
        return "" if funded is None else await self.books.broken_by(self.account, strategy_id, funded)

    async def dead_letters(self, at_least: int = 0) -> int:
        """How many there are, once there are so many."""

        async def count() -> int | None:
            messages = (await self.jetstream.stream_info("DEAD_LETTERS")).state.messages
            return messages + 1 if messages >= at_least else None

        return int(await eventually(count)) - 1

    async def foreign_order(self) -> None:
        """An order of the account that is not ours rests at the venue."""
        venue = self.exchange.venue()
        try:
            await venue._exchange.private_post_order(
                {"symbol": "ADAUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1000",
                 "price": self.quotes["ADA"][0], "newClientOrderId": f"owner{secrets.token_hex(6)}"}
            )  # fmt: skip
        finally:
            await venue.close()

    async def foreign_orders_told(self) -> bool:
        """Whether each was told once, and not more than once."""
        resting = await self.foreign_orders()
        told = await self.rows("SELECT venue_order_id FROM executor.foreign_orders")
        alerts = await self.value(
            "SELECT count(*) FROM executor.outbox WHERE message_id LIKE 'foreign-order.%.notification'"
        )
        return sorted(row["venue_order_id"] for row in told) == resting and alerts == len(resting)

    async def foreign_orders(self) -> list[str]:
        """Ids of the orders that rest at the venue."""
        venue = self.exchange.venue()
        try:
            return sorted(order.venue_order_id for order in await venue.fetch_open_orders())
        finally:
            await venue.close()

    @property
    def gated_dsn(self) -> str:
        """The database through the gate."""
        parts = urlsplit(self.dsn)
        return self.dsn.replace(f":{parts.port}/", f":{self.gate.port}/")

    async def fund(self, strategy_id: str, amounts: dict[str, str]) -> None:
        """Give a strategy money of the wallet."""
        self.funded[strategy_id] = {asset: D(amount) for asset, amount in amounts.items()}
        for asset, amount in amounts.items():
            name = f"fund-{strategy_id}-{asset}"
            command = FundStrategy(
                transfer_id=name,
                strategy_id=strategy_id,
                venue="paper",
                asset=asset,
                amount=D(amount),
                value_usdt=D(amount) * D(self.quotes[asset][0] if asset in self.quotes else 1),
            )
            await self.publish(subjects.transfer_commands("paper"), command, name)

    def plan(self, strategy_id: str, targets: dict[str, str], held: dict[str, str], **changes: Any) -> RebalancePlanned:
        """The first plan of a strategy with these holdings, at the prices that stand."""
        quotes = {**self.quotes, "USDT": ("1", "1")}
        worth = {asset: D(amount) * D(quotes[asset][0]) for asset, amount in held.items()}
        total = sum(worth.values(), D(0))
        lines = tuple(
            PlanLine(
                asset=asset,
                quantity=D(held.get(asset, "0")),
                bid=D(quotes[asset][0]),
                ask=D(quotes[asset][1]),
                value=worth.get(asset, D(0)),
                weight_pct=worth.get(asset, D(0)) / total * 100,
                target_weight_pct=D(targets.get(asset, "0")),
            )
            for asset in sorted({*targets, *held, "USDT"})
        )
        now = datetime.now(UTC)
        values: dict[str, Any] = {
            "strategy_id": strategy_id,
            "strategy_version": 1,
            "venue": "paper",
            "kind": "rebalance",
            "reason": "threshold",
            "inputs": {},
            "position_version": 1,
            "fills_seen": 0,
            "previous_plan_id": "",
            "funding_asset": "USDT",
            "quote": "USDT",
            "total_value": total,
            "lines": lines,
            "market_time": self.market_time,
            "decided_at": now,
            "expires_at": now + timedelta(seconds=120),
            "tick_received_ns": time.time_ns(),
            **changes,
        }
        name = plan_id(strategy_id, values["position_version"], values["previous_plan_id"])
        return RebalancePlanned(plan_id=name, **values)

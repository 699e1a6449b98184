"""A real venue process, a way to it that can be made to fail, prices on a real NATS server, and executors."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import nats

from deploy.embedded.child import ChildOptions, child_argv
from services.order_executor.adapters.ccxt_venue import CcxtVenue, VenueAccess
from services.order_executor.app import Executor, build_app
from services.order_executor.settings import Settings
from services.simulated_exchange.binance.rate_gate import RateRules
from shared.contracts import subjects
from shared.contracts.frames import FrameQuote, PriceFrame, encode_frame
from shared.contracts.halts import HaltChanged, HaltVenue, ResumeVenue
from shared.contracts.plans import PlanLine, RebalancePlanned
from shared.contracts.wire import Message, Meta, headers_of, payload_of
from shared.core.identity import plan_id
from shared.messaging.decoding import decode
from shared.venues.dialects import BINANCE
from tests.services.order_executor.faulty_way import FaultyWay

REPOSITORY = Path(__file__).resolve().parents[3]
Rows = list[asyncpg.Record]


async def eventually(condition: Callable[[], Awaitable[Any]], timeout_s: float = 60.0, pause_s: float = 0.02) -> Any:
    """The first true answer of ``condition``, asked every ``pause_s``; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := await condition():
            return found
        assert time.monotonic() < deadline, "the condition was not met in time"
        await asyncio.sleep(pause_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A service as a process of its own, which ends with the tests."""

    def __init__(self, module: str, environment: dict[str, str], log: Path) -> None:
        argv = child_argv(ChildOptions(parent=os.getpid()), [sys.executable, "-m", module])
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                argv,
                cwd=REPOSITORY,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = log

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        if self._child.poll() is None:
            self._child.send_signal(number)
        return self._child.wait(20)

    @property
    def code(self) -> int | None:
        return self._child.poll()


class ExchangeProcess:
    """The simulated exchange, its market held still; shared by tests, each with an account of its own."""

    def __init__(self, folder: Path, **further: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "TRIMTAB_EXCHANGE_PORT": str(self.port),
            "TRIMTAB_EXCHANGE_STATE_DIR": str(folder / "exchange"),
            "TRIMTAB_EXCHANGE_START_PAUSED": "true",
            **further,
        }
        self.process = Process("services.simulated_exchange", environment, folder / "exchange.log")


class Exchange:
    """The exchange as one account sees it."""

    def __init__(self, process: ExchangeProcess) -> None:
        self.url = process.url
        self.ws_api_url = f"ws://127.0.0.1:{process.port}/ws-api/v3"
        self.key, self.secret = f"key-{secrets.token_hex(8)}", secrets.token_hex(16)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()

        async def answers() -> bool:
            with suppress(aiohttp.ClientError):
                return (await self.call("GET", "/healthz")).get("healthy") is True
            return False

        await eventually(answers)
        await self.call("POST", "/control/accounts", {"api_key": self.key, "api_secret": self.secret})

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    def venue(self, url: str = "", timeout_ms: int = 2_000) -> CcxtVenue:
        """The adapter for this account, over another way when ``url`` is given."""
        access = VenueAccess("paper", "USDT", url or self.url, self.ws_api_url, self.key, self.secret, timeout_ms)
        venue = CcxtVenue(access, BINANCE)
        venue.rates.budget.learn(RateRules().listed())  # an executor reads them first of all
        return venue

    def deposit_id(self, name: str) -> str:
        return f"{self.key}.{name}"

    async def call(self, method: str, path: str, body: object = None) -> Any:
        assert self._session is not None
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self.url + path, data=data) as reply:
            return await reply.json(content_type=None)

    async def deposit(self, name: str, asset: str, amount: str) -> None:
        body = {"id": self.deposit_id(name), "asset": asset, "amount": amount, "account": self.key}
        answer = await self.call("POST", "/control/deposits", body)
        assert answer.get("id") == self.deposit_id(name), answer

    async def balances(self) -> dict[str, Decimal]:
        accounts = await self.call("GET", "/control/accounts")
        (rows,) = [account["balances"] for account in accounts if account["api_key"] == self.key]
        totals = {asset: Decimal(row["free"]) + Decimal(row["locked"]) for asset, row in rows.items()}
        return {asset: total for asset, total in totals.items() if total}

    async def quotes(self) -> dict[str, tuple[str, str]]:
        rows = await self.call("GET", "/api/v3/ticker/bookTicker")
        return {row["symbol"].removesuffix("USDT"): (row["bidPrice"], row["askPrice"]) for row in rows}

    async def market_time(self) -> datetime:
        return datetime.fromisoformat((await self.call("GET", "/control/market"))["market_time"])

    async def orders(self) -> list[dict[str, Any]]:
        """Every order the venue has ever taken from our account."""
        venue = self.venue()
        try:
            found: list[dict[str, Any]] = []
            for asset in await self.quotes():
                call = venue._exchange.private_get_allorders({"symbol": f"{asset}USDT", "limit": 1000})
                found += await call
            return found
        finally:
            await venue.close()


class Prices:
    """Plays the price feed: a frame with all quotes of the exchange five times a second.

    ``ahead_ms`` is added to the market time; ``sent`` counts frames.
    """

    def __init__(self, nats_url: str, exchange: Exchange) -> None:
        self._nats_url = nats_url
        self._exchange = exchange
        self._task: asyncio.Task[None] | None = None
        self.paused = False
        self.ahead_ms = 0
        self.sent = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task  # prices that came to an end before the test did fail it

    async def _run(self) -> None:
        client = await nats.connect(self._nats_url)
        try:
            while True:
                if not self.paused:
                    at_ms = int((await self._exchange.market_time()).timestamp() * 1000) + self.ahead_ms
                    rows = tuple(
                        FrameQuote(asset, bid, ask, at_ms, time.time_ns())
                        for asset, (bid, ask) in (await self._exchange.quotes()).items()
                    )
                    frame = PriceFrame("paper", "test", self.sent + 1, at_ms, rows)
                    await client.publish(subjects.prices("paper"), encode_frame(frame))
                    self.sent += 1
                await asyncio.sleep(0.2)
        finally:
            with suppress(ConnectionError):  # a server that is gone needs no goodbye
                await client.close()


async def plan_for(
    exchange: Exchange,
    strategy_id: str,
    targets: dict[str, str],
    holdings: dict[str, str],
    **changes: Any,
) -> RebalancePlanned:
    """A plan as the evaluator would make it from these holdings at the exchange's prices."""
    quotes = {**await exchange.quotes(), "USDT": ("1", "1")}
    worth = {asset: Decimal(quantity) * Decimal(quotes[asset][0]) for asset, quantity in holdings.items()}
    total = sum(worth.values(), Decimal(0))
    lines = tuple(
        PlanLine(
            asset=asset,
            quantity=Decimal(holdings.get(asset, "0")),
            bid=Decimal(quotes[asset][0]),
            ask=Decimal(quotes[asset][1]),
            value=worth.get(asset, Decimal(0)),
            weight_pct=worth.get(asset, Decimal(0)) / total * 100,
            target_weight_pct=Decimal(targets.get(asset, "0")),
        )
        for asset in sorted({*targets, *holdings, "USDT"})
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
        "market_time": await exchange.market_time(),
        "decided_at": now,
        "expires_at": now + timedelta(seconds=30),
        "tick_received_ns": time.time_ns(),
        **changes,
    }
    name = plan_id(strategy_id, values["position_version"], values["previous_plan_id"])
    return RebalancePlanned(plan_id=name, **values)


class Stack:
    """NATS, Postgres and the exchange with its faulty way; executors come and go."""

    def __init__(self, nats_url: str, dsn: str, exchange: Exchange, way: FaultyWay) -> None:
        self.nats_url, self.dsn, self.exchange, self.way = nats_url, dsn, exchange, way
        self.prices = Prices(nats_url, exchange)
        self.ws_api_url = exchange.ws_api_url
        self.reconcile_every_s = "0"  # most tests have no ledger, so no books to compare with
        self.folder = Path(tempfile.mkdtemp(prefix="trimtab-executor-"))
        self._processes: list[Process] = []
        self._apps: list[tuple[Executor, asyncio.Task[None]]] = []
        self._pool: Any = None
        self.further: dict[str, str] = {}

    def environment(self, instance: str) -> dict[str, str]:
        return {
            "TRIMTAB_NATS_URL": self.nats_url,
            "TRIMTAB_POSTGRES_DSN": self.dsn,
            "TRIMTAB_INSTANCE": instance,
            "TRIMTAB_VENUE_REST_URL": self.way.url,
            "TRIMTAB_VENUE_WS_API_URL": self.ws_api_url,
            "TRIMTAB_VENUE_API_KEY": self.exchange.key,
            "TRIMTAB_VENUE_API_SECRET": self.exchange.secret,
            "TRIMTAB_REQUEST_TIMEOUT_MS": "400",
            "TRIMTAB_VENUE_DEPOSITS_POLL_S": "0.5",
            "TRIMTAB_RECONCILE_EVERY_S": self.reconcile_every_s,
            **self.further,
        }

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self.dsn, min_size=1, max_size=2)
        self.prices.start()

    async def reconnect(self) -> None:
        self._pool.terminate()
        self._pool = await asyncpg.create_pool(self.dsn, min_size=1, max_size=2)

    async def close(self) -> None:
        for process in self._processes:
            process.end()
        await self.stop_apps()
        await self.prices.stop()
        await self._pool.close()

    async def stop_apps(self) -> None:
        """Stop the executors of this process, as on SIGTERM."""
        for app, task in self._apps:
            task.cancel()
            await asyncio.wait([task])
            await app.stop()
        self._apps.clear()

    def process(self, instance: str = "1") -> Process:
        """An executor as a process of its own."""
        log = self.folder / f"executor-{instance}.log"
        process = Process("services.order_executor", self.environment(instance), log)
        self._processes.append(process)
        return process

    def feed(self) -> Process:
        """A price feed as a process of its own, in place of ``prices``."""
        self.prices.paused = True
        environment = self.environment("feed") | {
            "TRIMTAB_VENUE_NAME": "paper",
            "TRIMTAB_VENUE_WS_URL": self.exchange.url.replace("http", "ws", 1),
        }
        process = Process("services.price_feed", environment, self.folder / "feed.log")
        self._processes.append(process)
        return process

    def ledger(self) -> Process:
        """A ledger as a process of its own, its consumers supervised as where it really runs."""
        environment = self.environment("ledger") | {"FASTSTREAM_SUPERVISOR_DISABLED": "0"}
        process = Process("services.ledger", environment, self.folder / "ledger.log")
        self._processes.append(process)
        return process

    async def app(self) -> Executor:
        """An executor in this process."""
        names = {name.removeprefix("TRIMTAB_").lower(): value for name, value in self.environment("in").items()}
        return await self.start(build_app(Settings(**names)))  # type: ignore[arg-type]

    async def start(self, app: Executor) -> Executor:
        """Have an executor run in this process."""
        await app.start()

        async def run() -> None:
            await asyncio.gather(*app.background())

        self._apps.append((app, asyncio.create_task(run())))
        return app

    async def rows(self, query: str, *arguments: object) -> Rows:
        found: Rows = await self._pool.fetch(query, *arguments)
        return found

    async def execute(self, statements: str) -> None:
        await self._pool.execute(statements)

    async def publish(self, subject: str, message: Message, message_id: str) -> None:
        client = await nats.connect(self.nats_url)
        meta = Meta(message_id, "test", datetime.now(UTC), message_id, "")
        try:
            await client.jetstream().publish(subject, payload_of(message), headers=headers_of(message, meta))
        finally:
            await client.close()

    async def ask(self, command: HaltVenue | ResumeVenue, name: str) -> HaltChanged:
        """The answer to a command to the executor's switch."""
        client = await nats.connect(self.nats_url)
        meta = Meta(name, "test", datetime.now(UTC), name, "")
        try:
            reply = await client.request(
                subjects.halt_commands("paper"), payload_of(command), timeout=30, headers=headers_of(command, meta)
            )
        finally:
            await client.close()
        answer, _ = decode(reply.headers, reply.data)
        assert isinstance(answer, HaltChanged), answer
        return answer

    async def send_plan(self, plan: RebalancePlanned, again: str = "") -> None:
        await self.publish(subjects.plans(plan.strategy_id), plan, plan.plan_id + again)

    async def closed(self, plan: RebalancePlanned, timeout_s: float = 60.0) -> asyncpg.Record:
        """The row of the plan once it is closed."""

        async def row() -> Any:
            query = "SELECT * FROM executor.plans WHERE plan_id = $1 AND outcome IS NOT NULL"
            return next(iter(await self.rows(query, plan.plan_id)), None)

        found: asyncpg.Record = await eventually(row, timeout_s)
        return found

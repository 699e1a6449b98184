"""Orders through the executor, beside the bare ccxt client: ``python -m tests.benchmarks.executor_orders [--json]``.

A simulated exchange, PostgreSQL (fsync and synchronous_commit on) and NATS of its own, the executor a process of its
own. First plans one at a time: from the plan's publication to its last booked fill. Then all at once: orders booked per
second. Then the bare client (ccxt's async binance) sends the very same orders to the same exchange, each time as many
at once as the executor did. Every order of the executor is committed as an intent before it is sent, and booked with
its fills and events after; the bare client keeps nothing. Overhead: the executor's time over the bare client's, less 1.
Last the bare client again, with one INSERT of a phase's orders before it sends them and one of the replies after: the
least that anybody pays who must not lose an order (``kept``), without plans, prices, books or events.

All of it once with the exchange as fast as it is on loopback, where a commit to disk (``durable_commit_ms``: a row of
its own, alone) may take longer than an order, and once for each of ``--reply-ms``: the exchange answers an order that
much later, as a venue does that is reached over the internet.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import nats
import psutil
from ccxt.async_support.binance import binance
from nats.aio.client import Client

from deploy.provision import provision_streams
from shared.contracts import subjects
from shared.contracts.plans import RebalancePlanned
from shared.contracts.wire import Meta, headers_of, payload_of
from tests.benchmarks.ledger_posting import durable_postgres
from tests.servers import EmbeddedNats
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, ExchangeProcess, Rows, Stack, eventually, plan_for

CONCURRENT = 16
TARGETS = {"BTC": "40", "ETH": "30", "SOL": "30"}
_ORDERS = """
SELECT o.*, p.body->>'decided_at' AS decided_at, (SELECT max(received_at) FROM executor.fills f
WHERE f.plan_id = o.plan_id) AS last_fill FROM executor.orders o JOIN executor.plans p USING (plan_id)
WHERE o.strategy_id LIKE $1 ORDER BY o.intended_at
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a number of orders took: seconds in all, milliseconds by plan, the executor's CPU seconds."""

    orders: int
    wall_s: float
    plans_ms: Sequence[float]
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Orders per second."""
        return self.orders / self.wall_s

    @property
    def p50_ms(self) -> float:
        """The median plan."""
        return statistics.median(self.plans_ms)


async def plans(stack: Stack, prefix: str, count: int) -> list[RebalancePlanned]:
    """First purchases of 1200 USDT by strategies of their own."""
    later = datetime.now(UTC) + timedelta(minutes=5)
    return [
        await plan_for(stack.exchange, f"{prefix}{n}", TARGETS, {"USDT": "1200"}, kind="initial", expires_at=later)
        for n in range(count)
    ]


async def closed(stack: Stack, prefix: str, count: int) -> bool:
    query = "SELECT FROM executor.plans WHERE strategy_id LIKE $1 AND outcome IS NOT NULL"
    return len(await stack.rows(query, f"{prefix}%")) == count


def cpu_s() -> float:
    """What the executor has used of the processors, in seconds."""
    mine = psutil.Process().children(recursive=True)
    times = [one.cpu_times() for one in mine if "services.order_executor" in one.cmdline()]
    return sum(one.user + one.system for one in times)


async def publish(client: Client, waiting: Sequence[RebalancePlanned]) -> None:
    """To the stream of plans, on a connection that is there already."""
    start = datetime.now(UTC)
    meta = [Meta(plan.plan_id, "benchmark", start, plan.plan_id, "") for plan in waiting]
    stream = client.jetstream()
    await asyncio.gather(
        *(
            stream.publish(subjects.plans(plan.strategy_id), payload_of(plan), headers=headers_of(plan, about))
            for plan, about in zip(waiting, meta, strict=True)
        )
    )


async def one_at_a_time(stack: Stack, client: Client, prefix: str, count: int) -> tuple[Taken, Rows]:
    """Plans one after the other, each once the one before has closed."""
    took_ms, start = [], time.perf_counter()
    for number in range(count):
        (plan,) = await plans(stack, f"{prefix}{number}-", 1)
        published = datetime.now(UTC)
        await publish(client, [plan])
        await stack.closed(plan)
        query = "SELECT max(received_at) AS at FROM executor.fills WHERE plan_id = $1"
        ((last,),) = await stack.rows(query, plan.plan_id)
        took_ms.append((last - published).total_seconds() * 1000)
    rows = await stack.rows(_ORDERS, f"{prefix}%")
    return Taken(len(rows), time.perf_counter() - start, took_ms), rows


async def all_at_once(stack: Stack, client: Client, prefix: str, count: int) -> tuple[Taken, Rows]:
    """As many plans as there are, as fast as the executor takes them."""
    waiting = await plans(stack, prefix, count)
    start, used_s = datetime.now(UTC), cpu_s()
    await publish(client, waiting)
    await eventually(lambda: closed(stack, prefix, count), 300, pause_s=0.25)  # the looking, too, takes time
    rows = await stack.rows(_ORDERS, f"{prefix}%")
    wall_s = (max(row["last_fill"] for row in rows) - start).total_seconds()
    return Taken(len(rows), wall_s, [wall_s * 1000], cpu_s() - used_s), rows


class Kept:
    """Two tables, each row by its key and nothing else."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def create(self) -> None:
        for table in ("orders", "replies"):
            await self._pool.execute(f"CREATE TABLE public.{table} (id bigserial PRIMARY KEY, name text, body jsonb)")

    async def orders(self, rows: Sequence[Any]) -> None:
        bodies = [{name: str(value) for name, value in row.items()} for row in rows]
        await self._insert("orders", [row["client_order_id"] for row in rows], bodies)

    async def replies(self, replies: Sequence[Any]) -> None:
        await self._insert("replies", [reply["clientOrderId"] for reply in replies], [each["info"] for each in replies])

    async def _insert(self, table: str, names: Sequence[str], bodies: Sequence[Any]) -> None:
        insert = f"INSERT INTO public.{table} (name, body) SELECT * FROM unnest($1::text[], $2::jsonb[])"  # noqa: S608
        await self._pool.execute(insert, names, [json.dumps(body) for body in bodies])


class BareClient:
    """ccxt's own client on an account of its own."""

    def __init__(self, exchange: Exchange) -> None:
        self._client = binance({"apiKey": exchange.key, "secret": exchange.secret, "enableRateLimit": False})
        self._client.has["fetchCurrencies"] = False
        self._client.options |= {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False}
        for name, url in self._client.urls["api"].items():
            if isinstance(url, str) and "/api/" in url:
                self._client.urls["api"][name] = exchange.url + url[url.index("/api/") :]

    async def open(self) -> None:
        await self._client.load_markets()

    async def close(self) -> None:
        await self._client.close()

    async def send(self, row: Any) -> Any:
        """One order as the executor sent it; the reply as ccxt gives it."""
        symbol, side = f"{row['asset']}/{row['quote']}", row["side"].lower()
        parameters = {"timeInForce": "IOC", "newClientOrderId": row["client_order_id"]}
        return await self._client.create_order(symbol, "limit", side, row["quantity"], row["limit_price"], parameters)

    async def trade(self, rows: Rows, at_once: int, kept: Kept | None = None) -> Taken:
        """Every phase's orders together, so many plans at a time; ``kept``: where they are written down."""
        phases: dict[tuple[str, int], list[Any]] = {}
        for row in rows:
            phases.setdefault((row["plan_id"], row["round"]), []).append(row)
        waiting, took_ms = iter(list(phases.values())), []

        async def worker() -> None:
            for phase in waiting:
                began = time.perf_counter()
                if kept is not None:
                    await kept.orders(phase)
                replies = await asyncio.gather(*(self.send(row) for row in phase))
                took_ms.append((time.perf_counter() - began) * 1000)
                if kept is not None:
                    await kept.replies(replies)

        start = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        return Taken(len(rows), time.perf_counter() - start, took_ms)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: plans one at a time, plans at once, each with replies later by so many milliseconds."""

    alone: int
    together: int
    reply_ms: Sequence[int]


async def durable_commit_ms(dsn: str) -> float:
    """The median of one-row transactions, one after the other: what any promise to remember costs here."""
    connection, took_ms = await asyncpg.connect(dsn), []
    await connection.execute("CREATE TABLE public.commits (number integer)")
    for number in range(100):
        began = time.perf_counter()
        await connection.execute("INSERT INTO public.commits VALUES ($1)", number)
        took_ms.append((time.perf_counter() - began) * 1000)
    await connection.close()
    return statistics.median(took_ms)


async def answer_later(exchange: Exchange, reply_ms: int) -> None:
    """Orders are answered so much later from now on."""
    await exchange.call("DELETE", "/control/faults")
    if reply_ms:
        rule = {"kind": "late_reply", "method": "POST", "path": "/api/v3/order", "delay_ms": reply_ms}
        answer = await exchange.call("POST", "/control/faults", rule)
        assert "id" in answer, answer


def compared(single: Taken, together: Taken, bare_single: Taken, bare_together: Taken) -> dict[str, object]:
    """The figures of one reply time."""
    return {
        "orders_alone": single.orders,
        "plan_to_last_fill_p50_ms": round(single.p50_ms, 1),
        "bare_phase_p50_ms": round(bare_single.p50_ms, 1),
        "plan_overhead": round(single.p50_ms / bare_single.p50_ms - 1, 2),
        "orders_together": together.orders,
        "executor_orders_per_s": round(together.per_s, 1),
        "executor_cpu_ms_per_order": round(1000 * together.cpu_s / together.orders, 2),
        "bare_orders_per_s": round(bare_together.per_s, 1),
        "overhead": round(bare_together.per_s / together.per_s - 1, 2),
    }


async def measure(dsn: str, folder: Path, sizes: Sizes) -> dict[str, object]:
    """All figures of one run."""
    server, process = EmbeddedNats(), ExchangeProcess(folder)
    exchange, other = Exchange(process), Exchange(process)
    figures: dict[str, object] = {"at_once": CONCURRENT, "durable_commit_ms": round(await durable_commit_ms(dsn), 2)}
    try:
        await provision_streams(server.url)
        for account in (exchange, other):
            await account.start()
            await account.deposit("first", "USDT", "100000000")
        stack = stack_of(server.url, dsn, exchange)
        await stack.open()
        stack.process()
        client, bare = await nats.connect(server.url), BareClient(other)
        await bare.open()
        pool = await asyncpg.create_pool(dsn, min_size=CONCURRENT, max_size=CONCURRENT)
        kept = Kept(pool)
        await kept.create()
        await one_at_a_time(stack, client, "warm", 3)
        for reply_ms in (0, *sizes.reply_ms):
            await answer_later(exchange, reply_ms)
            single, single_rows = await one_at_a_time(stack, client, f"alone{reply_ms}-", sizes.alone)
            together, rows = await all_at_once(stack, client, f"many{reply_ms}-", sizes.together)
            await bare.trade(single_rows[:9], 1)
            bare_single = await bare.trade(single_rows, 1)
            bare_together = await bare.trade(rows, CONCURRENT)
            kept_single = await bare.trade(single_rows, 1, kept)
            kept_together = await bare.trade(rows, CONCURRENT, kept)
            name = f"reply_{reply_ms}_ms" if reply_ms else "loopback"
            figures[name] = {
                **compared(single, together, bare_single, bare_together),
                "kept_phase_p50_ms": round(kept_single.p50_ms, 1),
                "kept_orders_per_s": round(kept_together.per_s, 1),
                "kept_overhead": round(bare_together.per_s / kept_together.per_s - 1, 2),
            }
        await client.close()
        await pool.close()
        await stack.close()
        await bare.close()
        for account in (exchange, other):
            await account.stop()
    finally:
        process.process.end()
        server.stop()
    return figures


def stack_of(nats_url: str, dsn: str, exchange: Exchange) -> Stack:
    """The executor's surroundings, straight to the exchange and with guards that let a benchmark through."""
    way = FaultyWay(exchange.url)
    way.url = exchange.url
    stack = Stack(nats_url, dsn, exchange, way)
    stack.further = {
        "TRIMTAB_CONCURRENT_PLANS": str(CONCURRENT),
        "TRIMTAB_GUARD_ORDERS_PER_MINUTE": "1000000",
        "TRIMTAB_GUARD_DAY_NOTIONAL": "1000000000",
        "TRIMTAB_REQUEST_TIMEOUT_MS": "5000",
    }
    return stack


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alone", type=int, default=30, help="plans one at a time")
    parser.add_argument("--plans", type=int, default=200, help="plans at once")
    parser.add_argument("--reply-ms", type=int, nargs="*", default=[20, 50, 100], help="reply times beside loopback's")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = Sizes(options.alone, options.plans, options.reply_ms)
    with durable_postgres() as dsn, tempfile.TemporaryDirectory(prefix="trimtab-benchmark-") as folder:
        figures = asyncio.run(measure(dsn, Path(folder), sizes))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        if not isinstance(value, dict):
            print(f"{name:26} {value}")
            continue
        print(name)
        for inner, figure in value.items():
            print(f"  {inner:26} {figure}")


if __name__ == "__main__":
    main()

"""Executors frozen at random moments while another stands by. Shared by the test and by ``check_freezes``."""

import asyncio
import math
import random
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from tests.services.order_executor.rig import Process, Stack, eventually, plan_for
from tests.services.order_executor.test_plans import THREE, check_books

LEASE_S = 3.0
PLANS_EVERY_S = 0.4
_WATCH_EPOCHS = """
CREATE TABLE executor.epochs (epoch bigint PRIMARY KEY, began timestamptz NOT NULL);
CREATE FUNCTION executor.note_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO executor.epochs VALUES (NEW.epoch, clock_timestamp()) ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;
CREATE TRIGGER note_epoch BEFORE INSERT OR UPDATE ON executor.accounts
    FOR EACH ROW EXECUTE FUNCTION executor.note_epoch();
"""


@dataclass
class Soak:
    """What happened."""

    freezes: list[float] = field(default_factory=list)
    takeovers: int = 0
    ended: int = 0
    orders: int = 0
    stale: list[str] = field(default_factory=list)
    plans: int = 0

    def __str__(self) -> str:
        lengths = ", ".join(f"{seconds:.1f}" for seconds in self.freezes)
        return (
            f"{len(self.freezes)} freezes ({lengths} s), {self.takeovers} take-overs, {self.ended} revived executors "
            f"ended themselves; {self.plans} plans, {self.orders} orders, {len(self.stale)} with a stale epoch"
        )


class Freezer:
    """Two executors; whichever writes is frozen now and then, and started anew when it has ended."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self._arrivals: dict[str, datetime] = {}
        self._executors: list[Process] = []
        self._born = 0
        self.soak = Soak()

    async def run(self, freezes: int, shortest_s: float, longest_s: float) -> Soak:
        """Freeze so often, for times drawn evenly on a log scale; then every plan to its end, and all books compared.

        Raises AssertionError when they do not agree, or an order carries an epoch that had ended when it arrived.
        """
        stack = self._stack
        stack.further = {"TRIMTAB_LEASE_S": str(LEASE_S), "TRIMTAB_GUARD_ORDERS_PER_MINUTE": "100000"}
        await stack.exchange.deposit("first", "USDT", "1000000")
        await stack.execute(_WATCH_EPOCHS)
        stack.way.on_order = self._arrived
        self._executors = [self._executor(), self._executor()]
        await eventually(lambda: stack.rows("SELECT FROM executor.accounts WHERE opened_at IS NOT NULL"), 40)
        planning = asyncio.create_task(self._plan())
        for _ in range(freezes):
            length_s = math.exp(self._random.uniform(math.log(shortest_s), math.log(longest_s)))
            await asyncio.sleep(self._random.uniform(0.05, 1.0))
            await self._freeze(length_s)
        planning.cancel()
        await self._all_closed()
        await self._judge()
        await check_books(stack)
        return self.soak

    def _arrived(self, moment: str) -> None:
        if moment == "before":
            name = parse_qs(self._stack.way.orders_seen[-1])["newClientOrderId"][0]
            self._arrivals.setdefault(name, datetime.now(UTC))

    def _executor(self) -> Process:
        self._born += 1
        return self._stack.process(f"f{self._born}")

    async def _plan(self) -> None:
        while True:
            until = datetime.now(UTC) + timedelta(seconds=300)
            plan = await plan_for(
                self._stack.exchange, f"s{self.soak.plans}", THREE, {"USDT": "600"}, kind="initial", expires_at=until
            )
            await self._stack.send_plan(plan)
            self.soak.plans += 1
            await asyncio.sleep(PLANS_EVERY_S)

    async def _freeze(self, length_s: float) -> None:
        """Freeze the writer of this moment."""
        victim = await self._writer()
        began = time.monotonic()
        victim.send(signal.SIGSTOP)
        await asyncio.sleep(length_s)
        victim.send(signal.SIGCONT)
        self.soak.freezes.append(time.monotonic() - began)
        for place, process in enumerate(self._executors):
            if process.code is not None:
                assert process.code == 3, f"an executor ended with code {process.code}"
                self.soak.ended += 1
                self._executors[place] = self._executor()

    async def _writer(self) -> Process:
        async def found() -> Process | None:
            (row,) = await self._stack.rows("SELECT split_part(holder, '.', 1) AS instance FROM executor.accounts")
            alive = [process for process in self._executors if process.code is None]
            return next((process for process in alive if process.log.stem == f"executor-{row['instance']}"), None)

        writer: Process = await eventually(found)
        return writer

    async def _all_closed(self) -> None:
        async def closed() -> bool:
            rows = await self._stack.rows("SELECT FROM executor.plans WHERE outcome IS NOT NULL")
            for place, process in enumerate(self._executors):
                if process.code is not None:
                    self._executors[place] = self._executor()
            return len(rows) >= self.soak.plans

        await eventually(closed, 60)

    async def _judge(self) -> None:
        ended = {
            row["epoch"]: row["ended"]
            for row in await self._stack.rows(
                "SELECT epoch, lead(began) OVER (ORDER BY epoch) AS ended FROM executor.epochs"
            )
        }
        self.soak.takeovers = len(ended) - 1
        book = {order["clientOrderId"] for order in await self._stack.exchange.orders()}
        self.soak.orders = len(book)
        for row in await self._stack.rows("SELECT client_order_id AS name, epoch, intended_at FROM executor.orders"):
            end = ended[row["epoch"]]
            if end is None:
                continue
            has_arrived_late = row["name"] in book and self._arrivals[row["name"]] > end
            if has_arrived_late or row["intended_at"] > end:
                self.soak.stale.append(row["name"])

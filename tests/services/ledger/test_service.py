"""The ledger as a process, on real NATS and PostgreSQL, while things are killed under it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path

import asyncpg
import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from services.ledger.adapters.postgres_checks import check_books
from services.ledger.requests import Body, Transfer
from shared.contracts import subjects
from shared.contracts.orders import DepositObserved
from shared.contracts.wire import MESSAGE_ID_HEADER, headers_of, payload_of
from tests.servers import EmbeddedNats, EmbeddedPostgres
from tests.services.ledger.messages import Scene, meta_of

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

D = Decimal
SCENE = Scene()
DEADLINE_S = 40.0


class Ledger:
    """``python -m services.ledger`` as a child process."""

    def __init__(self, nats_url: str, dsn: str, log: Path) -> None:
        self._environment = os.environ | {"TRIMTAB_NATS_URL": nats_url, "TRIMTAB_POSTGRES_DSN": dsn}
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.ledger"], env=self._environment, stdout=log, stderr=log
            )

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code."""
        self._process.send_signal(number)
        return self._process.wait(15)

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def running(nats_url: str, dsn: str, folder: Path) -> Iterator[Ledger]:
    ledger = Ledger(nats_url, dsn, folder / "ledger.log")
    try:
        yield ledger
    finally:
        ledger.end(signal.SIGKILL)
        print(ledger.log[-4000:])  # noqa: T201 - shown when the test fails


@asynccontextmanager
async def jetstream_at(url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    try:
        yield client.jetstream(timeout=5)
    finally:
        await client.close()


def subject_of(body: Body) -> str:
    if isinstance(body, DepositObserved):
        return subjects.deposits(body.venue)
    if isinstance(body, Transfer):
        return subjects.transfer_commands(body.venue)
    return subjects.orders_filled(body.strategy_id)


async def publish(jetstream: JetStreamContext, bodies: Sequence[Body], copy: int = 1) -> None:
    """Store messages; a second ``copy`` is stored beside the first, as after the server's window of deduplication."""
    for body in bodies:
        headers = headers_of(body, meta_of(body))
        headers[MESSAGE_ID_HEADER] += f".{copy}"
        await jetstream.publish(subject_of(body), payload_of(body), headers=headers)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        try:
            if await condition():
                return
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass  # the server is being killed or comes back
        assert asyncio.get_running_loop().time() < deadline, f"not in {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.02)


async def until_sql(dsn: str, condition: str) -> None:
    async def true() -> bool:
        connection = await asyncpg.connect(dsn, timeout=2)
        try:
            return bool(await connection.fetchval(f"SELECT {condition}"))
        finally:
            await connection.close()

    await until(true, condition)


async def posted(dsn: str, count: int) -> None:
    await until_sql(dsn, f"sequence >= {count} FROM ledger.journal_head")


async def relayed(dsn: str) -> None:
    await until_sql(dsn, "NOT EXISTS (SELECT FROM ledger.outbox WHERE published_at IS NULL)")


async def bodies_of(jetstream: JetStreamContext, stream: str, subject: str) -> list[dict[str, object]]:
    """Every message of a subject in a stream, in order."""
    count = (await jetstream.stream_info(stream, subjects_filter=subject)).state.subjects or {}
    subscription = await jetstream.pull_subscribe(
        subject, stream=stream, config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    )
    found: list[dict[str, object]] = []
    while len(found) < sum(count.values()):
        found += [json.loads(message.data) for message in await subscription.fetch(100, timeout=5)]
    return found


async def test_ledger_when_it_is_killed_again_and_again_posts_every_fill_once(
    provisioned_nats: EmbeddedNats, postgres_dsn: str, tmp_path: Path
) -> None:
    """600 fills, each stored twice, while the process is killed four times."""
    before: list[Body] = [SCENE.deposit(amount="1000"), SCENE.fund(amount="900")]
    fills: list[Body] = [SCENE.fill(number, quote_quantity="1", fee="0.000001") for number in range(1, 601)]
    with running(provisioned_nats.url, postgres_dsn, tmp_path) as ledger:
        async with jetstream_at(provisioned_nats.url) as jetstream:
            await _shorten_ack_wait(jetstream, "ORDERS", "ledger-fills")
            for number, body in enumerate(before, start=1):
                await publish(jetstream, [body])
                await posted(postgres_dsn, number)
            feeding = asyncio.create_task(publish(jetstream, fills))
            for reached in (50, 150, 300, 450):
                await posted(postgres_dsn, reached)
                ledger.end(signal.SIGKILL)
                ledger.start()
            await feeding
            await publish(jetstream, [*before, *fills], copy=2)
            await posted(postgres_dsn, 602)
            await until(lambda: _all_answered(jetstream), "all messages answered")
            await relayed(postgres_dsn)
            told = await bodies_of(jetstream, "LEDGER", "ledger.paper")
            position = await jetstream.get_last_msg("POSITIONS", "positions.paper-s1")
    check = await check_books(postgres_dsn)
    assert (check.transactions, check.differences) == (602, ())
    assert check.totals["strategy"] == {"BTC": 600 * D("0.009999"), "USDT": 300}
    assert [message["sequence"] for message in told] == list(range(1, 603))
    assert json.loads(position.data or b"") == {
        "strategy_id": "paper-s1",
        "venue": "paper",
        "version": 601,
        "fills_posted": 600,
        "holdings": {"BTC": "5.9994", "USDT": "300"},
        "contributed": "900",
        "fees_paid": {"BTC": "0.0006"},
        "contributed_in": "900",
        "withdrawn": "0",
    }


async def _shorten_ack_wait(jetstream: JetStreamContext, stream: str, consumer: str) -> None:
    """What a killed process had in hand comes again after a second, so that the test need not wait for it."""
    info = await jetstream.consumer_info(stream, consumer)
    info.config.ack_wait = 1
    await jetstream.add_consumer(stream, info.config)


async def _all_answered(jetstream: JetStreamContext) -> bool:
    info = await jetstream.consumer_info("ORDERS", "ledger-fills")
    return not info.num_pending and not info.num_ack_pending


async def test_ledger_when_both_servers_are_killed_under_it_goes_on_by_itself(
    provisioned_nats: EmbeddedNats, fresh_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    dsn = fresh_postgres.dsn_of("trimtab")
    with running(provisioned_nats.url, dsn, tmp_path) as ledger:
        async with jetstream_at(provisioned_nats.url) as jetstream:
            await publish(jetstream, [SCENE.deposit()])
            await posted(dsn, 1)
            await publish(jetstream, [SCENE.fund()])
            await posted(dsn, 2)
            await asyncio.to_thread(fresh_postgres.kill)
            await publish(jetstream, [SCENE.fill(number, quote_quantity="1") for number in range(1, 101)])
            await asyncio.to_thread(fresh_postgres.restart)
            await posted(dsn, 102)
            await publish(jetstream, [SCENE.fill(number, quote_quantity="1") for number in range(101, 201)])
            await asyncio.to_thread(provisioned_nats.kill)
            await asyncio.to_thread(provisioned_nats.restart)
            await posted(dsn, 202)
            await relayed(dsn)
            told = await bodies_of(jetstream, "LEDGER", "ledger.paper")
        assert ledger.end(signal.SIGTERM) == 0
    check = await check_books(dsn)
    assert (check.transactions, check.differences) == (202, ())
    assert [message["sequence"] for message in told] == list(range(1, 203))


async def test_transfers_when_refused_and_when_waiting_are_answered_once(
    provisioned_nats: EmbeddedNats, postgres_dsn: str, tmp_path: Path
) -> None:
    with running(provisioned_nats.url, postgres_dsn, tmp_path):
        async with jetstream_at(provisioned_nats.url) as jetstream:
            await publish(jetstream, [SCENE.deposit(amount="700")])
            await posted(postgres_dsn, 1)
            await publish(jetstream, [SCENE.fund(), SCENE.fund(2, "100.01", "s2"), SCENE.release(1), SCENE.fund()])
            await publish(jetstream, [SCENE.withdraw(1, 7, "s3", "BTC", "0.0005")])
            await until_sql(postgres_dsn, "count(*) = 4 FROM ledger.transfers")
            await publish(jetstream, [SCENE.fund(3, "100", "s3")])  # nobody queues behind a waiting release
            await posted(postgres_dsn, 3)
            await publish(jetstream, [SCENE.fill(1)])
            await posted(postgres_dsn, 5)
            await publish(jetstream, [SCENE.fill(2, quantity="0.001", quote_quantity="40", fee="0", strategy="s3")])
            await publish(jetstream, [SCENE.withdraw(1, 7, "s3", "BTC", "0.0005")], copy=2)
            await posted(postgres_dsn, 7)
            await relayed(postgres_dsn)
            settled = {
                strategy: await bodies_of(jetstream, "TRANSFERS", f"transfers.paper-{strategy}")
                for strategy in ("s1", "s2", "s3")
            }
            wallet = await jetstream.get_last_msg("WALLETS", "wallets.paper")
    assert [(each["purpose"], each["posted"], each["amounts"]) for each in settled["s1"]] == [
        ("fund", True, {"USDT": "600"}),
        ("release", True, {"BTC": "0.00999", "USDT": "200"}),
    ]
    assert [(each["posted"], each["reason"]) for each in settled["s2"]] == [
        (False, "wallet holds 100 USDT, needs 100.01")
    ]
    assert [
        (each["purpose"], each["amounts"], each["position_version"], each["value_usdt"]) for each in settled["s3"]
    ] == [
        ("fund", {"USDT": "100"}, 1, "100"),
        ("withdraw", {"BTC": "0.0005"}, 3, "20"),
    ]
    assert json.loads(wallet.data or b"")["balances"] == {"BTC": "0.01049", "USDT": "200"}
    assert (await check_books(postgres_dsn)).differences == ()


async def test_ledger_when_told_to_stop_while_it_cannot_post_ends_at_once_and_loses_nothing(
    provisioned_nats: EmbeddedNats, postgres_dsn: str, tmp_path: Path
) -> None:
    blocker = await asyncpg.connect(postgres_dsn)
    try:
        with running(provisioned_nats.url, postgres_dsn, tmp_path) as ledger:
            async with jetstream_at(provisioned_nats.url) as jetstream, blocker.transaction():
                await blocker.execute("SELECT FROM ledger.journal_head FOR UPDATE")
                await publish(jetstream, [SCENE.deposit()])
                await until_sql(postgres_dsn, "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
                started = asyncio.get_running_loop().time()
                assert ledger.end(signal.SIGTERM) == 0
                assert asyncio.get_running_loop().time() - started < 8
            ledger.start()
            await posted(postgres_dsn, 1)
    finally:
        await blocker.close()

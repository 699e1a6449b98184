"""NATS loses everything: the streams are made anew from the outboxes, message for message."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from deploy.provision import provision_streams
from shared.contracts import subjects
from shared.contracts.catalogue import LEDGER_DEPOSITS
from shared.messaging.database_postgres import create_pool
from shared.messaging.outbox_postgres import OutboxRelay, enqueue
from shared.messaging.rebuilding_postgres import pattern_of, rebuild_streams
from tests.messaging.support import deposit, meta_of, until_true

pytestmark = pytest.mark.servers

LOST = ("DEPOSITS", "LEDGER", "WALLETS", "NOTIFICATIONS")


@pytest.fixture
async def pool(postgres_dsn):
    made = await create_pool(postgres_dsn, "tests")
    yield made
    await made.close()


async def relay_once(pool, broker, schemas=("registry", "executor", "ledger")):
    """Everything that waits in the outboxes."""
    for schema in schemas:
        relay = OutboxRelay(pool, schema, broker)
        while await relay._relay_batch():
            pass


async def fill(pool, first: int, count: int):
    """Events of three streams in two outboxes; a last value is told several times."""
    async with pool.acquire() as connection, connection.transaction():
        for number in range(first, first + count):
            for schema, subject in (
                ("executor", subjects.deposits("paper")),
                ("ledger", subjects.ledger("paper")),
                ("ledger", subjects.wallets(f"v{number % 3}")),
                ("registry", subjects.notifications(f"s{number % 5}")),
                ("ledger", subjects.notifications("paper")),
            ):
                name = f"{schema}.{subject}.{number}"
                await enqueue(connection, schema, subject, deposit(number), meta_of(name))


async def content(broker, stream: str) -> list[tuple[str, str, bytes]]:
    """Id, subject and payload of every message, in order of subject, then of the stream."""
    state = (await broker.jetstream.stream_info(stream)).state
    found = []
    for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
        with suppress(NotFoundError):  # replaced by a newer value
            message = await broker.jetstream.get_msg(stream, sequence)
            found.append((message.headers["ce-id"], message.subject, message.data))
    return sorted(found, key=lambda one: one[1])


async def wiped(nats, brokers):
    """The server without its store, provisioned, and a connection to it."""
    nats.kill()
    shutil.rmtree(Path(nats._folder) / "store")
    nats.restart()
    return await provisioned(nats, brokers)


async def provisioned(nats, brokers):
    await provision_streams(nats.url)
    broker, _ = brokers(nats.url)
    await broker.start()
    return broker


async def test_streams_when_nats_lost_its_store_are_rebuilt_message_for_message(fresh_nats, brokers, pool):
    broker = await provisioned(fresh_nats, brokers)
    await fill(pool, 0, 150)
    await relay_once(pool, broker)
    before = {stream: await content(broker, stream) for stream in LOST}
    assert {stream: len(found) for stream, found in before.items()} == {
        "DEPOSITS": 150,
        "LEDGER": 150,
        "WALLETS": 3,
        "NOTIFICATIONS": 300,
    }
    broker = await wiped(fresh_nats, brokers)
    # What a service says before the rebuild is neither lost nor the end of the order.
    await fill(pool, 150, 1)
    await relay_once(pool, broker)
    found = {one.stream: one for one in await rebuild_streams(pool, broker)}
    assert (found["LEDGER"].there, found["LEDGER"].expected, found["LEDGER"].rebuilt) == (1, 151, True)
    assert not found["ORDERS"].rebuilt
    after = {stream: await content(broker, stream) for stream in LOST}
    added = {stream: [one for one in after[stream] if one not in before[stream]] for stream in LOST}
    assert {stream: [one[0].rpartition(".")[2] for one in rows] for stream, rows in added.items()} == {
        "DEPOSITS": ["150"],
        "LEDGER": ["150"],
        "WALLETS": ["150"],
        "NOTIFICATIONS": ["150", "150"],
    }
    without = {stream: [one for one in after[stream] if one not in added[stream]] for stream in LOST}
    last_value_replaced = {one for one in before["WALLETS"] if one not in after["WALLETS"]}
    assert {one[1] for one in last_value_replaced} == {"wallets.v0"}
    before["WALLETS"] = [one for one in before["WALLETS"] if one not in last_value_replaced]
    assert without == before
    assert not any(one.rebuilt for one in await rebuild_streams(pool, broker))


async def test_rebuild_when_it_died_half_way_is_finished_by_the_next(fresh_nats, brokers, pool):
    broker = await provisioned(fresh_nats, brokers)
    await fill(pool, 0, 20)
    await relay_once(pool, broker)
    before = await content(broker, "DEPOSITS")
    # Where it may have died: the stream is empty, its events still count as relayed.
    await broker.jetstream.delete_stream("DEPOSITS")
    await provision_streams(fresh_nats.url)
    assert await content(broker, "DEPOSITS") == []
    await rebuild_streams(pool, broker)
    assert await content(broker, "DEPOSITS") == before


async def test_consumer_when_its_stream_was_rebuilt_begins_at_the_beginning(fresh_nats, brokers, pool):
    broker = await provisioned(fresh_nats, brokers)
    await fill(pool, 0, 5)
    await relay_once(pool, broker)
    broker = await wiped(fresh_nats, brokers)
    await rebuild_streams(pool, broker)
    spec = LEDGER_DEPOSITS
    await until_true(lambda: is_pending(broker, spec, 5))
    everything = await rebuild_streams(pool, broker, everything=True)
    assert all(one.rebuilt for one in everything)
    await until_true(lambda: is_pending(broker, spec, 5))


async def is_pending(broker, spec, count: int) -> bool:
    return (await broker.jetstream.consumer_info(spec.stream, spec.durable)).num_pending == count


@pytest.mark.parametrize(
    ("subject", "pattern"),
    [
        ("orders.>", "^orders[.].+$"),
        ("orders.*.filled", "^orders[.][^.]+[.]filled$"),
        ("wallets.*", "^wallets[.][^.]+$"),
    ],
)
def test_pattern_when_made_of_a_subject_matches_the_same(subject, pattern):
    assert pattern_of(subject) == pattern

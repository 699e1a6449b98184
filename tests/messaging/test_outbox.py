"""The outbox on real PostgreSQL and NATS: everything committed arrives, once, in order; nothing else does."""

import asyncio
import json
from collections import defaultdict
from contextlib import asynccontextmanager

import asyncpg
import pytest

from shared.core.errors import Stop
from shared.messaging import outbox_postgres
from shared.messaging.database_postgres import create_pool
from shared.messaging.outbox_postgres import OUTBOX_DDL, OutboxRelay, enqueue
from tests.messaging.support import declare, deposit, meta_of, stream, until, until_true

TRIALS = stream("TRIALS", "trials.*")
VALUES = stream("VALUES", "values.*", last_value_only=True, discard_new=False, deny_delete=False)


@pytest.fixture
async def pool(postgres_dsn):
    async with trial_pool(postgres_dsn) as made:
        yield made


@asynccontextmanager
async def trial_pool(dsn):
    made = await create_pool(dsn, "tests")
    await made.execute("CREATE SCHEMA trial")
    await made.execute(OUTBOX_DDL.format(schema="trial"))
    yield made
    await asyncio.wait_for(made.close(), 10)


async def started(nats, brokers, *streams):
    await declare(nats.url, list(streams) or [TRIALS], [])
    broker, _ = brokers(nats.url)
    await broker.start()
    return broker


async def add(pool, number, subject="trials.a"):
    async with pool.acquire() as connection, connection.transaction():
        await enqueue(connection, "trial", subject, deposit(number), meta_of(f"m{number}"))


async def stored(broker, name="TRIALS") -> list:
    state = (await broker.jetstream.stream_info(name)).state
    return [await broker.jetstream.get_msg(name, n) for n in range(state.first_seq, state.last_seq + 1)]


async def all_published(pool) -> bool:
    return not await pool.fetchval("SELECT count(*) FROM trial.outbox WHERE published_at IS NULL")


async def relaying(pool, broker):
    relay = OutboxRelay(pool, "trial", broker)
    return relay, asyncio.create_task(relay.run())


async def test_relay_when_events_are_committed_publishes_each_once_in_order(fresh_nats, brokers, pool):
    broker = await started(fresh_nats, brokers)
    for number in range(600):
        await add(pool, number, f"trials.{number % 7}")
    relay, task = await relaying(pool, broker)
    await until_true(lambda: all_published(pool), within_s=30)
    messages = await stored(broker)
    assert len(messages) == 600
    lanes = defaultdict(list)
    for message in messages:
        lanes[message.subject].append(int(message.headers["ce-id"][1:]))
    assert all(numbers == sorted(numbers) for numbers in lanes.values())
    assert messages[0].headers["ce-type"] == "trimtab.deposit.observed"
    assert relay.published == 600
    task.cancel()


async def test_relay_when_woken_after_commit_publishes_at_once(fresh_nats, brokers, pool, monkeypatch):
    monkeypatch.setattr(outbox_postgres, "POLL_S", 30.0)
    broker = await started(fresh_nats, brokers)
    relay, task = await relaying(pool, broker)
    await asyncio.sleep(0.1)
    await add(pool, 1)
    relay.wake()
    assert await until_true(lambda: all_published(pool)) < 2
    task.cancel()


async def test_look_of_the_relay_when_much_was_published_since_the_last_vacuum_reads_next_to_nothing(pool):
    async with pool.acquire() as connection:
        await connection.execute(
            "ALTER TABLE trial.outbox SET (autovacuum_enabled = off);"
            "INSERT INTO trial.outbox (message_id, subject, headers, payload) "
            "SELECT 'm' || n, 'trials.a', '{}', 'payload' FROM generate_series(1, 5000) n;"
            "UPDATE trial.outbox SET published_at = now()"
        )
        for _ in range(2):  # the first one leaves marks at what it had to read
            async with connection.transaction():
                await connection.fetchrow(outbox_postgres._BEGIN, "outbox.trial")
                look = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {outbox_postgres._waiting('trial')}"
                (read,) = json.loads(await connection.fetchval(look, []))
    assert read["Plan"]["Actual Rows"] == 0
    assert read["Plan"]["Shared Hit Blocks"] + read["Plan"]["Shared Read Blocks"] < 30


async def test_enqueue_when_rolled_back_publishes_nothing(fresh_nats, brokers, pool):
    broker = await started(fresh_nats, brokers)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await enqueue(connection, "trial", "trials.a", deposit(1), meta_of("m1"))
        await transaction.rollback()
    await add(pool, 2)
    _, task = await relaying(pool, broker)
    await until_true(lambda: all_published(pool))
    assert [message.headers["ce-id"] for message in await stored(broker)] == ["m2"]
    task.cancel()


async def test_enqueue_when_the_same_event_comes_twice_keeps_one(pool):
    await add(pool, 1)
    await add(pool, 1)
    assert await pool.fetchval("SELECT count(*) FROM trial.outbox") == 1


async def test_enqueue_when_the_id_names_another_event_stops(pool):
    await add(pool, 1)
    async with pool.acquire() as connection:
        with pytest.raises(Stop, match="m1"):
            await enqueue(connection, "trial", "trials.a", deposit(2), meta_of("m1"))


async def test_relays_when_three_run_publish_each_event_once(fresh_nats, brokers, pool):
    broker = await started(fresh_nats, brokers)
    tasks = [(await relaying(pool, broker))[1] for _ in range(3)]
    for number in range(300):
        await add(pool, number)
    await until_true(lambda: all_published(pool), within_s=20)
    ids = [int(message.headers["ce-id"][1:]) for message in await stored(broker)]
    assert ids == list(range(300))
    for task in tasks:
        task.cancel()


async def test_relay_when_one_subject_fails_keeps_its_order_and_others_flow(fresh_nats, brokers, pool):
    broker = await started(fresh_nats, brokers)
    for number in range(3):
        await add(pool, number, "values.a")
    await add(pool, 3, "trials.a")
    _, task = await relaying(pool, broker)
    await until_true(lambda: published(pool, "trials.a"))
    assert not await published(pool, "values.a")
    await declare(fresh_nats.url, [VALUES], [])
    await until_true(lambda: all_published(pool), within_s=15)
    (last,) = await stored(broker, "VALUES")
    assert last.headers["ce-id"] == "m2"
    task.cancel()


async def published(pool, subject) -> bool:
    return bool(
        await pool.fetchval("SELECT bool_and(published_at IS NOT NULL) FROM trial.outbox WHERE subject = $1", subject)
    )


async def test_relay_when_nats_is_killed_and_restarted_loses_and_repeats_nothing(fresh_nats, brokers, pool):
    broker = await started(fresh_nats, brokers)
    _, task = await relaying(pool, broker)
    for number in range(150):
        await add(pool, number)
        if number == 50:
            fresh_nats.kill()
    await asyncio.to_thread(fresh_nats.restart)
    await until_true(lambda: all_published(pool), within_s=30)
    ids = [int(message.headers["ce-id"][1:]) for message in await stored(broker)]
    assert ids == list(range(150))
    task.cancel()


async def test_relay_when_postgres_is_killed_and_restarted_loses_and_repeats_nothing(
    fresh_nats, brokers, fresh_postgres
):
    async with trial_pool(fresh_postgres.dsn_of("trimtab")) as pool:
        broker = await started(fresh_nats, brokers)
        for number in range(400):
            await add(pool, number, f"trials.{number % 2}")
        _, task = await relaying(pool, broker)
        await until_true(lambda: some_stored(broker))
        await asyncio.to_thread(fresh_postgres.restart)
        await until_true(lambda: answered(pool), within_s=30)
        await until_true(lambda: all_published(pool), within_s=30)
        ids = sorted(int(message.headers["ce-id"][1:]) for message in await stored(broker))
        assert ids == list(range(400))
        task.cancel()


async def some_stored(broker) -> bool:
    return bool((await broker.jetstream.stream_info("TRIALS")).state.messages)


async def answered(pool) -> bool:
    try:
        return bool(await pool.fetchval("SELECT true"))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False


async def test_relay_when_another_holds_the_lock_for_ever_takes_over_after_the_server_ends_it(
    fresh_nats, brokers, pool, postgres_dsn
):
    broker = await started(fresh_nats, brokers)
    frozen = await asyncpg.connect(postgres_dsn, server_settings={"idle_in_transaction_session_timeout": "1000"})
    await frozen.execute("BEGIN")
    assert await frozen.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended('outbox.trial', 0))")
    await add(pool, 1)
    _, task = await relaying(pool, broker)
    await until_true(lambda: all_published(pool), within_s=10)
    task.cancel()
    frozen.terminate()


async def test_pool_when_used_limits_statements_locks_and_idle_transactions(pool):
    settings = {
        name: await pool.fetchval(f"SHOW {name}")
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
    }
    assert settings == {
        "statement_timeout": "10s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "20s",
        "TimeZone": "UTC",
    }


async def test_pool_when_the_database_comes_later_waits_for_it(fresh_postgres):
    dsn = fresh_postgres.dsn_of("trimtab")
    fresh_postgres.kill()
    opening = asyncio.create_task(create_pool(dsn, "tests"))
    await until(lambda: not opening.done())
    await asyncio.to_thread(fresh_postgres.restart)
    pool = await asyncio.wait_for(opening, 20)
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()

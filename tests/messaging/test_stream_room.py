"""Streams that refuse events when they are full: nothing is lost meanwhile, and room that was given stays."""

import dataclasses

import pytest

from shared.core.errors import Refused, RetryLater
from shared.messaging import provisioning, stream_room
from shared.messaging.provisioning import provision
from shared.messaging.stream_room import REFUSING, StreamRoom, enlarge, room_of
from tests.messaging.support import stream, until_true
from tests.messaging.test_outbox import add, all_published, relaying, started, stored, trial_pool

pytestmark = pytest.mark.servers

SMALL = dataclasses.replace(stream("TRIALS", "trials.*"), max_bytes=20_000)


@pytest.fixture
async def pool(postgres_dsn):
    async with trial_pool(postgres_dsn) as made:
        yield made


@pytest.fixture
def trials_refuse(monkeypatch):
    monkeypatch.setattr(stream_room, "REFUSING", ("TRIALS",))


@pytest.mark.usefixtures("trials_refuse")
async def test_relay_when_the_stream_is_full_keeps_everything_until_it_has_room(fresh_nats, brokers, pool):
    broker = await started(fresh_nats, brokers, SMALL)
    for number in range(200):
        await add(pool, number)
    relay, task = await relaying(pool, broker)

    async def refused() -> bool:
        return bool(relay._stuck)

    await until_true(refused, within_s=30)
    full = await room_of(broker.jetstream, "TRIALS")
    assert 0 < full.messages < 200
    assert full.percent > 90
    assert await pool.fetchval("SELECT count(*) FROM trial.outbox WHERE published_at IS NULL") >= 200 - full.messages

    await enlarge(broker.jetstream, "TRIALS", 1_000_000)

    async def relayed() -> bool:
        return await all_published(pool)

    await until_true(relayed, within_s=60)
    assert [int(one.headers["ce-id"][1:]) for one in await stored(broker)] == list(range(200))
    task.cancel()


@pytest.mark.usefixtures("trials_refuse")
async def test_room_when_it_was_given_stays_after_provisioning(fresh_nats, brokers, monkeypatch):
    broker = await started(fresh_nats, brokers, SMALL)
    await enlarge(broker.jetstream, "TRIALS", 50_000)
    monkeypatch.setattr(provisioning, "STREAMS", (dataclasses.replace(SMALL, duplicate_window_s=60),))
    monkeypatch.setattr(provisioning, "CONSUMERS", ())
    await provision(fresh_nats.url)
    config = (await broker.jetstream.stream_info("TRIALS")).config
    assert (config.max_bytes, config.duplicate_window) == (50_000, 60)
    monkeypatch.setattr(provisioning, "STREAMS", (dataclasses.replace(SMALL, max_bytes=80_000),))
    await provision(fresh_nats.url)
    assert (await broker.jetstream.stream_info("TRIALS")).config.max_bytes == 80_000


@pytest.mark.usefixtures("trials_refuse")
@pytest.mark.parametrize(
    ("name", "limit_bytes", "reason"),
    [
        ("TRIALS", 20_000, "does not enlarge TRIALS"),
        ("TRIALS", 10_000, "does not enlarge TRIALS"),
        ("OTHERS", 10**6, "has no limit"),
    ],
)
async def test_enlarge_when_it_would_not_give_room_is_refused(fresh_nats, brokers, name, limit_bytes, reason):
    broker = await started(fresh_nats, brokers, SMALL)
    with pytest.raises(Refused, match=reason):
        await enlarge(broker.jetstream, name, limit_bytes)
    assert (await broker.jetstream.stream_info("TRIALS")).config.max_bytes == 20_000


@pytest.mark.usefixtures("trials_refuse")
async def test_enlarge_when_the_server_has_not_that_much_is_refused(fresh_nats, brokers):
    broker = await started(fresh_nats, brokers, SMALL)
    with pytest.raises(Refused, match="refused by the server"):
        await enlarge(broker.jetstream, "TRIALS", 2**60)


async def test_room_when_the_stream_is_not_there_says_retry_later(fresh_nats, brokers):
    broker = await started(fresh_nats, brokers, SMALL)
    with pytest.raises(RetryLater, match="OTHERS"):
        await room_of(broker.jetstream, "OTHERS")


def test_messages_left_when_computed_follow_from_those_held():
    assert StreamRoom("LEDGER", 1000, 2_000_000, 3_000_000).messages_left == 500
    assert StreamRoom("LEDGER", 0, 0, 3_000_000).messages_left is None


def test_refusing_when_listed_has_the_streams_of_money():
    assert {"LEDGER", "ORDERS", "PLANS", "TREE_HEADS"} <= set(REFUSING)
    assert "EVALUATIONS" not in REFUSING

"""The server becomes what the catalogue says, twice over, and dangerous changes are refused."""

import asyncio
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import nats
import pytest

from deploy.provision import migrate, provision_streams
from shared.contracts.catalogue import CONSUMERS, STREAMS, ConsumerSpec, StreamSpec
from shared.core.errors import RetryLater, Stop
from shared.messaging import provisioning
from tests.messaging.support import declare, stream

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def jetstream(fresh_nats):
    client = await nats.connect(fresh_nats.url)
    yield client.jetstream()
    await client.close()


async def test_server_when_provisioned_twice_is_as_the_catalogue_says(fresh_nats, jetstream):
    await provision_streams(fresh_nats.url)
    first = {info.config.name: info for info in await jetstream.streams_info()}
    await provision_streams(fresh_nats.url)
    second = {info.config.name: info for info in await jetstream.streams_info()}
    assert set(first) == {spec.name for spec in STREAMS}
    for spec in STREAMS:
        config = first[spec.name].config
        assert config == second[spec.name].config
        assert first[spec.name].created == second[spec.name].created
        assert (set(config.subjects), config.storage, config.retention) == (set(spec.subjects), "file", "limits")
        assert (config.max_bytes, config.max_age) == (spec.max_bytes, spec.max_age_s)
        assert config.max_msgs_per_subject == (1 if spec.last_value_only else -1)
        assert config.discard == ("new" if spec.discard_new else "old")
        assert (config.deny_delete, config.deny_purge) == (spec.deny_delete, spec.deny_delete)
        assert config.duplicate_window == spec.duplicate_window_s
    for consumer in CONSUMERS:
        config = (await jetstream.consumer_info(consumer.stream, consumer.durable)).config
        assert provisioning.filters_of(config) == set(consumer.filter_subjects)
        assert (config.ack_policy, config.deliver_policy, config.max_deliver) == ("explicit", "all", -1)
        assert (config.ack_wait, config.max_ack_pending) == (consumer.ack_wait_s, consumer.max_ack_pending)


async def test_consumer_when_its_limits_change_is_updated_and_keeps_its_place(fresh_nats, jetstream, monkeypatch):
    spec = ConsumerSpec("TRIALS", "worker", ("trials.*",))
    await declare(fresh_nats.url, [stream("TRIALS", "trials.*")], [spec])
    await jetstream.publish("trials.a", b"1")
    subscription = await jetstream.pull_subscribe_bind(durable="worker", stream="TRIALS")
    await (await subscription.fetch(1))[0].ack_sync()
    changed = dataclasses.replace(spec, ack_wait_s=7.0, max_ack_pending=5)
    monkeypatch.setattr(provisioning, "STREAMS", (stream("TRIALS", "trials.*"),))
    monkeypatch.setattr(provisioning, "CONSUMERS", (changed,))
    await provision_streams(fresh_nats.url)
    info = await jetstream.consumer_info("TRIALS", "worker")
    assert (info.config.ack_wait, info.config.max_ack_pending, info.ack_floor.stream_seq) == (7.0, 5, 1)


BASE = StreamSpec("TRIALS", ("trials.*",), 1_000_000, max_age_s=1000)


@pytest.mark.parametrize(
    "change",
    [
        {"max_bytes": 2_000_000},
        {"max_age_s": 2000},
        {"max_age_s": 0},
        {"subjects": ("trials.*", "more.*")},
        {"discard_new": False},
        {"duplicate_window_s": 60},
    ],
)
async def test_stream_when_a_change_is_harmless_is_updated(fresh_nats, jetstream, monkeypatch, change):
    await declare(fresh_nats.url, [BASE], [])
    wanted = dataclasses.replace(BASE, **change)
    monkeypatch.setattr(provisioning, "STREAMS", (wanted,))
    monkeypatch.setattr(provisioning, "CONSUMERS", ())
    await provision_streams(fresh_nats.url)
    config = (await jetstream.stream_info("TRIALS")).config
    assert (config.max_bytes, config.max_age, set(config.subjects)) == (
        wanted.max_bytes,
        wanted.max_age_s,
        set(wanted.subjects),
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_bytes": 100, "discard_new": False}, "more than the new limit"),
        ({"max_age_s": 10}, "delete older"),
        ({"subjects": ("other.*",)}, r"no longer store trials\.\*"),
        ({"last_value_only": True}, "delete history"),
        ({"deny_delete": False}, "cannot be changed"),
    ],
)
async def test_stream_when_a_change_would_lose_messages_is_refused(fresh_nats, jetstream, monkeypatch, change, reason):
    await declare(fresh_nats.url, [BASE], [])
    for number in range(10):
        await jetstream.publish("trials.a", b"%d" % number)
    before = (await jetstream.stream_info("TRIALS")).config
    monkeypatch.setattr(provisioning, "STREAMS", (dataclasses.replace(BASE, **change),))
    monkeypatch.setattr(provisioning, "CONSUMERS", ())
    with pytest.raises(Stop, match=reason):
        await provision_streams(fresh_nats.url)
    assert (await jetstream.stream_info("TRIALS")).config == before


async def test_consumer_when_its_filter_would_change_is_refused(fresh_nats, monkeypatch):
    spec = ConsumerSpec("TRIALS", "worker", ("trials.*",))
    await declare(fresh_nats.url, [stream("TRIALS", "trials.*")], [spec])
    monkeypatch.setattr(provisioning, "STREAMS", (stream("TRIALS", "trials.*"),))
    monkeypatch.setattr(provisioning, "CONSUMERS", (dataclasses.replace(spec, filter_subjects=("trials.a",)),))
    with pytest.raises(Stop, match="filter"):
        await provision_streams(fresh_nats.url)


async def test_provision_when_the_server_is_away_says_retry_later(fresh_nats):
    fresh_nats.kill()
    with pytest.raises(RetryLater):
        await provision_streams(fresh_nats.url)


@pytest.fixture
async def database(postgres_dsn):
    """A database in which no migration of ours is recorded."""
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("DROP TABLE IF EXISTS public.migrations")
    yield connection
    await connection.close()


async def test_migrations_when_applied_twice_run_once_in_order(postgres_dsn, database, tmp_path):
    (tmp_path / "0001_trial_a.sql").write_text("CREATE SCHEMA trial; CREATE TABLE trial.a (x int);")
    (tmp_path / "0002_trial_b.sql").write_text("INSERT INTO trial.a VALUES (1);")
    assert await migrate(postgres_dsn, tmp_path) == ["0001_trial_a.sql", "0002_trial_b.sql"]
    assert await migrate(postgres_dsn, tmp_path) == []
    assert await database.fetchval("SELECT count(*) FROM trial.a") == 1


async def test_migrations_when_several_start_at_once_run_once(postgres_dsn, database, tmp_path):
    (tmp_path / "0001_trial_a.sql").write_text("CREATE SCHEMA trial; SELECT pg_sleep(0.2);")
    applied = await asyncio.gather(*(migrate(postgres_dsn, tmp_path) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, 1]


async def test_migration_when_it_fails_leaves_nothing_of_itself(postgres_dsn, database, tmp_path):
    (tmp_path / "0001_trial_a.sql").write_text("CREATE SCHEMA trial;")
    (tmp_path / "0002_trial_b.sql").write_text("CREATE TABLE trial.b (x int); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(postgres_dsn, tmp_path)
    assert await database.fetchval("SELECT to_regclass('trial.b')") is None
    assert await database.fetchval("SELECT array_agg(name) FROM public.migrations") == ["0001_trial_a.sql"]


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"0002_trial_b.sql": "SELECT 2;"}, "changed after"),
        ({"0002_trial_b.sql": None}, "not part of this version"),
        ({"0001_trial_a.sql": "SELECT 0;"}, "added before"),
        ({"3_wrong.sql": "SELECT 3;"}, "must be named"),
    ],
)
async def test_migrations_when_history_was_tampered_with_are_refused(postgres_dsn, database, tmp_path, later, reason):
    (tmp_path / "0002_trial_b.sql").write_text("SELECT 1;")
    await migrate(postgres_dsn, tmp_path)
    for name, text in later.items():
        if text is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_text(text)
    with pytest.raises(Stop, match=reason):
        await migrate(postgres_dsn, tmp_path)


def provision_process(**environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    return subprocess.run(
        [sys.executable, "-m", "deploy.provision"],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


async def test_program_when_both_servers_are_there_provisions_both(fresh_nats, jetstream, fresh_postgres):
    result = await asyncio.to_thread(
        provision_process,
        TRIMTAB_NATS_URL=fresh_nats.url,
        TRIMTAB_POSTGRES_DSN=fresh_postgres.dsn_of("trimtab"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(await jetstream.streams_info()) == len(STREAMS)


async def test_program_when_a_server_comes_late_waits_for_it(fresh_nats, postgres_dsn):
    fresh_nats.kill()
    running = asyncio.create_task(
        asyncio.to_thread(provision_process, TRIMTAB_NATS_URL=fresh_nats.url, TRIMTAB_POSTGRES_DSN=postgres_dsn)
    )
    await asyncio.sleep(1)
    await asyncio.to_thread(fresh_nats.restart)
    assert (await running).returncode == 0


def test_program_when_an_address_is_missing_says_which_and_ends_with_two():
    result = provision_process(TRIMTAB_NATS_URL="nats://127.0.0.1:1")
    assert result.returncode == 2
    assert "TRIMTAB_POSTGRES_DSN" in result.stdout

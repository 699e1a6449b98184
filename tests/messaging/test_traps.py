"""Known traps of NATS, nats-py and FastStream, on a real server: each was seen to bite, none may bite us.

They are the reason why ``shared.messaging`` looks as it does; an upgrade of either library has to pass them.
"""

import asyncio
import os
import signal
import time
from dataclasses import replace

import pytest
from faststream.nats import JStream, PullSub
from faststream.nats import NatsBroker as FastStreamBroker
from nats.js import JetStreamContext

from deploy.provision import provision_streams
from shared.contracts.catalogue import ConsumerSpec
from shared.contracts.orders import DepositObserved
from shared.contracts.wire import headers_of, payload_of
from shared.core.errors import RetryLater
from shared.messaging.broker import make_broker
from shared.messaging.consuming import consume
from shared.messaging.following import Follower
from shared.messaging.publishing import Publisher, publish_stored
from tests.messaging.support import DEAD, declare, deposit, meta_of, recording_broker, stream, until, until_true
from tests.servers import EmbeddedNats

TRIALS = stream("TRIALS", "trials.*")
SPEC = ConsumerSpec("TRIALS", "worker", ("trials.*",), ack_wait_s=2.0, max_deliver=5, retry_after_s=0.1)


async def put(broker, number, subject="trials.a"):
    await Publisher(broker, "tests").publish(subject, deposit(number), message_id=f"m{number}", correlation_id="c")


async def consuming(nats, brokers, handle):
    await declare(nats.url, [TRIALS, DEAD], [SPEC])
    broker, ends = brokers(nats.url)
    consume(broker, SPEC, {DepositObserved: handle})
    await broker.start()
    return broker, ends


async def test_handler_error_when_the_policy_is_faststreams_default_loses_the_message_ours_does_not(
    fresh_nats, brokers
):
    ours: list[float] = []
    theirs: list[bytes] = []

    async def fail_twice(message, meta):
        ours.append(time.monotonic())
        if len(ours) < 3:
            raise ConnectionError("the database is down")

    broker, _ = await consuming(fresh_nats, brokers, fail_twice)
    default = FastStreamBroker(fresh_nats.url, apply_types=False)

    @default.subscriber(
        "trials.*", stream=JStream("TRIALS", declare=False), durable="default", pull_sub=PullSub(timeout=0.5)
    )
    async def fail(body):
        theirs.append(body)
        raise ConnectionError("the database is down")

    await default.start()
    await put(broker, 1)
    await until(lambda: len(ours) == 3 and len(theirs) >= 1)
    await until_true(lambda: settled(broker, "default"))
    await default.stop()
    assert len(theirs) == 1, "FastStream's default changed: it used to give a message up at its first error"
    assert [ours[1] - ours[0] >= 0.095, ours[2] - ours[1] >= 0.19] == [True, True]


async def settled(broker, durable="worker") -> bool:
    info = await broker.jetstream.consumer_info("TRIALS", durable)
    return info.num_pending == 0 and info.num_ack_pending == 0


async def test_consumption_when_the_server_is_killed_and_restarted_resumes_in_seconds(fresh_nats, brokers):
    seen: set[str] = set()

    async def handle(message, meta):
        seen.add(message.deposit_id)

    broker, ends = await consuming(fresh_nats, brokers, handle)
    for round_number in range(3):
        await put(broker, round_number)
        await until(lambda: f"d{round_number}" in seen)  # noqa: B023
        fresh_nats.kill()
        await asyncio.to_thread(fresh_nats.restart)
    took = await until_true(lambda: delivered(broker, 99, seen), within_s=15)
    assert took < 8
    assert ends == []
    await until_true(lambda: well(broker))


async def delivered(broker, number, seen) -> bool:
    await put(broker, number)
    return f"d{number}" in seen


async def well(broker) -> bool:
    return not broker.troubles()


async def test_process_when_its_consumer_is_deleted_reports_it_and_ends_within_ten_seconds(
    fresh_nats, brokers, services
):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    service = await (await services(fresh_nats.url, "well")).up()
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    await broker.jetstream.delete_consumer("TRIALS", "worker")
    began = time.monotonic()
    reasons: list[str] = []
    while service.process.returncode is None and time.monotonic() - began < 15:
        try:
            _, body = await service.healthz()
            reasons += body.get("reasons", [])
        except OSError:
            break
        await asyncio.sleep(0.05)
    assert await service.ended() == 5
    assert time.monotonic() - began < 10
    assert any("missing on the server" in reason for reason in reasons)
    again = await (await services(fresh_nats.url, "well")).up()
    await put(broker, 1)
    await until(lambda: again.logged("handled d1"))


async def test_follower_when_the_server_is_killed_and_restarted_misses_nothing(fresh_nats, brokers):
    await declare(fresh_nats.url, [TRIALS], [])
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    newest: dict[str, str] = {}
    follower = Follower(broker, "TRIALS", ["trials.*"], lambda s, m, _: newest.update({s: m.deposit_id}))
    task = asyncio.create_task(follower.run())
    for number in range(10):
        await put(broker, number, f"trials.{number}")
    await until(lambda: len(newest) == 10)
    fresh_nats.kill()
    await asyncio.to_thread(fresh_nats.restart)
    for number in range(10, 20):
        await until_true(lambda: stored(broker, number))  # noqa: B023
    await until(lambda: newest.get("trials.19") == "d19", within_s=10)
    assert len(newest) == 20
    assert follower.recreated >= 1
    task.cancel()


async def stored(broker, number) -> bool:
    try:
        await put(broker, number, f"trials.{number}")
    except Exception:  # noqa: BLE001 - not yet
        return False
    return True


async def test_follower_when_its_consumer_is_deleted_makes_a_new_one(fresh_nats, brokers):
    await declare(fresh_nats.url, [TRIALS], [])
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    seen: list[str] = []
    follower = Follower(broker, "TRIALS", ["trials.*"], lambda _s, m, _: seen.append(m.deposit_id), start="all")
    task = asyncio.create_task(follower.run())
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    await put(broker, 1)
    await until(lambda: seen == ["d1"])
    (consumer,) = await broker.jetstream.consumers_info("TRIALS")
    await broker.jetstream.delete_consumer("TRIALS", consumer.name)
    await put(broker, 2)
    took = await until(lambda: seen == ["d1", "d2"])
    assert took < 5
    task.cancel()


async def test_publish_when_the_server_freezes_for_seconds_is_retried_and_stored_once(fresh_nats, brokers):
    await declare(fresh_nats.url, [TRIALS], [])
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    pid = pid_of(fresh_nats)
    headers = headers_of(deposit(1), meta_of("m1"))
    os.kill(pid, signal.SIGSTOP)
    try:
        publishing = asyncio.create_task(
            publish_stored(broker.jetstream, "trials.a", payload_of(deposit(1)), headers, give_up_after_s=10.0)
        )
        await asyncio.sleep(2.5)
        assert not publishing.done()
    finally:
        os.kill(pid, signal.SIGCONT)
    # The late answers must not break the client's read loop: a connection that is deaf until it is found stale.
    assert await until(publishing.done, within_s=5) < 4
    publishing.result()
    assert broker.reconnections == 0
    assert (await broker.jetstream.stream_info("TRIALS")).state.messages == 1


def pid_of(nats) -> int:
    return int(nats._child._process.pid)


async def test_broker_when_the_server_freezes_notices_although_it_looks_connected_and_recovers(fresh_nats):
    await declare(fresh_nats.url, [TRIALS], [])
    broker, _ = recording_broker(fresh_nats.url)
    await broker.start()
    pid = pid_of(fresh_nats)
    os.kill(pid, signal.SIGSTOP)
    try:
        noticed = await until(lambda: bool(broker.troubles()), within_s=15)
        assert broker.client.is_connected, "the trap: a frozen server still looks connected"
        dropped = await until(lambda: not broker.client.is_connected, within_s=30)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert noticed < 6
    assert noticed + dropped < 25
    await until_true(lambda: well(broker), within_s=20)
    await put(broker, 1)
    await broker.stop()


async def test_messages_when_the_stream_exists_otherwise_leave_its_configuration_alone(fresh_nats, brokers):
    async def handle(message, meta):
        pass

    broker, _ = await consuming(fresh_nats, brokers, handle)
    before = (await broker.jetstream.stream_info("TRIALS")).config
    other, _ = brokers(fresh_nats.url)
    consume(other, SPEC, {DepositObserved: handle})
    await other.start()
    assert (await broker.jetstream.stream_info("TRIALS")).config == before


async def test_broker_when_its_connection_is_closed_for_good_ends_the_process(fresh_nats, brokers):
    broker, ends = brokers(fresh_nats.url)
    await broker.start()
    await broker.client.close()
    await until(lambda: ends.codes() == [4])


@pytest.fixture
def guarded_nats():
    server = EmbeddedNats("authorization { user: trimtab, password: right }")
    yield server
    server.stop()


async def test_broker_when_the_server_refuses_the_password_fails_instead_of_waiting_for_ever(guarded_nats):
    broker, _ = recording_broker(guarded_nats.url.replace("//", "//trimtab:wrong@"))
    with pytest.raises(Exception, match="uthorization"):
        await asyncio.wait_for(broker.start(), 10)
    with pytest.raises(RetryLater, match="uthorization"):
        await provision_streams(guarded_nats.url, user="trimtab", password="wrong")


@pytest.mark.parametrize("in_url", [True, False])
async def test_broker_when_it_knows_the_password_connects(guarded_nats, in_url):
    if in_url:
        broker = make_broker(guarded_nats.url.replace("//", "//trimtab:right@"), "tests")
    else:
        broker = make_broker(guarded_nats.url, "tests", user="trimtab", password="right")
    await broker.start()
    assert (await broker.jetstream.account_info()).streams == 0
    await broker.stop()


async def test_fetch_when_its_time_runs_out_between_two_steps_goes_on_fetching(fresh_nats, brokers, monkeypatch):
    """nats-py then raises another error than for every other fetch that found nothing; FastStream's loop ends of it."""
    seen: list[str] = []
    out_of_time = asyncio.Event()
    remaining = JetStreamContext._time_until

    def time_until(timeout, start_time):
        found = remaining(timeout, start_time)
        if out_of_time.is_set() or found is None:
            return found
        out_of_time.set()
        return -found

    async def handle(message, meta):
        seen.append(meta.message_id)

    spec = replace(SPEC, max_ack_pending=8)
    await declare(fresh_nats.url, [TRIALS, DEAD], [spec])
    broker, ends = brokers(fresh_nats.url)
    monkeypatch.setattr(JetStreamContext, "_time_until", staticmethod(time_until))
    consume(broker, spec, {DepositObserved: handle}, in_flight=8)
    await broker.start()
    await asyncio.wait_for(out_of_time.wait(), 10)
    await put(broker, 1)
    await until(lambda: seen == ["m1"])
    assert ends == []

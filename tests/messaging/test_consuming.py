"""Durable consumers on a real server: what is acked, tried again, dead-lettered."""

import asyncio
import itertools
import time

import pytest

from shared.contracts.catalogue import ConsumerSpec
from shared.contracts.orders import DepositObserved
from shared.contracts.strategies import StopStrategy
from shared.contracts.wire import Meta, headers_of, payload_of
from shared.core.errors import RetryLater, Stop
from shared.messaging.consuming import consume
from shared.messaging.publishing import Publisher
from tests.messaging.support import DEAD, declare, deposit, meta_of, stream, until, until_true

STREAM = stream("TRIALS", "trials.*")


def spec(**options: object) -> ConsumerSpec:
    values: dict[str, object] = {"retry_after_s": 0.1, "max_deliver": 3, "ack_wait_s": 2.0} | options
    return ConsumerSpec("TRIALS", "worker", ("trials.*",), **values)  # type: ignore[arg-type]


async def ready(nats, brokers, consumer, handlers, in_flight=1):
    await declare(nats.url, [STREAM, DEAD], [consumer])
    broker, ends = brokers(nats.url)
    consume(broker, consumer, handlers, in_flight=in_flight)
    await broker.start()
    return broker, Publisher(broker, "tests"), ends


async def settled(broker) -> bool:
    info = await broker.jetstream.consumer_info("TRIALS", "worker")
    return info.num_pending == 0 and info.num_ack_pending == 0


async def publish(publisher, number, **options):
    await publisher.publish("trials.a", deposit(number), message_id=f"m{number}", correlation_id="story", **options)


async def dead_letters(broker) -> list:
    info = await broker.jetstream.stream_info("DEAD_LETTERS")
    return [await broker.jetstream.get_msg("DEAD_LETTERS", n) for n in range(1, info.state.last_seq + 1)]


async def test_message_when_handled_is_acked_once_with_its_meta(fresh_nats, brokers):
    seen: list[tuple[DepositObserved, Meta]] = []

    async def handle(message, meta):
        seen.append((message, meta))

    broker, publisher, _ = await ready(fresh_nats, brokers, spec(), {DepositObserved: handle})
    await publish(publisher, 1, causation_id="cause")
    await until_true(lambda: settled(broker))
    assert [message for message, _ in seen] == [deposit(1)]
    meta = seen[0][1]
    assert (meta.message_id, meta.source, meta.correlation_id, meta.causation_id) == ("m1", "tests", "story", "cause")


async def test_messages_when_many_are_handled_in_order_one_at_a_time(fresh_nats, brokers):
    seen, running, most = [], 0, 0

    async def handle(message, meta):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        seen.append(message.deposit_id)
        running -= 1

    _, publisher, _ = await ready(fresh_nats, brokers, spec(), {DepositObserved: handle})
    for number in range(100):
        await publish(publisher, number)
    await until(lambda: len(seen) == 100)
    assert seen == [f"d{n}" for n in range(100)]
    assert most == 1


async def test_messages_when_in_flight_is_eight_are_handled_at_once(fresh_nats, brokers):
    running, most, done = 0, 0, 0

    async def handle(message, meta):
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        done += 1

    _broker, publisher, _ = await ready(
        fresh_nats, brokers, spec(max_ack_pending=64), {DepositObserved: handle}, in_flight=8
    )
    await asyncio.gather(*(publish(publisher, n) for n in range(64)))
    await until(lambda: done == 64)
    assert 4 <= most <= 8


def test_consume_when_in_flight_exceeds_max_ack_pending_is_an_error(brokers):
    broker, _ = brokers("nats://127.0.0.1:1")
    with pytest.raises(ValueError, match="in_flight"):
        consume(broker, spec(max_ack_pending=1), {}, in_flight=2)


async def test_handler_when_it_raises_retry_later_is_asked_again_after_that_time_and_never_dead_lettered(
    fresh_nats, brokers
):
    times = []

    async def handle(message, meta):
        times.append(time.monotonic())
        if len(times) < 7:
            raise RetryLater("not yet", after_s=0.15)

    broker, publisher, _ = await ready(fresh_nats, brokers, spec(max_deliver=2), {DepositObserved: handle})
    await publish(publisher, 1)
    await until_true(lambda: settled(broker))
    assert len(times) == 7
    assert all(later - earlier >= 0.14 for earlier, later in itertools.pairwise(times))
    assert await dead_letters(broker) == []


async def test_failures_after_retry_later_when_fewer_than_the_limit_are_not_dead_lettered(fresh_nats, brokers):
    calls = 0

    async def handle(message, meta):
        nonlocal calls
        calls += 1
        if calls <= 5:
            raise RetryLater("not yet", after_s=0.01)
        if calls <= 7:
            raise OSError("a passing fault")

    broker, publisher, _ = await ready(fresh_nats, brokers, spec(max_deliver=3), {DepositObserved: handle})
    await publish(publisher, 1)
    await until_true(lambda: settled(broker))
    assert calls == 8
    assert await dead_letters(broker) == []


async def test_handler_when_it_always_fails_is_retried_with_growing_pauses_then_dead_lettered(fresh_nats, brokers):
    times = []

    async def handle(message, meta):
        times.append(time.monotonic())
        raise RuntimeError("broken\nin two lines: ü")

    broker, publisher, _ = await ready(
        fresh_nats, brokers, spec(max_deliver=4, retry_after_s=0.1), {DepositObserved: handle}
    )
    await publish(publisher, 7)
    await until_true(lambda: settled(broker))
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(pauses) == 3
    assert all(pause >= 0.95 * 0.1 * 2**n for n, pause in enumerate(pauses))
    (letter,) = await dead_letters(broker)
    assert letter.subject == "dead-letters.TRIALS.worker"
    assert letter.data == payload_of(deposit(7))
    assert letter.headers["ce-id"] == "m7"
    assert letter.headers["trimtab-subject"] == "trials.a"
    assert letter.headers["trimtab-error"].startswith("failed 4 times: RuntimeError('broken")


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        (None, b"{}", "no headers"),
        ({"ce-type": "trimtab.unheard.of"}, b"{}", "unknown type"),
        ({"ce-schemaversion": "2"}, None, "newer"),
        ({"ce-schemaversion": "x"}, None, "schema version"),
        ({"ce-time": "yesterday"}, None, "yesterday"),
        ({}, b"not json", "JSON"),
        ({}, b'{"deposit_id": 5}', "deposit_id"),
        ({"reply_to": "trials.b", "content-type": "text/plain"}, b"\xff\xfe\x00", "JSON"),
    ],
)
async def test_unreadable_message_when_consumed_goes_to_the_dead_letters_once_and_blocks_nothing(
    fresh_nats, brokers, headers, body, reason
):
    seen = []

    async def handle(message, meta):
        seen.append(message.deposit_id)

    broker, publisher, _ = await ready(fresh_nats, brokers, spec(), {DepositObserved: handle})
    good = headers_of(deposit(1), meta_of("bad"))
    await broker.jetstream.publish(
        "trials.a",
        payload_of(deposit(1)) if body is None else body,
        headers=None if headers is None else good | headers,
    )
    await publish(publisher, 2)
    await until_true(lambda: settled(broker))
    assert seen == ["d2"]
    (letter,) = await dead_letters(broker)
    assert reason in letter.headers["trimtab-error"]


async def test_message_when_no_handler_is_for_its_type_is_dead_lettered(fresh_nats, brokers):
    broker, publisher, _ = await ready(fresh_nats, brokers, spec(), {})
    await publisher.publish("trials.a", StopStrategy(strategy_id="s", reason="x"), message_id="m", correlation_id="c")
    await until_true(lambda: settled(broker))
    (letter,) = await dead_letters(broker)
    assert "not handled here" in letter.headers["trimtab-error"]


async def test_poison_when_others_wait_is_tried_aside_and_loses_none(fresh_nats, brokers):
    seen, poisoned = [], 0

    async def handle(message, meta):
        nonlocal poisoned
        if message.deposit_id == "d3":
            poisoned += 1
            raise RuntimeError("poison")
        seen.append(message.deposit_id)

    broker, publisher, _ = await ready(
        fresh_nats, brokers, spec(max_ack_pending=16, retry_after_s=0.5), {DepositObserved: handle}
    )
    for number in range(30):
        await publish(publisher, number)
    took = await until(lambda: len(seen) == 29)
    assert took < 0.5
    await until_true(lambda: settled(broker))
    assert poisoned == 3
    assert len(await dead_letters(broker)) == 1


async def test_dead_letter_when_the_stream_for_it_is_missing_keeps_the_message(fresh_nats, brokers):
    async def handle(message, meta):
        raise RuntimeError("poison")

    consumer = spec(max_deliver=1, ack_wait_s=0.5)
    await declare(fresh_nats.url, [STREAM], [consumer])
    broker, _ = brokers(fresh_nats.url)
    consume(broker, consumer, {DepositObserved: handle})
    await broker.start()
    await publish(Publisher(broker, "tests"), 1)
    await until_true(lambda: redelivered(broker, "TRIALS"), within_s=20)
    await declare(fresh_nats.url, [DEAD], [])
    await until_true(lambda: settled(broker), within_s=20)
    assert len(await dead_letters(broker)) == 1


async def redelivered(broker, stream_name) -> bool:
    info = await broker.jetstream.consumer_info(stream_name, "worker")
    return bool(info.delivered.consumer_seq)


async def test_handler_when_longer_than_ack_wait_is_not_given_the_message_again(fresh_nats, brokers):
    calls = 0

    async def handle(message, meta):
        nonlocal calls
        calls += 1
        await asyncio.sleep(2.0)

    broker, publisher, _ = await ready(fresh_nats, brokers, spec(ack_wait_s=0.6), {DepositObserved: handle})
    await publish(publisher, 1)
    await until_true(lambda: settled(broker))
    info = await broker.jetstream.consumer_info("TRIALS", "worker")
    assert calls == 1
    assert info.delivered.consumer_seq == 1


async def test_handler_when_it_raises_stop_ends_the_process_with_code_three(fresh_nats, brokers):
    async def handle(message, meta):
        raise Stop("the books do not balance")

    broker, publisher, ends = await ready(fresh_nats, brokers, spec(), {DepositObserved: handle})
    await publish(publisher, 1)
    await until(lambda: bool(ends))
    assert ends[0][0] == 3
    assert not await settled(broker)

"""Fetching on a real server: several at once, and never a wait for more than is there."""

import asyncio
import json

import nats.errors
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from tests.messaging.support import declare, stream

TRIALS = stream("TRIALS", "trials.*")
FOR_LONG_S = 60.0
AT_ONCE_S = 20.0  # for a machine that is very busy; a fetch that waits takes FOR_LONG_S


@pytest.fixture
async def broker(fresh_nats, brokers):
    await declare(fresh_nats.url, [TRIALS], [])
    made, _ = brokers(fresh_nats.url)
    await made.start()
    return made


@pytest.fixture
async def subscription(broker):
    config = ConsumerConfig(durable_name="worker", ack_policy=AckPolicy.EXPLICIT)
    return await broker.jetstream.pull_subscribe("trials.*", durable="worker", stream="TRIALS", config=config)


async def publish(broker, *names):
    for name in names:
        await broker.jetstream.publish("trials.a", name.encode())


async def fetched(subscription, batch, timeout=FOR_LONG_S):  # noqa: ASYNC109 - as nats-py has it
    async with asyncio.timeout(AT_ONCE_S):
        messages = await subscription.fetch(batch=batch, timeout=timeout)
    for message in messages:
        await message.ack()
    return [message.data.decode() for message in messages]


async def test_fetch_when_several_wait_takes_as_many_as_it_may_in_their_order(broker, subscription):
    await publish(broker, *"abcde")
    assert await fetched(subscription, 3) == ["a", "b", "c"]
    assert await fetched(subscription, 1) == ["d"]
    assert await fetched(subscription, 3) == ["e"]


async def test_fetch_when_one_comes_while_it_waits_does_not_wait_for_a_second(broker, subscription):
    fetching = asyncio.create_task(fetched(subscription, 8))
    await asyncio.sleep(0.05)
    await publish(broker, "a")
    assert await fetching == ["a"]


@pytest.mark.parametrize("left_behind", [1, 8])
async def test_fetch_when_an_older_request_brings_a_message_does_not_wait_for_the_rest_of_a_batch(
    broker, subscription, left_behind
):
    """As every fetch of nats-py's own may leave one behind."""
    asked = {"batch": left_behind, "expires": int(FOR_LONG_S * 1e9)}
    await subscription._nc.publish(subscription._nms, json.dumps(asked).encode(), subscription._deliver)
    for name in "abcd":
        await publish(broker, name)
        assert await fetched(subscription, 8) == [name]


async def test_fetch_when_nothing_comes_ends_as_the_pull_loop_of_faststream_knows_it(broker, subscription):
    for batch in (1, 8):
        with pytest.raises(nats.errors.TimeoutError):
            await fetched(subscription, batch, timeout=0.2)
    await publish(broker, "a", "b")
    taken = await fetched(subscription, 8)
    while len(taken) < 2:
        taken += await fetched(subscription, 8)
    assert taken == ["a", "b"]


async def test_fetch_when_the_server_is_gone_is_one_in_vain(broker, subscription, fresh_nats):
    await publish(broker, "a", "b")
    fresh_nats.stop()
    with pytest.raises(nats.errors.TimeoutError):
        await fetched(subscription, 8, timeout=0.2)


async def test_fetch_when_no_more_can_be_asked_for_keeps_what_it_has(broker, subscription, monkeypatch):
    await publish(broker, "a", "b")
    ask = subscription._nc.publish

    async def closed_after_the_first(subject, payload, reply):
        if json.loads(payload).get("no_wait"):
            raise nats.errors.ConnectionClosedError
        await ask(subject, payload, reply)

    monkeypatch.setattr(subscription._nc, "publish", closed_after_the_first)
    (message,) = await subscription.fetch(batch=8, timeout=AT_ONCE_S)
    assert message.data == b"a"

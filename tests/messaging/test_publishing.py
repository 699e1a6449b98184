"""Publishing to streams: acknowledged, stored once, honest about failure."""

import asyncio

import nats
import pytest
from nats.js.errors import APIError

from shared.contracts.catalogue import StreamSpec
from shared.core.errors import RetryLater
from shared.messaging import publishing
from shared.messaging.publishing import Publisher, publish_window
from tests.messaging.support import declare, deposit, stream, until

STREAM = stream("TRIALS", "trials.*")


async def started(nats, brokers, *streams):
    await declare(nats.url, list(streams), [])
    broker, _ = brokers(nats.url)
    await broker.start()
    return broker, Publisher(broker, "tests")


async def test_publish_when_acknowledged_is_stored_with_cloudevents_headers(fresh_nats, brokers):
    broker, publisher = await started(fresh_nats, brokers, STREAM)
    await publisher.publish("trials.a", deposit(1), message_id="m1", correlation_id="story", causation_id="cause")
    stored = await broker.jetstream.get_msg("TRIALS", 1)
    assert stored.headers["ce-type"] == "trimtab.deposit.observed"
    assert stored.headers["ce-source"] == "trimtab/tests"
    assert stored.headers["Nats-Msg-Id"] == stored.headers["ce-id"] == "m1"
    assert (stored.headers["ce-correlationid"], stored.headers["ce-causationid"]) == ("story", "cause")


async def test_publish_when_repeated_with_the_same_id_is_stored_once(fresh_nats, brokers):
    broker, publisher = await started(fresh_nats, brokers, STREAM)
    for _ in range(3):
        await publisher.publish("trials.a", deposit(1), message_id="m1", correlation_id="story")
    assert (await broker.jetstream.stream_info("TRIALS")).state.messages == 1


async def test_publish_when_no_stream_takes_the_subject_says_retry_later(fresh_nats, brokers, monkeypatch):
    monkeypatch.setattr(publishing, "GIVE_UP_AFTER_S", 0.3)
    _, publisher = await started(fresh_nats, brokers)
    with pytest.raises(RetryLater, match=r"nowhere\.a"):
        await publisher.publish("nowhere.a", deposit(1), message_id="m", correlation_id="c")


async def test_publish_when_the_stream_is_full_says_retry_later_and_forgets_nothing(fresh_nats, brokers, monkeypatch):
    monkeypatch.setattr(publishing, "GIVE_UP_AFTER_S", 0.3)
    small = StreamSpec("SMALL", ("small.*",), 1500)
    broker, publisher = await started(fresh_nats, brokers, small)
    stored = 0
    while await accepted(publisher, stored):
        stored += 1
    assert stored > 1
    state = (await broker.jetstream.stream_info("SMALL")).state
    assert (state.first_seq, state.messages) == (1, stored)


async def accepted(publisher, number) -> bool:
    try:
        await publisher.publish("small.a", deposit(number), message_id=f"m{number}", correlation_id="c")
    except RetryLater:
        return False
    return True


async def test_publish_when_the_message_is_too_large_raises_at_once(fresh_nats, brokers):
    broker, _ = await started(fresh_nats, brokers, STREAM)
    with pytest.raises((APIError, Exception), match="maximum payload"):
        await publishing.publish_stored(broker.jetstream, "trials.a", b"x" * (2 * 1024 * 1024), {}, give_up_after_s=5.0)


async def test_send_when_disconnected_is_dropped_and_counted(fresh_nats, brokers):
    broker, publisher = await started(fresh_nats, brokers)
    fresh_nats.kill()
    await until(lambda: not broker.client.is_connected)
    unsent = publisher.unsent
    await publisher.send("frames.a", b"x")
    assert publisher.unsent == unsent + 1
    await asyncio.to_thread(fresh_nats.restart)
    await until(lambda: broker.client.is_connected)
    await publisher.send("frames.a", b"x")
    assert publisher.unsent == unsent + 1


async def test_window_when_one_cannot_be_stored_tells_how_many_were_and_sends_none_after_it(fresh_nats, brokers):
    await declare(fresh_nats.url, [stream("TRIALS", "trials.*")], [])
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    window = [(body, {"Nats-Msg-Id": f"w{n}"}) for n, body in enumerate([b"0", b"1", b"2" * 2**21, b"3"])]
    stored, error = await publish_window(broker.jetstream, "trials.a", window)
    assert (stored, isinstance(error, nats.errors.MaxPayloadError)) == (2, True)
    assert (await broker.jetstream.stream_info("TRIALS")).state.messages == 2
    stored, error = await publish_window(broker.jetstream, "nowhere.a", window[:2])
    assert (stored, isinstance(error, nats.js.errors.NoStreamResponseError)) == (0, True)

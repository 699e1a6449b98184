"""Followers, last values and core listeners on a real server."""

import asyncio
from datetime import UTC, datetime

import nats
import pytest

from shared.contracts.wire import headers_of, payload_of
from shared.messaging import following
from shared.messaging.following import BATCH, Follower, last_value, listen
from shared.messaging.publishing import Publisher
from tests.messaging.support import declare, deposit, meta_of, stream, until

VALUES = stream("VALUES", "values.*", last_value_only=True, discard_new=False, deny_delete=False)
HISTORY = stream("HISTORY", "history.*")


class View:
    """The newest message of each subject, and all in the order they came."""

    def __init__(self) -> None:
        self.newest: dict[str, str] = {}
        self.order: list[str] = []

    def take(self, subject, message, meta) -> None:
        self.newest[subject] = message.deposit_id
        self.order.append(message.deposit_id)


@pytest.fixture
async def started(fresh_nats, brokers):
    await declare(fresh_nats.url, [VALUES, HISTORY], [])
    broker, ends = brokers(fresh_nats.url)
    await broker.start()
    tasks: list[asyncio.Task[None]] = []

    class Started:
        server = fresh_nats
        publisher = Publisher(broker, "tests")

        def follow(self, stream_name, subject, view, **options) -> Follower:
            follower = Follower(broker, stream_name, [subject], view.take, **options)
            tasks.append(asyncio.create_task(follower.run()))
            self.task = tasks[-1]
            return follower

        async def put(self, subject, number) -> None:
            await self.publisher.publish(
                subject, deposit(number), message_id=f"{subject}.{number}", correlation_id="story"
            )

    found = Started()
    found.broker, found.ends = broker, ends
    yield found
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_follower_when_values_exist_gets_the_last_of_each_then_live_ones(started):
    for number in range(6):
        await started.put(f"values.{number % 3}", number)
    view = View()
    follower = started.follow("VALUES", "values.*", view)
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    assert view.newest == {"values.0": "d3", "values.1": "d4", "values.2": "d5"}
    await started.put("values.1", 9)
    await until(lambda: view.newest["values.1"] == "d9")
    assert await follower.trouble() is None


async def test_follower_when_history_has_old_values_starts_with_the_last_only(started):
    for number in range(4):
        await started.put("history.a", number)
    view = View()
    follower = started.follow("HISTORY", "history.*", view)
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    assert view.order == ["d3"]


async def test_follower_when_the_stream_is_empty_is_caught_up_at_once(started):
    view = View()
    follower = started.follow("VALUES", "values.*", view)
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    assert view.order == []


@pytest.mark.parametrize(("start", "expected"), [("all", ["d0", "d1", "d2", "d9"]), ("new", ["d9"])])
async def test_follower_when_started_with_all_or_new_gets_those(started, start, expected):
    for number in range(3):
        await started.put("history.a", number)
    view = View()
    follower = started.follow("HISTORY", "history.*", view, start=start)
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    await started.put("history.a", 9)
    await until(lambda: view.order == expected)


async def test_follower_when_given_a_start_time_gets_what_was_stored_since(started):
    await started.put("history.a", 1)
    await asyncio.sleep(0.05)
    since = datetime.now(UTC)
    await started.put("history.a", 2)
    view = View()
    follower = started.follow("HISTORY", "history.*", view, start_time=since)
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    assert view.order == ["d2"]


async def test_follower_when_more_than_a_batch_is_stored_gets_all_in_order(started):
    js = started.broker.jetstream
    total = 3 * BATCH + 7
    futures = [
        await js.publish_async("history.a", payload_of(deposit(n)), headers=headers_of(deposit(n), meta_of(f"h{n}")))
        for n in range(total)
    ]
    await asyncio.gather(*futures)
    view = View()
    follower = started.follow("HISTORY", "history.*", view, start="all")
    await asyncio.wait_for(follower.caught_up.wait(), 10)
    assert view.order == [f"d{n}" for n in range(total)]


async def test_follower_when_a_message_is_unreadable_counts_it_and_goes_on(started):
    await started.broker.jetstream.publish("history.a", b"not json", headers={"ce-type": "trimtab.deposit.observed"})
    await started.put("history.a", 1)
    view = View()
    follower = started.follow("HISTORY", "history.*", view, start="all")
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    assert (view.order, follower.unreadable) == (["d1"], 1)


async def test_follower_when_the_handler_raises_ends_with_that(started):
    class Failing(View):
        def take(self, subject, message, meta) -> None:
            raise ValueError("a defect in the view")

    await started.put("values.1", 1)
    started.follow("VALUES", "values.*", Failing())
    with pytest.raises(ValueError, match="a defect in the view"):
        await asyncio.wait_for(started.task, 5)


@pytest.mark.parametrize("failure", [ValueError("defect"), TimeoutError("database"), OSError("database")])
async def test_follower_when_a_coroutine_handler_raises_ends_with_that(started, failure):
    class Failing(View):
        async def take(self, subject, message, meta) -> None:
            await asyncio.sleep(0)
            raise failure

    await started.put("values.1", 1)
    started.follow("VALUES", "values.*", Failing())
    with pytest.raises(type(failure), match=str(failure)):
        await asyncio.wait_for(started.task, 5)


async def test_follower_when_a_handler_takes_longer_than_the_heartbeats_is_not_overtaken(started, monkeypatch):
    monkeypatch.setattr(following, "SILENCE_LIMIT_S", 0.3)
    running = most = 0
    order: list[str] = []

    class Slow(View):
        async def take(self, subject, message, meta) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(1.2 if message.deposit_id == "d1" else 0)
            order.append(message.deposit_id)
            running -= 1

    for number in range(4):
        await started.put("history.a", number)
    follower = started.follow("HISTORY", "history.*", Slow(), start="all")
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    assert (order, most) == (["d0", "d1", "d2", "d3"], 1)


async def test_follower_when_the_server_dies_while_a_handler_works_lets_it_finish(started):
    order: list[str] = []
    entered, gate = asyncio.Event(), asyncio.Event()

    class Gated(View):
        async def take(self, subject, message, meta) -> None:
            entered.set()
            await gate.wait()
            order.append(message.deposit_id)

    await started.put("history.a", 1)
    started.follow("HISTORY", "history.*", Gated(), start="all")
    await asyncio.wait_for(entered.wait(), 5)
    await asyncio.to_thread(started.server.restart)
    await until(lambda: started.broker.reconnections == 1)
    await started.put("history.a", 2)
    gate.set()
    await until(lambda: order == ["d1", "d2"])


async def test_follower_when_the_handler_is_a_coroutine_awaits_it_in_order(started):
    for number in range(5):
        await started.put("history.a", number)
    order: list[str] = []

    class Slow(View):
        async def take(self, subject, message, meta) -> None:
            await asyncio.sleep(0.01)
            order.append(message.deposit_id)

    follower = started.follow("HISTORY", "history.*", Slow(), start="all")
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    assert order == [f"d{n}" for n in range(5)]


async def test_follower_when_the_stream_is_missing_waits_for_it(started):
    view = View()
    follower = started.follow("LATER", "later.*", view)
    await until(lambda: follower.recreated >= 2)
    await declare(started.server.url, [stream("LATER", "later.*")], [])
    await started.put("later.1", 1)
    await until(lambda: view.newest == {"later.1": "d1"})


async def test_follower_when_its_stream_was_replaced_starts_from_scratch(started):
    for number in range(5):
        await started.put("values.1", number)
    view = View()
    follower = started.follow("VALUES", "values.*", view)
    await asyncio.wait_for(follower.caught_up.wait(), 5)
    client = await nats.connect(started.server.url)
    await client.jetstream().delete_stream("VALUES")
    await client.close()
    await declare(started.server.url, [VALUES], [])
    await started.publisher.publish("values.2", deposit(7), message_id="again", correlation_id="c")
    await until(lambda: view.newest.get("values.2") == "d7")
    assert follower.recreated >= 1


async def test_last_value_when_there_is_one_is_the_newest_and_none_otherwise(started):
    assert await last_value(started.broker, "VALUES", "values.1") is None
    await started.put("values.1", 1)
    await started.put("values.1", 2)
    found = await last_value(started.broker, "VALUES", "values.1")
    assert found is not None
    assert (found[0], found[1].message_id) == (deposit(2), "values.1.2")


async def test_listener_when_started_gets_what_is_sent_until_stopped(started):
    heard: list[bytes] = []
    listener = listen(started.broker, "frames.*", heard.append)
    await listener.start()
    await started.broker.client.flush()
    await started.publisher.send("frames.paper", b"1")
    await until(lambda: heard == [b"1"])
    await listener.stop()
    await started.publisher.send("frames.paper", b"2")
    await started.broker.client.flush()
    assert heard == [b"1"]


async def test_listener_when_a_message_is_broken_counts_it_and_goes_on(started):
    heard: list[int] = []
    listener = listen(started.broker, "frames.*", lambda data: heard.append(int(data)))
    await listener.start()
    await started.broker.client.flush()
    await started.publisher.send("frames.paper", b"x")
    await started.publisher.send("frames.paper", b"2")
    await until(lambda: heard == [2])
    assert listener.broken == 1
    assert started.ends == []


async def test_listener_when_its_handler_fails_ends_the_process(started):
    def fail(data: bytes) -> None:
        raise RuntimeError("defect")

    await listen(started.broker, "frames.*", fail).start()
    await started.broker.client.flush()
    await started.publisher.send("frames.paper", b"x")
    await until(lambda: started.ends.codes() == [1])


async def test_listener_when_too_slow_drops_and_counts(started):
    gate = asyncio.Event()
    handled = 0

    async def slow(data: bytes) -> None:
        nonlocal handled
        await gate.wait()
        handled += 1

    listener = listen(started.broker, "frames.*", slow)
    await listener.start()
    await started.broker.client.flush()
    sent = 10_000
    for _ in range(sent):
        await started.publisher.send("frames.paper", b"x")
    await until(lambda: listener.dropped > 0)
    gate.set()
    await until(lambda: handled + listener.dropped == sent)

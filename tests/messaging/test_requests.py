"""Commands by request and reply: answers, refusals, deferrals, silence."""

import asyncio
import time

import pytest

from shared.contracts.strategies import ConfirmStrategy, StopStrategy, StrategyPreviewed
from shared.contracts.wire import Message, Meta
from shared.core.errors import Conflict, Problem, Refused, RetryLater, Stop
from shared.messaging.requests import request, serve
from tests.messaging.support import AT, meta_of, until

COMMAND = ConfirmStrategy(preview_id="p1")


async def served(nats, brokers, handler):
    server, ends = brokers(nats.url)
    serve(server, "commands", "registry", {ConfirmStrategy: handler})
    await server.start()
    await server.jetstream.account_info()  # an answer on this connection: the server has read what came before, too
    asker, _ = brokers(nats.url)
    await asker.start()
    return asker, ends


def confirmed(command: ConfirmStrategy, meta: Meta) -> Message:
    return StrategyPreviewed(
        preview_id=command.preview_id,
        expires_at=AT,
        document={"asked": meta.message_id, "story": meta.correlation_id},
        warnings=(),
        minimum_amount="1",
        value_usdt="2",
        estimated_fees_usdt="0.1",
        first_orders=(),
    )


async def test_request_when_answered_returns_the_reply(fresh_nats, brokers):
    async def handle(command, meta):
        return confirmed(command, meta)

    asker, _ = await served(fresh_nats, brokers, handle)
    reply = await request(asker, "commands", COMMAND, meta_of("key-1"))
    assert isinstance(reply, StrategyPreviewed)
    assert reply.document == {"asked": "key-1", "story": "story"}


async def test_request_when_refused_raises_refused_with_every_problem(fresh_nats, brokers):
    problems = (Problem("amount", "-1", "> 0", "too small"), Problem("asset", "DOGEX", "listed assets", "unknown"))

    async def handle(command, meta):
        raise Refused(problems)

    asker, _ = await served(fresh_nats, brokers, handle)
    with pytest.raises(Refused) as refused:
        await request(asker, "commands", COMMAND, meta_of("m"))
    assert refused.value.problems == problems
    assert not isinstance(refused.value, Conflict)


async def test_request_when_made_for_another_state_raises_conflict(fresh_nats, brokers):
    async def handle(command, meta):
        raise Conflict.one("revision", 1, "2", "is not the newest")

    asker, _ = await served(fresh_nats, brokers, handle)
    with pytest.raises(Conflict, match="is not the newest"):
        await request(asker, "commands", COMMAND, meta_of("m"))


async def test_request_when_deferred_raises_retry_later_with_its_pause(fresh_nats, brokers):
    async def handle(command, meta):
        raise RetryLater("no prices yet", after_s=2.5)

    asker, _ = await served(fresh_nats, brokers, handle)
    with pytest.raises(RetryLater, match="no prices yet") as later:
        await request(asker, "commands", COMMAND, meta_of("m"))
    assert later.value.after_s == 2.5


async def test_request_when_the_handler_fails_is_deferred_without_its_details(fresh_nats, brokers):
    async def handle(command, meta):
        raise RuntimeError("password=secret")

    asker, ends = await served(fresh_nats, brokers, handle)
    with pytest.raises(RetryLater) as later:
        await request(asker, "commands", COMMAND, meta_of("m"))
    assert "secret" not in str(later.value)
    assert ends == []


async def test_request_when_nobody_serves_says_so_at_once(fresh_nats, brokers):
    asker, _ = brokers(fresh_nats.url)
    await asker.start()
    began = time.monotonic()
    with pytest.raises(RetryLater):
        await request(asker, "commands", COMMAND, meta_of("m"))
    assert time.monotonic() - began < 1


async def test_request_when_not_answered_in_time_says_retry_later(fresh_nats, brokers):
    async def handle(command, meta):
        await asyncio.sleep(1)

    asker, _ = await served(fresh_nats, brokers, handle)
    with pytest.raises(RetryLater):
        await request(asker, "commands", COMMAND, meta_of("m"), timeout_s=0.2)


async def test_request_when_the_command_is_not_served_is_refused(fresh_nats, brokers):
    async def handle(command, meta):
        return confirmed(command, meta)

    asker, _ = await served(fresh_nats, brokers, handle)
    with pytest.raises(Refused, match="not served"):
        await request(asker, "commands", StopStrategy(strategy_id="s", reason="r"), meta_of("m"))


async def test_serving_when_a_request_is_garbage_refuses_and_goes_on(fresh_nats, brokers):
    async def handle(command, meta):
        return confirmed(command, meta)

    asker, _ = await served(fresh_nats, brokers, handle)
    reply = await asker.client.request("commands", b"\xff{", timeout=2)
    assert reply.headers["ce-type"] == "trimtab.command.refused"
    await asker.client.publish("commands", b"no reply address")
    assert isinstance(await request(asker, "commands", COMMAND, meta_of("m")), StrategyPreviewed)


async def test_serving_when_two_instances_serve_answers_each_command_once(fresh_nats, brokers):
    calls = 0

    async def handle(command, meta):
        nonlocal calls
        calls += 1
        return confirmed(command, meta)

    asker, _ = await served(fresh_nats, brokers, handle)
    second, _ = brokers(fresh_nats.url)
    serve(second, "commands", "registry", {ConfirmStrategy: handle})
    await second.start()
    await asyncio.gather(*(request(asker, "commands", COMMAND, meta_of(f"m{n}")) for n in range(50)))
    assert calls == 50


async def test_serving_when_a_command_is_slow_answers_others_meanwhile(fresh_nats, brokers):
    gate = asyncio.Event()

    async def handle(command, meta):
        if meta.message_id == "slow":
            await gate.wait()
        return confirmed(command, meta)

    asker, _ = await served(fresh_nats, brokers, handle)
    slow = asyncio.create_task(request(asker, "commands", COMMAND, meta_of("slow")))
    await request(asker, "commands", COMMAND, meta_of("quick"), timeout_s=2)
    assert not slow.done()
    gate.set()
    await slow


async def test_serving_when_the_handler_raises_stop_ends_the_process(fresh_nats, brokers):
    async def handle(command, meta):
        raise Stop("an invariant is broken")

    asker, ends = await served(fresh_nats, brokers, handle)
    with pytest.raises(RetryLater):
        await request(asker, "commands", COMMAND, meta_of("m"), timeout_s=0.3)
    await until(lambda: ends.codes() == [3])

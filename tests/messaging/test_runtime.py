"""A service as a process: log, health, signals, exit codes."""

import pytest

from shared.messaging.publishing import Publisher
from tests.messaging.support import DEAD, declare, deposit, stream, until, until_true

TRIALS = stream("TRIALS", "trials.*")


async def publish(broker, number):
    await Publisher(broker, "tests").publish("trials.a", deposit(number), message_id=f"m{number}", correlation_id="c")


async def test_service_when_up_is_healthy_handles_and_ends_with_zero_on_sigterm(fresh_nats, brokers, services):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    service = await (await services(fresh_nats.url, "well")).up()
    await until_true(lambda: answers(service, 200))
    assert await service.healthz() == (200, {"healthy": True})
    assert (await service.healthz("/other"))[0] == 404
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    await publish(broker, 1)
    await until(lambda: service.logged("handled d1"))
    service.terminate()
    assert await service.ended() == 0
    assert service.logged("stopping")
    assert service.stray == []
    assert {"time", "level", "service", "logger", "message"} <= set(service.lines[0])


async def answers(service, status) -> bool:
    return (await service.healthz())[0] == status


async def test_service_when_stopped_while_handling_finishes_and_acks(fresh_nats, brokers, services):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    service = await (await services(fresh_nats.url, "slow")).up()
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    await publish(broker, 1)
    await until(lambda: service.logged("handling d1"))
    service.terminate()
    assert await service.ended() == 0
    assert service.logged("handled d1")
    info = await broker.jetstream.consumer_info("TRIALS", "worker")
    assert (info.num_ack_pending, info.num_pending) == (0, 0)


async def test_service_when_killed_while_handling_leaves_the_message_to_the_next(fresh_nats, brokers, services):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    first = await (await services(fresh_nats.url, "slow")).up()
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    await publish(broker, 1)
    await until(lambda: first.logged("handling d1"))
    await first.kill()
    second = await (await services(fresh_nats.url, "well")).up()
    await until(lambda: second.logged("handled d1"))
    assert not first.logged("handled d1")


async def test_service_when_stopped_while_nats_is_away_ends_in_time(fresh_nats, services):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    service = await (await services(fresh_nats.url, "well")).up()
    fresh_nats.kill()
    await until(lambda: service.logged("disconnected"))
    service.terminate()
    assert await service.ended(within_s=20) == 0


async def test_service_when_nats_comes_later_starts_then(fresh_nats, services):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    fresh_nats.kill()
    service = await services(fresh_nats.url, "well")
    await until(lambda: service.logged("/healthz on"), within_s=20)
    assert (await service.healthz())[0] == 503
    fresh_nats.restart()
    await service.up()


async def test_service_when_stopped_before_nats_is_there_ends_with_zero(fresh_nats, services):
    fresh_nats.kill()
    service = await services(fresh_nats.url, "well")
    await until(lambda: service.logged("/healthz on"), within_s=20)
    service.terminate()
    assert await service.ended() == 0


@pytest.mark.parametrize(
    ("mode", "code", "reason"),
    [
        ("fail-start", 1, "cannot start"),
        ("fail-background", 1, "the background failed"),
        ("end-background", 1, "should run for ever"),
        ("stop-background", 3, "an invariant is broken"),
    ],
)
async def test_service_when_a_part_fails_ends_with_its_code_and_the_traceback(fresh_nats, services, mode, code, reason):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    service = await services(fresh_nats.url, mode)
    assert await service.ended() == code
    (line,) = [line for line in service.lines if line["level"] == "CRITICAL"]
    assert reason in line["error"]
    assert "Traceback" in line["error"]


async def test_service_when_a_handler_raises_stop_ends_with_three(fresh_nats, brokers, services):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    service = await (await services(fresh_nats.url, "stop")).up()
    broker, _ = brokers(fresh_nats.url)
    await broker.start()
    await publish(broker, 1)
    assert await service.ended() == 3
    assert service.logged("the books do not balance")


async def test_service_when_a_check_fails_is_unhealthy_with_the_reason(fresh_nats, services):
    await declare(fresh_nats.url, [TRIALS, DEAD], [])
    service = await (await services(fresh_nats.url, "sick")).up()
    assert await service.healthz() == (503, {"healthy": False, "reasons": ["sample: has a cold"]})

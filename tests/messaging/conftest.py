"""Brokers and provisioned servers for the messaging tests."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from deploy.provision import provision_streams
from shared.messaging.broker import NatsBroker
from tests.messaging.service_process import ServiceProcess
from tests.messaging.support import Ends, recording_broker
from tests.servers import EmbeddedNats


@pytest.fixture
async def provisioned_nats(fresh_nats: EmbeddedNats) -> EmbeddedNats:
    """A server of the test's own with the streams and consumers of the catalogue."""
    await provision_streams(fresh_nats.url)
    return fresh_nats


@pytest.fixture
async def brokers() -> AsyncIterator[Callable[[str], tuple[NatsBroker, Ends]]]:
    """Makes brokers (not started) that are stopped after the test."""
    made: list[NatsBroker] = []

    def make(url: str) -> tuple[NatsBroker, Ends]:
        broker, ends = recording_broker(url)
        made.append(broker)
        return broker, ends

    yield make
    for broker in made:
        await broker.stop()


@pytest.fixture
async def services() -> AsyncIterator[Callable[[str, str], Awaitable[ServiceProcess]]]:
    """Starts sample services (URL, mode), which are killed after the test."""
    made: list[ServiceProcess] = []

    async def start(url: str, mode: str) -> ServiceProcess:
        made.append(await ServiceProcess().start(url, mode))
        return made[-1]

    yield start
    for process in made:
        await process.kill()

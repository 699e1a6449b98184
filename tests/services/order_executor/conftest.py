"""Fixtures of the executor's tests: everything around it is real."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.servers import EmbeddedNats
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, ExchangeProcess, Stack


@pytest.fixture(scope="session")
def exchange_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    """The simulated exchange as a process of its own, its market held at the first row."""
    made = ExchangeProcess(tmp_path_factory.mktemp("exchange"))
    yield made
    made.process.end()


@pytest_asyncio.fixture
async def exchange(exchange_process: ExchangeProcess) -> AsyncIterator[Exchange]:
    """A new account at the exchange."""
    made = Exchange(exchange_process)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def stack(provisioned_nats: EmbeddedNats, postgres_dsn: str, exchange: Exchange) -> AsyncIterator[Stack]:
    """Servers, venue and prices; no executor yet."""
    way = FaultyWay(exchange.url)
    await way.start()
    made = Stack(provisioned_nats.url, postgres_dsn, exchange, way)
    await made.open()
    yield made
    await made.close()
    await way.stop()

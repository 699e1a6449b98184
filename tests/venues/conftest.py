"""Each venue in turn, as the conformance suite sees it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from services.order_executor.adapters.ccxt_venue import CcxtVenue
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, ExchangeProcess
from tests.venues.loopback import LoopbackVenue
from tests.venues.subjects import FACES, ExchangeSubject, LoopbackSubject, Subject

SUBJECTS = ("binance", *FACES)


@pytest.fixture(scope="session")
def exchange_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    """The simulated exchange as a process of its own, its market held at the first row."""
    made = ExchangeProcess(tmp_path_factory.mktemp("exchange"))
    yield made
    made.process.end()


@pytest_asyncio.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[LoopbackVenue]:
    """A venue's documented replies on loopback; parametrised with its name."""
    made = LoopbackVenue(FACES[request.param]())
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each venue: the simulated exchange where it speaks the dialect, documented replies on loopback elsewhere."""
    async with AsyncExitStack() as stack:
        if request.param in FACES:
            server = LoopbackVenue(FACES[request.param]())
            await server.start()
            stack.push_async_callback(server.stop)
            yield LoopbackSubject(server)
            return
        exchange = Exchange(request.getfixturevalue("exchange_process"))
        await exchange.start()
        stack.push_async_callback(exchange.stop)
        way = FaultyWay(exchange.url)
        await way.start()
        stack.push_async_callback(way.stop)
        yield ExchangeSubject(exchange, way)


@pytest_asyncio.fixture
async def venue(subject: Subject) -> AsyncIterator[CcxtVenue]:
    """The adapter of the venue, with 10,000 of the quote currency in the account."""
    made = subject.venue()
    await subject.deposit("first", subject.quote, "10000")
    yield made
    await made.close()

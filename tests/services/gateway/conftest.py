"""One world for all tests of a module, with a paper venue that only remembers what it was asked for."""

from collections.abc import Iterator

import pytest

from tests.servers import PostgresServer
from tests.services.gateway.paper_venue import Faucet, running_faucet
from tests.services.strategy_registry.world import World
from tests.services.strategy_registry.worlds import running_world


@pytest.fixture(scope="module")
def faucet() -> Iterator[Faucet]:
    """The paper venue."""
    with running_faucet() as venue:
        yield venue


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer, migrated_template: str, faucet: Faucet) -> Iterator[World]:
    """Registry and gateway on real servers."""
    with running_world(postgres_server, migrated_template, {"paper": faucet.url}) as running:
        yield running

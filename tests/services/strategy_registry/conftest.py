"""One world for all tests of the registry's sagas: each test makes strategies of its own."""

from collections.abc import Iterator

import pytest

from tests.servers import PostgresServer
from tests.services.strategy_registry.world import World
from tests.services.strategy_registry.worlds import running_world


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer, migrated_template: str) -> Iterator[World]:
    """Registry and gateway on real servers."""
    with running_world(postgres_server, migrated_template) as running:
        yield running

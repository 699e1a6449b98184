"""The commands against a running gateway."""

from collections.abc import Iterator

import pytest

from tests.servers import PostgresServer
from tests.services.gateway.paper_venue import Faucet, running_faucet
from tests.services.strategy_registry.world import TOKEN, World
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


@pytest.fixture
def gateway(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world, found by the commands through the environment."""
    monkeypatch.setenv("TRIMTAB_GATEWAY_URL", world.url)
    monkeypatch.setenv("TRIMTAB_API_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")
    return world

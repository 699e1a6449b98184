"""Worlds for test modules: one set of servers and services per module, thrown away at its end."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.servers import EmbeddedNats, PostgresServer, execute, run_apart
from tests.services.order_executor.rig import Process
from tests.services.strategy_registry.world import World

_NUMBERS = count(1)


@contextmanager
def running_world(postgres: PostgresServer, template: str, faucets: dict[str, str] | None = None) -> Iterator[World]:
    """A world on a NATS server and a database of its own."""
    name = f"trimtab_world_{next(_NUMBERS)}"
    run_apart(execute(postgres.dsn, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} TEMPLATE {template}"))
    nats = EmbeddedNats()
    world = World(nats.url, postgres.dsn_of(name), faucets)
    try:
        world.start()
        yield world
    finally:
        world.stop()
        nats.stop()
        asyncio.run(execute(postgres.dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@contextmanager
def world_with_ledger(postgres: PostgresServer, template: str, folder: Path) -> Iterator[World]:
    """A world in which a ledger keeps the books; ``folder`` takes its log."""
    with running_world(postgres, template) as running:
        environment = {"TRIMTAB_NATS_URL": running.nats_url, "TRIMTAB_POSTGRES_DSN": running.dsn}
        ledger = Process("services.ledger", environment, folder / "ledger.log")
        try:
            yield running
        finally:
            ledger.end(signal.SIGKILL)

"""Real servers for every test that asks: no fakes of NATS or PostgreSQL anywhere.

* ``nats_server``: one JetStream server for the session (``.url``, ``.port``, ``.kill()``, ``.restart()``). It is
  shared: use names of your own for streams and subjects, or take ``fresh_nats``, a server of the test's own.
* ``postgres_dsn``: a database of the test's own, with the migrations applied; ``postgres_server`` is the session's
  server (``.dsn`` is a superuser's, ``.kill()``, ``.restart()``), ``fresh_postgres`` one of the test's own.
"""

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import settings

from deploy.provision import migrate, provision_streams
from tests.servers import (
    EmbeddedNats,
    EmbeddedPostgres,
    NatsServer,
    PostgresServer,
    execute,
    run_apart,
    start_nats,
    start_postgres,
)

# A crashed consumer must show in a test, not be started again behind its back.
os.environ.setdefault("FASTSTREAM_SUPERVISOR_DISABLED", "1")

# Property tests look at the same cases in every run of the same code, so that a red run is one of the change at hand;
# `--hypothesis-profile explore` looks at new ones each time (`just explore`).
settings.register_profile("reproducible", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("explore", print_blob=True, deadline=None)
settings.load_profile("reproducible")

_TEMPLATE = "trimtab_template"


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """The session's NATS server."""
    server = start_nats(os.environ)
    yield server
    server.stop()


@pytest.fixture
def fresh_nats() -> Iterator[EmbeddedNats]:
    """A NATS server of the test's own, to be killed and restarted at will."""
    server = EmbeddedNats()
    yield server
    server.stop()


@pytest.fixture
def provisioned_nats(fresh_nats: EmbeddedNats) -> EmbeddedNats:
    """A server of the test's own with the streams and consumers of the catalogue."""
    run_apart(provision_streams(fresh_nats.url))
    return fresh_nats


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's PostgreSQL server."""
    server = start_postgres(os.environ)
    yield server
    server.stop()


@pytest.fixture
def fresh_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server of the test's own, with the migrations applied in the database `trimtab`."""
    server = EmbeddedPostgres()
    _migrate(server.dsn_of("trimtab"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a database with every migration applied, from which tests' databases are copied."""
    run_apart(
        execute(
            postgres_server.dsn,
            f"DROP DATABASE IF EXISTS {_TEMPLATE} WITH (FORCE)",
            f"CREATE DATABASE {_TEMPLATE}",
        )
    )
    _migrate(postgres_server.dsn_of(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture(scope="session")
def _database_names() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"trimtab_test_{os.getpid()}_{next(numbers)}"


@pytest.fixture
def postgres_dsn(
    postgres_server: PostgresServer, migrated_template: str, _database_names: Callable[[], str]
) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    name = _database_names()
    run_apart(execute(postgres_server.dsn, f"CREATE DATABASE {name} TEMPLATE {migrated_template}"))
    yield postgres_server.dsn_of(name)
    run_apart(execute(postgres_server.dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def _migrate(url: str) -> None:
    run_apart(migrate(url))

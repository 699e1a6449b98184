"""NATS and PostgreSQL in containers: for machines without the embedded programs but with a container engine."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from testcontainers.core.container import DockerContainer

from deploy.embedded.ports import free_port
from deploy.embedded.postgres_server import USER, dsn
from deploy.embedded.probes import Answer, ask_http, ask_postgres
from tests.servers import run_apart

NATS_IMAGE = "nats:2.12-alpine"
POSTGRES_IMAGE = "postgres:18"

_READY_TIMEOUT_S = 60.0
_PASSWORD = "test"


class _Container:
    """A container on fixed ports that can be killed and started again."""

    def __init__(self, container: DockerContainer, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self._container, self._ask = container, ask
        container.start()
        self._wait()

    def kill(self) -> None:
        """SIGKILL; no effect when it is not running."""
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status == "running":
            wrapped.kill()
            wrapped.wait()

    def restart(self) -> None:
        """Start it again with what it had stored."""
        self.kill()
        self._container.get_wrapped_container().start()
        self._wait()

    def stop(self) -> None:
        """Remove it."""
        self._container.stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not (answer := run_apart(self._ask())).ready:
            if time.monotonic() > deadline:
                raise RuntimeError(f"container not ready: {answer.reason}")
            time.sleep(0.1)


class ContainerNats(_Container):
    """nats-server with JetStream."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        monitoring_port = free_port(taken=[self.port])
        container = DockerContainer(NATS_IMAGE).with_command("-js -sd /data -m 8222")
        container = container.with_bind_ports(4222, self.port).with_bind_ports(8222, monitoring_port)
        super().__init__(container, lambda: ask_http(f"http://127.0.0.1:{monitoring_port}/healthz"))


class ContainerPostgres(_Container):
    """PostgreSQL with the launcher's user and database."""

    def __init__(self) -> None:
        self.port = free_port()
        self.dsn = self.dsn_of("postgres")
        container = DockerContainer(POSTGRES_IMAGE).with_bind_ports(5432, self.port)
        container = container.with_env("POSTGRES_USER", USER).with_env("POSTGRES_PASSWORD", _PASSWORD)
        container = container.with_env("POSTGRES_DB", "trimtab")
        super().__init__(container, lambda: ask_postgres(self.port))

    def dsn_of(self, database: str) -> str:
        """The URL of a database."""
        return dsn(self.port, _PASSWORD, database)

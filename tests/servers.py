"""Real servers for the tests: NATS and PostgreSQL as child processes that can be killed and come back.

They end with the test run, also when it is killed (`deploy.embedded.child` ties them to it).
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deploy.embedded.child import ChildOptions, child_argv
from deploy.embedded.nats_server import nats_binary
from deploy.embedded.ports import free_port
from deploy.embedded.postgres_server import (
    Cluster,
    clear_leftovers,
    cluster_at,
    dsn,
    ensure_cluster,
    postgres_argv,
    postgres_programs,
)
from deploy.embedded.probes import Answer, ask_http, ask_postgres
from shared.core.errors import Stop

T = TypeVar("T")

_READY_TIMEOUT_S = 30.0
_POSTGRES_PASSWORD = "test"
# Speed: the tests kill processes, not the machine, so the operating system keeps what was written.
_POSTGRES_SETTINGS = ("fsync=off", "full_page_writes=off", "synchronous_commit=on", "max_wal_size=512MB")


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own thread, so that a test's own loop is not disturbed."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class NatsServer(Protocol):
    """A NATS server with JetStream. ``kill`` is SIGKILL; ``restart`` brings it back on the same port and store."""

    url: str
    port: int

    def kill(self) -> None:
        """End it the hard way (no effect when it is not running)."""

    def restart(self) -> None:
        """Start it again and wait until it is ready; a running one is killed first."""

    def stop(self) -> None:
        """End it and remove its store."""


class PostgresServer(Protocol):
    """A PostgreSQL server. ``dsn`` is a superuser's on the database `postgres`."""

    dsn: str
    port: int

    def kill(self) -> None:
        """SIGKILL (no effect when it is not running)."""

    def restart(self) -> None:
        """Start it again and wait until it is ready; a running one is killed first."""

    def stop(self) -> None:
        """End it and remove its data."""

    def dsn_of(self, database: str) -> str:
        """The URL of another database on this server."""


class _Child:
    """One server process, tied to the test run, its output in a file."""

    def __init__(self, options: ChildOptions, argv: Sequence[str], log: Path) -> None:
        self._options, self._argv, self._log = options, argv, log
        self._process: subprocess.Popen[bytes] | None = None
        # The death signal follows the thread that started the child: one that lives as long as this object.
        self._starter = ThreadPoolExecutor(1)

    def start(self, ready: "Probe") -> None:
        self._process = self._starter.submit(self._spawn).result()
        run_apart(self._until(ready))

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                child_argv(self._options, self._argv),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def _until(self, ready: "Probe") -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not (answer := await ready()).ready:
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"server not ready: {answer.reason}\n{self._log.read_text()[-4000:]}")
            await asyncio.sleep(0.02)

    def end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


class Probe(Protocol):
    """Asks a server whether it is ready."""

    def __call__(self) -> Coroutine[Any, Any, Answer]:
        """The answer."""


ANY_DISK = "jetstream { max_file_store: 64GB }"
"""As where it really runs: else three quarters of the free disk, perhaps less than the limits of all streams."""


class EmbeddedNats:
    """nats-server from PyPI; ``config`` are the lines of its configuration."""

    def __init__(self, config: str = ANY_DISK) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="trimtab-nats-"))
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        monitoring_port = free_port(taken=[self.port])
        self.monitoring_url = f"http://127.0.0.1:{monitoring_port}"
        file = self._folder / "nats.conf"
        file.write_text(config)
        listening = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(monitoring_port)]
        argv = [str(nats_binary()), "-c", str(file), "-js", "-sd", str(self._folder / "store"), *listening]
        self._child = _Child(ChildOptions(parent=os.getpid()), argv, self._folder / "log")
        self._start()

    def _start(self) -> None:
        self._child.start(lambda: ask_http(f"{self.monitoring_url}/healthz"))

    def kill(self) -> None:
        self._child.end(signal.SIGKILL)

    def restart(self) -> None:
        self.kill()
        self._start()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class EmbeddedPostgres:
    """PostgreSQL from PyPI, with a cluster of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="trimtab-postgres-"))
        self._folder.chmod(0o711)
        self._cluster: Cluster = cluster_at(self._folder / "data")
        ensure_cluster(self._cluster, _POSTGRES_PASSWORD, durable=False)
        self.port = free_port()
        self.dsn = self.dsn_of("postgres")
        argv = postgres_argv(self._cluster, self.port, settings=_POSTGRES_SETTINGS)
        self._child = _Child(self._cluster.child_options(), argv, self._folder / "log")
        self._start()

    def _start(self) -> None:
        clear_leftovers(self._cluster)
        self._child.start(lambda: ask_postgres(self.port))

    def dsn_of(self, database: str) -> str:
        return dsn(self.port, _POSTGRES_PASSWORD, database)

    def kill(self) -> None:
        self._child.end(signal.SIGKILL)

    def restart(self) -> None:
        self.kill()
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while True:
            try:
                self._start()
                return
            except RuntimeError:
                # Backends of the killed server are still leaving; PostgreSQL refuses until they are gone.
                if time.monotonic() > deadline:
                    raise

    def stop(self) -> None:
        self._child.end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)


class ExternalNats:
    """A server somebody else runs, named by TRIMTAB_TEST_NATS_URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = int(url.rsplit(":", 1)[1].rstrip("/"))

    def kill(self) -> None:
        raise RuntimeError("an external server is not ours to kill")

    restart = kill

    def stop(self) -> None:
        """Leave it running."""


class ExternalPostgres:
    """A server somebody else runs, named by TRIMTAB_TEST_POSTGRES_DSN (a superuser's, any database)."""

    def __init__(self, url: str) -> None:
        self.dsn = url
        self.port = int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])

    def dsn_of(self, database: str) -> str:
        head, _, tail = self.dsn.rpartition("/")
        options = f"?{tail.partition('?')[2]}" if "?" in tail else ""
        return f"{head}/{database}{options}"

    def kill(self) -> None:
        raise RuntimeError("an external server is not ours to kill")

    restart = kill

    def stop(self) -> None:
        """Leave it running."""


def start_nats(environment: Mapping[str, str]) -> NatsServer:
    """The server for the session: an external one if named, else the embedded one, else a container."""
    if url := environment.get("TRIMTAB_TEST_NATS_URL"):
        return ExternalNats(url)
    if _is_missing(nats_binary):
        from tests.containers import ContainerNats

        return ContainerNats()
    return EmbeddedNats()


def start_postgres(environment: Mapping[str, str]) -> PostgresServer:
    """The server for the session: an external one if named, else the embedded one, else a container."""
    if url := environment.get("TRIMTAB_TEST_POSTGRES_DSN"):
        return ExternalPostgres(url)
    if _is_missing(postgres_programs):
        from tests.containers import ContainerPostgres

        return ContainerPostgres()
    return EmbeddedPostgres()


def _is_missing(find: Callable[[], Path]) -> bool:
    """The program is not installed, and a container engine answers."""
    try:
        find()
    except Stop:
        docker = shutil.which("docker")
        return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0
    return False


async def execute(url: str, *statements: str) -> None:
    """Run statements one by one outside a transaction."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()

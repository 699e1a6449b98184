"""Supervision: one child process that is started, watched, restarted and ended."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil

from deploy.embedded.child import ChildOptions, child_argv
from deploy.embedded.data_folder import is_same_process
from deploy.embedded.probes import Answer, ask_http, ask_postgres
from deploy.embedded.reaper_link import ReaperLink
from deploy.embedded.service_spec import BackOff, Patience, ServiceSpec
from shared.core.errors import Stop

LOG_LIMIT_BYTES = 10 * 1024 * 1024

_logger = logging.getLogger("trimtab.launcher")


class Status(StrEnum):
    """Where a child is in its life."""

    WAITING = "waiting"  # for those it comes after
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    RESTARTING = "restarting"
    DONE = "done"  # a step that is done once
    STOPPED = "stopped"


@dataclass(slots=True)
class ChildState:
    """What can be said of a child now. ``restarts`` counts every restart, ``unhealthy_kills`` those for bad health."""

    status: Status = Status.WAITING
    pid: int | None = None
    created: float | None = None
    restarts: int = 0
    unhealthy_kills: int = 0
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a child shares with the others."""

    logs: Path
    reaper: ReaperLink
    patience: Patience = field(default_factory=Patience)
    on_change: Callable[[], None] = lambda: None


class ChildProcess:
    """Keeps one process alive until ``stop``."""

    def __init__(self, spec: ServiceSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        self.state = ChildState()
        self.ready = asyncio.Event()  # set at the first readiness, stays set
        self.log = surroundings.logs / f"{spec.name}.log"
        self._around = surroundings
        self._patience = surroundings.patience
        self._back_off = BackOff(surroundings.patience)
        self._stopping = asyncio.Event()
        self._condemned = False  # killed for bad health
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, others: Mapping[str, "ChildProcess"]) -> None:
        """Begin: the process starts when those it comes after have been ready once."""
        self._task = asyncio.create_task(self._keep_alive(others), name=self.spec.name)

    @property
    def has_failed_to_start(self) -> bool:
        """It has never been ready, and further tries are not expected to help."""
        return not self.ready.is_set() and self.state.restarts >= self._patience.failed_starts

    async def stop(self) -> None:
        """End it: politely, then at once."""
        self._stopping.set()
        ending = self.spec.ending
        for number, wait_s in ((ending.politely, ending.grace_s), (ending.at_once, 5.0), (signal.SIGKILL, 5.0)):
            if self._task is None or self._task.done():
                break
            self.send(number)
            await asyncio.wait({self._task}, timeout=wait_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.state.status is not Status.DONE:
            self._now(Status.STOPPED)

    def send(self, number: int) -> None:
        """A signal to the process (and its group, where it has one); nothing when it is not running."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.spec.ending.group:
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)

    def resident_mib(self) -> float:
        """Memory of the process and its children in MiB; shared pages are counted once where the system tells."""
        if self.state.pid is None:
            return 0.0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.state.pid)
            children = process.children(recursive=True)
            if not children:
                return float(process.memory_info().rss) / 2**20
            return sum(_share_of_memory(one) for one in (process, *children)) / 2**20
        return 0.0

    async def _keep_alive(self, others: Mapping[str, "ChildProcess"]) -> None:
        for name in self.spec.after:
            await self._unless_stopping(others[name].ready.wait())
        while not self._stopping.is_set():
            try:
                await self._live()
            except (OSError, Stop) as error:
                self.state.reason = str(error)
                _logger.error("%s cannot start: %s", self.spec.name, error)  # noqa: TRY400 - one line says it
            if self._stopping.is_set() or self.state.status is Status.DONE:
                return
            pause_s = self._back_off.next_s()
            self.state.restarts += 1
            self._now(Status.RESTARTING)
            said = (self.spec.name, self.state.reason, self.state.restarts, pause_s)
            _logger.warning("%s: %s; restart %d in %.1f s", *said)
            await self._unless_stopping(asyncio.sleep(pause_s))

    async def _unless_stopping(self, waited_for: Awaitable[object]) -> None:
        """Wait for something, or for the order to stop, whichever comes first."""
        tasks = [asyncio.ensure_future(waited_for), asyncio.ensure_future(self._stopping.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _live(self) -> None:
        """One life of the process: from start to end."""
        self._now(Status.STARTING)
        if self.spec.before_start is not None:
            await asyncio.to_thread(self.spec.before_start)
        if self._stopping.is_set():
            return
        self._condemned = False
        process = await self._spawn()
        watch = asyncio.create_task(self._watch(process))
        try:
            if self._stopping.is_set():
                self.send(self.spec.ending.politely)
            code = await process.wait()
        finally:
            watch.cancel()
            # What it leaves behind in its group must not outlive it.
            if self.spec.ending.group:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            self._around.reaper.remove(process.pid)
        self._process = None
        self.state.pid, self.state.created, self.state.exit_code = None, None, code
        if self.spec.health_url is None and code == 0:
            self._now(Status.DONE)
            self.ready.set()
        elif not self._condemned:
            self.state.reason = _ended(code)

    async def _spawn(self) -> asyncio.subprocess.Process:
        base = self.spec.account or ChildOptions(parent=0)
        options = replace(base, parent=os.getpid(), death_signal=int(self.spec.ending.at_once))
        with open_log(self.log) as log:
            process = await asyncio.create_subprocess_exec(
                *child_argv(options, self.spec.argv),
                cwd="/",
                env=environment(self.spec.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._around.reaper.add(process.pid, number=self.spec.ending.at_once, group=self.spec.ending.group)
            log.write(f"[launcher] {self.spec.name} started as process {process.pid}\n".encode())
        self._process = process
        self.state.pid = process.pid
        with contextlib.suppress(psutil.Error):
            self.state.created = psutil.Process(process.pid).create_time()
        self._now(Status.STARTING)
        return process

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Ask for its health until it ends; a process that lives but is not well for too long is killed."""
        if self.spec.health_url is None:
            return
        failing_since = time.monotonic()
        ready_since: float | None = None
        while process.returncode is None:
            answer = await ask(self.spec.health_url)
            now = time.monotonic()
            if answer.ready:
                ready_since, failing_since = ready_since or now, now
                self._is_well(now - ready_since)
            else:
                limit_s = self._patience.start_within_s if ready_since is None else self._patience.unhealthy_after_s
                self._is_unwell(answer, was_ready=ready_since is not None)
                if now - failing_since > limit_s:
                    self._condemned = True
                    self.state.unhealthy_kills += 1
                    self.state.reason = f"not healthy for {now - failing_since:.0f} s ({answer.reason})"
                    self._now(Status.UNHEALTHY)
                    self.send(self.spec.ending.at_once)
                    return
            bound_log(self.log)
            starting = self.state.status is Status.STARTING
            await asyncio.sleep(self._patience.probe_starting_s if starting else self._patience.probe_running_s)

    def _is_well(self, for_s: float) -> None:
        if self.state.status is not Status.READY:
            self.state.reason = ""
            self._now(Status.READY)
            self.ready.set()
        if for_s >= self._patience.healthy_again_after_s:
            self._back_off.reset()

    def _is_unwell(self, answer: Answer, *, was_ready: bool) -> None:
        if was_ready and self.state.status is Status.READY:
            self._now(Status.UNHEALTHY)
        self.state.reason = answer.reason

    def _now(self, status: Status) -> None:
        self.state.status = status
        self._around.on_change()


async def ask(health_url: str) -> Answer:
    """Ask by the scheme of the URL."""
    parts = urlsplit(health_url)
    if parts.scheme == "postgres":
        return await ask_postgres(parts.port or 5432)
    return await ask_http(health_url)


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """The launcher's environment without its own TRIMTAB_ settings, loopback outside any proxy, and ``added``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    direct = ",".join(filter(None, (kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1,localhost")))
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_PROXY": direct, "no_proxy": direct, **added}


def open_log(file: Path) -> IO[bytes]:
    """A log file to append to, readable by its owner only."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def bound_log(file: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Move the content of a log that has grown too large to `<name>.1`.

    Copied and cut rather than renamed: the process goes on writing to the same open file. Lines written between the
    two steps are lost, which a log may, and a full disk or a stalled launcher never stops the process.
    """
    with contextlib.suppress(OSError):
        if file.stat().st_size > limit_bytes:
            older = file.with_name(file.name + ".1")
            shutil.copyfile(file, older)
            older.chmod(0o600)
            os.truncate(file, 0)


def tail_of(file: Path, lines: int = 20) -> str:
    """The last lines of a log, from its last 16 kB."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 16 * 1024))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def end_leftovers(children: Iterable[tuple[int, float]]) -> None:
    """End processes (pid, creation time) that a launcher and its reaper left when both were killed."""
    for pid, created in children:
        if is_same_process(pid, created):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _share_of_memory(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        if sys.platform.startswith("linux"):
            return float(process.memory_full_info().pss)
        return float(process.memory_info().rss)
    return 0.0

"""The whole system on one machine: real servers and services as child processes under one launcher."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from deploy.embedded.data_folder import DataFolder, Secrets
from deploy.embedded.market_choice import chosen_market, remember_market
from deploy.embedded.options import StackOptions
from deploy.embedded.ports import PortClaims
from deploy.embedded.postgres_server import dsn
from deploy.embedded.processes import (
    ChildProcess,
    ChildState,
    Status,
    Surroundings,
    end_leftovers,
    tail_of,
)
from deploy.embedded.reaper_link import ReaperLink
from deploy.embedded.service_spec import Patience, ServiceSpec
from deploy.embedded.services import Ports, choose_ports, servers_of, services_of
from shared.core.errors import Stop

_logger = logging.getLogger("trimtab.launcher")

ServiceList = Callable[[StackOptions, Ports, Secrets], list[ServiceSpec]]


@dataclass(frozen=True, slots=True)
class _Running:
    """What exists between ``start`` and ``stop``."""

    ports: Ports
    secrets: Secrets
    reaper: ReaperLink
    started_at: datetime
    children: dict[str, ChildProcess] = field(default_factory=dict)


class Stack:
    """Starts, watches and ends the processes of one data folder. Use it from the main thread's event loop.

    ``services`` makes the list of services, which tests replace; the servers are always real.
    """

    def __init__(
        self, options: StackOptions, *, services: ServiceList = services_of, patience: Patience | None = None
    ) -> None:
        self.options = options
        self.folder = DataFolder(options.data_dir)
        self._services = services
        self._patience = patience or Patience()
        self._running: _Running | None = None
        self._claims = PortClaims()
        self._phase = "stopped"
        self._ended = asyncio.Event()

    @property
    def ports(self) -> Ports:
        """The ports in use; raises ``Stop`` when the stack has not been started."""
        return self._parts.ports

    @property
    def secrets(self) -> Secrets:
        """The secrets in use; raises ``Stop`` when the stack has not been started."""
        return self._parts.secrets

    @property
    def postgres_dsn(self) -> str:
        """The URL of the database, with its password."""
        return dsn(self.ports.postgres, self.secrets.postgres_password)

    @property
    def restarts(self) -> dict[str, int]:
        """How often each process was started again."""
        return {name: state.restarts for name, state in self.status().items()}

    @property
    def _parts(self) -> _Running:
        if self._running is None:
            raise Stop("the stack has not been started")
        return self._running

    async def start(self) -> None:
        """Start everything and return when every service is ready.

        Raises ``Stop`` when the folder is in use or a process does not become ready (with the end of its log),
        ``Refused`` when it holds what must not be thrown away; nothing runs then.
        """
        self._ended.clear()
        if not self.options.keep:
            self.folder.refuse_what_is_to_be_kept()
        self.folder.acquire()
        try:
            await self._start()
        except Exception:
            await self.stop(failed=True)
            raise
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        end_leftovers(self._pids_of_last_time())
        if not self.options.keep:
            self.folder.empty_throwaway()
        market = chosen_market(self.folder.market_file, self.options.exchange)
        options = replace(self.options, exchange=market)
        secrets = self.folder.secrets()
        ports = choose_ports(self.options, self._claims)
        reaper = ReaperLink(lock_fd=self.folder.lock_fd, log=self.folder.logs / "launcher.log")
        around = Surroundings(self.folder.logs, reaper, self._patience, self._write)
        specs = [
            *servers_of(self.folder.path, ports, secrets),
            *self._services(options, ports, secrets),
        ]
        children = {spec.name: ChildProcess(spec, around) for spec in specs}
        self._running = _Running(ports, secrets, reaper, datetime.now(UTC), children)
        self._phase = "starting"
        await reaper.start()
        self._write()
        for child in children.values():
            child.start(children)
        await self._all_ready(children.values())
        remember_market(self.folder.market_file, market)
        self._phase = "running"
        self._write()

    async def wait(self) -> None:
        """Return when the stack has been stopped."""
        await self._ended.wait()

    async def stop(self, *, failed: bool = False) -> None:
        """End everything: services, then NATS, then PostgreSQL. Safe to call at any time, more than once.

        ``failed``: the data folder is left for somebody to look into, also where it is not to be kept.
        """
        running = self._running
        if running is not None:
            self._phase = "stopping"
            self._write()
            for rank in sorted({child.spec.ending.rank for child in running.children.values()}):
                ending = [child for child in running.children.values() if child.spec.ending.rank == rank]
                await asyncio.gather(*(child.stop() for child in ending))
            await running.reaper.close()
            self._phase = "stopped"
            self._write()
            self._running = None
        if not self.options.keep and not failed and self.folder.is_held:
            self.folder.discard()
        self._claims.release()
        self.folder.release()
        self._ended.set()

    async def kill(self, name: str) -> None:
        """SIGKILL one process (a test of recovery); raises ``KeyError`` for an unknown name."""
        self._parts.children[name].send(signal.SIGKILL)

    def status(self) -> dict[str, ChildState]:
        """The state of every process by name; empty when the stack is not running."""
        return {name: child.state for name, child in self._running.children.items()} if self._running else {}

    def rss_mib(self) -> dict[str, float]:
        """Memory of every process in MiB."""
        children = self._running.children if self._running else {}
        return {name: round(child.resident_mib(), 1) for name, child in children.items()}

    async def _all_ready(self, children: Iterable[ChildProcess]) -> None:
        try:
            async with asyncio.timeout(self._patience.stack_ready_within_s):
                while waiting := [child for child in children if not child.ready.is_set()]:
                    failed = [child for child in waiting if child.has_failed_to_start]
                    if failed:
                        raise Stop(_why(failed))
                    await asyncio.sleep(0.05)
        except TimeoutError:
            late = [child for child in children if not child.ready.is_set()]
            raise Stop(f"not ready after {self._patience.stack_ready_within_s:.0f} s: {_why(late)}") from None

    def _pids_of_last_time(self) -> list[tuple[int, float]]:
        services = self.folder.read_stack().get("services", {})
        return [
            (one["pid"], one["created"])
            for one in services.values()
            if one.get("pid") is not None and one.get("created") is not None
        ]

    def _write(self) -> None:
        running = self._running
        if running is None:
            return
        content: dict[str, Any] = {
            "status": self._phase,
            "pid": os.getpid(),
            "reaper_pid": running.reaper.pid,
            "started_at": running.started_at.isoformat(),
            "data_dir": str(self.folder.path),
            "gateway_url": running.ports.gateway_url,
            "api_token": running.secrets.api_token,
            "exchange_url": running.ports.exchange_url,
            "nats_url": f"nats://127.0.0.1:{running.ports.nats}",
            "ports": asdict(running.ports),
            "services": {name: asdict(state) for name, state in self.status().items()},
        }
        try:
            self.folder.write_stack(content)
        except OSError as error:
            # A full disk must not end the launcher: the processes matter more than the page about them.
            _logger.warning("stack.json cannot be written: %s", error)


def _why(children: Iterable[ChildProcess]) -> str:
    return "\n".join(
        f"{child.spec.name} is {child.state.status}: {child.state.reason or 'no answer yet'}\n"
        # What the last of its lives said.
        + tail_of(child.log).rpartition("[launcher] ")[2]
        for child in children
        if child.state.status is not Status.WAITING
    )


async def run_until_signalled(stack: Stack, on_ready: Callable[[], None] = lambda: None) -> None:
    """Start the stack, keep it until SIGINT, SIGTERM or SIGHUP, and end it; raises what ``start`` raises.

    A second signal does not hurry it: ending is bounded, and a kill -9 is covered by the reaper.
    """
    loop = asyncio.get_running_loop()
    asked_to_end = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, asked_to_end.set)
    try:
        starting = asyncio.create_task(stack.start())
        ending = asyncio.create_task(asked_to_end.wait())
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return
        starting.result()
        on_ready()
        await ending
        await stack.stop()
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

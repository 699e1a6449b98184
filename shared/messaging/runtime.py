"""Runs a service: logging, health, signals, and an end with a code when a part of it fails (crash-only)."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.core.errors import Stop
from shared.messaging.ending import EXIT_FAILED, EXIT_STOP
from shared.messaging.health import Health
from shared.messaging.health_server import HealthServer
from shared.messaging.json_logging import log_json_lines

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 20.0
OBJECTS_BEFORE_A_SEARCH = 10_000


class App(Protocol):
    """A service put together. ``name`` names it in logs; ``health`` holds its checks."""

    name: str
    health: Health

    async def start(self) -> None:
        """Recover and begin to work. Raising ends the process with code 1."""

    async def stop(self) -> None:
        """Finish what is in flight and let go."""

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """What runs for ever beside the handlers; called after ``start``. One that ends or raises ends the process."""


class ServiceSettings(BaseSettings):
    """What every service can be told; each field is an environment variable with the prefix TRIMTAB_."""

    # Inputs are hidden: an error about one setting would show them all, passwords too.
    model_config = SettingsConfigDict(env_prefix="TRIMTAB_", frozen=True, extra="ignore", hide_input_in_errors=True)

    nats_url: str = "nats://127.0.0.1:4222"
    """Where NATS is."""
    nats_user: str = ""
    """The user to log in as; empty for none (or when the URL names one)."""
    nats_password: str = Field(default="", repr=False)
    """That user's password."""
    health_port: int = 0
    """Port of /healthz; 0: any free one (told in the log)."""
    health_host: str = "127.0.0.1"
    """Address /healthz listens on; 0.0.0.0 inside a container whose orchestrator asks from outside."""
    instance: str = "1"
    """Tells instances of the same service apart, in logs and in the server's monitoring."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""


def run(app: App, *, health_port: int, log_level: str, health_host: str = "127.0.0.1") -> None:
    """Run ``app`` until SIGTERM or SIGINT (exit code 0) or until a part of it fails (1; 3 for Stop). Never returns."""
    log_json_lines(app.name, log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_serve(app, health_host, health_port))
        log.info("%s ends with code %d", app.name, code)
        logging.shutdown()
        sys.stdout.flush()
        # Not sys.exit: a thread or a task that hangs must not keep the process from ending.
        os._exit(code)


def _loop_factory() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(app: App, health_host: str, health_port: int) -> int:
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    server = HealthServer(app.health)
    await server.start(health_host, health_port)
    log.info("%s starts, /healthz on %s:%d", app.name, health_host, server.port)
    work = asyncio.create_task(_work(app, server), name="work")
    stop = asyncio.create_task(asked_to_stop.wait(), name="stop")
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    code = _code_of(work)
    server.started = False
    if not work.done():
        log.info("%s was asked to stop", app.name)
        work.cancel()
        await asyncio.wait({work}, timeout=STOP_TIMEOUT_S)
    await _stop(app)
    await server.stop()
    return code


def _code_of(work: "asyncio.Task[None]") -> int:
    if not work.done():
        return 0
    failure = None if work.cancelled() else work.exception()
    if isinstance(failure, Stop):
        log.critical("stops: %s", failure, exc_info=failure)
        return EXIT_STOP
    log.critical("a part of the service ended: %r", failure, exc_info=failure)
    return EXIT_FAILED


async def _work(app: App, server: HealthServer) -> None:
    """Start, then run the background tasks until one ends; they are all cancelled then."""
    await app.start()
    _search_rarely()
    server.started = True
    log.info("%s is up", app.name)
    tasks = [asyncio.ensure_future(coroutine) for coroutine in app.background()]
    try:
        if not tasks:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
            raise RuntimeError(f"the background task {task.get_name()} ended, it should run for ever")
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)


def _search_rarely() -> None:
    """Let Python look for cyclic garbage less often, and never again among what a start has made: that stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BEFORE_A_SEARCH, *gc.get_threshold()[1:])


async def _stop(app: App) -> None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await app.stop()
    except Exception:
        log.exception("%s did not stop cleanly; start-up will recover", app.name)

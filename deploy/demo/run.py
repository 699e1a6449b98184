"""One demo from start to end: the stack, the session on it, the view, the report."""

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from deploy.demo.clients import ExchangeControl, GatewayClient
from deploy.demo.lockstep import RowsPassed, lockstep
from deploy.demo.picture import Picture
from deploy.demo.report import Report, make_report, summary_of
from deploy.demo.scenario import Candidate, candidate, example_documents
from deploy.demo.session import DemoSession, Ending
from deploy.embedded.options import StackOptions
from deploy.embedded.processes import Status
from deploy.embedded.stack import Stack
from shared.core.errors import Refused, Stop, TrimtabError

_REFRESH_PER_SECOND = 4


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """One demo, as asked for; no ``documents``: the examples."""

    stack: StackOptions
    documents: Sequence[dict[str, Any]]
    ending: Ending
    report: Path | None
    quiet: bool


async def run_demo(options: DemoOptions) -> int:
    """Run it until its end, Ctrl-C or a failure; the exit code: 0 when the books hold, or it was ended before it began.

    Raises Refused for input that the system refuses, Stop when it fails: the data folder is then left to look into.
    """
    console = Console(highlight=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    stack = Stack(options.stack)
    result: Report | None = None
    failed = True
    try:
        if await _started(stack, console, stop):
            result = await _play(stack, options, console, stop)
        failed = False
    except Refused:
        failed = False
        raise
    except TrimtabError as error:
        raise Stop(f"{error}{_what_is_left(stack)}") from error
    finally:
        console.print("ending ...")
        await stack.stop(failed=failed)
    if result is None:
        return 0
    console.print(summary_of(result))
    if options.report is not None:
        options.report.write_text(result.as_json())
        console.print(f"report: {options.report}")
    return 0 if result.is_sound else 1


def _what_is_left(stack: Stack) -> str:
    """Where to look; nothing when the folder is somebody else's."""
    if stack.folder.is_locked() and not stack.folder.is_held:
        return ""
    return f"\n       logs and data are kept until the next demo: {stack.folder.path}"


async def _started(stack: Stack, console: Console, stop: asyncio.Event) -> bool:
    """Start the stack and say how far it is; False when the user ended it first."""
    began = time.monotonic()
    text = f"starting NATS, Postgres and the services on {stack.options.data_dir} ..."
    if not console.is_terminal:
        console.print(text)
    with console.status(text) as status:
        starting = asyncio.create_task(_unless_stopped(stack.start(), stop))
        while not starting.done():
            await asyncio.wait({starting}, timeout=0.25)
            states = stack.status().values()
            ready = sum(one.status in {Status.READY, Status.DONE} for one in states)
            status.update(f"{text} {ready} of {len(states)} ready" if states else text)
        is_ready = await starting
    if is_ready:
        console.print(f"ready after {time.monotonic() - began:.1f} s: {stack.ports.gateway_url}/docs")
    return is_ready


async def _unless_stopped(work: Any, stop: asyncio.Event) -> bool:
    """Run ``work``; False when the user ended it first."""
    task = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return False


async def _play(stack: Stack, options: DemoOptions, console: Console, stop: asyncio.Event) -> Report:
    gateway = GatewayClient(stack.ports.gateway_url, stack.secrets.api_token)
    exchange = ExchangeControl(stack.ports.exchange_url, stack.secrets.exchange_control_token)
    began = time.monotonic()
    try:
        market = await exchange.market()
        documents = options.documents or example_documents(market.assets)
        candidates: list[Candidate] = [candidate(document) for document in documents]
        session = DemoSession(gateway, exchange, candidates, stack.postgres_dsn)
        screen = _Screen(Picture(session, stack), console)
        drawing = asyncio.create_task(screen.draw(quiet=options.quiet or not console.is_terminal))
        try:
            rows = None
            if await _unless_stopped(session.prepare(), stop):
                screen.phase = "running"
                rows = await _run_market(stack, session, exchange, options.ending, stop)
            screen.phase = "ending: waiting for open orders"
            await session.settle()
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing
        return await make_report(stack, session, began, rows)
    finally:
        await gateway.close()
        await exchange.close()


async def _run_market(
    stack: Stack, session: DemoSession, exchange: ExchangeControl, ending: Ending, stop: asyncio.Event
) -> RowsPassed | None:
    """Let the market run: by the clock, or in lockstep; the rows passed in lockstep."""
    if not stack.options.lockstep:
        await session.run(ending, stop)
        return None
    async with lockstep(stack, exchange) as driver:
        return await driver.run(session, ending, stop)


class _Screen:
    """The live view on the terminal's second screen; ``phase`` is what the demo is doing."""

    def __init__(self, picture: Picture, console: Console) -> None:
        self.phase = "first purchases"
        self._picture = picture
        self._console = console

    async def draw(self, *, quiet: bool) -> None:
        """Draw until cancelled."""
        if quiet:
            return
        with Live(console=self._console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(self._picture.now(self.phase), refresh=True)
                await asyncio.sleep(1 / _REFRESH_PER_SECOND)

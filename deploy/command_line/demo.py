"""`trimtab demo`: everything at once, for real, on paper money, with a live view and a checked report."""

import asyncio
import re
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from deploy.command_line.output import DataOption, fail, reported
from deploy.command_line.strategy_file import load_document
from deploy.demo.clients import ExchangeControl, GatewayClient
from deploy.demo.picture import Picture
from deploy.demo.report import Report, make_report, summary_of
from deploy.demo.scenario import Candidate, candidate, example_documents
from deploy.demo.session import DemoSession, Ending
from deploy.embedded.options import ExchangeOptions, StackOptions
from deploy.embedded.processes import Status
from deploy.embedded.stack import Stack
from shared.core.errors import Refused, TrimtabError

DEMO_DATA_DIR = Path(".trimtab") / "demo"
DEFAULT_ROWS_PER_SECOND = 20.0
# Of the first six thousand seeds one whose first minutes look like an ordinary market: every example rebalances soon,
# and nothing halves or doubles.
DEFAULT_SEED = 2461
_REFRESH_PER_SECOND = 4
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)?")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """One demo, as asked for."""

    stack: StackOptions
    documents: Sequence[dict[str, Any]]
    ending: Ending
    report: Path | None
    quiet: bool


def demo(
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replay real prices (.csv, .csv.gz, .parquet); default: a synthetic market."),
    ] = None,
    rows_per_second: Annotated[
        float, typer.Option(metavar="X", help="How fast the rows of the market pass.")
    ] = DEFAULT_ROWS_PER_SECOND,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic market.")] = DEFAULT_SEED,
    strategy: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Run this strategy file instead of the examples (repeatable)."),
    ] = None,
    evaluators: Annotated[int, typer.Option(help="How many strategy evaluators share the strategies.")] = 1,
    exit_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="End after this long, as in 60s or 5m.")
    ] = None,
    until_end: Annotated[bool, typer.Option("--until-end", help="End at the last row of --prices.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what happened as JSON.")] = None,
    data: DataOption = DEMO_DATA_DIR,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view, only the summary.")] = False,
) -> None:
    """Run the whole system on this machine with paper money and watch it rebalance."""
    with reported():
        exchange = ExchangeOptions(prices_file=prices, seed=seed, rows_per_second=rows_per_second, start_paused=True)
        options = DemoOptions(
            stack=StackOptions(data_dir=data, evaluators=evaluators, exchange=exchange, keep=False),
            documents=[load_document(path) for path in strategy or []],
            ending=_ending(exit_after, until_end, prices),
            report=report,
            quiet=quiet,
        )
        _refuse_bad_prices(prices)
        for document in options.documents:
            candidate(document)
        exit_code = asyncio.run(_run(options))
    raise typer.Exit(exit_code)


def _ending(exit_after: str | None, until_end: bool, prices: Path | None) -> Ending:
    if until_end and prices is None:
        raise Refused.one("--until-end", "a synthetic market", "with --prices FILE", "a synthetic market has no end")
    if exit_after is None:
        return Ending(until_end=until_end or prices is not None)
    match = _DURATION.fullmatch(exit_after)
    if match is None or float(match[1]) <= 0:
        raise Refused.one("--exit-after", exit_after, "a time above 0, as in 90s, 5m, 1h", "is not a time")
    return Ending(exit_after_s=float(match[1]) * _SECONDS[match[2] or ""], until_end=until_end)


def _refuse_bad_prices(prices: Path | None) -> None:
    """Read the price file before anything is started. Raises Refused."""
    if prices is not None:
        from services.simulated_exchange.markets.files import load_prices

        load_prices(prices)


async def _run(options: DemoOptions) -> int:
    console = Console(highlight=False, soft_wrap=True)
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
        fail(f"{error}\n       logs and data are kept in {stack.folder.path} until the next demo")
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
            if await _unless_stopped(session.prepare(), stop):
                screen.phase = "running"
                await session.run(options.ending, stop)
            screen.phase = "ending: waiting for open orders"
            await session.settle()
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing
        return await make_report(stack, session, began)
    finally:
        await gateway.close()
        await exchange.close()


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

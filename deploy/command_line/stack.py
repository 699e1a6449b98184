"""`trimtab up`, `status`, `down`, `logs`: the stack on this machine."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from deploy.command_line.output import (
    DEFAULT_DATA_DIR,
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    DataOption,
    JsonOption,
    fail,
    print_json,
    reported,
    running_stack,
)
from deploy.embedded.data_folder import DataFolder
from deploy.embedded.options import ExchangeOptions, StackOptions
from deploy.embedded.processes import tail_of
from deploy.embedded.stack import Stack, run_until_signalled

_DETACHED_READY_WITHIN_S = 150.0
_DOWN_WITHIN_S = 90.0
_FOLLOW_EVERY_S = 0.3


def up(
    data: DataOption = DEFAULT_DATA_DIR,
    evaluators: Annotated[int, typer.Option(help="How many strategy evaluators share the strategies.")] = 1,
    prices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Prices for the paper exchange (.csv, .csv.gz, .parquet); default: synthetic."
        ),
    ] = None,
    rows_per_second: Annotated[
        float | None, typer.Option(metavar="X", help="How fast the rows of the prices pass.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the synthetic market.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready and leave it running.")] = False,
) -> None:
    """Start the whole system on this machine and keep it running until Ctrl-C."""
    with reported():
        exchange = ExchangeOptions(prices_file=prices, seed=seed, rows_per_second=rows_per_second)
        options = StackOptions(data_dir=data, evaluators=evaluators, exchange=exchange)
        if detach:
            _detach(options)
        else:
            _run(options)


def _run(options: StackOptions) -> None:
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(message)s")
    typer.echo(f"starting on {options.data_dir.expanduser().resolve()} ...")

    async def run() -> None:
        stack = Stack(options)
        await run_until_signalled(stack, on_ready=lambda: _announce(stack.ports.gateway_url))

    asyncio.run(run())
    typer.echo("ended")


def _announce(gateway_url: str) -> None:
    typer.echo(f"ready: {gateway_url} (Ctrl-C or `trimtab down` ends it)")


def _detach(options: StackOptions) -> None:
    folder = DataFolder(options.data_dir)
    # Locked and let go again: a folder in use, or one that cannot be used, is told here rather than in a log.
    folder.acquire()
    folder.release()
    log = folder.logs / "launcher.log"
    with log.open("ab") as output:
        launcher = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.command_line", "up", *_arguments(options)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _DETACHED_READY_WITHIN_S
    while time.monotonic() < deadline:
        if launcher.poll() is not None:
            fail(f"the stack did not start; the end of {log}:\n{tail_of(log)}")
        content = folder.read_stack()
        if content.get("pid") == launcher.pid and content.get("status") == "running":
            _announce(content["gateway_url"])
            return
        time.sleep(0.1)
    launcher.terminate()
    fail(f"the stack was not ready after {_DETACHED_READY_WITHIN_S:.0f} s; see {log}")


def _arguments(options: StackOptions) -> list[str]:
    exchange = options.exchange
    prices = exchange.prices_file.expanduser().resolve() if exchange.prices_file else None
    chosen = {
        "--data": options.data_dir.expanduser().resolve(),
        "--evaluators": options.evaluators,
        "--prices": prices,
        "--rows-per-second": exchange.rows_per_second,
        "--seed": exchange.seed,
    }
    return [part for name, value in chosen.items() if value is not None for part in (name, str(value))]


def status(data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show what is running: processes, restarts, memory, addresses."""
    content = running_stack(data)
    shown = {name: value for name, value in content.items() if name not in {"api_token", "services"}}
    services = {name: {**one, "rss_mib": _resident_mib(one.get("pid"))} for name, one in content["services"].items()}
    if as_json:
        print_json({**shown, "services": services})
        return
    typer.echo(f"{content['status']} on {content['data_dir']} (launcher {content['pid']}), {content['gateway_url']}")
    table = Table("process", "status", "pid", "restarts", "MiB", "reason", box=None)
    for name, one in services.items():
        pid = "" if one["pid"] is None else str(one["pid"])
        table.add_row(name, one["status"], pid, str(one["restarts"]), f"{one['rss_mib']:.0f}", one["reason"])
    Console().print(table)


def _resident_mib(pid: int | None) -> float:
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            return round(psutil.Process(pid).memory_info().rss / 2**20, 1)
    return 0.0


def down(data: DataOption = DEFAULT_DATA_DIR) -> None:
    """End the stack running on the data folder; its data stays."""
    folder = DataFolder(data)
    if not folder.is_locked():
        typer.echo(f"no stack is running on {folder.path}")
        return
    pid = folder.holder()
    # None: the launcher has just died, and its reaper ends the rest and then lets the folder go.
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            try:
                os.kill(pid, signal.SIGTERM)
            except PermissionError:
                fail(f"process {pid} belongs to another user")
    deadline = time.monotonic() + _DOWN_WITHIN_S
    while folder.is_locked():
        if time.monotonic() > deadline:
            fail(f"the stack has not ended after {_DOWN_WITHIN_S:.0f} s")
        time.sleep(0.1)
    typer.echo("ended")


def logs(
    service: Annotated[str | None, typer.Argument(help="One process, e.g. ledger; default: all.")] = None,
    data: DataOption = DEFAULT_DATA_DIR,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines to begin with.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written, until Ctrl-C.")] = False,
) -> None:
    """Show the logs of the processes; also after the stack has ended."""
    folder = DataFolder(data)
    files = {file.stem: file for file in sorted(folder.logs.glob("*.log"))}
    if not files:
        fail(f"no logs in {folder.logs}", code=EXIT_FAILED)
    if service is not None and service not in files:
        fail(f"service: no log of {service!r} (allowed: {', '.join(files)})", code=EXIT_BAD_INPUT)
    chosen = files if service is None else {service: files[service]}
    width = max(map(len, chosen)) if service is None else 0
    offsets = {name: file.stat().st_size for name, file in chosen.items()}
    for name, file in chosen.items():
        _print_lines(name, tail_of(file, lines).splitlines() if lines else [], width)
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            time.sleep(_FOLLOW_EVERY_S)
            for name, file in chosen.items():
                offsets[name] = _print_news(name, file, offsets[name], width)


def _print_news(name: str, file: Path, offset: int, width: int) -> int:
    """Print the whole lines after ``offset``; returns where the next ones begin."""
    size = file.stat().st_size
    if size < offset:  # the log was bounded
        offset = 0
    with file.open("rb") as stream:
        stream.seek(offset)
        whole, newline, _ = stream.read().rpartition(b"\n")
    _print_lines(name, whole.decode(errors="replace").splitlines(), width)
    return offset + len(whole) + len(newline)


def _print_lines(name: str, lines: list[str], width: int) -> None:
    for line in lines:
        typer.echo(f"{name:<{width}} | {line}" if width else line)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    commands: tuple[Any, ...] = (up, status, down, logs)
    for command in commands:
        app.command()(command)

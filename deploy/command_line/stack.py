"""`trimtab up`, `status`, `down`, `logs`: the stack on this machine."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
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
from shared.core.errors import Stop

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
    as_json: JsonOption = False,
) -> None:
    """Start the whole system on this machine and keep it running until Ctrl-C."""
    with reported():
        exchange = ExchangeOptions(prices_file=prices, seed=seed, rows_per_second=rows_per_second)
        options = StackOptions(data_dir=data, evaluators=evaluators, exchange=exchange)
        if detach:
            _announce(_detach(options), "`trimtab down` ends it", as_json=as_json)
        else:
            _run(options, as_json=as_json)


def _run(options: StackOptions, *, as_json: bool) -> None:
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(message)s")
    typer.echo(f"starting on {options.data_dir.expanduser().resolve()} ...", err=as_json)

    async def run() -> None:
        stack = Stack(options)
        ends_it = "Ctrl-C or `trimtab down` ends it"
        await run_until_signalled(stack, on_ready=lambda: _announce(stack.ports.gateway_url, ends_it, as_json=as_json))

    asyncio.run(run())
    typer.echo("ended", err=as_json)


def _announce(gateway_url: str, ends_it: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"status": "running", "gateway_url": gateway_url})
    else:
        typer.echo(f"ready: {gateway_url} ({ends_it})")


def _detach(options: StackOptions) -> str:
    """The URL of the gateway once the stack is ready."""
    folder = DataFolder(options.data_dir)
    # Locked and let go again: a folder in use, or one that cannot be used, is told here rather than in a log.
    folder.acquire()
    folder.release()
    log = folder.logs / "launcher.log"
    told_before = log.stat().st_size if log.exists() else 0
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
            with log.open("rb") as told:
                told.seek(told_before)
                said = told.read().decode(errors="replace").rpartition("error: ")[2].strip()
            fail(f"{said}\n       (all of it: {log})")
        content = folder.read_stack()
        if content.get("pid") == launcher.pid and content.get("status") == "running":
            return str(content["gateway_url"])
        time.sleep(0.1)
    launcher.terminate()
    raise Stop(f"the stack was not ready after {_DETACHED_READY_WITHIN_S:.0f} s; see {log}")


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


def down(data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """End the stack running on the data folder; its data stays."""
    folder = DataFolder(data)
    was_running = folder.is_locked()
    if was_running:
        _end(folder)
    if as_json:
        print_json({"status": "stopped", "was_running": was_running, "data_dir": folder.path})
    else:
        typer.echo("ended" if was_running else f"no stack is running on {folder.path}")


def _end(folder: DataFolder) -> None:
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
            fail(f"the stack has not ended after {_DOWN_WITHIN_S:.0f} s; see {folder.logs / 'launcher.log'}")
        time.sleep(0.1)


def logs(
    service: Annotated[str | None, typer.Argument(help="One process, e.g. ledger; default: all.")] = None,
    data: DataOption = DEFAULT_DATA_DIR,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines to begin with.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the logs of the processes; also after the stack has ended."""
    folder = DataFolder(data)
    files = {file.stem: file for file in sorted(folder.logs.glob("*.log"))}
    if not files:
        fail(f"no logs in {folder.logs}: nothing has run there yet, `trimtab up` starts it", code=EXIT_FAILED)
    if service is not None and service not in files:
        fail(f"service: no log of {service!r} (allowed: {', '.join(files)})", code=EXIT_BAD_INPUT)
    chosen = files if service is None else {service: files[service]}
    show = _Printer(as_json=as_json, width=max(map(len, chosen)) if service is None else 0)
    offsets = {name: file.stat().st_size for name, file in chosen.items()}
    for name, file in chosen.items():
        show(name, tail_of(file, lines).splitlines() if lines else [])
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            time.sleep(_FOLLOW_EVERY_S)
            for name, file in chosen.items():
                offsets[name] = _print_news(name, file, offsets[name], show)


@dataclass(frozen=True, slots=True)
class _Printer:
    """Prints lines of a log: each as JSON, or behind the name of its process, padded to ``width`` (0: no name)."""

    as_json: bool
    width: int

    def __call__(self, name: str, lines: list[str]) -> None:
        for line in lines:
            if self.as_json:
                typer.echo(json.dumps({"process": name, "line": line}))
            else:
                typer.echo(f"{name:<{self.width}} | {line}" if self.width else line)


def _print_news(name: str, file: Path, offset: int, show: _Printer) -> int:
    """Print the whole lines after ``offset``; returns where the next ones begin."""
    size = file.stat().st_size
    if size < offset:  # the log was bounded
        offset = 0
    with file.open("rb") as stream:
        stream.seek(offset)
        whole, newline, _ = stream.read().rpartition(b"\n")
    show(name, whole.decode(errors="replace").splitlines())
    return offset + len(whole) + len(newline)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    commands: tuple[Any, ...] = (up, status, down, logs)
    for command in commands:
        app.command()(command)

"""`trimtab demo`: everything at once, for real, on paper money, with a live view and a checked report."""

import asyncio
import re
from pathlib import Path
from typing import Annotated

import typer

from deploy.command_line.output import reported
from deploy.command_line.strategy_file import load_document
from deploy.demo.scenario import candidate
from deploy.embedded.options import DEFAULT_SEED, ExchangeOptions, StackOptions
from shared.core.errors import Refused

DEMO_DATA_DIR = Path(".trimtab") / "demo"
DEFAULT_ROWS_PER_SECOND = 20.0
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)?")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def demo(
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replay real prices (.csv, .csv.gz, .parquet); default: a synthetic market."),
    ] = None,
    rows_per_second: Annotated[
        float, typer.Option(metavar="X", help="How fast the rows of the market pass.")
    ] = DEFAULT_ROWS_PER_SECOND,
    seed: Annotated[
        int | None, typer.Option(help=f"Seed of the synthetic market (default: {DEFAULT_SEED}).", show_default=False)
    ] = None,
    strategy: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Run this strategy file instead of the examples (repeatable)."),
    ] = None,
    evaluators: Annotated[int, typer.Option(help="How many strategy evaluators share the strategies.")] = 1,
    exit_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="End after this long, as in 60s or 5m.")
    ] = None,
    in_lockstep: Annotated[
        bool,
        typer.Option(
            "--lockstep", help="The next row comes when the one before is done: the result is the same each time."
        ),
    ] = False,
    until_end: Annotated[bool, typer.Option("--until-end", help="End at the last row of --prices.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what happened as JSON.")] = None,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="A new or empty folder for this demo; it is removed at the end.")
    ] = DEMO_DATA_DIR,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view, only the summary.")] = False,
) -> None:
    """Run the whole system on this machine with paper money and watch it rebalance."""
    with reported():
        exchange = ExchangeOptions(prices_file=prices, seed=seed, rows_per_second=rows_per_second, start_paused=True)
        stack = StackOptions(data_dir=data, evaluators=evaluators, exchange=exchange, keep=False, lockstep=in_lockstep)
        documents = [load_document(path) for path in strategy or []]
        exit_after_s = _seconds(exit_after)
        _refuse_endless(until_end, prices)
        _refuse_bad_prices(prices)
        _refuse_unwritable(report)
        for document in documents:
            candidate(document)
        # Only now: what a demo needs takes a second to load.
        from deploy.demo.run import DemoOptions, run_demo
        from deploy.demo.session import Ending

        ends = until_end or (prices is not None and exit_after is None)
        ending = Ending(exit_after_s=exit_after_s, until_end=ends)
        exit_code = asyncio.run(run_demo(DemoOptions(stack, documents, ending, report, quiet)))
    raise typer.Exit(exit_code)


def _seconds(exit_after: str | None) -> float | None:
    if exit_after is None:
        return None
    match = _DURATION.fullmatch(exit_after)
    if match is None or float(match[1]) <= 0:
        raise Refused.one("--exit-after", exit_after, "a time above 0, as in 90s, 5m, 1h", "is not a time")
    return float(match[1]) * _SECONDS[match[2] or ""]


def _refuse_endless(until_end: bool, prices: Path | None) -> None:
    if until_end and prices is None:
        raise Refused.one("--until-end", "a synthetic market", "with --prices FILE", "a synthetic market has no end")


def _refuse_unwritable(report: Path | None) -> None:
    """Better now than after the demo. Raises Refused."""
    if report is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        raise Refused.one("--report", str(report), "a file in a folder that exists", "cannot be written")


def _refuse_bad_prices(prices: Path | None) -> None:
    """Read the price file before anything is started. Raises Refused."""
    if prices is not None:
        from services.simulated_exchange.markets.files import load_prices

        load_prices(prices)

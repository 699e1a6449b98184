"""`trimtab ledger`: compute the books again, and export them. Both are programs of the ledger, run on its database."""

import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deploy.command_line.connections import operator_dsn
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, reported
from deploy.command_line.strategy_results import MethodOption

app = typer.Typer(name="ledger", help="The books: compute them again, export them.", no_args_is_help=True)


class FormatOption(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    BEANCOUNT = "beancount"


class ReportOption(StrEnum):
    """What is exported: every posting, or every piece of a lot that was closed."""

    JOURNAL = "journal"
    GAINS = "gains"


@app.command()
def rebuild(data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Compute balances, positions, lots and results again from the first entry, and compare.

    Exit code 0: all is equal; 1: something differs (each difference on a line). What was computed stays in the schema
    ledger_rebuilt. The services may go on meanwhile.

    \b
    Examples:
      trimtab ledger rebuild
      TRIMTAB_POSTGRES_DSN=postgresql://... trimtab ledger rebuild --json
    """
    _run("services.ledger.rebuild", ["--json"] if as_json else [], data)


@app.command()
def export(
    form: Annotated[FormatOption, typer.Option("--format", help="How it is written.")] = FormatOption.CSV,
    report: Annotated[ReportOption, typer.Option(help="Every posting, or every lot that was closed.")] = (
        ReportOption.JOURNAL
    ),
    strategy: Annotated[str, typer.Option(metavar="ID", help="Only this strategy.")] = "",
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="Market time, inclusive.")] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Market time, exclusive.")] = "",
    method: Annotated[MethodOption, typer.Option(help="Which lots a sale closes first.")] = MethodOption.FIFO,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Standard output unless given.")] = None,
    data: DataOption = DEFAULT_DATA_DIR,
) -> None:
    """Write the journal or the realised gains to a file.

    \b
    Examples:
      trimtab ledger export --output journal.csv
      trimtab ledger export --report gains --method hifo --from 2024-01-01 --to 2025-01-01
      trimtab ledger export --format beancount --output trimtab.beancount
    """
    wanted = ["--format", form.value, "--report", report.value, "--method", method.value]
    for name, value in (("--strategy", strategy), ("--from", since), ("--to", until), ("--output", str(output or ""))):
        wanted += [f"{name}={value}"] if value else []
    _run("services.ledger.export", wanted, data)


def _run(program: str, arguments: list[str], data: Path) -> None:
    """Run a program of the ledger on the database of the environment or of the stack; ends with its exit code."""
    with reported():
        environment = os.environ | {"TRIMTAB_POSTGRES_DSN": operator_dsn(data)}
        done = subprocess.run([sys.executable, "-P", "-m", program, *arguments], env=environment, check=False)
    raise typer.Exit(done.returncode)

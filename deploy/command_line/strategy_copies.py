"""`trimtab strategy clone|export|import`: strategies out of strategies, and files."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, fail, reported
from deploy.command_line.strategy_edits import with_values
from deploy.command_line.strategy_file import load_document
from deploy.command_line.strategy_options import (
    FileArgument,
    IdArgument,
    SetOption,
    YesOption,
    hint,
    path_of,
    start_previewed,
)


def clone(
    strategy_id: IdArgument,
    name: Annotated[str, typer.Option(metavar="NAME", help="Its name; the original's with (copy) if not given.")] = "",
    amount: Annotated[
        str, typer.Option(metavar="AMOUNT", help="Of the funding asset; the original's if not given.")
    ] = "",
    set_: SetOption = None,
    yes: YesOption = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Start a strategy like this one: shows what it would do, and asks.

    \b
    Examples:
      trimtab strategy clone ID --name "Majors, second" --amount 500
      trimtab strategy clone ID --set targets.BTC=50 --set targets.ETH=20 --yes
    """
    with reported(), gateway_of(data) as api:
        with hint():
            original = api.get(path_of(strategy_id))["document"]
        wanted = with_values(original, set_ or [])
        body = {field: wanted.get(field) for field in {*original, *wanted} if wanted.get(field) != original.get(field)}
        body |= ({"name": name} if name else {}) | ({"amount": amount} if amount else {})
        found = api.post(f"{path_of(strategy_id)}/clone", body)
        start_previewed(api, found, yes=yes, as_json=as_json)


def export(
    strategy_id: IdArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Into this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Even if there is such a file.")] = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Print its strategy file, or write it; `strategy import` takes it back.

    \b
    Examples:
      trimtab strategy export ID > majors.yaml
      trimtab strategy export ID --output majors.json --json
    """
    with reported(), gateway_of(data) as api:
        with hint():
            text = api.get_text(f"{path_of(strategy_id)}/file", format="json" if as_json else "yaml")
        if output is None:
            typer.echo(text, nl=False)
            return
        try:
            with output.open("w" if force else "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            fail(f"{output} exists: choose another file, or say --force")
        typer.echo(f"written to {output}", err=True)


def import_(
    file: FileArgument, yes: YesOption = False, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False
) -> None:
    """Start a strategy from a file, as `strategy create` does: shows what it would do, and asks.

    \b
    Example:
      trimtab strategy import majors.yaml
    """
    with reported(), gateway_of(data) as api:
        found = api.post("/strategies/preview", load_document(file))
        start_previewed(api, found, yes=yes, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Put the commands into the group."""
    app.command()(clone)
    app.command()(export)
    app.command(name="import")(import_)

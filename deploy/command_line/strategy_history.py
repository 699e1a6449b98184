"""`trimtab strategy versions|calendar`: what a strategy was, and when its Auto-Invest will be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.command_line.strategy_file import load_document
from deploy.command_line.strategy_options import IdArgument, hint, path_of
from deploy.command_line.strategy_text import moment, safe
from shared.core.errors import Refused


def versions(
    strategy_id: IdArgument,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="How many.")] = 20,
    before: Annotated[int, typer.Option(metavar="VERSION", min=0, help="Only those below it; 0: the newest.")] = 0,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show who changed what and when, newest first.

    \b
    Examples:
      trimtab strategy versions ID
      trimtab strategy versions ID --limit 50 --before 31
    """
    with reported(), gateway_of(data) as api, hint():
        found = api.get(f"{path_of(strategy_id)}/versions", limit=limit, before=before)
    if as_json:
        print_json(found)
        return
    table = Table(Column("version", justify="right"), Column("when (UTC)", no_wrap=True), "who", "what", box=None)
    for one in found["versions"]:
        what = [safe(one["sentence"]), *(_change(field) for field in one["fields"])]
        table.add_row(str(one["version"]), moment(one["recorded_at"]), one["changed_by"], "\n".join(what))
    console = Console()
    console.print(table)
    if found["next"]:
        console.print(f"older ones: --before {found['next']}")


def calendar(
    strategy_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a strategy.")] = "",
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="A strategy file instead.")] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="With --file: counted from here (with zone).")] = "",
    count: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="How many.")] = 10,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show the next dates of its Auto-Invest: local time, UTC, and what is odd about them.

    \b
    Examples:
      trimtab strategy calendar ID --count 5
      trimtab strategy calendar --file majors.yaml --since 2026-03-01T00:00:00Z
    """
    with reported(), gateway_of(data) as api:
        if bool(strategy_id) == (file is not None):
            given = "both" if strategy_id else "neither"
            raise Refused.one("ID", given, "the id of a strategy, or --file FILE", "is not clear")
        if file is None:
            with hint():
                found = api.get(f"{path_of(strategy_id)}/calendar", count=count)
        else:
            body = {"auto_invest": load_document(file).get("auto_invest"), "count": count}
            found = api.post("/strategies/calendar", body | ({"since": since} if since else {}))
    if as_json:
        print_json(found)
        return
    console = Console()
    if found["dates"]:
        times = (Column("local time", no_wrap=True), "zone", Column("UTC", no_wrap=True))
        table = Table("day", *times, "remarks", box=None)
        for one in found["dates"]:
            local = moment(one["local"])[:-3]
            table.add_row(one["weekday"][:3], local, one["zone"], moment(one["utc"])[:-3], "; ".join(one["remarks"]))
        console.print(table)
    for remark in found["remarks"]:
        console.print(safe(remark))


def register(app: typer.Typer) -> None:
    """Put the commands into the group."""
    app.command()(versions)
    app.command()(calendar)


def _change(field: Mapping[str, str]) -> str:
    """One field that changed, on one line."""
    return f"  {safe(field['field'])}: {_bare(field['before'])} -> {_bare(field['after'])}"


def _bare(text: str) -> str:
    """JSON text without the quotes of a plain text."""
    if not text:
        return "(none)"
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    return safe(value if isinstance(value, str) else text)

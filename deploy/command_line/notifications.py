"""`trimtab notifications`: what people should hear of."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.command_line.strategy_text import WIDE, moment, safe

_STYLES = {"warning": "yellow", "alert": "bold red"}


def notifications(
    strategy: Annotated[str, typer.Option(metavar="ID", help="Only of this strategy.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="How many.")] = 20,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show what you should hear of, newest first: cycles left out, pauses, exits, money refused.

    \b
    Examples:
      trimtab notifications
      trimtab notifications --strategy ID --limit 5
    """
    with reported(), gateway_of(data) as api:
        found = api.get("/notifications", limit=limit, strategy=strategy)
    if as_json:
        print_json(found)
        return
    console = Console()
    if not found["notifications"]:
        console.print("nothing to be told")
        return
    is_wide = console.width >= WIDE
    table = Table(Column("when (UTC)", no_wrap=True), Column("", no_wrap=True), "what", box=None)
    if is_wide:
        table.add_column("strategy", no_wrap=True)
    for one in found["notifications"]:
        style = _STYLES.get(one["severity"], "none")
        severity = f"[{style}]{one['severity']}[/{style}]"
        which = (one["strategy_id"],) if is_wide else ()
        table.add_row(moment(one["raised_at"]), severity, safe(one["text"]), *which)
    console.print(table)

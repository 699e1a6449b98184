"""`trimtab halt` and `trimtab resume`: the kill switch."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.command_line.strategy_text import moment, safe

VenueOption = Annotated[str, typer.Option("--venue", metavar="VENUE", help="Only this venue; else every venue.")]


def halt(
    venue: VenueOption = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever looks later.")] = "",
    show: Annotated[bool, typer.Option("--show", help="Only show where orders are sent and where not.")] = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Send no more orders, from now until `trimtab resume`, whatever restarts. What was sent is settled and booked.

    \b
    Examples:
      trimtab halt --reason "looks wrong"
      trimtab halt --venue binance
      trimtab halt --show
    """
    with reported(), gateway_of(data) as api:
        if show:
            found = api.get("/halts")
            found = {"halts": [one for one in found["halts"] if venue in ("", one["venue"])]}
        else:
            found = api.post("/halt", ({"venue": venue} if venue else {}) | ({"reason": reason} if reason else {}))
    _print(found, as_json=as_json)


def resume(venue: VenueOption = "", data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Send orders again: strategies look again and act on what they see then."""
    with reported(), gateway_of(data) as api:
        found = api.post("/resume", {"venue": venue} if venue else {})
    _print(found, as_json=as_json)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    table = Table("venue", "orders", Column("since (UTC)", no_wrap=True), "by", "reason", box=None)
    for one in found["halts"]:
        state = "[bold red]halted[/bold red]" if one["halted"] else "sent"
        since = moment(one["changed_at"]) if one["changed_at"] else ""
        table.add_row(safe(one["venue"]), state, since, one["cause"], safe(one["reason"]))
    Console().print(table)

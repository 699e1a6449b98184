"""`trimtab reconcile`: where the books and a venue's account differ, and its acceptance."""

from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import GatewayApi, gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.command_line.strategy_text import moment, safe
from shared.core.errors import Refused

app = typer.Typer(
    name="reconcile", help="Differences between the books and a venue: show and accept.", no_args_is_help=True
)

VenueOption = Annotated[str, typer.Option("--venue", metavar="VENUE", help="Which venue.")]


@app.command()
def show(
    venue: VenueOption = "paper",
    limit: Annotated[int, typer.Option(metavar="N", min=0, max=500, help="How many events.")] = 10,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show what is in suspense, and what led to it, newest first.

    Above zero it is at the venue and nobody has claimed it; below zero it is missing there. Its asset is not traded.
    """
    with reported(), gateway_of(data) as api:
        found = api.get(_path(venue), limit=limit)
    if as_json:
        print_json(found)
        return
    console = Console()
    if found["reconciled"]:
        console.print(f"{venue}: the books and the account agree")
    else:
        amounts = [Column(name, justify="right") for name in ("amount", "at the venue", "wallet")]
        table = Table("in suspense", *amounts, box=None)
        for row in found["suspense"]:
            table.add_row(row["asset"], row["amount"], row["at_venue"], row["wallet"])
        console.print(table)
    if found["events"]:
        told = Table(Column("when (UTC)", no_wrap=True), "what", box=None)
        for event in found["events"]:
            told.add_row(moment(event["occurred_at"]), safe(event["text"]))
        console.print(told)


# An amount below 0 is an amount here, not an option.
@app.command(context_settings={"ignore_unknown_options": True})
def accept(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="As in BTC.")],
    amount: Annotated[
        str, typer.Argument(metavar="[AMOUNT]", help="What is in suspense, to be sure; default: what is there now.")
    ] = "",
    venue: VenueOption = "paper",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Give what is in suspense to the wallet: a surplus as its gain, what is missing as its loss. ASSET trades again.

    \b
    Examples:
      trimtab reconcile accept BTC
      trimtab reconcile accept USDT -100
    """
    with reported(), gateway_of(data) as api:
        wanted = amount or _in_suspense(api, venue, asset)
        done: dict[str, Any] = api.post(f"{_path(venue)}/accept", {"asset": asset, "amount": wanted})
    if as_json:
        print_json(done)
        return
    missing = done["amount"].startswith("-")
    what = f"{done['amount'].lstrip('-')} {done['asset']}"
    typer.echo(f"the wallet of {venue} has borne {what}" if missing else f"{what} is in the wallet of {venue} now")


def _path(venue: str) -> str:
    return f"/reconciliation/{quote(venue, safe='')}"


def _in_suspense(api: GatewayApi, venue: str, asset: str) -> str:
    """The amount of an asset in suspense. Raises Refused when there is none."""
    rows = {row["asset"]: str(row["amount"]) for row in api.get(_path(venue), limit=0)["suspense"]}
    if asset not in rows:
        raise Refused.one("asset", asset, ", ".join(rows) or "(nothing)", f"has nothing in suspense at {venue}")
    return rows[asset]

"""`trimtab wallet`: money that no strategy holds."""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import GatewayApi, NotFoundError, gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from shared.core.errors import Refused, RetryLater
from shared.core.money import ZERO

app = typer.Typer(name="wallet", help="Wallets: show, deposit paper money, sweep dust.", no_args_is_help=True)

_SEEN_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.2


@app.command()
def show(
    venue: Annotated[str, typer.Option(metavar="VENUE", help="Only this venue.")] = "",
    at: Annotated[str, typer.Option(metavar="TIME", help="What they held at this market time.")] = "",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show what every wallet holds, now or at a time. Now also the dust beside it: what exits could not sell."""
    with reported(), gateway_of(data) as api:
        if at:
            every = api.get("/wallets", at=at)["wallets"]
            wallets = [wallet for wallet in every if venue in {"", wallet["venue"]}]
        else:
            wallets = [api.get(_path(venue))] if venue else api.get("/wallets")["wallets"]
    if as_json:
        print_json({"wallets": wallets})
        return
    console = Console()
    console.print(_table("amount", wallets, "balances"))
    if any(wallet.get("dust") for wallet in wallets):
        console.print(_table("dust", wallets, "dust"))


# An amount below 0 is told by the gateway what an amount is, rather than taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
def deposit(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="As in USDT.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="As in 1200.")],
    venue: Annotated[str, typer.Option(metavar="VENUE", help="A paper venue.")] = "paper",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until the wallet shows it.")] = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Give a paper venue's account some money, and wait until the wallet shows it."""
    with reported(), gateway_of(data) as api:
        before = _balance(api, venue, asset)
        done: dict[str, Any] = api.post(f"{_path(venue)}/deposits", {"asset": asset, "amount": amount})
        if not no_wait:
            _wait_until_seen(api, venue, asset, before + Decimal(done["amount"]))
        if as_json:
            print_json({**done, "seen": not no_wait})
        else:
            state = "accepted by the venue" if no_wait else "in the wallet"
            typer.echo(f"{done['amount']} {done['asset']} {state} ({done['id']})")


@app.command()
def sweep(
    asset: Annotated[str, typer.Argument(metavar="[ASSET]", help="As in BTC; default: all the dust there is.")] = "",
    venue: Annotated[str, typer.Option(metavar="VENUE", help="Which venue.")] = "paper",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Give dust to the wallet: what is too little to be sold by itself is still yours."""
    with reported(), gateway_of(data) as api:
        dust = api.get(_path(venue)).get("dust", {})
        if asset and asset not in dust:
            raise Refused.one("asset", asset, ", ".join(sorted(dust)) or "(nothing)", f"is no dust at {venue}")
        done: list[dict[str, Any]] = [
            api.post(f"{_path(venue)}/dust/sweep", {"asset": one, "amount": amount})
            for one, amount in sorted(dust.items())
            if asset in {"", one}
        ]
    if as_json:
        print_json({"swept": done})
        return
    for one in done:
        typer.echo(f"{one['amount']} {one['asset']} is in the wallet of {venue} now")
    if not done:
        typer.echo(f"there is no dust at {venue}")


def _table(title: str, wallets: Sequence[Mapping[str, Any]], kind: str) -> Table:
    table = Table("venue", "asset", Column(title, justify="right"), box=None)
    for wallet in wallets:
        for asset, amount in sorted(wallet.get(kind, {}).items()):
            table.add_row(wallet["venue"], asset, amount)
    return table


def _path(venue: str) -> str:
    return f"/wallets/{quote(venue, safe='')}"


def _balance(api: GatewayApi, venue: str, asset: str) -> Decimal:
    try:
        return Decimal(api.get(_path(venue))["balances"].get(asset, "0"))
    except NotFoundError:
        return ZERO  # The venue has not been heard of yet; the deposit itself is refused if there is none.


def _wait_until_seen(api: GatewayApi, venue: str, asset: str, expected: Decimal) -> None:
    """Raises RetryLater when the wallet does not hold ``expected`` in time (a strategy may have taken it meanwhile)."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while _balance(api, venue, asset) < expected:
        if time.monotonic() > deadline:
            raise RetryLater(
                f"the venue has accepted the deposit, but the wallet did not show it within {_SEEN_WITHIN_S:.0f} s"
            )
        time.sleep(_LOOK_EVERY_S)

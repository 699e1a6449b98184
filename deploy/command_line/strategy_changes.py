"""`trimtab strategy edit|add|withdraw|pause|resume|rebalance|stop`: what may be asked of a strategy that runs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, fail, reported
from deploy.command_line.strategy_edits import changes_between, differences, with_values
from deploy.command_line.strategy_file import load_document
from deploy.command_line.strategy_options import (
    IdArgument,
    SetOption,
    YesOption,
    agreed,
    hint,
    path_of,
    print_state,
)
from deploy.command_line.strategy_text import safe
from shared.contracts.lifecycle import EDITABLE_FIELDS
from shared.core.errors import Refused

AssetOption = Annotated[str, typer.Option(metavar="ASSET", help="As in BTC; the funding asset when not given.")]

_BY_ITS_RULE = "when its rule says so (--no-rebalance)"


def edit(
    strategy_id: IdArgument,
    set_: SetOption = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="A strategy file it shall be like.")] = None,
    rebalance: Annotated[bool, typer.Option(help="Trade towards new targets at once.")] = True,
    yes: YesOption = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Change its definition: shows what would change, and asks.

    \b
    Examples:
      trimtab strategy edit ID --set take_profit=15 --set stop_loss=-8
      trimtab strategy edit ID --set targets.BTC=50 --set targets.ETH=20
      trimtab strategy edit ID --set auto_invest.amount=75
      trimtab strategy edit ID --set stop_loss=           (takes it away)
      trimtab strategy edit ID --file majors.yaml --no-rebalance
    """
    with reported(), gateway_of(data) as api:
        if bool(set_) == (file is not None):
            raise Refused.one("--set", "both" if file else "neither", "--set or --file", "is not clear")
        with hint():
            strategy = api.get(path_of(strategy_id))
        before = strategy["document"]
        after = load_document(file) if file is not None else with_values(before, set_ or [])
        changes = changes_between(before, after, EDITABLE_FIELDS)
        if not as_json or not yes:
            _print_changes(strategy, changes, rebalance=rebalance, console=Console(stderr=as_json))
        if not yes and not agreed("Make these changes?"):
            fail("nothing was changed: agree with y, or say --yes")
        body = {"revision": strategy["revision"], "changes": changes, "rebalance": rebalance}
        print_state(api.patch(path_of(strategy_id), body), as_json=as_json)


# An amount below 0 is told by the gateway what an amount is, rather than taken for an option.
def add(
    strategy_id: IdArgument,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="As in 500.")],
    asset: AssetOption = "",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Put money from the wallet into it; it is invested with the least trading.

    \b
    Examples:
      trimtab strategy add ID 500
      trimtab strategy add ID 0.01 --asset BTC
    """
    body = {"amount": amount} | ({"asset": asset} if asset else {})
    _ask(data, strategy_id, "add", body, as_json=as_json)


def withdraw(
    strategy_id: IdArgument,
    amount: Annotated[str | None, typer.Option(metavar="AMOUNT", help="So much of the asset, as in 250.")] = None,
    percent: Annotated[str | None, typer.Option(metavar="PERCENT", help="So much of its value, as in 25.")] = None,
    asset: AssetOption = "",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Take money out of it, into the wallet, with the least trading. To take out all, stop it.

    \b
    Examples:
      trimtab strategy withdraw ID --amount 250
      trimtab strategy withdraw ID --percent 25
      trimtab strategy withdraw ID --amount 0.01 --asset BTC
    """
    given = {"amount": amount, "percent": percent, "asset": asset or None}
    body = {name: value for name, value in given.items() if value is not None}
    _ask(data, strategy_id, "withdraw", body, as_json=as_json)


def pause(strategy_id: IdArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Let it rest: no rebalance, no take-profit or stop-loss, no Auto-Invest, until it is resumed.

    \b
    Example:
      trimtab strategy pause ID
    """
    _ask(data, strategy_id, "pause", None, as_json=as_json)


def resume(strategy_id: IdArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Let it go on after a pause. Refused while a level that pauses is still reached: edit that first.

    \b
    Example:
      trimtab strategy resume ID
    """
    _ask(data, strategy_id, "resume", None, as_json=as_json)


def rebalance(strategy_id: IdArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Bring every asset to its target now, whatever its rule says.

    \b
    Example:
      trimtab strategy rebalance ID
    """
    _ask(data, strategy_id, "rebalance", None, as_json=as_json)


def stop(
    strategy_id: IdArgument,
    keep: Annotated[bool, typer.Option("--keep", help="Sell nothing: return the coins as they are.")] = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """End it: sell everything into the funding asset, return the money to the wallet. Repeating it changes nothing.

    \b
    Examples:
      trimtab strategy stop ID
      trimtab strategy stop ID --keep
    """
    _ask(data, strategy_id, "stop", {"action": "keep" if keep else "sell"}, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Put the commands into the group."""
    app.command()(edit)
    for money in (add, withdraw):
        app.command(context_settings={"ignore_unknown_options": True})(money)
    for command in (pause, resume, rebalance, stop):
        app.command()(command)


def _ask(data: Path, strategy_id: str, what: str, body: dict[str, Any] | None, *, as_json: bool) -> None:
    with reported(), gateway_of(data) as api:
        with hint():
            strategy = api.post(f"{path_of(strategy_id)}/{what}", body)
        print_state(strategy, as_json=as_json)


def _print_changes(strategy: dict[str, Any], changes: dict[str, Any], *, rebalance: bool, console: Console) -> None:
    console.print(f"[bold]{safe(strategy['name'])}[/bold] {strategy['id']}, revision {strategy['revision']}")
    table = Table("field", "now", Column("then"), box=None)
    for one in differences(strategy["document"], changes):
        then = "(taken away)" if one.after is None else safe(one.after)
        table.add_row(safe(one.field), "(none)" if one.before is None else safe(one.before), then)
    console.print(table)
    if "targets" in changes:
        now = "once it is resumed" if strategy["status"] == "paused" else "at once"
        console.print(f"it is traded towards the new targets {now if rebalance else _BY_ITS_RULE}")
        progress, plan = strategy["auto_invest"], strategy["document"].get("auto_invest")
        runs = plan is not None and progress is not None and progress["status"] == "running"
        if runs and "auto_invest" not in changes and plan.get("composition_change", "stop") == "stop":
            console.print("Auto-Invest stops with it (auto_invest.composition_change=continue lets it go on)")

"""`trimtab strategy`: preview, create, list, show, stop, schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line.api import GatewayApi, NotFoundError, gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, fail, print_json, reported
from deploy.command_line.strategy_file import load_document
from deploy.command_line.why import why
from shared.contracts.strategy_schema import DIALECT, strategy_schema
from shared.core.strategy import MAX_ASSETS, MIN_ASSETS

app = typer.Typer(name="strategy", help="Strategies: preview, create, list, show, stop, schema.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A strategy file (YAML).")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of a strategy.")]

_PAGE = 500
_WIDE = 110  # columns


@app.command()
def preview(file: FileArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Check a strategy file and show what it would do; nothing is changed."""
    with reported(), gateway_of(data) as api:
        found = api.post("/strategies/preview", load_document(file))
        if as_json:
            print_json(found)
        else:
            _print_preview(found, Console())


@app.command()
def create(
    file: FileArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Preview a strategy file, and start it once you agree."""
    with reported(), gateway_of(data) as api:
        found = api.post("/strategies/preview", load_document(file))
        if not as_json or not yes:
            _print_preview(found, Console(stderr=as_json))
        if not yes and not _agreed():
            fail("not started: agree with y, or say --yes")
        # The key is the preview's: whatever happens on the way, one preview is one strategy.
        strategy = api.post("/strategies", {"preview_id": found["preview_id"]}, key=f"confirm.{found['preview_id']}")
        if as_json:
            print_json(strategy)
        else:
            typer.echo(f"{strategy['id']} {strategy['status']}: `trimtab strategy show {strategy['id']}` tells more")


@app.command(name="list")
def list_strategies(data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show every strategy, newest first."""
    with reported(), gateway_of(data) as api:
        strategies = _all_strategies(api)
    if as_json:
        print_json({"strategies": strategies})
        return
    console = Console()
    is_wide = console.width >= _WIDE
    table = Table(Column("id", no_wrap=True, min_width=28), Column("name", overflow="ellipsis", no_wrap=True), box=None)
    table.add_column("status", no_wrap=True)
    for name in ("value", *(("put in",) if is_wide else ()), "profit %"):
        table.add_column(name, no_wrap=True, justify="right")
    if is_wide:
        table.add_column("since (market time)", no_wrap=True)
    for one in strategies:
        put_in, since = _money(one["contributed"]), _moment(one["active_since"])
        figures = (_money(one["value"]), *((put_in,) if is_wide else ()), _rounded(one["profit_pct"]))
        table.add_row(one["id"], _safe(one["name"]), one["status"], *figures, *((since,) if is_wide else ()))
    console.print(table)


@app.command()
def show(strategy_id: IdArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show one strategy: weights against targets, value, last plan, warnings."""
    with reported(), gateway_of(data) as api:
        with _hint():
            strategy = api.get(_path(strategy_id))
        if as_json:
            print_json(strategy)
        else:
            _print_strategy(strategy, Console())


app.command()(why)


@app.command()
def stop(strategy_id: IdArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Sell everything into the funding asset and return it to the wallet. Repeating it changes nothing."""
    with reported(), gateway_of(data) as api:
        with _hint():
            strategy = api.post(f"{_path(strategy_id)}/stop")
        if as_json:
            print_json(strategy)
        else:
            typer.echo(f"{strategy['id']} is {strategy['status']}")


@app.command()
def schema(
    max_assets: Annotated[int, typer.Option(min=MIN_ASSETS, help="Most targets, as the registry is set.")] = MAX_ASSETS,
) -> None:
    """Print the JSON schema of strategy files: every rule there is, for editors and checks. Needs nothing running."""
    print_json({"$schema": DIALECT, **strategy_schema(max_assets)})


def _path(strategy_id: str) -> str:
    return f"/strategies/{quote(strategy_id, safe='')}"


@contextmanager
def _hint() -> Iterator[None]:
    """Say where the ids are when there is no such strategy."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(f"{error}: `trimtab strategy list` shows those there are") from error


def _agreed() -> bool:
    """Ask; no answer (the end of the input) is a no."""
    try:
        return typer.confirm("Start this strategy?", err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False


def _all_strategies(api: GatewayApi) -> list[dict[str, Any]]:
    strategies: list[dict[str, Any]] = []
    after = ""
    while True:
        page = api.get("/strategies", limit=_PAGE, after=after)
        strategies += page["strategies"]
        after = page["next"]
        if not after:
            return strategies


def _print_preview(found: dict[str, Any], console: Console) -> None:
    document = found["document"]
    console.print(f"[bold]{_safe(document['name'])}[/bold] at {document['venue']}: {_rule(document['rebalance'])}")
    console.print(f"amount {document['amount']} {document['funding_asset']}, worth {_money(found['value_usdt'])} USDT")
    console.print(f"smallest possible amount {found['minimum_amount']} {document['funding_asset']}")
    for name in ("take_profit", "stop_loss"):
        if name in document:
            console.print(f"{name.replace('_', '-')} {_level(document[name])}")
    if "start" in document:
        console.print(f"the first purchase waits for {_in_words(document['start'])}")
    weights = Table("asset", Column("target %", justify="right"), box=None)
    for asset, weight in document["targets"].items():
        weights.add_row(asset, weight)
    console.print(weights)
    figures = [Column(name, justify="right") for name in ("quantity", "price", "value")]
    orders = Table("first orders", *figures, box=None)
    for one in found["first_orders"]:
        orders.add_row(f"{one['side']} {one['asset']}", one["quantity"], one["price"], _money(one["value"]))
    console.print(orders)
    console.print(f"estimated fees {_rounded(found['estimated_fees_usdt'], 4)} USDT")
    _print_warnings(found["warnings"], console)


def _rule(rebalance: dict[str, Any]) -> str:
    """When it rebalances: in words where one condition is all there is, else as it is written."""
    match rebalance:
        case {"hold": _}:
            return "never rebalances by itself"
        case {"threshold": str() as points, **others} if not others:
            return f"rebalances when an asset is {points} percentage points off its target"
        case {"interval": interval, **others} if not others:
            return f"rebalances every {interval}"
    return f"rebalances by {_in_words(rebalance)}"


def _print_strategy(one: dict[str, Any], console: Console) -> None:
    because = one["exit_reason"] or one["reason"]
    console.print(f"[bold]{_safe(one['name'])}[/bold] {one['id']}")
    console.print(f"{one['status']}{f' ({_safe(because)})' if because else ''} at {one['venue']}")
    if one["active_since"]:
        console.print(f"active since {_moment(one['active_since'])} (market time)")
    if one["status"] == "closed":
        console.print("its money is back in the wallet: `trimtab wallet show`")
    else:
        _print_holdings(one, console)
    if plan := one["last_plan"]:
        console.print(
            f"last plan: {plan['kind']} ({plan['reason']}) {plan['outcome']}, {plan['orders']} orders, "
            f"{plan['fills']} fills, {_moment(plan['market_time'])} (market time)",
            soft_wrap=True,
        )
    if one["open_plan_id"]:
        console.print(f"a plan is open: {one['open_plan_id']}")
    _print_warnings(one["warnings"], console)


def _print_holdings(one: dict[str, Any], console: Console) -> None:
    profit = f"profit {_money(one['profit'])} ({_rounded(one['profit_pct'])} %)" if one["profit"] is not None else ""
    peak = f"peak {_rounded(one['peak_profit_pct'])} %" if one.get("peak_profit_pct") is not None else ""
    figures_told = [f"value {_money(one['value'])}", f"put in {_money(one['contributed'])}", profit, peak]
    console.print(", ".join(filter(None, figures_told)))
    figures = ("target %", "actual %", "band %", "quantity", "value")
    table = Table("asset", *(Column(name, justify="right") for name in figures), box=None)
    for asset in one["assets"]:
        band = f"{asset['lower_pct']} - {asset['upper_pct']}" if asset["lower_pct"] is not None else ""
        table.add_row(
            asset["asset"],
            asset["target_pct"],
            _rounded(asset["actual_pct"]),
            band,
            asset["quantity"],
            _money(asset["value"]),
        )
    console.print(table)


def _print_warnings(warnings: list[str], console: Console) -> None:
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {_safe(warning)}")


def _level(written: Any) -> str:
    """A take-profit or stop-loss in words."""
    level = written if isinstance(written, dict) else {"percent": written}
    text = f"at {level['percent']} % of the money put in"
    if level.get("trailing") is True:
        text = f"at {level['percent']} % of the value at its peak"
    elif "trailing" in level:
        text = f"armed {text}, when the profit has fallen {level['trailing']} points from its peak"
    return f"{text}, on {level['confirm']} consecutive quotes" if "confirm" in level else text


def _in_words(rule: dict[str, Any]) -> str:
    """A rule as it is written in a file, on one line."""
    words = []
    for name, value in rule.items():
        told = f"({_in_words(value)})" if isinstance(value, dict) else _safe(str(value))
        words.append(f"{name.replace('_', ' ')} {told}")
    return ", ".join(words)


def _safe(text: str) -> str:
    """Text that rich shows as it is: users choose names, and [red] is not a colour there."""
    return text.replace("[", r"\[")


def _money(text: str | None) -> str:
    return _rounded(text, 2)


def _rounded(text: str | None, decimals: int = 2) -> str:
    return "?" if text is None else f"{Decimal(text):.{decimals}f}"


def _moment(text: str | None) -> str:
    return "" if text is None else datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")

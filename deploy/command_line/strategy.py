"""`trimtab strategy`: preview, create, list, show, why, schema; the other commands are registered from beside it."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from deploy.command_line import strategy_changes, strategy_copies, strategy_history, strategy_results
from deploy.command_line.api import GatewayApi, gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.command_line.strategy_file import load_document
from deploy.command_line.strategy_options import FileArgument, IdArgument, YesOption, hint, path_of, start_previewed
from deploy.command_line.strategy_text import (
    ENDED,
    STATUS_STYLES,
    WIDE,
    moment,
    money,
    print_preview,
    print_strategy,
    rounded,
    safe,
)
from deploy.command_line.why import why
from shared.contracts.strategy_schema import DIALECT, strategy_schema
from shared.core.strategy import MAX_ASSETS, MIN_ASSETS

app = typer.Typer(
    name="strategy",
    help="Strategies: create, show, change, end them, look at what they did.",
    no_args_is_help=True,
)

_PAGE = 500


@app.command()
def preview(file: FileArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Check a strategy file and show what it would do; nothing is changed."""
    with reported(), gateway_of(data) as api:
        found = api.post("/strategies/preview", load_document(file))
        if as_json:
            print_json(found)
        else:
            print_preview(found, Console())


@app.command()
def create(
    file: FileArgument, yes: YesOption = False, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False
) -> None:
    """Preview a strategy file, and start it once you agree."""
    with reported(), gateway_of(data) as api:
        found = api.post("/strategies/preview", load_document(file))
        start_previewed(api, found, yes=yes, as_json=as_json)


@app.command(name="list")
def list_strategies(data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show every strategy, newest first."""
    with reported(), gateway_of(data) as api:
        strategies = _all_strategies(api)
    if as_json:
        print_json({"strategies": strategies})
        return
    console = Console()
    is_wide = console.width >= WIDE
    table = Table(Column("id", no_wrap=True, min_width=28), Column("name", overflow="ellipsis", no_wrap=True), box=None)
    table.add_column("status", no_wrap=True)
    for name in ("value", *(("put in",) if is_wide else ()), "profit %"):
        table.add_column(name, no_wrap=True, justify="right")
    if is_wide:
        table.add_column("since (market time)", no_wrap=True)
    for one in strategies:
        # One that has ended holds nothing: what it was worth is not to be told, only what came of it.
        ended = one["status"] in ENDED
        value, put_in = ("", "") if ended else (money(one["value"]), money(one["contributed"]))
        profit = "" if ended and one["profit_pct"] is None else rounded(one["profit_pct"])
        since = moment(one["active_since"])
        figures = (value, *((put_in,) if is_wide else ()), profit)
        style = STATUS_STYLES.get(one["status"], "none")
        status = f"[{style}]{one['status']}[/{style}]"
        table.add_row(one["id"], safe(one["name"]), status, *figures, *((since,) if is_wide else ()))
    console.print(table)


@app.command()
def show(strategy_id: IdArgument, data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show one strategy: weights against targets, value, last plan, warnings."""
    with reported(), gateway_of(data) as api:
        with hint():
            strategy = api.get(path_of(strategy_id))
        if as_json:
            print_json(strategy)
        else:
            print_strategy(strategy, Console())


app.command()(why)


strategy_changes.register(app)
strategy_copies.register(app)
strategy_history.register(app)
strategy_results.register(app)


@app.command()
def schema(
    max_assets: Annotated[int, typer.Option(min=MIN_ASSETS, help="Most targets, as the registry is set.")] = MAX_ASSETS,
) -> None:
    """Print the JSON schema of strategy files: every rule there is, for editors and checks. Needs nothing running."""
    print_json({"$schema": DIALECT, **strategy_schema(max_assets)})


def _all_strategies(api: GatewayApi) -> list[dict[str, Any]]:
    strategies: list[dict[str, Any]] = []
    after = ""
    while True:
        page = api.get("/strategies", limit=_PAGE, after=after)
        strategies += page["strategies"]
        after = page["next"]
        if not after:
            return strategies

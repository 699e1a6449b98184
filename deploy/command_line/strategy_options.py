"""What the commands on strategies share: arguments, asking, hints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from deploy.command_line.api import GatewayApi, NotFoundError
from deploy.command_line.output import fail, print_json
from deploy.command_line.strategy_text import print_preview, safe

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A strategy file (YAML or JSON).")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of a strategy, as in `strategy list`.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A new value, as in take_profit=15; empty: take it away."),
]


def path_of(strategy_id: str) -> str:
    """The path of a strategy at the gateway."""
    return f"/strategies/{quote(strategy_id, safe='')}"


@contextmanager
def hint() -> Iterator[None]:
    """Say where the ids are when there is no such strategy."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(f"{error}: `trimtab strategy list` shows those there are") from error


def agreed(question: str) -> bool:
    """Ask; no answer (the end of the input) is a no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False


def start_previewed(api: GatewayApi, found: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    """Show a preview, ask, and start exactly that strategy. Ends the command with exit code 1 without agreement."""
    if not as_json or not yes:
        print_preview(found, Console(stderr=as_json))
    if not yes and not agreed("Start this strategy?"):
        fail("not started: agree with y, or say --yes")
    # The key is the preview's: whatever happens on the way, one preview is one strategy.
    strategy = api.post("/strategies", {"preview_id": found["preview_id"]}, key=f"confirm.{found['preview_id']}")
    if as_json:
        print_json(strategy)
    else:
        typer.echo(f"{strategy['id']} {strategy['status']}: `trimtab strategy show {strategy['id']}` tells more")


def print_state(strategy: dict[str, Any], *, as_json: bool) -> None:
    """A strategy after a command: its status, and what is under way."""
    if as_json:
        print_json(strategy)
        return
    console = Console()
    console.print(f"{strategy['id']} is {strategy['status']}", soft_wrap=True)
    for request in strategy["requests"]:
        console.print(f"  {safe(request['sentence'])}", soft_wrap=True)

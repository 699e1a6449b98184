"""`trimtab events`: everything that happens, as it happens."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from deploy.command_line.api import GatewayApi, gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, reported
from shared.core.errors import RetryLater

app = typer.Typer(name="events", help="The event stream.", no_args_is_help=True)

_PAUSE_S = 1.0
_AWAY_S = 60.0
_BORING = frozenset({"document", "inputs", "postings", "lines", "holdings", "balances"})
_TEXT_WIDTH = 160


@app.callback()
def events() -> None:
    """The event stream."""


@app.command()
def tail(
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only this type, as in trimtab.order.filled.")
    ] = None,
    stream: Annotated[list[str] | None, typer.Option(metavar="STREAM", help="Only this stream, as in ORDERS.")] = None,
    strategy: Annotated[str, typer.Option(metavar="ID", help="Only this strategy.")] = "",
    since: Annotated[str, typer.Option(metavar="WHEN", help="now, all, or an ISO time with zone.")] = "now",
    count: Annotated[int, typer.Option(metavar="N", min=0, help="End after N events; 0: never.")] = 0,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Follow the events until Ctrl-C; --json prints one CloudEvent a line."""
    query = {"type": type_ or [], "stream": stream or [], "strategy_id": strategy, "since": since}
    with reported(), gateway_of(data) as api:
        console = Console(soft_wrap=True, highlight=False)
        if since == "now" and console.is_terminal and not as_json:
            typer.echo("following what happens from now on (--since all: from the beginning; Ctrl-C ends)", err=True)
        try:
            for number, event in enumerate(_events(api, query), start=1):
                if as_json:
                    typer.echo(json.dumps(event))
                else:
                    console.print(line_of(event), markup=False)
                if number == count:
                    return
        except KeyboardInterrupt:
            return


def _events(api: GatewayApi, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Events, across reconnections: each new connection goes on after the last event seen."""
    last_id = ""
    opened: list[float] = []
    while True:
        try:
            for event_id, text in api.events(query, last_id, on_open=lambda: opened.append(time.monotonic())):
                last_id = event_id
                opened[-1] = time.monotonic()
                yield json.loads(text)
        except RetryLater:
            if not opened or time.monotonic() - opened[-1] > _AWAY_S:
                raise
            time.sleep(_PAUSE_S)


def line_of(event: dict[str, Any]) -> str:
    """One event in one line: time, type, and the facts that are short."""
    moment = datetime.fromisoformat(event["time"]).strftime("%H:%M:%S.%f")[:-3]
    facts = [
        f"{name}={value}" for name, value in event["data"].items() if name not in _BORING and value not in ("", None)
    ]
    text = " ".join(facts)
    short = text if len(text) <= _TEXT_WIDTH else f"{text[: _TEXT_WIDTH - 3]}..."
    return f"{moment} {event['type'].removeprefix('trimtab.'):<22} {short}"

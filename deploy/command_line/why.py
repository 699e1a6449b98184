"""`trimtab strategy why`: why a strategy did or did not trade, in plain words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported

_NEWEST = 10


def why(
    strategy_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a strategy, as in `strategy list`.")],
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Market time, as in 2024-01-31 or 2024-01-31T14:00 (UTC).")
    ] = "",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Say why a strategy did or did not trade: lately, or at a given time."""
    with reported(), gateway_of(data) as api:
        query: dict[str, str | int] = {"at": at} if at else {"limit": _NEWEST}
        found = api.get(f"/strategies/{strategy_id}/decisions", **query)
    if as_json:
        print_json(found)
        return
    for line in told(found["decisions"]) or ["Nothing had been decided yet."]:
        typer.echo(line)


def told(decisions: Sequence[Mapping[str, Any]]) -> list[str]:
    """The decisions (newest first) as lines, oldest first: when, the sentence, and the code."""
    return [f"{_when(one)}: {one['sentence']} [{one['code']}]" for one in reversed(decisions)]


def _when(one: Mapping[str, Any]) -> str:
    last = _moment(one["last_at"])
    if one["count"] == 1:
        return last
    return f"{_moment(one['first_at'])} to {last} ({one['count']} looks, figures of the last)"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"

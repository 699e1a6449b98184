"""`trimtab audit tail` and `export`: the audit streams, read as the user `auditor`, who may do nothing else."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deploy.command_line.connections import NatsLogin, nats_of
from deploy.command_line.events import line_of
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, reported
from shared.contracts.access import AUDITOR
from shared.contracts.catalogue import AUDIT_STREAMS, AUDITOR_POSITIONS
from shared.core.errors import Refused
from shared.messaging.auditing import Audited, Connection, Place, auditor_at, follow_all, follow_position, read_all

StreamOption = Annotated[
    list[str] | None, typer.Option("--stream", metavar="STREAM", help="Only this stream, as in LEDGER; repeatable.")
]
SinceOption = Annotated[
    str, typer.Option(metavar="WHEN", help="all, now, an ISO time with zone, or a sequence of the one --stream.")
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: each filter that is given must hold."""

    subjects: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    strategy_id: str = ""

    def __call__(self, event: Audited) -> bool:
        """Whether the event is wanted."""
        if self.types and event.headers.get("ce-type") not in self.types:
            return False
        if self.subjects and not any(_is_like(event.subject, pattern) for pattern in self.subjects):
            return False
        # By the body too: what was stored before events named their subject counts as well.
        return not self.strategy_id or self.strategy_id in (
            event.headers.get("ce-subject"),
            _field(event.body, "strategy_id"),
        )


def tail(
    subject: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only these subjects, as in 'orders.*.filled'.")
    ] = None,
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only this type, as in trimtab.order.filled.")
    ] = None,
    strategy: Annotated[str, typer.Option(metavar="ID", help="Only this strategy.")] = "",
    stream: StreamOption = None,
    since: SinceOption = "now",
    durable: Annotated[
        str, typer.Option(metavar="NAME", help=f"Go on where this position is: {', '.join(AUDITOR_POSITIONS)}.")
    ] = "",
    count: Annotated[int, typer.Option(metavar="N", min=0, help="End after N events; 0: never.")] = 0,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Follow the audit streams until Ctrl-C; --json prints one CloudEvent a line.

    A durable position is kept by the server: it moves over everything that was shown or filtered out.
    """
    wanted = Wanted(tuple(subject or ()), tuple(type_ or ()), strategy)
    console = Console(soft_wrap=True, highlight=False)

    def show(event: dict[str, Any]) -> None:
        if as_json:
            typer.echo(json.dumps(event))
        else:
            console.print(line_of(event), markup=False)

    with reported():
        chosen = _streams(stream)
        if durable and durable not in AUDITOR_POSITIONS:
            raise Refused.one("durable", durable, ", ".join(AUDITOR_POSITIONS), "there is no such position")
        places = [] if durable else places_of(chosen, since)

        def source(client: Connection) -> AsyncGenerator[Audited, None]:
            return follow_position(client, chosen, durable) if durable else follow_all(client, places)

        try:
            asyncio.run(_each(nats_of(data, AUDITOR), source, wanted, show, count))
        except KeyboardInterrupt:
            return


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; it must not be there.")],
    stream: StreamOption = None,
    since: SinceOption = "all",
    data: DataOption = DEFAULT_DATA_DIR,
) -> None:
    """Write the audit streams as JSON lines, one CloudEvent each, in the order they were stored."""
    with reported():
        if file.exists():
            raise Refused.one("file", str(file), "a file that is not there", "is not written over")
        places = places_of(_streams(stream), since)
        building = file.with_name(f".{file.name}.new")
        written = 0
        with building.open("w", encoding="utf-8") as lines:

            def write(event: dict[str, Any]) -> None:
                nonlocal written
                lines.write(json.dumps(event) + "\n")
                written += 1

            login = nats_of(data, AUDITOR)
            asyncio.run(_each(login, lambda client: read_all(client, places), Wanted(), write, 0))
            lines.flush()
            os.fsync(lines.fileno())
        building.replace(file)
        typer.echo(f"{written:,} events written to {file}", err=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the group `audit`."""
    app.command()(tail)
    app.command()(export)


def places_of(streams: Sequence[str], since: str) -> list[Place]:
    """Where to begin in each stream. Raises Refused when ``since`` cannot be read."""
    if since == "all":
        return [Place(stream) for stream in streams]
    if since.isdecimal() and len(streams) == 1:
        return [Place(streams[0], after=max(int(since) - 1, 0))]
    moment: datetime | None = None
    with suppress(ValueError):
        moment = datetime.now(UTC) if since == "now" else datetime.fromisoformat(since)
    if moment is None or moment.tzinfo is None:
        allowed = "all, now, an ISO time with zone, or a sequence together with one --stream"
        raise Refused.one("since", since, allowed, "cannot be read")
    return [Place(stream, since=moment) for stream in streams]


def _streams(chosen: Sequence[str] | None) -> list[str]:
    for stream in chosen or ():
        if stream not in AUDIT_STREAMS:
            raise Refused.one("stream", stream, ", ".join(AUDIT_STREAMS), "is not an audit stream")
    return list(chosen or AUDIT_STREAMS)


async def _each(
    login: NatsLogin,
    source: Callable[[Connection], AsyncGenerator[Audited, None]],
    wanted: Wanted,
    take: Callable[[dict[str, Any]], None],
    count: int,
) -> None:
    """Hand every wanted event to ``take``; end after ``count`` of them (0: never) or with the source."""
    taken = 0
    async with auditor_at(login.url, login.user, login.password) as client, aclosing(source(client)) as events:
        async for event in events:
            if is_wanted := wanted(event):
                take(event.cloud_event())
            if event.acknowledge is not None:
                await event.acknowledge()
            taken += is_wanted
            if is_wanted and taken == count:
                return


def _is_like(subject: str, pattern: str) -> bool:
    """Whether a subject matches a pattern with NATS' wildcards."""
    said, wild = subject.split("."), pattern.split(".")
    if wild[-1] == ">" and len(said) >= len(wild):
        said, wild = said[: len(wild) - 1], wild[:-1]
    return len(said) == len(wild) and all(one in ("*", other) for one, other in zip(wild, said, strict=True))


def _field(body: bytes, name: str) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    return str(told.get(name, "")) if isinstance(told, dict) else ""

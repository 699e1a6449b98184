"""`trimtab streams`: the streams of NATS: made anew from PostgreSQL when they were lost, and given more room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.command_line.connections import NatsLogin, nats_of, operator_dsn
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.provision import provision_streams
from shared.contracts.access import OPERATOR
from shared.contracts.catalogue import GIB
from shared.messaging.broker import NatsBroker, make_broker
from shared.messaging.database_postgres import create_pool
from shared.messaging.rebuilding_postgres import NOT_KEPT, StreamFound, rebuild_streams
from shared.messaging.stream_room import REFUSING, StreamRoom, enlarge, room_of

app = typer.Typer(name="streams", help="The event streams.", no_args_is_help=True)


@app.callback()
def streams() -> None:
    """The event streams."""


@app.command()
def rebuild(
    everything: Annotated[bool, typer.Option("--all", help="Also streams that miss nothing.")] = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make the streams that NATS has lost anew from PostgreSQL; run it again if it was interrupted."""
    with reported():
        found = asyncio.run(_rebuild(nats_of(data, OPERATOR), operator_dsn(data), everything=everything))
    if as_json:
        print_json({"streams": [asdict(one) for one in found], "not_kept": NOT_KEPT})
        return
    table = Table("stream", "held", "should hold", "", box=None)
    for one in found:
        table.add_row(one.stream, f"{one.there:,}", f"{one.expected:,}", "made anew" if one.rebuilt else "complete")
    Console().print(table)
    typer.echo(f"not kept in PostgreSQL: {', '.join(NOT_KEPT)}; their services publish them again as they go on")


@app.command()
def room(data: DataOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show how full the streams are that forget nothing: they refuse new events when they are full."""
    with reported():
        found = asyncio.run(_rooms(nats_of(data, OPERATOR)))
    if as_json:
        print_json([asdict(one) | {"percent": one.percent, "messages_left": one.messages_left} for one in found])
        return
    table = Table("stream", "events", "GiB", "limit", "full", "room for about", box=None)
    for one in found:
        left = "" if one.messages_left is None else f"{one.messages_left:,} more"
        sizes = (f"{one.held_bytes / GIB:.2f}", f"{one.limit_bytes / GIB:.2f}")
        table.add_row(one.stream, f"{one.messages:,}", *sizes, f"{one.percent} %", left)
    Console().print(table)


@app.command("enlarge")
def enlarge_stream(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="As in LEDGER.")],
    gib: Annotated[float, typer.Option("--gib", metavar="N", min=0.001, help="Its new limit in GiB.")],
    data: DataOption = DEFAULT_DATA_DIR,
) -> None:
    """Raise the limit of a stream. Nothing is to be stopped; events that wait for room go out by themselves."""
    with reported():
        found = asyncio.run(_enlarge(nats_of(data, OPERATOR), stream, int(gib * GIB)))
    typer.echo(f"{found.stream} is {found.percent} % full, limit {found.limit_bytes / GIB:.3g} GiB")


async def _rooms(nats: NatsLogin) -> list[StreamRoom]:
    async with _connected(nats) as broker:
        return [await room_of(broker.jetstream, stream) for stream in REFUSING]


async def _enlarge(nats: NatsLogin, stream: str, limit_bytes: int) -> StreamRoom:
    async with _connected(nats) as broker:
        return await enlarge(broker.jetstream, stream, limit_bytes)


@asynccontextmanager
async def _connected(nats: NatsLogin) -> AsyncIterator[NatsBroker]:
    broker = make_broker(nats.url, "room", user=nats.user, password=nats.password)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()


async def _rebuild(nats: NatsLogin, dsn: str, *, everything: bool) -> list[StreamFound]:
    await provision_streams(nats.url, user=nats.user, password=nats.password)
    pool = await create_pool(dsn, "rebuild")
    broker = make_broker(nats.url, "rebuild", user=nats.user, password=nats.password)
    try:
        await broker.start()
        return await rebuild_streams(pool, broker, everything=everything)
    finally:
        await broker.stop()
        await pool.close()

"""`trimtab streams`: the streams of NATS, made anew from PostgreSQL when they were lost."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.command_line.connections import NatsLogin, nats_of, operator_dsn
from deploy.command_line.output import DEFAULT_DATA_DIR, DataOption, JsonOption, print_json, reported
from deploy.provision import provision_streams
from shared.contracts.access import OPERATOR
from shared.messaging.broker import make_broker
from shared.messaging.database_postgres import create_pool
from shared.messaging.rebuilding_postgres import NOT_KEPT, StreamFound, rebuild_streams

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

"""Thousands of ambiguous replies under every rule set: ``python -m tests.services.order_executor.check_orders``."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from deploy.provision import migrate, provision_streams
from services.simulated_exchange.identity import IdentityName
from tests.servers import EmbeddedNats, PostgresServer, execute, start_postgres
from tests.services.order_executor.ambiguity import Tally, check, measure
from tests.services.order_executor.faulty_way import FaultyWay
from tests.services.order_executor.rig import Exchange, ExchangeProcess, Stack

AT_ONCE = 250
"""Cases of each fault in one go; each go has servers' state and an account of its own."""


async def stack_for(name: str, postgres: PostgresServer, process: ExchangeProcess) -> tuple[Stack, EmbeddedNats]:
    """A stack of its own; to be given to ``end``."""
    nats = await asyncio.to_thread(EmbeddedNats)
    await provision_streams(nats.url)
    await execute(postgres.dsn, f"CREATE DATABASE {name}")
    await migrate(postgres.dsn_of(name))
    exchange = Exchange(process)
    await exchange.start()
    way = FaultyWay(exchange.url)
    await way.start()
    stack = Stack(nats.url, postgres.dsn_of(name), exchange, way)
    await stack.open()
    return stack, nats


async def end(stack: Stack, nats: EmbeddedNats) -> None:
    """Let go of everything that ``stack_for`` made."""
    await stack.close()
    await stack.way.stop()
    await stack.exchange.stop()
    await asyncio.to_thread(nats.stop)


async def _check(cases: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="trimtab-orders-"))
    postgres = await asyncio.to_thread(start_postgres, os.environ)
    process = ExchangeProcess(folder)
    try:
        for identity in IdentityName:
            whole = Tally()
            for number in range((cases + AT_ONCE - 1) // AT_ONCE):
                due = min(AT_ONCE, cases - number * AT_ONCE)
                stack, nats = await stack_for(f"orders_{identity.name.lower()}_{number}", postgres, process)
                try:
                    tally = await measure(stack, identity, due, seed=number)
                finally:
                    await end(stack, nats)
                check(tally, due)
                whole.add(tally)
            print(whole.told(identity), flush=True)  # noqa: T201 - the report
    finally:
        process.process.end()
        await asyncio.to_thread(postgres.stop)
        shutil.rmtree(folder)


def main() -> None:
    """Run it and end with 0 when no order was there twice and no fill was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5_000, help="orders hit by each fault under each rule set")
    sys.exit(asyncio.run(_check(parser.parse_args().cases)))


if __name__ == "__main__":
    main()

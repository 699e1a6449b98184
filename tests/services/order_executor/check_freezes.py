"""The executor frozen for up to a minute, many times: ``python -m tests.services.order_executor.check_freezes``."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.servers import start_postgres
from tests.services.order_executor.check_orders import end, stack_for
from tests.services.order_executor.freezes import Freezer
from tests.services.order_executor.rig import ExchangeProcess


async def _check(freezes: int, longest_s: float, seed: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="trimtab-freezes-"))
    postgres = await asyncio.to_thread(start_postgres, os.environ)
    process = ExchangeProcess(folder)
    try:
        stack, nats = await stack_for("freezes", postgres, process)
        try:
            soak = await Freezer(stack, seed).run(freezes, 0.1, longest_s)
        finally:
            await end(stack, nats)
        print(soak, flush=True)  # noqa: T201 - the report
        return int(bool(soak.stale) or not soak.takeovers)
    finally:
        process.process.end()
        await asyncio.to_thread(postgres.stop)
        shutil.rmtree(folder)


def main() -> None:
    """Run it and end with 0 when no order had a stale epoch and all books agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--freezes", type=int, default=40)
    parser.add_argument("--longest-s", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.exit(asyncio.run(_check(arguments.freezes, arguments.longest_s, arguments.seed)))


if __name__ == "__main__":
    main()

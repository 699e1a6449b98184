"""A launcher as a process of its own, to be killed by tests: `run_stack.py FOLDER` with stand-ins for the services."""

import asyncio
import sys
from pathlib import Path

from deploy.embedded.options import StackOptions
from deploy.embedded.stack import Stack, run_until_signalled

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.deploy.stacks import QUICK, dummies


async def main(folder: Path) -> None:
    """Run until a signal; `ready` on standard output when it is."""
    extra = {"ledger": {"DUMMY_GRANDCHILD_FILE": str(folder.parent / "grandchild")}}
    stack = Stack(StackOptions(data_dir=folder), services=dummies(extra), patience=QUICK)
    await run_until_signalled(stack, on_ready=lambda: print("ready", flush=True))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

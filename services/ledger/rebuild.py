"""``python -m services.ledger.rebuild [--json]``: compute all balances, positions, lots and results again, and compare.

Environment: TRIMTAB_POSTGRES_DSN. Exit codes: 0 all is equal, 1 something differs or cannot be read.
"""

import argparse
import asyncio
import json
import os
import sys

from services.ledger.adapters.postgres_rebuild import Rebuild, rebuild
from shared.core.errors import TrimtabError


def main() -> int:
    """Run and tell; returns the exit code."""
    parser = argparse.ArgumentParser(prog="trimtab ledger rebuild", description="Compute the books again and compare.")
    parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")
    options = parser.parse_args()
    dsn = os.environ.get("TRIMTAB_POSTGRES_DSN", "")
    if not dsn:
        return _fail("TRIMTAB_POSTGRES_DSN is not set: name the database of the ledger")
    try:
        done = asyncio.run(rebuild(dsn))
    except TrimtabError as error:
        return _fail(str(error))
    sys.stdout.write(f"{_as_json(done) if options.json else _as_text(done)}\n")
    return 1 if done.differences else 0


def _as_text(done: Rebuild) -> str:
    count = len(done.differences)
    told = f"{done.entries} entries computed again: {count} difference{'' if count == 1 else 's'}"
    return "\n".join([told, *(f"  {line}" for line in done.differences)])


def _as_json(done: Rebuild) -> str:
    return json.dumps({"entries": done.entries, "differences": list(done.differences)}, indent=2)


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

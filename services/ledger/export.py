"""``python -m services.ledger.export``: the journal or the realised gains, streamed to a file or standard output.

Environment: TRIMTAB_POSTGRES_DSN. Exit codes: 0 done, 1 it failed, 2 the input is wrong.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from services.ledger.adapters.postgres_export import GAIN_COLUMNS, JOURNAL_COLUMNS, PostgresExport, Wanted, exporting
from services.ledger.beancount import BeancountText
from services.ledger.export_formats import SINKS
from shared.core.errors import Refused, TrimtabError
from shared.core.lots import Method

FORMATS = (*SINKS, "beancount")
REPORTS = ("journal", "gains")


async def export(dsn: str, report: str, form: str, wanted: Wanted, out: BinaryIO) -> None:
    """Write a report in a format. Raises Refused for what cannot be exported so, RetryLater without a database."""
    if form == "beancount" and (report != "journal" or wanted.since is not None):
        allowed = "the journal, without --from: lots are booked from the beginning"
        raise Refused.one("format", form, allowed, "cannot carry this")
    async with exporting(dsn) as source:
        if form == "beancount":
            await _write_beancount(source, wanted, out)
            return
        is_journal = report == "journal"
        sink = SINKS[form](out, JOURNAL_COLUMNS if is_journal else GAIN_COLUMNS)
        async for row in source.journal(wanted) if is_journal else source.gains(wanted):
            sink.add(row)
        sink.close()


async def _write_beancount(source: PostgresExport, wanted: Wanted, out: BinaryIO) -> None:
    text = BeancountText(wanted.method)
    out.write(text.head().encode())
    async for entry, payouts in source.entries(wanted):
        out.write(text.entry(entry, payouts).encode())
    out.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    options = _parser().parse_args(arguments)
    dsn = os.environ.get("TRIMTAB_POSTGRES_DSN", "")
    if not dsn:
        return _fail("TRIMTAB_POSTGRES_DSN is not set: name the database of the ledger", 1)
    wanted = Wanted(options.strategy, options.since, options.until, Method(options.method))
    try:
        if options.output == "-":
            asyncio.run(export(dsn, options.report, options.format, wanted, sys.stdout.buffer))
        else:
            with Path(options.output).open("wb") as out:
                asyncio.run(export(dsn, options.report, options.format, wanted, out))
    except Refused as refused:
        return _fail(str(refused), 2)
    except BrokenPipeError:  # whoever reads has seen enough
        sys.stderr.close()
        return 1
    except (TrimtabError, OSError) as error:
        return _fail(str(error), 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trimtab ledger export", description="Export the journal or the gains.")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--report", choices=REPORTS, default="journal", help="Every posting, or every lot closed.")
    parser.add_argument("--strategy", default="", metavar="ID", help="Only this strategy.")
    parser.add_argument("--from", dest="since", type=_moment, metavar="TIME", help="Market time, inclusive.")
    parser.add_argument("--to", dest="until", type=_moment, metavar="TIME", help="Market time, exclusive.")
    parser.add_argument("--method", choices=[str(method) for method in Method], default="fifo", help="Of the gains.")
    parser.add_argument("--output", default="-", metavar="FILE", help="Standard output unless given.")
    return parser


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

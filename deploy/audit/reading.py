"""Where an auditor reads from: a database, or a file of exported events."""

from pathlib import Path

from deploy.audit.events_file import heads_in, older_in, verify_events
from deploy.audit.postgres_stretches import LONG, verify_with_all_cores
from deploy.audit.postgres_tables import UNREADABLE, opened
from deploy.audit.tables import verify_tables
from deploy.audit.trades import VenueTrades, lines_of_csv
from deploy.audit.verification import Findings, Trusted


async def verify_database(dsn: str, trusted: Trusted, trades: VenueTrades | None = None) -> Findings:
    """Check the database at ``dsn``. Raises ValueError when it cannot be read.

    Long journals are checked by all cores. When anything is wrong they are checked again, entry by entry, to name it.
    """
    try:
        async with opened(dsn) as tables:
            if trades is None and await tables.last() >= LONG:
                found = await verify_with_all_cores(dsn, tables, trusted)
                if found is not None:
                    return found
            return await verify_tables(tables, trusted, trades)
    except UNREADABLE as error:
        raise ValueError(f"the database cannot be read: {error}") from error


def verify_file(file: Path, trusted: Trusted, trades: VenueTrades | None = None) -> Findings:
    """Check exported events. Raises Wrong when heads or older events cannot be read, OSError."""
    with file.open("rb") as lines:
        heads = list(heads_in(lines))
    with file.open("rb") as lines:
        older = older_in(lines)
    with file.open("rb") as lines:
        return verify_events(lines, heads, trusted, trades, older=older)


def trades_in(file: Path, venue: str) -> VenueTrades:
    """The venue's trades in a file: a table when its name ends in .csv, else JSON Lines. Raises ValueError, OSError."""
    with file.open(encoding="utf-8", newline="") as lines:
        return VenueTrades(venue, lines_of_csv(lines) if file.suffix.lower() == ".csv" else lines)

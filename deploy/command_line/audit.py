"""`trimtab audit`: signed heads, proofs, and the check of the whole journal. What is shown has been checked here."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.audit.checked_answers import consistency_of, head_of, inclusion_of
from deploy.audit.kept import read_kept, write_kept
from deploy.audit.notes import check_signature, note_of
from deploy.audit.records import Wrong
from deploy.audit.verification import Findings, Trusted
from deploy.command_line.api import gateway_of
from deploy.command_line.output import DEFAULT_DATA_DIR, EXIT_FAILED, DataOption, JsonOption, fail, print_json, reported
from shared.core.errors import Refused

app = typer.Typer(
    name="audit", help="The proof of the books: signed heads, proofs, verification.", no_args_is_help=True
)

KeptOption = Annotated[
    Path | None, typer.Option("--kept", metavar="FILE", help="The file you keep from one check to the next.")
]


@app.command()
def head(
    fresh: Annotated[bool, typer.Option("--fresh", help="Sign a new one unless it covers every entry.")] = False,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show the newest signed head of the journal's log, as it was signed."""
    with _checked(), gateway_of(data) as api:
        answer = api.get("/audit/tree-head", covering_all=str(fresh).lower())
        found = head_of(answer)
        check_signature(found)
    if as_json:
        print_json(answer)
        return
    typer.echo(note_of(found), nl=False)
    typer.echo(f"signed by key {found.key_id}")


@app.command()
def prove(
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="Its sequence, or its id as in fill:paper:BTCUSDT:7.")],
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Prove that an entry is in the log, as it is shown."""
    with _checked(), gateway_of(data) as api:
        answer = api.get("/audit/proofs/inclusion", entry=entry)
        found = inclusion_of(answer)
    if as_json:
        print_json(answer)
        return
    typer.echo(answer["leaf_data"])
    typer.echo(f"entry {found.sequence} is in the log of {found.head.size} entries signed at {found.head.signed_at}")
    typer.echo(f"root {found.head.root.hex()}, path of {len(answer['path'])} hashes, key {found.head.key_id}")


@app.command()
def consistency(
    first: Annotated[int, typer.Argument(metavar="[FROM]", help="Entries then; default: of the kept head.")] = 0,
    second: Annotated[int, typer.Argument(metavar="[TO]", help="Entries later; default: now.")] = 0,
    kept: KeptOption = None,
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Prove that the log has only grown: what was there is there, in the same places.

    With --kept it is proved from the head you kept: nobody can have replaced what it covers.
    """
    with _checked():
        trusted = Trusted() if kept is None else read_kept(kept)
        known = {one.size: one.root for one in trusted.heads}
        start = first or max(known, default=0)
        if not start:
            raise Refused.one("from", first, "1 or more, or --kept FILE with a head", "names no size")
        with gateway_of(data) as api:
            answer = api.get("/audit/proofs/consistency", **{"from": start, "to": second})
        consistency_of(answer, known)
    if as_json:
        print_json(answer)
        return
    typer.echo(f"the log of {answer['second']} entries begins with all {answer['first']} of before")
    typer.echo(f"roots {answer['first_root']}\n      {answer['second_root']}")
    if start in known:
        typer.echo(f"the older root is the one kept in {kept}")


@app.command()
def verify(
    dsn: Annotated[
        str, typer.Option("--postgres", metavar="URL", envvar="TRIMTAB_AUDITOR_DSN", help="The database to read.")
    ] = "",
    events: Annotated[Path | None, typer.Option(metavar="FILE", help="Exported events instead: JSON Lines.")] = None,
    kept: KeptOption = None,
    accept_key: Annotated[list[str] | None, typer.Option(metavar="KEY_ID", help="Accept a new key's heads.")] = None,
    trades: Annotated[Path | None, typer.Option(metavar="FILE", help="The venue's trades: JSON Lines or .csv.")] = None,
    venue: Annotated[str, typer.Option(metavar="VENUE", help="Whose trades they are.")] = "paper",
    data: DataOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Check every entry, the log, the heads and the books from the beginning. Exit code 1 when anything is wrong.

    Reads the database of the stack on the data folder, or --postgres, or --events.
    """
    from deploy.audit import reading  # the database's client is of use here only

    with _checked():
        trusted = Trusted() if kept is None else read_kept(kept, accept_key or ())
        listed = None if trades is None else reading.trades_in(trades, venue)
        start = time.perf_counter()
        if events is not None:
            found = reading.verify_file(events, trusted, listed)
        else:
            found = asyncio.run(reading.verify_database(dsn or _dsn_of(data), trusted, listed))
        took_s = time.perf_counter() - start
        if kept is not None and not found.wrong:
            write_kept(kept, found.heads, trusted)
    if as_json:
        print_json(_summary(found, took_s))
    else:
        _tell(found, took_s, kept)
    if found.wrong:
        raise typer.Exit(EXIT_FAILED)


def _dsn_of(data: Path) -> str:
    """The database of the stack on a data folder."""
    from deploy import postgres_roles
    from deploy.command_line.output import running_stack
    from deploy.embedded.data_folder import DataFolder
    from deploy.embedded.postgres_server import dsn

    port = int(running_stack(data)["ports"]["postgres"])
    password = DataFolder(data).secrets().logins[f"postgres.{postgres_roles.AUDITOR}"]
    return dsn(port, password, user=postgres_roles.role_of(postgres_roles.AUDITOR))


@contextmanager
def _checked() -> Iterator[None]:
    with reported():
        try:
            yield
        except Wrong as wrong:
            fail(f"this is not proved: {wrong}")
        except ValueError as error:
            fail(str(error))


def _summary(found: Findings, took_s: float) -> dict[str, Any]:
    return {
        "right": not found.wrong,
        "wrong": found.wrong,
        "first_wrong_entry": found.first_wrong_entry,
        "entries": found.entries,
        "postings": found.postings,
        "heads": len(found.heads),
        "covered_by_heads": found.covered,
        "root": found.root.hex(),
        "entries_per_s": round(found.entries / took_s),
    }


def _tell(found: Findings, took_s: float, kept: Path | None) -> None:
    for fault in found.wrong:
        typer.echo(f"WRONG {fault}")
    typer.echo(f"{found.entries} entries, {found.postings} postings, {len(found.heads)} heads in {took_s:.1f} s")
    if found.wrong:
        return
    typer.echo(f"all right; {found.covered} entries are under a signed head, root {found.root.hex()}")
    if kept is None and found.heads:
        typer.echo("with --kept FILE the next check also shows that this history was not replaced by another one")

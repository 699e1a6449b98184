"""What every command shares: options, finding the running stack, output for people and for programs, exit codes.

Exit codes: 0 done, 1 it failed, 2 the input is wrong.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from deploy.embedded.data_folder import DataFolder
from deploy.embedded.options import DEFAULT_DATA_DIR
from shared.core.errors import Conflict, Refused, TrimtabError

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

DataOption = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="The data folder of the stack.", envvar="TRIMTAB_DATA")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

__all__ = [
    "DEFAULT_DATA_DIR",
    "EXIT_BAD_INPUT",
    "EXIT_FAILED",
    "DataOption",
    "JsonOption",
    "StackInfo",
    "fail",
    "find_stack",
    "print_json",
    "reported",
    "running_stack",
]


@dataclass(frozen=True, slots=True)
class StackInfo:
    """Where the gateway is and the token it asks for."""

    gateway_url: str
    api_token: str


def fail(message: str, *, code: int = EXIT_FAILED) -> NoReturn:
    """Say what is wrong on standard error and end with ``code``."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """JSON on standard output; what JSON does not know (Decimal, datetime, Path) as text."""
    typer.echo(json.dumps(value, indent=2, default=str))


@contextmanager
def reported() -> Iterator[None]:
    """Turn Trimtab's errors, and those of files and sockets, into a message and an exit code."""
    try:
        yield
    except Refused as refusal:
        # The input of a conflict was right: what it was made for has changed.
        code = EXIT_FAILED if isinstance(refusal, Conflict) else EXIT_BAD_INPUT
        fail("\n       ".join(str(problem) for problem in refusal.problems), code=code)
    except (TrimtabError, OSError) as error:
        fail(str(error))


def find_stack(data_dir: Path, environment: Mapping[str, str] = os.environ) -> StackInfo:
    """The gateway to talk to: TRIMTAB_GATEWAY_URL and TRIMTAB_API_TOKEN, else the stack running on ``data_dir``.

    Ends the command with exit code 1 when there is neither.
    """
    url, token = environment.get("TRIMTAB_GATEWAY_URL"), environment.get("TRIMTAB_API_TOKEN")
    if url:
        return StackInfo(gateway_url=url.rstrip("/"), api_token=token or "")
    content = running_stack(data_dir)
    return StackInfo(gateway_url=content["gateway_url"], api_token=token or content["api_token"])


def running_stack(data_dir: Path) -> dict[str, Any]:
    """stack.json of the stack running on ``data_dir``; ends the command with exit code 1 when none is."""
    folder = DataFolder(data_dir)
    content = folder.read_stack()
    if not content or not folder.is_locked():
        chosen = "" if data_dir == DEFAULT_DATA_DIR else f" --data {data_dir}"
        fail(
            f"no stack is running on {folder.path}: start one with `trimtab up{chosen}`, or name its folder with --data"
        )
    return content

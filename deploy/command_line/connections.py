"""Where the servers are, for commands that talk to them directly: the stack on this machine, or the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.command_line.output import fail, running_stack
from deploy.embedded.data_folder import DataFolder
from deploy.embedded.postgres_server import dsn
from shared.contracts.access import AUDITOR, OPERATOR


@dataclass(frozen=True, slots=True)
class NatsLogin:
    """Where NATS is and whom to log in as."""

    url: str
    user: str
    password: str


def nats_of(data: Path, user: str, environment: Mapping[str, str] = os.environ) -> NatsLogin:
    """The operator's or the auditor's way to NATS.

    TRIMTAB_NATS_URL with TRIMTAB_NATS_USER and TRIMTAB_NATS_PASSWORD, else the stack running on ``data``. Ends the
    command with exit code 1 when there is neither.
    """
    if url := environment.get("TRIMTAB_NATS_URL"):
        named = environment.get("TRIMTAB_NATS_USER", user)
        return NatsLogin(url, named, environment.get("TRIMTAB_NATS_PASSWORD", ""))
    content = running_stack(data)
    secrets = DataFolder(data).secrets()
    passwords = {OPERATOR: secrets.nats_password, AUDITOR: secrets.logins[f"nats.{AUDITOR}"]}
    return NatsLogin(content["nats_url"], user, passwords[user])


def operator_dsn(data: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The operator's way to PostgreSQL: TRIMTAB_POSTGRES_DSN, else the stack running on ``data``."""
    if url := environment.get("TRIMTAB_POSTGRES_DSN"):
        return url
    if environment.get("TRIMTAB_NATS_URL"):
        fail("TRIMTAB_NATS_URL is set and TRIMTAB_POSTGRES_DSN is not: set both, or neither")
    content = running_stack(data)
    return dsn(content["ports"]["postgres"], DataFolder(data).secrets().postgres_password)

"""The data folder of one stack: who holds it, its secrets, and what is running.

lock         held (flock) by the launcher, and by its reaper until the last child has ended; contains the pid
secrets.json generated at the first start, 0600
stack.json   ports, urls, pids, restarts, status: rewritten atomically, 0600
market.json  which prices the paper exchange was begun with
signing-key.pem  signs the heads of the journal's log; generated at the first start, 0600
logs/        one file per process
throwaway    marks a folder whose content is removed at the end of its stack, or at the next start (a demo's)
nats/ postgres/ exchange/
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import psutil

from deploy import nats_users, postgres_roles
from shared.core.errors import Refused, Stop

_ENDING_WAIT_S = 20.0
_LOOK_S = 0.25
_CLOCK_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Secrets:
    """Everything that lets somebody in; letters and digits, so that it may stand in a URL.

    ``nats_password`` and ``postgres_password`` are the operator's; ``logins`` the passwords of everybody else, by
    "nats.<user>" and "postgres.<role>".
    """

    postgres_password: str
    nats_password: str
    api_token: str
    venue_api_key: str
    venue_api_secret: str
    exchange_control_token: str
    logins: Mapping[str, str] = field(default_factory=dict)


LOGINS = (
    *(f"nats.{login}" for login in nats_users.LOGINS),
    *(f"postgres.{login}" for login in postgres_roles.LOGINS),
)
"""Who has a password besides the operator."""


class DataFolder:
    """A folder that at most one launcher uses at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock_fd: int | None = None

    @property
    def logs(self) -> Path:
        """The folder of the log files."""
        return self.path / "logs"

    @property
    def stack_file(self) -> Path:
        """What is running: see ``write_stack``."""
        return self.path / "stack.json"

    @property
    def market_file(self) -> Path:
        """Which market the folder was begun with: see ``market_choice``."""
        return self.path / "market.json"

    @property
    def lock_fd(self) -> int:
        """The descriptor that holds the lock, for the reaper to inherit."""
        if self._lock_fd is None:
            raise Stop(f"the data folder {self.path} is not locked")
        return self._lock_fd

    def acquire(self) -> None:
        """Create and lock the folder.

        Raises ``Stop`` naming folder and pid when another launcher has it. When that launcher has just died, its
        reaper still ends its processes: that is waited for.
        """
        try:
            # Others may pass through (PostgreSQL runs under another account when we are root) but not look.
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Stop(f"the data folder {self.path} cannot be used: {error.strerror}") from error
        started = time.monotonic()
        while not _try_lock(fd):
            holder = self.holder()
            waited_s = time.monotonic() - started
            # A moment's patience in any case: `is_locked` of somebody else holds the lock for an instant.
            if waited_s > (_ENDING_WAIT_S if holder is None else _LOOK_S):
                os.close(fd)
                who = "the reaper of a launcher that died" if holder is None else f"process {holder}"
                end_it = f"end it with `trimtab down --data {self.path}`, or choose another folder with --data"
                raise Stop(f"the data folder {self.path} is in use by {who}: {end_it}")
            time.sleep(0.1)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {psutil.Process().create_time()}\n".encode(), 0)
        self._lock_fd = fd

    def refuse_what_is_to_be_kept(self) -> None:
        """For a stack that throws its data away. Raises ``Refused`` unless the folder is new, empty or such a one's."""
        if self.path.is_dir() and any(self.path.iterdir()) and not self._throwaway.exists():
            allowed = "a new or empty folder, or one that a demo has left"
            raise Refused.one("data", str(self.path), allowed, "holds something that would be removed")

    def empty_throwaway(self) -> None:
        """Remove what such a stack has left when it was killed, and mark the folder; the lock is held and stays."""
        for child in self.path.iterdir():
            if child.name in {"lock", self._throwaway.name}:
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child, ignore_errors=True)
            else:
                child.unlink()
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self._throwaway.write_text("This folder is removed by the next demo that uses it.\n")

    def discard(self) -> None:
        """Remove the folder, if it is marked as one to be thrown away."""
        if self._throwaway.exists():
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _throwaway(self) -> Path:
        return self.path / "throwaway"

    def release(self) -> None:
        """Let the folder go (no effect when it is not held)."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock_fd is not None

    def is_locked(self) -> bool:
        """Whether a launcher, or the reaper of one that died, holds the folder."""
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(fd)
        finally:
            os.close(fd)

    def holder(self) -> int | None:
        """The pid of the launcher that locked the folder last, if it is still alive."""
        try:
            pid, created = (self.path / "lock").read_text().split()
            return int(pid) if is_same_process(int(pid), float(created)) else None
        except (OSError, ValueError):
            return None

    def secrets(self) -> Secrets:
        """The folder's secrets, generated at the first call. Raises ``Stop`` when they are lost or unreadable."""
        file = self.path / "secrets.json"
        try:
            known = Secrets(**json.loads(file.read_text()))
        except FileNotFoundError:
            if (self.path / "postgres" / "PG_VERSION").exists():
                raise Stop(f"{file} is missing, and {self.path / 'postgres'} cannot be opened without it") from None
        except (TypeError, ValueError) as error:
            raise Stop(f"{file} is damaged: {error}") from error
        else:
            return self._with_logins(file, known)
        made: dict[str, Any] = {one.name: secrets.token_hex(24) for one in fields(Secrets) if one.name != "logins"}
        return self._with_logins(file, Secrets(**made))

    def _with_logins(self, file: Path, known: Secrets) -> Secrets:
        """With a password for every login: a folder may be older than some of them."""
        missing = [login for login in LOGINS if login not in known.logins]
        if not missing:
            return known
        # A letter first: nats-server would take digits alone for a number.
        made = replace(known, logins={**known.logins, **{login: f"t{secrets.token_hex(24)}" for login in missing}})
        write_json(file, asdict(made), durable=True)
        return made

    def write_stack(self, content: Mapping[str, Any]) -> None:
        """Replace stack.json; readers see the old or the new one."""
        write_json(self.stack_file, content, durable=False)

    def read_stack(self) -> dict[str, Any]:
        """What stack.json says; empty when there is none or it is not readable."""
        try:
            content = json.loads(self.stack_file.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def write_json(file: Path, content: Mapping[str, Any], *, durable: bool) -> None:
    """Replace a file (0600) by JSON atomically; ``durable``: it has reached the disk on return."""
    building = file.with_name(f".{file.name}.new")
    fd = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
        stream.flush()
        if durable:
            os.fsync(stream.fileno())
    building.replace(file)
    if durable:
        folder_fd = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)


def _try_lock(fd: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def is_same_process(pid: int, created: float) -> bool:
    """Whether the process ``pid`` that was created then (epoch seconds) still lives; numbers are used again."""
    try:
        process = psutil.Process(pid)
        # The system derives the time from its boot time, which follows corrections of the clock.
        same = abs(process.create_time() - created) < _CLOCK_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

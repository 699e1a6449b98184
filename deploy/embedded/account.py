"""Whom PostgreSQL runs as: it refuses root, so a launcher started by root gives it an unprivileged account."""

import contextlib
import os
import pwd
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared.core.errors import Stop

# In order of preference; `nobody` is there on practically every system, containers included.
_NAMES = ("trimtab", "postgres", "nobody")

# From <linux/capability.h>.
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account; ``capability`` lets it pass folders that only root may enter, None = not needed."""

    name: str
    uid: int
    gid: int
    capability: int | None = None

    def give(self, path: Path) -> None:
        """Make the account the owner of one file or folder."""
        os.chown(path, self.uid, self.gid)


def unprivileged_account(*, folders: Sequence[Path], files: Sequence[Path]) -> Account | None:
    """The account for PostgreSQL, or None when we are not root and it may simply run as ourselves.

    ``folders`` it must be able to enter (it owns their content), ``files`` it must be able to read and run. A
    project in a root-only home is the usual case where it cannot: then it keeps the one capability that opens
    those paths, which is less than copying programs about or loosening the modes of somebody's home.

    Raises ``Stop`` when no account exists or the paths cannot be opened to it.
    """
    if os.geteuid() != 0:
        return None
    account = next(filter(None, (*map(_owner, folders), *map(_named, _NAMES))), None)
    if account is None:
        raise Stop(f"running as root needs one of the accounts {', '.join(_NAMES)} for PostgreSQL; none exists")
    closed_files = [path for path in files if not _open_to_all(path, stat.S_IROTH)]
    closed = [
        path for path in (*folders, *files) if not all(_open_to_all(p, stat.S_IXOTH) for p in path.resolve().parents)
    ]
    capability = _capability(run_files=bool(closed_files)) if closed or closed_files else None
    if (closed or closed_files) and capability is None:
        where = (closed + closed_files)[0]
        raise Stop(f"PostgreSQL may not run as root, and the account {account.name} cannot reach {where}: open it")
    return replace(account, capability=capability)


def _owner(folder: Path) -> Account | None:
    """Who owns a cluster that is there: nobody else may serve it, whatever accounts exist now."""
    with contextlib.suppress(FileNotFoundError):
        found = folder.stat()
        if found.st_uid != 0:
            return Account(name=f"{found.st_uid}", uid=found.st_uid, gid=found.st_gid)
    return None


def _named(name: str) -> Account | None:
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(name)
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    return None


def _open_to_all(path: Path, bit: int) -> bool:
    return bool(path.stat().st_mode & bit)


def _capability(*, run_files: bool) -> int | None:
    """The smaller capability that does; running a file closed to others needs the larger one."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    permitted = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapPrm:"))
    wanted = (_CAP_DAC_OVERRIDE,) if run_files else (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE)
    return next((number for number in wanted if permitted >> number & 1), None)

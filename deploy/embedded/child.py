"""The first instructions of every child process: give up root, tie its life to the launcher, become the program.

Run as a script by path with ``python -I -S child.py OPTIONS PROGRAM ARGUMENT...`` so that nothing but the standard
library is imported: no time is lost, and it works for an account that cannot read the project. ``OPTIONS`` is the
JSON of ``ChildOptions``. Doing this in a program of its own, rather than between fork and exec of the launcher,
keeps the launcher free of code that must be safe after fork.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class ChildOptions:
    """What happens before the program starts; ``uid`` None = stay who we are.

    ``capability`` is one Linux capability number kept across the change of account (see ``account.py``).
    ``parent`` is the launcher's pid: when it has died before the death signal was armed, the child ends at once.
    """

    parent: int
    death_signal: int = int(signal.SIGKILL)
    uid: int | None = None
    gid: int | None = None
    capability: int | None = None


def child_argv(options: ChildOptions, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` under ``options``."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), json.dumps(asdict(options)), *argv]


def _linux_libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _keep_only(libc: ctypes.CDLL, capability: int) -> None:
    """Reduce permitted and inheritable to one capability and make it ambient, so that it survives exec."""
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _checked(libc.capset(header, sets), "capset")
    _checked(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0), "raise ambient capability")


def _become(options: ChildOptions, libc: ctypes.CDLL | None) -> None:
    if options.uid is None or options.gid is None:
        return
    if options.capability is not None and libc is not None:
        _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities")
    os.setgroups([])
    os.setgid(options.gid)
    os.setuid(options.uid)
    if options.capability is not None and libc is not None:
        _keep_only(libc, options.capability)


def main(arguments: list[str]) -> None:
    """Apply the options and replace this process by the program; does not return."""
    options = ChildOptions(**json.loads(arguments[0]))
    libc = _linux_libc()
    _become(options, libc)
    if libc is not None:
        # After the change of account: the kernel clears the death signal when credentials change.
        _checked(libc.prctl(_PR_SET_PDEATHSIG, options.death_signal, 0, 0, 0), "death signal")
        if os.getppid() != options.parent:
            sys.exit("the launcher has died")
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])

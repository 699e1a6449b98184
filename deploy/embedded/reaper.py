"""Ends the launcher's children when the launcher has died without doing so itself (SIGKILL, a crash).

Run as a script; it reads what the launcher writes into a pipe that nobody else holds:

    + PID SIGNAL group|process      a child has started; how it is ended: its group, or the process alone
    - PID                           it has ended

The pipe's end means that the launcher is gone. The reaper then ends every child, waits until they are gone, and exits.
Until then it holds the lock of the data folder (inherited), so that a new launcher does not meet the old one's
children.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

_GRACE_S = 8.0


def main() -> None:
    """Read until the pipe ends, then end what is left."""
    # A Ctrl-C, a closing terminal or a service manager addresses the launcher; the reaper goes when it has gone.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    children: dict[int, tuple[int, bool]] = {}
    for line in sys.stdin:
        match line.split():
            case ["+", pid, number, kind]:
                children[int(pid)] = (int(number), kind == "group")
            case ["-", pid]:
                children.pop(int(pid), None)
    end_all(children)


def end_all(children: dict[int, tuple[int, bool]]) -> None:
    """Send each child its signal, last started first; after the grace, SIGKILL to those still there."""
    for pid, (number, group) in reversed(children.items()):
        _send(pid, number, group=group)
    deadline = time.monotonic() + _GRACE_S
    left = set(children)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if _is_there(pid)}
        time.sleep(0.02)
    for pid in left:
        _send(pid, signal.SIGKILL, group=True)
    for pid, (_, group) in children.items():
        if group:
            _send(pid, signal.SIGKILL, group=True)


def _send(pid: int, number: int, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A process that has ended but that its new parent has not collected yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return not Path("/proc/self").exists()


if __name__ == "__main__":
    main()

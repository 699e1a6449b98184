"""A process that has a service imported, its fail points in place, and forks a new life of it whenever asked.

A life is a process of its own that runs the service's own start-up: nothing survives it but what it wrote to sockets.
Forking spares each of a thousand lives the second that the imports take.

``python -m tests.chaos.deaths.nursery SERVICE``: a line of JSON on stdin asks for a life ({"marks", "log",
"environment"}) and is answered on stdout with {"born": pid}; the end of any life is told as {"died": pid, "code": n}.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.chaos.deaths.fail_points import Instrumented, Marks

_PR_SET_PDEATHSIG = 1
RECEIVE_WINDOW_MS, READ_LAG_MS = 400, 100
"""Facts of the venue as the lives know them: short, so that absence is proven sooner."""


def main(service: str) -> None:
    """Serve until stdin ends; the lives end with this process."""
    finder = Instrumented(service)
    sys.meta_path.insert(0, finder)
    importlib.import_module(f"services.{service}.app")
    for name in ("uvloop", "shared.messaging.runtime", f"services.{service}.settings"):
        importlib.import_module(name)
    gc.freeze()
    waker, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    asked = b""
    while True:
        ready, _, _ = select.select([0, waker], [], [])
        if waker in ready:
            os.read(waker, 1024)
            _tell_deaths()
        if 0 in ready:
            text = os.read(0, 65536)
            if not text:
                return
            *lines, asked = (asked + text).split(b"\n")
            for line in lines:
                _bear(service, finder, json.loads(line))


def _tell_deaths() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say({"died": pid, "code": os.waitstatus_to_exitcode(status)})


def _say(word: dict[str, Any]) -> None:
    os.write(1, json.dumps(word).encode() + b"\n")


def _bear(service: str, finder: Instrumented, asked: dict[str, Any]) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        _say({"born": pid})
        return
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(asked["environment"])
        finder.marks = Marks(Path(asked["marks"]))
        _live(service)
    finally:
        os._exit(70)


def _live(service: str) -> None:
    """What the service's ``__main__`` does, at a venue with short windows."""
    from shared.messaging.runtime import run

    app_module: Any = importlib.import_module(f"services.{service}.app")
    settings = importlib.import_module(f"services.{service}.settings").Settings()
    if service == "order_executor":
        venue = app_module.ccxt_venue(settings)
        venue.capabilities = replace(venue.capabilities, receive_window_ms=RECEIVE_WINDOW_MS, read_lag_ms=READ_LAG_MS)
        app = app_module.Executor(settings, venue)
    else:
        app = app_module.build_app(settings)
    run(app, health_port=0, log_level=settings.log_level)


if __name__ == "__main__":
    main(sys.argv[1])

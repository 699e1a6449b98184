"""The launcher as a process of its own: ended politely, killed, and run by an ordinary user."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded.data_folder import DataFolder
from tests.deploy.stacks import is_gone, processes_of

pytestmark = pytest.mark.servers

ROOT = Path(__file__).resolve().parent.parent.parent
RUN_STACK = Path(__file__).resolve().parent / "run_stack.py"


@contextmanager
def launcher(folder: Path, python: str = sys.executable, **of_process: Any) -> Iterator[subprocess.Popen[str]]:
    """A launcher that is ready."""
    process = subprocess.Popen(
        [python, str(RUN_STACK), str(folder)], stdout=subprocess.PIPE, text=True, cwd="/", **of_process
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stdout.close() if process.stdout else None


def children_of(folder: Path) -> list[int]:
    content = json.loads((folder / "stack.json").read_text())
    pids = [one["pid"] for one in content["services"].values() if one["pid"] is not None]
    return [*pids, content["reaper_pid"], int((folder.parent / "grandchild").read_text())]


def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def test_launcher_when_killed_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with launcher(folder) as process:
        pids = children_of(folder)
        assert len(pids) == 6
        assert not any(is_gone(pid) for pid in pids)
        process.kill()
        until(lambda: all(is_gone(pid) for pid in pids))
    until(lambda: processes_of(tmp_path) == [])


def test_launcher_when_killed_and_started_at_once_takes_the_folder_over(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with launcher(folder) as process:
        before = children_of(folder)
        process.kill()
        with launcher(folder) as second:
            assert all(is_gone(pid) for pid in before)
            second.send_signal(signal.SIGTERM)
            assert second.wait(30) == 0


def test_launcher_when_killed_together_with_its_reaper_leaves_no_process(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("without death signals the next start ends what was left")
    folder = tmp_path / "data"
    with launcher(folder) as process:
        pids = children_of(folder)
        reaper = json.loads((folder / "stack.json").read_text())["reaper_pid"]
        process.send_signal(signal.SIGSTOP)  # so that it cannot start another reaper in between
        os.kill(reaper, signal.SIGKILL)
        process.kill()
        grandchild = pids.pop()
        until(lambda: all(is_gone(pid) for pid in pids))
        # Nobody was left to know of it: death signals reach children, not their children.
        os.kill(grandchild, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_launcher_when_signalled_ends_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "data"
    with launcher(folder) as process:
        pids = children_of(folder)
        process.send_signal(number)
        assert process.wait(30) == 0
        until(lambda: all(is_gone(pid) for pid in pids))
    assert json.loads((folder / "stack.json").read_text())["status"] == "stopped"
    assert not DataFolder(folder).is_locked()
    assert "received fast shutdown request" in (folder / "logs" / "postgres.log").read_text()


def test_launcher_when_signalled_while_starting_ends_everything(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    process = subprocess.Popen([sys.executable, str(RUN_STACK), str(folder)], stdout=subprocess.DEVNULL, cwd="/")
    until((folder / "stack.json").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    until(lambda: processes_of(tmp_path) == [])


NOBODY: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}


def _python_for_everybody() -> str | None:
    """A Python that an account without access to our own can run."""
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with suppress(OSError, LookupError):
            done = subprocess.run(
                [candidate, "-c", ask], capture_output=True, text=True, check=False, cwd="/", **NOBODY
            )
            if done.returncode == 0 and done.stdout.strip() == wanted:
                return candidate
    return None


def test_launcher_when_run_by_an_ordinary_user_works() -> None:
    if os.geteuid() != 0:
        pytest.skip("every other test here ran as an ordinary user")
    python = _python_for_everybody()
    if python is None:
        pytest.skip("no second account that can run a Python of this version")
    place = Path(tempfile.mkdtemp(prefix="trimtab-nobody-"))
    place.chmod(0o777)
    spec = find_spec("psutil")
    assert spec is not None
    assert spec.origin is not None
    packages = Path(spec.origin).parent.parent
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        with launcher(place / "data", python, env=env, **NOBODY) as process:
            assert (place / "data" / "postgres").owner() == "nobody"
            pids = children_of(place / "data")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            until(lambda: all(is_gone(pid) for pid in pids))
    finally:
        shutil.rmtree(place)

"""`trimtab up|status|down|logs` as a user meets them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.stacks import is_gone
from tests.deploy.test_launcher_death import launcher


def trimtab(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.command_line", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--evaluators", "0"), "evaluators: out of range (given: 0; allowed: 1 to 32)"),
        (("--evaluators", "33"), "evaluators: out of range"),
        (("--rows-per-second", "0"), "rows_per_second: out of range"),
        (("--rows-per-second", "nan"), "rows_per_second: out of range"),
        (("--rows-per-second", "1e400"), "rows_per_second: out of range"),
        (("--seed", "-1"), "seed: out of range"),
        (("--prices", "none.csv"), "prices: no such file"),
        (("--evaluators", "many"), "Invalid value for '--evaluators'"),
    ],
)
def test_up_when_input_is_wrong_says_so_and_changes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = trimtab("up", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "logs"])
def test_command_when_nothing_runs_fails_in_one_line(tmp_path: Path, command: str) -> None:
    done = trimtab(command, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_down_when_nothing_runs_is_content(tmp_path: Path) -> None:
    assert trimtab("down", cwd=tmp_path).returncode == 0


@pytest.mark.servers
def test_commands_when_a_stack_runs_show_it_and_end_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with launcher(folder) as process:
        of = ("--data", str(folder))
        shown = json.loads(trimtab("status", "--json", *of, cwd=tmp_path).stdout)
        assert shown["status"] == "running"
        assert shown["services"]["ledger"]["status"] == "ready"
        assert shown["services"]["ledger"]["rss_mib"] > 1
        assert "api_token" not in shown
        assert "ledger" in trimtab("status", *of, cwd=tmp_path).stdout
        assert "dummy is up" in trimtab("logs", "ledger", *of, cwd=tmp_path).stdout
        unknown = trimtab("logs", "leger", *of, cwd=tmp_path)
        assert (unknown.returncode, "allowed: gateway, " in unknown.stderr) == (2, True)
        second = trimtab("up", "--detach", *of, cwd=tmp_path)
        assert second.returncode == 1
        assert f"{folder} is in use by process {process.pid}" in second.stderr
        down = trimtab("down", *of, cwd=tmp_path)
        assert (down.returncode, down.stdout) == (0, "ended\n")
        assert process.wait(5) == 0
        assert all(one["pid"] is None or is_gone(one["pid"]) for one in shown["services"].values())
        assert "dummy is up" in trimtab("logs", "ledger", *of, cwd=tmp_path).stdout


@pytest.mark.servers
def test_status_when_the_launcher_was_killed_says_that_nothing_runs(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with launcher(folder) as process:
        process.kill()
        process.wait()
        assert trimtab("down", "--data", str(folder), cwd=tmp_path).returncode == 0
        assert trimtab("status", "--data", str(folder), cwd=tmp_path).returncode == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Tests that run in the background have the signal ignored, and so would the programs that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("after_s", [0.05, 1.5])
@pytest.mark.usefixtures("interruptible")
def test_command_when_interrupted_while_loading_ends_without_a_traceback(tmp_path: Path, after_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.command_line", "demo", "--quiet", "--data", str(tmp_path / "demo")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(after_s)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.terminate()
    assert not (tmp_path / "demo").exists()
    # Before our first instruction it is Python itself that dies of the signal.
    if after_s > 0.05:
        assert process.returncode in (0, 1, 130)
        assert "Traceback" not in output


def test_demo_when_its_folder_holds_something_else_refuses_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = trimtab("demo", "--data", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "error: data: holds something that would be removed" in done.stderr
    assert [child.name for child in tmp_path.iterdir()] == ["notes.txt"]


def test_demo_when_the_report_cannot_be_written_refuses_before_it_starts(tmp_path: Path) -> None:
    done = trimtab("demo", "--report", "none/report.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "--report" in done.stderr
    assert list(tmp_path.iterdir()) == []

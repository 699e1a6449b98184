"""The launcher on real servers, with stand-ins for the services."""

import asyncio
import json
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest

from deploy.embedded.data_folder import DataFolder
from deploy.embedded.options import StackOptions
from deploy.embedded.processes import Status
from deploy.embedded.stack import Stack
from shared.core.errors import Refused, Stop
from tests.deploy.stacks import QUICK, Services, dummies, is_gone, processes_of

pytestmark = pytest.mark.servers

Starter = Callable[..., Awaitable[Stack]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starter]:
    """Starts stacks on a folder of the test's own, and ends them."""
    stacks: list[Stack] = []

    async def started(services: Services | None = None, *, data_dir: Path = tmp_path / "data") -> Stack:
        stack = Stack(StackOptions(data_dir=data_dir), services=services or dummies(), patience=QUICK)
        stacks.append(stack)
        await stack.start()
        return stack

    yield started
    for stack in stacks:
        await stack.stop()


async def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


async def test_stack_when_started_has_durable_servers_that_ask_for_a_password(start: Starter) -> None:
    stack = await start()
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        durable = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        listening = await connection.fetchval("SHOW listen_addresses")
    finally:
        await connection.close()
    assert durable == ["on", "on"]
    assert listening == "127.0.0.1"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.postgres_dsn.replace(stack.secrets.postgres_password, "wrong"))
    url = f"nats://127.0.0.1:{stack.ports.nats}"
    client = await nats.connect(url, user="trimtab", password=stack.secrets.nats_password)
    await client.jetstream().account_info()
    await client.close()
    with pytest.raises(nats.errors.Error):
        await nats.connect(url, user="trimtab", password="wrong", allow_reconnect=False, max_reconnect_attempts=1)


async def test_stack_when_stopped_leaves_no_process_and_frees_the_folder(start: Starter, tmp_path: Path) -> None:
    stack = await start()
    pids = [state.pid for state in stack.status().values() if state.pid is not None]
    assert len(pids) == 4
    await stack.stop()
    assert all(is_gone(pid) for pid in pids)
    assert processes_of(tmp_path) == []
    assert not DataFolder(tmp_path / "data").is_locked()
    assert json.loads((tmp_path / "data" / "stack.json").read_text())["status"] == "stopped"
    # A clean end is no crash: PostgreSQL has shut down, nothing was killed.
    assert "database system is shut down" in (tmp_path / "data" / "logs" / "postgres.log").read_text()


async def test_stack_when_started_again_keeps_data_and_secrets(start: Starter) -> None:
    first = await start()
    secrets = first.secrets
    connection = await asyncpg.connect(first.postgres_dsn)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    await connection.close()
    await first.stop()
    second = await start()
    assert second.secrets == secrets
    connection = await asyncpg.connect(second.postgres_dsn)
    try:
        assert await connection.fetchval("SELECT id FROM kept") == 7
    finally:
        await connection.close()


async def test_stack_when_folder_is_in_use_is_refused_naming_folder_and_pid(start: Starter, tmp_path: Path) -> None:
    first = await start()
    before = {name: state.pid for name, state in first.status().items()}
    with pytest.raises(Stop, match=f"{tmp_path / 'data'} is in use by process {os.getpid()}"):
        await start()
    assert {name: state.pid for name, state in first.status().items()} == before


async def test_stack_files_when_written_are_readable_by_the_owner_only(start: Starter, tmp_path: Path) -> None:
    stack = await start()
    data = tmp_path / "data"
    modes = {name: stat.S_IMODE((data / name).stat().st_mode) for name in ("secrets.json", "stack.json", "logs")}
    assert modes == {"secrets.json": 0o600, "stack.json": 0o600, "logs": 0o700}
    content = json.loads((data / "stack.json").read_text())
    assert content["status"] == "running"
    assert content["pid"] == os.getpid()
    assert content["gateway_url"] == f"http://127.0.0.1:{stack.ports.gateway}"
    assert content["api_token"] == stack.secrets.api_token
    assert content["services"]["ledger"]["pid"] == stack.status()["ledger"].pid


@pytest.mark.parametrize("name", ["ledger", "nats", "postgres"])
async def test_child_when_killed_is_restarted_and_counted(start: Starter, name: str) -> None:
    stack = await start()
    before = stack.status()[name].pid
    await stack.kill(name)
    await until(lambda: stack.status()[name].status is Status.READY and stack.status()[name].pid not in (None, before))
    assert stack.restarts == {other: int(other == name) for other in stack.status()}
    assert all(mib > 1 for other, mib in stack.rss_mib().items() if other != "provision")


async def test_postgres_when_killed_keeps_what_was_committed(start: Starter) -> None:
    stack = await start()
    connection = await asyncpg.connect(stack.postgres_dsn)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    await stack.kill("postgres")
    await until(lambda: stack.restarts["postgres"] and stack.status()["postgres"].status is Status.READY)
    connection.terminate()
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        assert await connection.fetchval("SELECT id FROM kept") == 7
    finally:
        await connection.close()


async def test_child_when_alive_but_unwell_is_killed_restarted_and_counted(start: Starter, tmp_path: Path) -> None:
    unwell = tmp_path / "unwell"
    stack = await start(dummies({"ledger": {"DUMMY_UNHEALTHY_FILE": str(unwell)}}))
    before = stack.status()["ledger"].pid
    unwell.touch()
    await until(lambda: stack.status()["ledger"].status is Status.UNHEALTHY)
    assert "told to be unwell" in stack.status()["ledger"].reason
    await until(lambda: stack.status()["ledger"].pid not in (None, before))
    unwell.unlink()
    await until(lambda: stack.status()["ledger"].status is Status.READY)
    state = stack.status()["ledger"]
    assert (state.restarts, state.unhealthy_kills) == (1, 1)


async def test_child_when_stopped_by_the_system_is_found_dead_and_replaced(start: Starter) -> None:
    stack = await start()
    before = stack.status()["gateway"].pid
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    await until(lambda: stack.status()["gateway"].pid not in (None, before))
    assert is_gone(before)


async def test_start_when_a_service_cannot_start_fails_with_the_end_of_its_log(start: Starter, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="gateway is restarting: ended with exit code 7"):
        await start(dummies({"gateway": {"DUMMY_CRASH": "1"}}))
    assert processes_of(tmp_path) == []
    assert not DataFolder(tmp_path / "data").is_locked()


async def test_stop_when_a_service_ignores_the_request_kills_it_and_its_children(
    start: Starter, tmp_path: Path
) -> None:
    grandchild = tmp_path / "grandchild"
    extra = {"ledger": {"DUMMY_DEAF": "1", "DUMMY_GRANDCHILD_FILE": str(grandchild)}}
    stack = await start(dummies(extra, grace_s=0.3))
    pids = [stack.status()["ledger"].pid or 0, int(grandchild.read_text())]
    assert not any(is_gone(pid) for pid in pids)
    await stack.stop()
    await until(lambda: all(is_gone(pid) for pid in pids))


async def test_ports_when_the_usual_ones_are_taken_are_others(start: Starter) -> None:
    holders = [socket.socket() for _ in range(3)]
    try:
        for holder, port in zip(holders, (4222, 5432, 8080), strict=True):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind(("127.0.0.1", port))
                holder.listen()
            except OSError:
                continue  # somebody else has it, which is as good
        stack = await start()
        assert not {4222, 5432, 8080} & {stack.ports.nats, stack.ports.postgres, stack.ports.gateway}
    finally:
        for holder in holders:
            holder.close()


async def test_two_stacks_when_on_folders_of_their_own_run_side_by_side(start: Starter, tmp_path: Path) -> None:
    first, second = await asyncio.gather(start(), start(data_dir=tmp_path / "other"))
    assert first.ports.nats != second.ports.nats
    assert all(state.status in (Status.READY, Status.DONE) for state in second.status().values())


async def test_data_folder_when_not_kept_is_removed_at_the_end(tmp_path: Path) -> None:
    stack = Stack(StackOptions(data_dir=tmp_path / "data", keep=False), services=dummies(), patience=QUICK)
    await stack.start()
    assert (tmp_path / "data" / "postgres").is_dir()
    await stack.stop()
    assert not (tmp_path / "data").exists()


async def test_data_folder_when_not_kept_but_holding_something_else_is_refused_untouched(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "precious").write_text("years of work")
    stack = Stack(StackOptions(data_dir=folder, keep=False), services=dummies(), patience=QUICK)
    with pytest.raises(Refused, match="a new or empty folder"):
        await stack.start()
    await stack.stop()
    assert [child.name for child in folder.iterdir()] == ["precious"]


async def test_data_folder_when_a_killed_demo_left_it_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "exchange").mkdir(parents=True)
    (folder / "exchange" / "account").write_text("of last time")
    (folder / "throwaway").write_text("")
    stack = Stack(StackOptions(data_dir=folder, keep=False), services=dummies(), patience=QUICK)
    await stack.start()
    assert not (folder / "exchange").exists()
    await stack.stop()
    assert not folder.exists()


async def test_data_folder_when_not_kept_and_the_start_failed_keeps_its_logs(tmp_path: Path) -> None:
    broken = dummies({"ledger": {"DUMMY_CRASH": "1"}})
    stack = Stack(StackOptions(data_dir=tmp_path / "data", keep=False), services=broken, patience=QUICK)
    with pytest.raises(Stop):
        await stack.start()
    assert (tmp_path / "data" / "logs" / "ledger.log").exists()


async def test_cluster_when_its_creation_was_cut_off_is_created_again(start: Starter, tmp_path: Path) -> None:
    half = tmp_path / "data" / "postgres.new" / "base"
    half.mkdir(parents=True)
    (half / "rubbish").write_text("half")
    stack = await start()
    assert stack.status()["postgres"].status is Status.READY
    assert not half.parent.exists()


async def test_secrets_when_lost_stop_the_start_rather_than_make_the_data_unreadable(
    start: Starter, tmp_path: Path
) -> None:
    await (await start()).stop()
    (tmp_path / "data" / "secrets.json").unlink()
    with pytest.raises(Stop, match=r"secrets\.json is missing"):
        await start()


async def test_reaper_when_killed_is_started_again_and_still_does_its_work(start: Starter, tmp_path: Path) -> None:
    stack = await start()
    content = json.loads((tmp_path / "data" / "stack.json").read_text())
    os.kill(content["reaper_pid"], signal.SIGKILL)
    log = tmp_path / "data" / "stack.json"
    await until(lambda: is_gone(content["reaper_pid"]))
    await stack.kill("ledger")
    await until(lambda: json.loads(log.read_text())["reaper_pid"] != content["reaper_pid"])


async def test_postgres_when_the_launcher_is_root_runs_as_somebody_else(start: Starter, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user's PostgreSQL runs as that user")
    # Nobody but root may enter this folder, as with a project in root's home.
    closed = tmp_path / "root only"
    closed.mkdir(mode=0o700)
    stack = await start(data_dir=closed / "data")
    process = psutil.Process(stack.status()["postgres"].pid or 0)
    assert process.uids().effective != 0
    assert process.uids().effective == (closed / "data" / "postgres").stat().st_uid
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


async def test_postgres_when_its_folder_has_an_owner_runs_as_that_owner(start: Starter, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run it as somebody else")
    await (await start()).stop()
    owner = 54_321
    for path in [tmp_path / "data" / "postgres", *(tmp_path / "data" / "postgres").rglob("*")]:
        os.chown(path, owner, owner)
    stack = await start()
    assert psutil.Process(stack.status()["postgres"].pid or 0).uids().effective == owner

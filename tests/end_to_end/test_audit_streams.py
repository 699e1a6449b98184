"""A stack as an auditor and a burglar see it: what may be read is complete, what is secret is nowhere.

In the middle NATS loses everything, and the streams are made anew.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
import psutil
import pytest
from nats.js.errors import NotFoundError

from deploy.demo.postgres_books import check_run
from deploy.demo.venue_account import read_account
from deploy.embedded.options import ExchangeOptions
from deploy.embedded.processes import Status
from deploy.embedded.services import VENUE
from shared.contracts.catalogue import AUDIT_STREAMS
from tests.end_to_end.demo_process import REPOSITORY
from tests.end_to_end.running_stack import RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

MAJORS = {
    "name": "Majors",
    "venue": VENUE,
    "funding_asset": "USDT",
    "amount": "1200",
    "targets": {"BTC": "50", "ETH": "50"},
    "rebalance": {"threshold": "0.5"},
}
REBUILT = (
    "STRATEGIES",
    "PLAN_RESULTS",
    "ORDERS",
    "DEPOSITS",
    "COMMANDS",
    "TRANSFERS",
    "LEDGER",
    "POSITIONS",
    "WALLETS",
)
Events = dict[str, list[tuple[str, str, bytes]]]


async def until(met: Callable[[], Awaitable[object]], within_s: float = 120.0) -> None:
    async with asyncio.timeout(within_s):
        while not await met():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.2)


async def command(running: RunningStack, *arguments: str) -> str:
    """A command of the command line, to its end; what it printed."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "deploy.command_line", *arguments, "--data", str(running.stack.folder.path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def secrets_of(running: RunningStack) -> dict[str, str]:
    """Every canary: all of them are random, so each is found only where it was put."""
    secrets = running.stack.secrets
    named = {name: value for name, value in vars_of(secrets).items() if isinstance(value, str)}
    assert len({*named.values(), *secrets.logins.values()}) == len(named) + len(secrets.logins) >= 15
    return {**named, **secrets.logins}


def vars_of(secrets: Any) -> dict[str, Any]:
    return {name: getattr(secrets, name) for name in secrets.__dataclass_fields__}


async def stored(running: RunningStack) -> tuple[Events, bytes]:
    """Every message: its id, subject and body by stream; and all there is of all of them in one piece."""
    url, password = f"nats://127.0.0.1:{running.stack.ports.nats}", running.stack.secrets.nats_password
    client = await nats.connect(url, user="trimtab", password=password)
    jetstream = client.jetstream()
    found: Events = {}
    everything = []
    for info in await jetstream.streams_info():
        name = info.config.name
        found[name] = []
        for sequence in range(max(info.state.first_seq, 1), info.state.last_seq + 1):
            try:
                message = await jetstream.get_msg(name, sequence, direct=True)
            except NotFoundError:
                continue  # a last value that was replaced
            everything.append(repr((message.subject, message.headers)).encode() + (message.data or b""))
            found[name].append((message.headers["ce-id"], message.subject, message.data or b""))
    await client.close()
    return found, b"\n".join(everything)


def by_subject(events: list[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
    """Order holds within a subject; subjects may overtake each other."""
    return sorted(events, key=lambda event: event[1])


async def pages_of(running: RunningStack) -> bytes:
    """What anybody on the machine can ask for, and how it is refused."""
    ports = running.stack.ports
    urls = [f"http://127.0.0.1:{port}/healthz" for port in ports.health.values()]
    urls += [f"{ports.gateway_url}{path}" for path in ("/healthz", "/openapi.json", "/strategies", "/nothing", "/docs")]
    urls += [f"http://127.0.0.1:{ports.nats_monitoring}/{page}" for page in ("varz", "connz?auth=1&subs=1", "accountz")]
    async with httpx.AsyncClient() as client:
        pages = [await client.get(url) for url in urls]
        pages.append(await client.get(f"{ports.gateway_url}/strategies", headers={"Authorization": "Bearer wrong"}))
    return b"\n".join(repr(page.headers).encode() + page.content for page in pages)


def processes_of(running: RunningStack) -> bytes:
    """The command lines of the stack's processes and of theirs, as everybody on the machine sees them."""
    pids = [state.pid for state in running.stack.status().values() if state.pid is not None]
    processes = [one for pid in pids for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return repr([one.cmdline() for one in processes]).encode()


def logs_of(running: RunningStack) -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(running.stack.folder.logs.glob("*.log")))


async def example(running: RunningStack, folder: Path, lines: int) -> list[str]:
    """The README's consumer, exactly as it is printed there, until it has printed so many lines."""
    (text,) = re.findall(r"```python\n(.+?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len(text.splitlines()) <= 31
    file = folder / "example.py"
    file.write_text(text)
    environment = {
        **os.environ,
        "NATS_URL": f"nats://127.0.0.1:{running.stack.ports.nats}",
        "NATS_PASSWORD": running.stack.secrets.logins["nats.auditor"],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(file), env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            return [(await process.stdout.readline()).decode() for _ in range(lines)]
    finally:
        process.kill()
        await process.wait()


async def transactions(running: RunningStack) -> int:
    connection = await asyncpg.connect(running.stack.postgres_dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM ledger.transactions"))
    finally:
        await connection.close()


async def check_reading(running: RunningStack, folder: Path, events: Events) -> None:
    """Export, tail and the example tell what is stored."""
    file = folder / "events.jsonl"
    await command(running, "audit", "export", str(file))
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    assert {one["stream"] for one in exported} <= set(AUDIT_STREAMS)
    for stream in REBUILT:
        told = [(one["id"], one["natssubject"]) for one in exported if one["stream"] == stream]
        assert told == ([event[:2] for event in events[stream]] if stream in AUDIT_STREAMS else [])
    assert [one["storedat"] for one in exported] == sorted(one["storedat"] for one in exported)
    fills = [one for one in exported if one["type"] == "trimtab.order.filled"]
    assert len(fills) > 3
    shown = []
    for count in (1, 2):
        asked = ["--durable", "auditor-1", "--stream", "ORDERS", "--type", "trimtab.order.filled"]
        printed = await command(running, "audit", "tail", *asked, "--count", str(count), "--json")
        shown += [json.loads(line)["id"] for line in printed.splitlines()]
    assert shown == [one["id"] for one in fills[:3]]
    printed_lines = await example(running, folder, 3)
    assert [line.split()[2] for line in printed_lines] == [one["data"]["quantity"] for one in fills[:3]]


async def lose_the_streams(running: RunningStack) -> None:
    """NATS ends and finds its store gone."""
    store = running.stack.folder.path / "nats"
    store.rename(store.with_name("lost"))
    before = running.stack.restarts["nats"]
    await running.stack.kill("nats")

    async def is_back() -> bool:
        state = running.stack.status()["nats"]
        return running.stack.restarts["nats"] > before and state.status is Status.READY

    await until(is_back)
    shutil.rmtree(store.with_name("lost"))


async def all_running(running: RunningStack) -> bool:
    states = running.stack.status()
    return all(state.status is Status.READY for name, state in states.items() if name != "provision")


async def check_books(running: RunningStack) -> None:
    await running.session.settle()
    secrets, url = running.stack.secrets, running.stack.ports.exchange_url
    held = await read_account(url, secrets.venue_api_key, secrets.venue_api_secret)
    assert (await check_run(running.stack.postgres_dsn, VENUE, held)).differences == ()


async def test_stack_when_looked_at_tells_auditors_everything_and_nobody_a_secret(tmp_path: Path) -> None:
    async with running_stack(tmp_path, ExchangeOptions(rows_per_second=20), [MAJORS]) as running:

        async def has_traded() -> bool:
            return await transactions(running) >= 12

        await until(has_traded)
        await running.exchange.pause()
        await running.session.settle()
        before, everything = await stored(running)
        await check_reading(running, tmp_path, before)
        assert "iolation" not in logs_of(running).decode()
        posted = await transactions(running)
        seen = everything + await pages_of(running) + processes_of(running)

        await lose_the_streams(running)
        told = json.loads(await command(running, "streams", "rebuild", "--json"))
        rebuilt = {one["stream"] for one in told["streams"] if one["rebuilt"]}
        assert rebuilt >= set(REBUILT)
        after, everything = await stored(running)
        for stream in REBUILT:
            assert by_subject(after[stream]) == by_subject(before[stream]), stream
        await until(lambda: all_running(running))
        instruments, _ = await stored(running)
        assert instruments["INSTRUMENTS"]
        await running.exchange.resume()

        async def trades_again() -> bool:
            return await transactions(running) > posted

        await until(trades_again)
        await running.exchange.pause()
        await check_books(running)
        seen += everything + await pages_of(running) + (tmp_path / "events.jsonl").read_bytes() + logs_of(running)
        found = [name for name, secret in secrets_of(running).items() if secret.encode() in seen]
        assert found == []
        # Who looks everywhere finds what is there.
        assert all(word in seen for word in (b"trimtab.order.filled", b"services.ledger", b"nats-server"))

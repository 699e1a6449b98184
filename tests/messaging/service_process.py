"""Runs ``sample_service.py`` and reads its log."""

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.messaging.support import until

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("sample_service.py")


class ServiceProcess:
    """The process; ``lines`` is its log so far, ``stray`` what it printed that is not a log line."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.stray: list[str] = []

    async def start(self, url: str, mode: str) -> "ServiceProcess":
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            url,
            mode,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "FASTSTREAM_SUPERVISOR_DISABLED": "0"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            try:
                self.lines.append(json.loads(raw))
            except ValueError:
                self.stray.append(raw.decode())

    def logged(self, text: str) -> bool:
        return any(text in line["message"] for line in self.lines)

    async def up(self) -> "ServiceProcess":
        await until(lambda: self.logged("sample is up"), within_s=20, what="start")
        return self

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, within_s: float = 60.0) -> int:
        code = await asyncio.wait_for(self.process.wait(), within_s)
        await self._reader
        return code

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self._reader

    async def healthz(self, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
        line = next(line for line in self.lines if "/healthz on" in line["message"])
        url = f"http://127.0.0.1:{line['message'].rsplit(':', 1)[1]}{path}"
        return await asyncio.to_thread(_get, url)


def _get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)

"""Lives of a service under test: born of a nursery, told at which point to die, watched until they do."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.embedded.child import ChildOptions, child_argv
from tests.chaos.deaths.fail_points import REPOSITORY, FailPoint, Marks, points_of

BORN_WITHIN_S = 60.0


class Nursery:
    """The process that forks lives of one service."""

    def __init__(self, service: str, folder: Path) -> None:
        self.service = service
        self.points: tuple[FailPoint, ...] = points_of(service)
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._births: asyncio.Queue[int] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self._deaths: dict[int, asyncio.Future[int]] = {}

    async def open(self) -> None:
        argv = child_argv(
            ChildOptions(parent=os.getpid()), [sys.executable, "-m", "tests.chaos.deaths.nursery", self.service]
        )
        with (self._folder / f"nursery-{self.service}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        assert self._process is not None
        assert self._reader is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def bear(self, marks: Marks, log: Path, environment: dict[str, str]) -> "Life":
        """A new life; it has just begun."""
        assert self._process is not None
        assert self._process.stdin is not None
        asked = {"marks": str(marks.file), "log": str(log), "environment": environment}
        async with self._asking, asyncio.timeout(BORN_WITHIN_S):
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            pid = await self._births.get()
        return Life(pid, self._death(pid))

    def _death(self, pid: int) -> "asyncio.Future[int]":
        return self._deaths.setdefault(pid, asyncio.get_running_loop().create_future())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word: dict[str, Any] = json.loads(line)
            if "born" in word:
                self._births.put_nowait(word["born"])
            else:
                self._death(word["died"]).set_result(word["code"])


class Life:
    """One process of the service."""

    def __init__(self, pid: int, death: "asyncio.Future[int]") -> None:
        self.pid = pid
        self._death = death

    @property
    def is_over(self) -> bool:
        return self._death.done()

    async def death(self) -> int:
        """Wait for its end; the exit code (-9: SIGKILL)."""
        return await asyncio.shield(self._death)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await self.death()

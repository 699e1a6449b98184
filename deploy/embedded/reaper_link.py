"""The launcher's end of the reaper: starts it, tells it of every child, starts it again should it die."""

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

_SCRIPT = Path(__file__).resolve().parent / "reaper.py"
_logger = logging.getLogger("trimtab.launcher")


class ReaperLink:
    """Tells a reaper process which children there are; see ``reaper.py``."""

    def __init__(self, *, lock_fd: int | None, log: Path) -> None:
        self._lock_fd = lock_fd
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._lines: dict[int, str] = {}

    @property
    def pid(self) -> int | None:
        """The reaper's process id."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the reaper; children are reported from then on."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep_alive(), name="reaper")

    async def close(self) -> None:
        """End of the pipe: the reaper ends what was reported and not taken back, then itself."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()

    def add(self, pid: int, *, number: int, group: bool) -> None:
        """A child has started: ``number`` is the signal that ends it, to its group or to the process alone."""
        self._lines[pid] = f"+ {pid} {int(number)} {'group' if group else 'process'}\n"
        self._tell(self._lines[pid])

    def remove(self, pid: int) -> None:
        """The child has ended and its number may be used again by somebody else."""
        self._lines.pop(pid, None)
        self._tell(f"- {pid}\n")

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.write(line.encode())

    async def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_SCRIPT),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=() if self._lock_fd is None else (self._lock_fd,),
                start_new_session=True,
            )
        for line in self._lines.values():
            self._tell(line)

    async def _keep_alive(self) -> None:
        while self._process is not None:
            await self._process.wait()
            _logger.warning("the reaper has died and is started again")
            await asyncio.sleep(0.1)
            await self._spawn()

"""Evaluators as real processes, killed, frozen and revived at will, and what they say of each other."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from deploy.embedded.child import ChildOptions, child_argv
from services.strategy_evaluator.membership import hash_of, score
from shared.contracts import subjects
from shared.contracts.progress import EvaluatorProgress, decode_progress
from shared.messaging.broker import make_broker
from shared.messaging.following import listen
from tests.services.strategy_evaluator.stack import until

ROOT = Path(__file__).resolve().parents[3]


class Processes:
    """Evaluators by instance ("e1"), with the settings of every installation, and their newest words on themselves."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self.heard: dict[str, tuple[EvaluatorProgress, float]] = {}

    async def start(self, instance: str) -> None:
        """Start one; it is not ready yet."""
        argv = child_argv(ChildOptions(parent=os.getpid()), [sys.executable, "-m", "services.strategy_evaluator"])
        self._running[instance] = await asyncio.create_subprocess_exec(
            *argv,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "TRIMTAB_NATS_URL": self._url, "TRIMTAB_INSTANCE": instance},
            stdout=asyncio.subprocess.DEVNULL,
        )

    def kill(self, instance: str) -> None:
        """SIGKILL."""
        self._running.pop(instance).send_signal(signal.SIGKILL)

    def leave(self, instance: str) -> None:
        """SIGTERM: it says farewell."""
        self._running.pop(instance).send_signal(signal.SIGTERM)

    async def freeze(self, instance: str) -> None:
        """SIGSTOP; comes back when it stands still."""
        process = self._running[instance]
        process.send_signal(signal.SIGSTOP)
        await until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "it stands still")

    def revive(self, instance: str) -> None:
        """SIGCONT."""
        self._running[instance].send_signal(signal.SIGCONT)

    def agreed(self, *instances: str) -> bool:
        """Whether the last words of these name each other, and nobody else."""
        return len(self.members(*instances)) == len(instances) and all(
            sorted(self.heard[one][0].members) == sorted(self.members(*instances)) for one in instances
        )

    def members(self, *instances: str) -> list[str]:
        """The member ids of instances that were heard."""
        return [self.heard[one][0].member for one in instances if one in self.heard]

    def owner_of(self, strategy_id: str, *instances: str) -> str:
        """Whose share a strategy is when these are alive."""
        strategy = hash_of(strategy_id)
        return max(instances, key=lambda one: score(hash_of(self.heard[one][0].member), strategy))

    def take(self, data: bytes) -> None:
        """A word of one of them."""
        progress = decode_progress(data)
        self.heard[progress.member.partition("-")[0]] = (progress, time.monotonic())

    async def end(self) -> None:
        """Kill what still runs."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@asynccontextmanager
async def processes(url: str) -> AsyncIterator[Processes]:
    """No evaluator yet; all are ended at the end."""
    made, broker = Processes(url), make_broker(url, "overhearing")
    await broker.start()
    listener = listen(broker, subjects.EVALUATOR_PROGRESS, made.take)
    await listener.start()
    try:
        yield made
    finally:
        await made.end()
        await listener.stop()
        await broker.stop()

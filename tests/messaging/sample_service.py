"""A small service, run as a process of its own: ``sample_service.py NATS_URL MODE``; what it handles goes to stdout."""

import asyncio
import logging
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from shared.contracts.catalogue import ConsumerSpec
from shared.contracts.orders import DepositObserved
from shared.contracts.wire import Message, Meta
from shared.core.errors import Stop
from shared.messaging.broker import make_broker
from shared.messaging.consuming import consume
from shared.messaging.following import Follower
from shared.messaging.health import Health
from shared.messaging.runtime import run

log = logging.getLogger("sample")
SPEC = ConsumerSpec("TRIALS", "worker", ("trials.*",), ack_wait_s=2.0)


class Sample:
    """An App whose parts fail on demand (``mode``)."""

    def __init__(self, url: str, mode: str) -> None:
        self.name = "sample"
        self.mode = mode
        self.broker = make_broker(url, "sample")
        self.health = Health(self.broker)
        self.follower = Follower(self.broker, "TRIALS", ["trials.*"], self.look)
        consume(self.broker, SPEC, {DepositObserved: self.handle})
        if mode == "sick":
            self.health.add("sample", self.sick)

    async def handle(self, message: DepositObserved, meta: Meta) -> None:
        log.info("handling %s", message.deposit_id)
        if self.mode == "slow":
            await asyncio.sleep(1)
        if self.mode == "stop":
            raise Stop("the books do not balance")
        log.info("handled %s", message.deposit_id)

    def look(self, subject: str, message: Message, meta: Meta) -> None:
        log.info("saw %s", meta.message_id)

    async def sick(self) -> str | None:
        return "has a cold"

    async def start(self) -> None:
        if self.mode == "fail-start":
            raise RuntimeError("cannot start")
        await self.broker.start()

    async def stop(self) -> None:
        log.info("stopping")
        await self.broker.stop()

    async def fail_later(self) -> None:
        await asyncio.sleep(0.2)
        if self.mode == "fail-background":
            raise RuntimeError("the background failed")
        if self.mode == "stop-background":
            raise Stop("an invariant is broken")

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        if "background" in self.mode:
            return [self.follower.run(), self.fail_later()]
        return [self.follower.run()]


if __name__ == "__main__":
    run(Sample(sys.argv[1], sys.argv[2]), health_port=0, log_level="INFO")

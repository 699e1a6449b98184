"""What is wrong with this process, if anything."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.messaging.broker import NatsBroker

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[str | None]]
Figures = Callable[[], object]

CHECK_TIMEOUT_S = 3.0


class Health:
    """The checks of one process. With a ``broker`` its connection, durable consumers and followers are among them."""

    def __init__(self, broker: NatsBroker | None = None) -> None:
        self._checks: dict[str, Check] = {}
        self._brokers: list[NatsBroker] = []
        self._figures: dict[str, Figures] = {}
        if broker is not None:
            self.watch(broker)

    def add(self, name: str, check: Check) -> None:
        """Add a check: it returns None when healthy, else what is wrong. Failing or taking over 3 s is unhealthy."""
        if name in self._checks:
            raise ValueError(f"there is a check named {name} already")
        self._checks[name] = check

    def show(self, name: str, read: Figures) -> None:
        """Add figures, of what JSON knows, to the health page; they decide nothing."""
        self._figures[name] = read

    def figures(self) -> dict[str, object]:
        """What is to be shown, read now."""
        return {name: read() for name, read in self._figures.items()}

    def watch(self, broker: NatsBroker) -> None:
        """Include what the broker's own watch finds: server, durable consumers, followers."""
        self._brokers.append(broker)

    async def reasons(self) -> list[str]:
        """What is wrong now; empty when healthy."""
        names = list(self._checks)
        found = await asyncio.gather(*(_ask(name, self._checks[name]) for name in names))
        problems = [f"{name}: {problem}" for name, problem in zip(names, found, strict=True) if problem is not None]
        for broker in self._brokers:
            problems.extend(broker.troubles())
        return problems


async def _ask(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"no result in {CHECK_TIMEOUT_S} s"
    except Exception as error:
        log.debug("health check %s failed", name, exc_info=True)
        return f"failed: {error!r}"

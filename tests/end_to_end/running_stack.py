"""A whole stack inside a test: real processes, driven as the demo drives them."""

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from deploy.demo.clients import ExchangeControl, GatewayClient
from deploy.demo.report import make_report
from deploy.demo.scenario import candidate
from deploy.demo.session import DemoSession
from deploy.embedded.options import ExchangeOptions, StackOptions
from deploy.embedded.stack import Stack
from tests.end_to_end.demo_process import as_installed


@dataclass(frozen=True)
class RunningStack:
    """A started stack with its clients and a prepared session."""

    stack: Stack
    gateway: GatewayClient
    exchange: ExchangeControl
    session: DemoSession
    began: float

    async def report(self) -> dict[str, Any]:
        """Settle, then the report's content."""
        await self.session.settle()
        return (await make_report(self.stack, self.session, self.began)).content


@asynccontextmanager
async def running_stack(
    folder: Path,
    exchange: ExchangeOptions,
    documents: Sequence[Mapping[str, Any]],
    *,
    evaluators: int = 1,
    lockstep: bool = False,
) -> AsyncIterator[RunningStack]:
    """Start a stack on a folder, fund and create the strategies, and end everything afterwards."""
    stack = Stack(StackOptions(data_dir=folder / "data", evaluators=evaluators, exchange=exchange, lockstep=lockstep))
    began = time.monotonic()
    with patch.dict(os.environ, as_installed(os.environ), clear=True):
        await stack.start()
        try:
            gateway = GatewayClient(stack.ports.gateway_url, stack.secrets.api_token)
            control = ExchangeControl(stack.ports.exchange_url, stack.secrets.exchange_control_token)
            session = DemoSession(gateway, control, [candidate(document) for document in documents], stack.postgres_dsn)
            try:
                await session.prepare()
                yield RunningStack(stack, gateway, control, session, began)
            finally:
                await gateway.close()
                await control.close()
        finally:
            await stack.stop()

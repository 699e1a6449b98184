"""SIGSTOP of the executor at random moments, a second one taking over: no order with a stale epoch."""

import pytest

from tests.services.order_executor.freezes import Freezer
from tests.services.order_executor.rig import Stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


async def test_executors_when_frozen_at_random_moments_send_no_order_with_a_stale_epoch(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    soak = await Freezer(stack, seed=4).run(freezes=6, shortest_s=0.1, longest_s=6.0)
    with capsys.disabled():
        print(f"\n{soak}")  # noqa: T201 - a run without take-overs would prove nothing
    assert soak.stale == []
    assert soak.takeovers >= 1
    assert soak.ended >= 1
    assert soak.orders >= soak.plans

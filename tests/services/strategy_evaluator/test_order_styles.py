"""A plan says how the strategy's orders are placed, and has the time that takes."""

from datetime import timedelta
from typing import Any

import pytest

from services.strategy_evaluator.adapters.nats_outbound import planned
from shared.contracts.plans import RebalancePlanned
from shared.core.order_styles import parse_orders
from tests.services.strategy_evaluator.messages import AT_MS, instruments, position, strategy
from tests.services.strategy_evaluator.world import PRICES, World

EXPIRY = timedelta(seconds=10)


@pytest.mark.parametrize(
    ("orders", "longest"),
    [
        (None, timedelta(0)),
        ("market", timedelta(0)),
        ({"style": "maker", "patience": "2m"}, timedelta(minutes=4)),
        ({"style": "twap", "slice": "5000", "depth_share": "10", "every": "3m"}, timedelta(hours=1)),
    ],
)
def test_plan_when_the_strategy_has_a_style_carries_it_and_lasts_longer(orders: Any, longest: timedelta) -> None:
    world = World()
    told = strategy("s1") if orders is None else strategy("s1", orders=orders)
    world.tell(instruments(), told, position("s1", {"ONE": "1200"}))
    world.tick(PRICES, market_time_ms=AT_MS)
    world.evaluation.enable()
    world.look()
    (made,) = world.plans()
    plan = RebalancePlanned.model_validate_json(planned(made, EXPIRY).model_dump_json())
    assert plan.styling == parse_orders(orders)
    assert (plan.orders is None) == (orders is None)
    assert plan.expires_at - plan.decided_at == EXPIRY + longest
    assert plan.accept_until - plan.decided_at == EXPIRY, "it must begin as soon as any other"

"""A halted venue: no plan is made, the reason is recorded, and after resuming strategies act by themselves."""

from shared.contracts.halts import HaltCause, HaltChanged
from tests.core.portfolio_samples import AT
from tests.services.strategy_evaluator.messages import instruments, position, strategy
from tests.services.strategy_evaluator.world import PRICES, World


def switch(sequence: int, *, halted: bool, venue: str = "bigone") -> HaltChanged:
    return HaltChanged(
        venue=venue, sequence=sequence, halted=halted, cause=HaltCause.ASKED, reason="a test", changed_at=AT
    )


async def test_strategy_when_its_venue_is_halted_makes_no_plan_until_it_is_resumed() -> None:
    world = World()
    venue = instruments().venue
    world.tell(switch(3, halted=True, venue=venue), instruments(), strategy("s1"), position("s1", {"ONE": "1200"}))
    world.tick(PRICES)
    world.evaluation.enable()
    world.look()
    world.wait(2)
    assert world.plans() == []
    assert await world.codes() == ["halted"]
    world.tell(switch(2, halted=False, venue=venue), switch(9, halted=False, venue="another"))
    world.wait(2)
    assert world.plans() == []
    world.tell(switch(4, halted=False, venue=venue))
    world.wait(1.1)
    assert len(world.plans()) == 1

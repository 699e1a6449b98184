"""Nine replies that do not tell, under five rule sets for client order ids; ``just check-orders`` has more cases."""

import pytest

from services.simulated_exchange.identity import IdentityName
from tests.services.order_executor.ambiguity import check, measure
from tests.services.order_executor.rig import Stack

CASES = 60

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


@pytest.mark.parametrize("identity", list(IdentityName), ids=lambda identity: identity.value)
async def test_orders_when_replies_do_not_tell_are_at_the_venue_once_and_booked_once(
    stack: Stack, identity: IdentityName, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = await measure(stack, identity, CASES, seed=1)
    with capsys.disabled():
        print(f"\n{tally.told(identity)}")  # noqa: T201 - a run in which nothing was unknown would prove nothing
    check(tally, CASES)

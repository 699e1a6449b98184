"""Ten replies that do not tell, where client order ids are unique among open orders."""

import pytest

from services.simulated_exchange.identity import IdentityName
from shared.venues.capabilities import Scope
from tests.services.order_executor.ambiguity import prove, rule_sets
from tests.services.order_executor.rig import Stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]


@rule_sets(Scope.OPEN_ORDERS)
async def test_orders_when_replies_do_not_tell_are_at_the_venue_once_and_booked_once(
    stack: Stack, identity: IdentityName, capsys: pytest.CaptureFixture[str]
) -> None:
    await prove(stack, identity, capsys)

"""Ten replies that do not tell, where orders cannot be asked for by client order id."""

import pytest

from services.simulated_exchange.identity import IdentityName
from shared.venues.capabilities import Scope
from tests.services.order_executor.ambiguity import SCOPES, prove, rule_sets
from tests.services.order_executor.rig import Stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]


@rule_sets(Scope.UNSTATED)
async def test_orders_when_replies_do_not_tell_are_at_the_venue_once_and_booked_once(
    stack: Stack, identity: IdentityName, capsys: pytest.CaptureFixture[str]
) -> None:
    await prove(stack, identity, capsys)


def test_rule_sets_when_told_apart_by_scope_are_all_proven() -> None:
    proven = {Scope.OPEN_ORDERS, Scope.EVER, Scope.DAY, Scope.UNSTATED}
    assert {identity for identity, scope in SCOPES.items() if scope in proven} == set(IdentityName)

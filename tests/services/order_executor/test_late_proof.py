"""Fills of orders that the executor believed to have ended, on real servers: booked, never called a difference."""

from decimal import Decimal
from typing import Any

import pytest

from tests.services.order_executor.rig import Stack, eventually
from tests.services.order_executor.test_reconciler import PATIENCE_S, Money

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

QUANTITY = "0.001"
ENDED = """
INSERT INTO executor.orders (client_order_id, plan_id, strategy_id, account, epoch, round, asset, quote, symbol, side,
    quantity, limit_price, send_deadline, state, market_day, kind, venue_order_id)
SELECT $1, plan_id, strategy_id, account, epoch, (SELECT max(round) + 1 FROM executor.orders), asset, quote, symbol,
    side, $2, limit_price, send_deadline, $3, market_day, kind, $4
FROM executor.orders WHERE asset = 'BTC' AND side = 'BUY' LIMIT 1
"""


async def traded(stack: Stack) -> Money:
    """Books equal to the venue after a plan, with no executor at work."""
    money = Money(stack)
    await money.start(USDT="5000")
    await money.fund("s1", "USDT", "1200")  # what is found later is paid by the strategy, too
    assert (await money.traded("s1", {"USDT": "1000"}))["outcome"] == "completed"
    await money.equal()
    await stack.stop_apps()
    return money


async def state_of(stack: Stack, name: str) -> dict[str, Any]:
    (row,) = await stack.rows("SELECT * FROM executor.orders WHERE client_order_id = $1", name)
    return dict(row)


async def test_fills_when_their_orders_were_believed_to_have_ended_are_booked_and_no_difference(stack: Stack) -> None:
    money = await traded(stack)
    placed: dict[str, str] = {}
    for believed in ("absent", "rejected", "unfilled"):
        placed[believed] = str((await money.by_hand("BUY", QUANTITY, newClientOrderId=f"tt{believed}"))["orderId"])
        known_id = placed[believed] if believed == "unfilled" else ""
        await stack.rows(ENDED, f"tt{believed}", Decimal(QUANTITY), believed, known_id)
    await stack.app()

    async def all_filled() -> bool:
        return all([(await state_of(stack, f"tt{believed}"))["state"] == "filled" for believed in placed])

    await eventually(all_filled, PATIENCE_S)
    await money.equal()
    for believed, venue_id in placed.items():
        row = await state_of(stack, f"tt{believed}")
        assert (row["filled_quantity"], row["venue_order_id"]) == (Decimal(QUANTITY), venue_id)
    assert await money.calls() == 0
    assert await money.suspense() == {}


async def test_trade_when_it_is_nobodys_is_called_although_an_order_was_believed_absent(stack: Stack) -> None:
    money = await traded(stack)
    await stack.rows(ENDED, "ttnever", Decimal(QUANTITY), "absent", "")
    await money.by_hand("BUY", QUANTITY, newClientOrderId="owner")
    await stack.app()

    async def is_called() -> bool:
        return "BTC" in await money.suspense()

    await eventually(is_called, PATIENCE_S)
    assert (await state_of(stack, "ttnever"))["state"] == "absent"
    assert not await stack.rows("SELECT FROM executor.fills WHERE client_order_id = 'ttnever'")

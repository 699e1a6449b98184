"""What an intent says that its order may take of what the strategy holds."""

from dataclasses import replace

import pytest

from services.order_executor.records import OrderRecord, may_take
from services.order_executor.steps import Send, next_step
from shared.core.matching import Side
from tests.services.order_executor.test_steps import NOW, TERMS, D, instrument, line, market, record


@pytest.mark.parametrize(
    ("side", "quantity", "price", "costs", "taken"),
    [
        (Side.SELL, "0.1", "9.5", "1.001", {"BTC": "0.1"}),
        (Side.BUY, "0.1", "9.5", "1", {"USDT": "0.95"}),
        (Side.BUY, "0.1", "9.5", "1.001", {"USDT": "0.95095"}),
        (Side.BUY, "0.000000000000000001", "0.5", "1", {"USDT": "0.000000000000000001"}),
    ],
)
def test_intent_when_made_may_take_what_it_sells_or_its_worth_with_the_fee_on_top(
    side: Side, quantity: str, price: str, costs: str, taken: dict[str, str]
) -> None:
    order = OrderRecord("id", "p", "s", 1, 0, "BTC", "USDT", "BTCUSDT", side, D(quantity), D(price), NOW)
    assert may_take(order, D(costs)) == {asset: D(amount) for asset, amount in taken.items()}


def test_phase_when_purchases_pay_their_fee_on_top_says_so() -> None:
    charged = replace(instrument("BTC"), buy_fee_in_quote=True)
    now = replace(market(), instruments={"BTC": charged, "ETH": instrument("ETH")})
    step = next_step(record(line("USDT", "1000", "1", "0"), line("BTC", "0", "1000", "100")), now, TERMS)
    assert isinstance(step, Send)
    assert step.buying_costs == {"BTCUSDT": D("1.001"), "ETHUSDT": D(1)}

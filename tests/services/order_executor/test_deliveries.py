"""Fills that come one to five times, split, reordered and late, on a real PostgreSQL: the position is exact."""

import random
from collections.abc import Sequence
from decimal import Decimal

from services.order_executor.records import Evidence, OrderRecord, holdings_of
from shared.core.matching import Side
from shared.core.money import exact
from shared.core.orders import OrderState, VenueReport
from shared.venues.port import VenueOrder, VenueTrade
from tests.services.order_executor.test_late_words import CASH, NOW, Books, books

__all__ = ["books"]

D = Decimal
PLANS = 40


@exact
def trades_of(rng: random.Random, order: OrderRecord) -> list[VenueTrade]:
    """One to six trades, of all of the order or of some of it, each with a fee in base, quote or a third asset."""
    lots = int(order.quantity / D("0.0001"))
    filled = lots if rng.random() < 0.6 else rng.randint(1, lots)
    cuts = sorted({filled, *(rng.randint(1, filled) for _ in range(rng.randint(0, 5)))})
    found = []
    for number, (start, end) in enumerate(zip([0, *cuts], cuts, strict=False)):
        quantity = (end - start) * D("0.0001")
        price = order.limit_price - D(number) / 100
        fee_asset = rng.choice((order.asset, "USDT", "BNB"))
        fee = quantity * D("0.001")
        found.append(
            VenueTrade(f"{order.client_order_id}:{number}", "9", order.symbol, quantity, price, quantity * price,
                       fee, fee_asset, NOW)
        )  # fmt: skip
    return found


def deliveries(rng: random.Random, order: OrderRecord, trades: Sequence[VenueTrade]) -> list[Evidence]:
    """Every trade one to five times, alone or with others, among reports of the order as it was at any moment."""
    told = []
    for trade in trades:
        for _ in range(rng.randint(1, 5)):
            some = rng.sample(list(trades), rng.randint(0, len(trades)))
            together = {one.trade_id: one for one in (trade, *some)}
            executed = sum((one.quantity for one in rng.sample(list(trades), rng.randint(0, len(trades)))), D(0))
            report = VenueReport(is_open=rng.random() < 0.5, executed_quantity=executed)
            told.append(VenueOrder(order.client_order_id, "9", order.symbol, report, tuple(together.values())))
    rng.shuffle(told)
    whole = sum((trade.quantity for trade in trades), D(0))
    last = VenueOrder(order.client_order_id, "9", order.symbol, VenueReport(is_open=False, executed_quantity=whole))
    told.insert(rng.randint(0, len(told)), last)  # the order's end, before the last of its fills or after them
    return [Evidence(order.client_order_id, order=one) for one in told]


@exact
def expected(orders: Sequence[OrderRecord], trades: Sequence[VenueTrade]) -> dict[str, Decimal]:
    """The holdings by each trade once; a fee in an asset that the strategy does not hold is not its own."""
    held = {line.asset: line.quantity for line in CASH}
    sides = {order.symbol: (order.asset, 1 if order.side is Side.BUY else -1) for order in orders}
    for trade in trades:
        asset, sign = sides[trade.symbol]
        held[asset] += sign * trade.quantity
        held["USDT"] -= sign * trade.quote_quantity
        if trade.fee_asset in held:
            held[trade.fee_asset] -= trade.fee
    return held


async def test_position_when_fills_are_repeated_split_reordered_and_late_is_exact(books: Books) -> None:
    previous, booked = "", 0
    past: list[Evidence] = []
    for seed in range(PLANS):
        rng = random.Random(seed)
        name, outcome = await books.accept(previous, fills=booked)
        assert outcome == "accepted"
        orders = await books.send(name)
        trades = {order.client_order_id: trades_of(rng, order) for order in orders}
        told = [evidence for order in orders for evidence in deliveries(rng, order, trades[order.client_order_id])]
        past += rng.sample(told, 3)
        told += rng.sample(past, min(len(past), 6))  # also of plans that have ended
        rng.shuffle(told)
        while told:
            size = rng.randint(1, 8)
            await books.orders.book(told[:size])
            del told[:size]
        record = await books.plans.load(name)
        every = [trade for one in trades.values() for trade in one]
        assert sorted(fill.trade_id for fill in record.fills) == sorted(trade.trade_id for trade in every), seed
        held = {asset: quantity for asset, quantity in holdings_of(record).items() if asset != "BNB"}
        assert held == expected(orders, every), seed
        for order in record.orders:
            mine = sum((trade.quantity for trade in trades[order.client_order_id]), D(0))
            ended = OrderState.FILLED if mine == order.quantity else OrderState.PARTIALLY_FILLED
            assert (order.filled_quantity, order.state) == (mine, ended), seed
        assert await books.close(record)
        previous, booked = name, booked + len(every)

"""A story of two strategies with everything that can happen to them, and its delivery."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from operator import itemgetter

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.bookkeeping import NotCovered
from services.ledger.requests import Body, Request
from shared.contracts.books import FundStrategy, ReleaseStrategy, WithdrawFromStrategy
from shared.contracts.orders import OrderFilled
from tests.services.ledger.messages import RECEIVED, START, Scene, request_of

D = Decimal
SCENE = Scene()
MINUTE = timedelta(minutes=1)


def known_at(request: Request, after: timedelta) -> Request:
    """The request, first known so long after the beginning."""
    at, body = RECEIVED + after, request.body
    if isinstance(body, OrderFilled):
        body = body.model_copy(update={"received_at": at, "market_time": START + after})
    return Request(body, replace(request.meta, occurred_at=at), is_last_try=request.is_last_try)


def story(
    fills: int,
    dice: random.Random,
    strategies: Sequence[str] = ("s1", "s2"),
    unit: timedelta = MINUTE,
    third_asset: str = "BNB",
) -> list[Request]:
    """Money in, first plans, trades with all kinds of fees, more money, withdrawals, one strategy's exit with dust."""
    minute = 0
    made: list[tuple[int, Body]] = [(0, SCENE.deposit(1, "1000000")), (0, SCENE.deposit(2, "50", "BNB"))]
    for index, name in enumerate(strategies):
        made.append((1, SCENE.fund(10 * index, "10000", name)))
        bnb = SCENE.fund(10 * index + 1, "10", name, "BNB").model_copy(update={"value_usdt": D(2900)})
        made.append((2, bnb))
        held: dict[str, Decimal] = {}
        for number in range(1, fills + 1):
            minute, is_purchase = 10 * number, number <= fills // 2
            base = dice.choice(("BTC", "ETH", "SOL") if is_purchase else sorted(held))
            quantity = D(dice.randint(1000, 2000)) / 10000 if is_purchase else held[base] / 4
            held[base] = held.get(base, D(0)) + (quantity - D("0.0001") if is_purchase else -quantity - D("0.0001"))
            worth, side = f"{dice.randint(10, 400)}.{dice.randint(0, 99)}", "BUY" if is_purchase else "SELL"
            quantity = quantity.quantize(D("1e-8"), ROUND_DOWN)
            fill = SCENE.fill(1000 * index + number, side, f"{quantity}", worth, "0.0001", name, base)
            fee_asset = dice.choice((base, "USDT", "BNB"))
            fields = {"fill_number": number, "plan_id": f"pl{number // 4}", "fee_asset": fee_asset}
            made.append((minute, fill.model_copy(update=fields)))
            if number == fills // 3:
                made.append((minute + 5, SCENE.fund(10 * index + 2, "500", name)))
            if number == fills // 2:
                prices = (("BTC", "45000"), ("ETH", "2100"), ("SOL", "21"), ("BNB", "310"), ("USDT", "1"))
                out = SCENE.withdraw(number, 10 * index + 3, name, "USDT", "100", None, prices)
                made.append((minute + 5, out))
    made.append((minute + 10, SCENE.release(fills, 99, strategies[-1], "USDT")))
    made.sort(key=itemgetter(0))
    return [known_at(request_of(body), minute * unit) for minute, body in made]


async def _nothing() -> None:
    """What happens after a group unless something is to happen."""


async def deliver(
    journal: PostgresJournal,
    requests: Sequence[Request],
    group: int = 16,
    after_group: Callable[[], Awaitable[object]] = _nothing,
) -> None:
    """Post them in groups; what is not covered yet comes again at the end."""
    waiting = list(requests)
    while waiting:
        again: list[Request] = []
        for first in range(0, len(waiting), group):
            some = waiting[first : first + group]
            outcomes = await journal.post(some)
            await after_group()
            again += [one for one, outcome in zip(some, outcomes, strict=True) if isinstance(outcome, NotCovered)]
            assert all(outcome is None or isinstance(outcome, NotCovered) for outcome in outcomes)
        assert len(again) < len(waiting), [str(outcome) for outcome in outcomes]
        waiting = again


def phases_of(requests: Sequence[Request]) -> list[list[Request]]:
    """What may be on its way at once: nobody puts in what has not come, trades before the first money is there, or
    trades while any is taken out.
    """
    phases: list[list[Request]] = [[] for _ in range(6)]
    phase = 0
    for request in requests:
        match request.body:
            case FundStrategy():
                phase = max(phase, 1)
            case OrderFilled():
                phase = 2 if phase < 3 else 4
            case WithdrawFromStrategy():
                phase = 3
            case ReleaseStrategy():
                phase = 5
        phases[phase].append(request)
    return phases

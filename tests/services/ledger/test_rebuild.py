"""The books computed again: nothing differs, and what was changed is named; whatever the order of arrival."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal

import asyncpg
import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_rebuild import rebuild
from services.ledger.bookkeeping import NotCovered
from services.ledger.requests import Body, Request
from tests.services.ledger.messages import RECEIVED, START, Scene, request_of
from tests.services.ledger.projecting import computed, hear, market_of, projector_on

pytestmark = pytest.mark.servers

D = Decimal
SCENE = Scene()
PRICES = {"BTC": "50000", "ETH": "2000", "SOL": "20", "BNB": "300"}


def known_at(request: Request, minute: int) -> Request:
    """The request, first known so many minutes after the beginning."""
    at = RECEIVED + timedelta(minutes=minute)
    body = request.body
    if hasattr(body, "received_at"):
        body = body.model_copy(update={"received_at": at, "market_time": START + timedelta(minutes=minute)})
    return Request(body, replace(request.meta, occurred_at=at), is_last_try=request.is_last_try)


def story(fills: int, dice: random.Random, strategies: Sequence[str] = ("s1", "s2")) -> list[Request]:
    """Money in, first plans, trades with all kinds of fees, more money, withdrawals, one strategy released."""
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
    made.append((minute + 10, SCENE.release(fills, 99, strategies[-1])))
    return [known_at(request_of(body), minute) for minute, body in made]


async def deliver(journal: PostgresJournal, requests: Sequence[Request], group: int = 16) -> None:
    """Post them in groups; what is not covered yet, or refused for lack of money, comes again at the end."""
    waiting = list(requests)
    while waiting:
        again: list[Request] = []
        for first in range(0, len(waiting), group):
            some = waiting[first : first + group]
            outcomes = await journal.post(some)
            again += [one for one, outcome in zip(some, outcomes, strict=True) if isinstance(outcome, NotCovered)]
            assert all(outcome is None or isinstance(outcome, NotCovered) for outcome in outcomes)
        assert len(again) < len(waiting)
        waiting = again


async def test_rebuild_when_the_service_has_seen_prices_and_restarts_finds_no_difference(
    journal: PostgresJournal, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ledger.adapters.postgres_projector.BATCH", 7)
    market = market_of("paper", START, PRICES)
    requests = story(12, random.Random(1))
    for number, first in enumerate(range(0, len(requests), 9)):
        await deliver(journal, requests[first : first + 9])
        hear(market, "paper", START + timedelta(hours=number + 1), PRICES | {"BTC": str(50000 + 300 * number)})
        await projector_on(journal.pool, market).catch_up()
    done = await rebuild(postgres_dsn)
    assert done.differences == ()
    assert done.entries == len(requests)
    assert len(await computed(journal.pool, "snapshots")) > 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE ledger.balances SET amount = amount + 1 WHERE account = 'wallet:paper'", "ledger.balances"),
        ("UPDATE ledger.strategies SET contributed = 7 WHERE strategy_id = 'paper-s1'", "ledger.strategies"),
        ("UPDATE ledger_results.lots SET cost = cost + 1 WHERE method = 'hifo'", "ledger_results.lots"),
        ("DELETE FROM ledger_results.closings WHERE method = 'fifo'", "ledger_results.closings"),
        ("UPDATE ledger_results.balances SET amount = 0", "ledger_results.balances"),
    ],
)
async def test_rebuild_when_something_was_changed_names_it(
    journal: PostgresJournal, postgres_dsn: str, change: str, named: str
) -> None:
    await deliver(journal, story(6, random.Random(2)))
    await projector_on(journal.pool).catch_up()
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(change)
    await connection.close()
    differences = (await rebuild(postgres_dsn)).differences
    assert differences
    assert all(line.startswith(named) for line in differences)

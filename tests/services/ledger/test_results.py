"""Results of strategies, figure by figure, on a real database."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_results import SCHEMA, ResultsStore
from services.ledger.requests import Body
from services.ledger.results import StrategyResults
from shared.core.lots import Method
from tests.services.ledger.messages import RECEIVED, START, Scene, request_of
from tests.services.ledger.projecting import computed, hear, market_of, projector_on

pytestmark = pytest.mark.servers

D = Decimal
SCENE = Scene()
PRICES = {"BTC": "50000", "ETH": "2000", "BNB": "300"}


async def post(journal: PostgresJournal, *bodies: Body) -> None:
    assert await journal.post([request_of(body) for body in bodies]) == [None] * len(bodies)


async def post_at(journal: PostgresJournal, hours: int, body: Body) -> None:
    """Post what was asked for so many hours after everything else was known."""
    request = request_of(body)
    await journal.post([replace(request, meta=replace(request.meta, occurred_at=RECEIVED + timedelta(hours=hours)))])


async def results_of(journal: PostgresJournal, strategy: str = "s1") -> StrategyResults:
    """What is stored, read back by nobody who has it in memory."""
    await projector_on(journal.pool).catch_up()
    async with journal.pool.acquire() as connection, connection.transaction():
        store = await ResultsStore.opened(connection)
        found = await store.results(SCENE.strategy(strategy))
        assert found is not None
        return found


async def test_results_when_bought_and_sold_realise_the_gain_of_the_lots_after_fees(journal: PostgresJournal) -> None:
    await post(journal, SCENE.deposit(), SCENE.fund(amount="1000"))
    await post(journal, SCENE.fill(1, "BUY", "0.01", "400", "0.0001"), SCENE.fill(2, "SELL", "0.005", "300", "0.3"))
    found = await results_of(journal)
    # 0.0099 BTC cost 400: a fee in the base is part of the lot's cost; one in the quote lessens the proceeds.
    cost = D("202.02020202020202020")
    assert found.realised == {(method, "BTC"): D("299.7") - cost - D("0.000000000000000002") for method in Method}
    assert found.fees == {"BTC": D("0.0001"), "USDT": D("0.3")}
    assert found.fees_worth == D("0.0001") * 40000 + D("0.3")
    assert found.lots[Method.FIFO, "BTC"].quantity == D("0.0049")


async def test_results_when_the_fee_is_in_a_third_asset_close_its_lot_for_nothing(journal: PostgresJournal) -> None:
    market = market_of("paper", START, PRICES)
    await post(journal, SCENE.deposit(), SCENE.deposit(2, "1", "BNB"), SCENE.fund(amount="1000"))
    bnb = SCENE.fund(2, "1", asset="BNB").model_copy(update={"value_usdt": D(290)})
    await post(journal, bnb)
    await projector_on(journal.pool, market).catch_up()
    fill = SCENE.fill(1, "BUY", "0.01", "400", "0.1").model_copy(update={"fee_asset": "BNB"})
    await post(journal, fill)
    found = await results_of(journal)
    assert found.realised[Method.FIFO, "BNB"] == D(-29)
    assert found.lots[Method.FIFO, "BTC"].cost == D(400)
    assert found.fees_worth == D(30), "worth 0.1 BNB at the newest price recorded before"
    assert found.put_in == D(1290)


async def test_results_when_money_is_taken_out_close_its_lots_at_the_prices_it_came_with(
    journal: PostgresJournal,
) -> None:
    await post(journal, SCENE.deposit(), SCENE.fund(amount="1000"), SCENE.fill(1, "BUY", "0.01", "400", "0"))
    await post(journal, SCENE.withdraw(1, asset="BTC", amount="0.005", prices=(("BTC", "60000"), ("USDT", "1"))))
    found = await results_of(journal)
    assert found.realised[Method.AVERAGE, "BTC"] == D(100)
    assert (found.put_in, found.taken_out) == (D(1000), D(300))
    assert found.growth.rate(D(900)) == D("0.2"), "400 of it became 600"


async def test_results_when_a_strategy_is_released_show_its_final_profit(journal: PostgresJournal) -> None:
    market = market_of("paper", START, PRICES)
    await post(journal, SCENE.deposit(), SCENE.fund(amount="1000"), SCENE.fill(1, "BUY", "0.01", "400", "0"))
    await post(journal, SCENE.release(1))
    await projector_on(journal.pool, market).catch_up()
    found = await results_of(journal)
    assert found.holdings == {}
    assert (
        found.taken_out - found.put_in == sum(gain for (of, _), gain in found.realised.items() if of == "fifo") == 100
    )
    assert found.growth.rate(D(0)) == D("0.1")


async def test_results_when_told_in_any_prices_realised_and_unrealised_are_all_of_the_profit(
    journal: PostgresJournal,
) -> None:
    await post(journal, SCENE.deposit(amount="5000"), SCENE.fund(amount="1000"), SCENE.fund(2, "500"))
    for number, side in enumerate(("BUY", "BUY", "SELL", "BUY", "SELL"), start=1):
        quantity = f"0.01{number}" if side == "BUY" else f"0.00{number}"
        await post(journal, SCENE.fill(number, side, quantity, f"{37 * number}", "0.0001"))
    await post(journal, SCENE.withdraw(5, asset="BTC", amount="0.001", prices=(("BTC", "45123.45"), ("USDT", "1"))))
    found = await results_of(journal)
    now = found.value_at({"BTC": D("48000.5")})
    for method in Method:
        realised = sum(gain for (of, _), gain in found.realised.items() if of is method)
        unrealised = now.value - found.holdings["USDT"] - found.lots[method, "BTC"].cost
        assert realised + unrealised == now.value + found.taken_out - found.put_in


async def test_basket_when_it_is_held_instead_tells_what_rebalancing_brought(journal: PostgresJournal) -> None:
    await post(journal, SCENE.deposit(), SCENE.fund(amount="1000"))
    await post(journal, SCENE.fill(1, "BUY", "0.01", "400", "0"), SCENE.fill(2, "BUY", "0.2", "400", "0", base="ETH"))
    sold = SCENE.fill(3, "SELL", "0.005", "300", "3").model_copy(update={"plan_id": "pl2"})
    await post(journal, sold)
    found = await results_of(journal)
    now = found.value_at({"BTC": D(40000), "ETH": D(2000)})
    assert now.basket == D(1000), "0.01 BTC, 0.2 ETH and 200 USDT, had it never traded again"
    assert now.value - now.basket == D(97)
    assert found.basket.costs == D(3)


async def test_basket_when_money_comes_and_goes_does_the_same(journal: PostgresJournal) -> None:
    market = market_of("paper", START, {"BTC": "80000"})
    await post(
        journal, SCENE.deposit(amount="5000"), SCENE.fund(amount="400"), SCENE.fill(1, "BUY", "0.01", "400", "0")
    )
    await post_at(journal, 1, SCENE.fund(2, "800"))
    await projector_on(journal.pool, market).catch_up()
    found = await results_of(journal)
    assert found.value_at({"BTC": D(80000)}).basket == D(1600), "0.01 BTC have become 0.02"
    await post_at(journal, 2, SCENE.withdraw(1, amount="800", prices=(("BTC", "80000"), ("USDT", "1"))))
    found = await results_of(journal)
    assert found.value_at({"BTC": D(40000)}).basket == D(400)
    assert found.basket.taken_out == D(800)


async def test_snapshots_when_an_interval_of_market_time_begins_value_every_strategy(journal: PostgresJournal) -> None:
    market = market_of("paper", START, PRICES)
    projector = projector_on(journal.pool, market)
    await post(journal, SCENE.deposit(), SCENE.fund(amount="1000"), SCENE.fill(1, "BUY", "0.01", "400", "0"))
    await projector.catch_up()
    hear(market, "paper", START + timedelta(minutes=59), PRICES)
    await projector.step()
    hear(market, "paper", START + timedelta(minutes=61), PRICES | {"BTC": "60000"})
    await projector.step()
    rows = await journal.pool.fetch("SELECT at, value, weights FROM ledger_results.snapshots ORDER BY at")
    assert [(row["at"] - START, row["value"]) for row in rows] == [
        (timedelta(0), D(1100)),
        (timedelta(minutes=61), D(1200)),
    ]
    assert rows[1]["weights"] == '{"BTC": "50", "USDT": "50"}'


async def test_projection_when_it_is_restarted_at_any_place_computes_the_same(
    journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post(journal, SCENE.deposit(), SCENE.fund(amount="1000"))
    for number in range(1, 13):
        side = "SELL" if number % 3 == 0 else "BUY"
        await post(journal, SCENE.fill(number, side, "0.001", f"{30 + number}", "0.00001"))
    await projector_on(journal.pool).catch_up()
    at_once = await computed(journal.pool)
    await journal.pool.execute(
        "TRUNCATE ledger_results.balances, ledger_results.strategies, ledger_results.lots, ledger_results.closings, "
        "ledger_results.flows, ledger_results.clocks; UPDATE ledger_results.checkpoint SET sequence = 0"
    )
    monkeypatch.setattr("services.ledger.adapters.postgres_projector.BATCH", 1)
    while await projector_on(journal.pool).step():
        pass
    assert await computed(journal.pool) == at_once
    assert len(at_once) > 40
    assert SCHEMA == "ledger_results"

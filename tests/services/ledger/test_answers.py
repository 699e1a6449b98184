"""What people are told: figures, history, and what was held at any time."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_answers import PostgresAnswers
from shared.contracts.results import ReportHistory, ReportHoldings, ReportResults
from shared.contracts.wire import Meta
from shared.core.errors import Refused
from tests.services.ledger.messages import START, Scene, request_of
from tests.services.ledger.projecting import hear, market_of, projector_on

pytestmark = pytest.mark.servers

D = Decimal
SCENE = Scene()
META = Meta("q", "test", datetime(2026, 1, 1, tzinfo=UTC), "q", "")
PRICES = {"BTC": "50000", "ETH": "2000"}
STRATEGY = SCENE.strategy()


async def test_results_when_told_add_up_and_name_what_has_no_price(journal: PostgresJournal) -> None:
    market = market_of("paper", START + timedelta(days=365), PRICES)
    bodies = (SCENE.deposit(), SCENE.fund(amount="1000"), SCENE.fill(1, "BUY", "0.01", "400", "0"))
    other = SCENE.fill(2, "BUY", "2", "100", "0", base="SOL")
    sale = SCENE.fill(3, "SELL", "0.004", "180", "1").model_copy(update={"plan_id": "pl2"})
    await journal.post([request_of(body) for body in (*bodies, other, sale)])
    await projector_on(journal.pool, market).catch_up()
    told = await PostgresAnswers(journal.pool, market).results(ReportResults(strategy_id=STRATEGY), META)
    assert told.value == D(500) + D(179) + D(300) + D(100)
    assert told.profit == D(79) == told.realised + told.unrealised
    assert told.realised == D(19)
    assert told.at_cost == ("SOL",)
    assert told.simple_return == told.twr == D("0.079")
    assert told.xirr is not None
    assert abs(told.xirr - D("0.079")) < D("1e-6")
    assert told.held_value == D(500) + D(500) + D(100)
    assert (told.rebalancing_net, told.rebalancing_costs, told.rebalancing_gain) == (D(-21), D(1), D(-20))
    bitcoin = next(asset for asset in told.assets if asset.asset == "BTC")
    assert (bitcoin.quantity, bitcoin.cost, bitcoin.unrealised) == (D("0.006"), D(240), D(60))
    assert told.sequence == 5
    assert not told.final


async def test_results_when_asked_of_nobody_or_by_no_method_are_refused(journal: PostgresJournal) -> None:
    answers = PostgresAnswers(journal.pool, market_of("paper", START, {}))
    for question in (ReportResults(strategy_id="nobody"), ReportResults(strategy_id="nobody", method="best")):
        with pytest.raises(Refused):
            await answers.results(question, META)


async def test_history_when_marks_have_passed_is_told_newest_first_in_pages(journal: PostgresJournal) -> None:
    market = market_of("paper", START, PRICES)
    await journal.post([request_of(SCENE.deposit()), request_of(SCENE.fund(amount="1000"))])
    projector = projector_on(journal.pool, market)
    for hour in range(4):
        hear(market, "paper", START + timedelta(hours=hour), PRICES)
        await projector.catch_up()
    answers = PostgresAnswers(journal.pool, market)
    page = (await answers.history(ReportHistory(strategy_id=STRATEGY, limit=3), META)).points
    assert [(point.at - START) // timedelta(hours=1) for point in page] == [3, 2, 1]
    rest = await answers.history(ReportHistory(strategy_id=STRATEGY, before=page[-1].at), META)
    assert [point.at for point in rest.points] == [START]
    assert rest.points[0].weights == {"USDT": D(100)}


async def test_holdings_when_asked_for_any_time_are_what_the_postings_until_then_sum_to(
    journal: PostgresJournal,
) -> None:
    await journal.post([request_of(SCENE.deposit()), request_of(SCENE.fund(amount="1000"))])
    for number in (1, 2, 5, 3, 9, 8):  # fills that come late count from when they came
        await journal.post([request_of(SCENE.fill(number, "BUY", "0.01", "4", "0.0001"))])
    await projector_on(journal.pool).catch_up()
    answers = PostgresAnswers(journal.pool, market_of("paper", START, {}))
    entries = await journal.pool.fetch(
        "SELECT max(market_time) OVER (ORDER BY sequence) AS clock, source, destination, asset, amount "
        "FROM ledger.transactions JOIN ledger.postings USING (sequence)"
    )
    for second in range(-1, 11):
        at, expected = START + timedelta(seconds=second), defaultdict[str, Decimal](Decimal)
        for row in entries:
            if row["clock"] <= at:
                expected[row["asset"]] += row["amount"] * (row["destination"] == f"strategy:{STRATEGY}")
                expected[row["asset"]] -= row["amount"] * (row["source"] == f"strategy:{STRATEGY}")
        told = await answers.holdings(ReportHoldings(strategy_id=STRATEGY, at=at), META)
        assert told.accounts[0].balances == {asset: amount for asset, amount in expected.items() if amount}
    wallets = await answers.holdings(ReportHoldings(at=START - timedelta(seconds=1)), META)
    assert [(one.owner, one.balances) for one in wallets.accounts] == [("paper", {})]

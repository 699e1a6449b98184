"""One asset traded for another: what it costs, what it realises, and the same from Beancount's own booking."""

import io
from datetime import timedelta
from decimal import Decimal

import pytest
from beancount import loader
from beancount.core import realization

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.adapters.postgres_export import Wanted
from services.ledger.adapters.postgres_results import ResultsStore
from services.ledger.export import export
from services.ledger.requests import Body
from services.ledger.results import StrategyResults
from shared.contracts.orders import OrderFilled
from shared.core.lots import Method
from tests.services.ledger.messages import START, Scene, request_of
from tests.services.ledger.projecting import market_of, projector_on

pytestmark = pytest.mark.servers

D = Decimal
SCENE = Scene()
PRICES = {"BTC": "50000", "ETH": "2500", "BNB": "300"}


def direct(number: int, side: str, quantity: str, for_btc: str, fee: str, fee_asset: str) -> OrderFilled:
    """ETH for BTC on day ``number``, with BTC worth 50000 when the order was made."""
    usual = SCENE.fill(number, side, quantity, for_btc, fee, base="ETH")
    changes: dict[str, object] = {
        "quote": "BTC",
        "symbol": "ETHBTC",
        "trade_id": f"ETHBTC:{number}",
        "fee_asset": fee_asset,
    }
    changes["market_time"] = START + timedelta(days=number)  # Beancount orders lots by day
    return usual.model_copy(update={**changes, "valued_in": "USDT", "quote_price": D(50000)})


async def results_of(journal: PostgresJournal, *bodies: Body) -> StrategyResults:
    """After 1000 USDT and 1 BNB (worth 290) were put in, 0.02 BTC were bought for 800, and these were posted."""
    bnb = SCENE.fund(2, "1", asset="BNB").model_copy(update={"value_usdt": D(290)})
    first = (SCENE.deposit(), SCENE.deposit(2, "1", "BNB"), SCENE.fund(amount="1000"), bnb)
    given = (*first, SCENE.fill(1, "BUY", "0.02", "800", "0"), *bodies)
    assert await journal.post([request_of(body) for body in given]) == [None] * len(given)
    await projector_on(journal.pool, market_of("paper", START, PRICES)).catch_up()
    async with journal.pool.acquire() as connection, connection.transaction():
        found = await (await ResultsStore.opened(connection)).results(SCENE.strategy())
        assert found is not None
        return found


async def test_results_when_an_asset_is_bought_for_another_sell_that_one_for_what_it_is_worth(
    journal: PostgresJournal,
) -> None:
    found = await results_of(journal, direct(2, "BUY", "0.2", "0.01", "0.0002", "ETH"))
    assert found.quote == "USDT"
    assert found.holdings == {"BTC": D("0.01"), "ETH": D("0.1998"), "USDT": D(200), "BNB": D(1)}
    for method in Method:
        assert found.realised[method, "BTC"] == D(100), "0.01 BTC cost 400 and were worth 500"
        assert (found.lots[method, "ETH"].quantity, found.lots[method, "ETH"].cost) == (D("0.1998"), D(500))
        assert found.lots[method, "BTC"].cost == D(400)
    assert found.fees == {"ETH": D("0.0002")}
    assert found.fees_worth == D("0.5"), "a thousandth of 500"


async def test_results_when_an_asset_is_sold_for_another_buy_that_one_for_what_it_is_worth(
    journal: PostgresJournal,
) -> None:
    back = direct(3, "SELL", "0.1998", "0.012", "0.000012", "BTC")
    found = await results_of(journal, direct(2, "BUY", "0.2", "0.01", "0.0002", "ETH"), back)
    got = D("0.011988")
    worth = got * 50000
    assert found.holdings == {"BTC": D("0.01") + got, "USDT": D(200), "BNB": D(1)}
    assert found.realised[Method.FIFO, "ETH"] == worth - 500
    assert found.lots[Method.LIFO, "BTC"].cost == 400 + worth
    assert found.fees_worth == D("0.5") + D("0.000012") * 50000


@pytest.mark.parametrize(
    ("fee_asset", "fee", "cost", "fee_worth"), [("BNB", "0.001", "500", "0.3"), ("USDT", "2", "502", "2")]
)
async def test_results_when_the_fee_is_in_neither_asset_count_it_once(
    journal: PostgresJournal, fee_asset: str, fee: str, cost: str, fee_worth: str
) -> None:
    found = await results_of(journal, direct(2, "BUY", "0.2", "0.01", fee, fee_asset))
    assert found.lots[Method.FIFO, "ETH"].cost == D(cost)
    assert found.realised[Method.FIFO, "BTC"] == D(100)
    assert found.fees_worth == D(fee_worth)
    # A trade makes and loses nothing: what was put in, plus the gains, is what is held at cost.
    gains = sum(found.realised.get((Method.FIFO, asset), D(0)) for asset in ("BTC", "ETH", "BNB"))
    costs = sum(found.lots[Method.FIFO, asset].cost for asset in ("BTC", "ETH", "BNB"))
    assert found.holdings["USDT"] + costs == found.put_in + gains


@pytest.mark.parametrize("method", [Method.FIFO, Method.LIFO, Method.HIFO])
async def test_beancount_when_assets_are_exchanged_comes_to_the_same_gains_and_holdings(
    journal: PostgresJournal, postgres_dsn: str, method: Method
) -> None:
    trades = (
        direct(2, "BUY", "0.2", "0.01", "0.0002", "ETH"),
        direct(3, "SELL", "0.05", "0.003", "0.000003", "BTC"),
        direct(4, "BUY", "0.02", "0.001", "0.001", "BNB"),
        direct(5, "SELL", "0.02", "0.001", "1", "USDT"),
    )
    found = await results_of(journal, *trades)
    out = io.BytesIO()
    await export(postgres_dsn, "journal", "beancount", Wanted(method=method), out)
    entries, errors, _ = loader.load_string(out.getvalue().decode())
    assert errors == []
    accounts = realization.realize(entries)
    income = realization.get(accounts, "Income:Gains:X-paper-s1").balance.get_currency_units("USDT").number
    gains = sum((gain for (of, _), gain in found.realised.items() if of is method), D(0))
    assert abs(income + gains) < D("1e-9")
    strategy = realization.get(accounts, "Assets:Strategy:X-paper-s1").balance
    assert {asset: strategy.get_currency_units(asset).number for asset in found.holdings} == found.holdings
    assert (await check_books(postgres_dsn)).differences == ()


def test_fill_when_told_again_with_another_worth_is_another_request() -> None:
    one = direct(2, "BUY", "0.2", "0.01", "0.0002", "ETH")
    assert request_of(one).digest == request_of(one.model_copy()).digest
    assert request_of(one).digest != request_of(one.model_copy(update={"quote_price": D(50001)})).digest

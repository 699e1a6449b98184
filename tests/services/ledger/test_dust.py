"""What an exit could not sell: kept apart from the wallet, never lost, given to the wallet when asked."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_checks import check_books
from services.ledger.adapters.postgres_rebuild import rebuild
from shared.contracts.books import TransferSettled
from shared.contracts.reconciliation import BooksTotalled
from shared.core.errors import Refused
from tests.services.ledger.messages import Scene, request_of
from tests.services.ledger.projecting import projector_on
from tests.services.ledger.test_bookkeeping import STRATEGY, keeper_after, told
from tests.services.ledger.test_journal import post

D = Decimal
SCENE = Scene()
CASH = (SCENE.deposit(), SCENE.fund())
BOUGHT = (*CASH, SCENE.fill(1))
"""0.00999 BTC and 200 USDT in the strategy, 400 USDT in the wallet."""
SOLD = (*BOUGHT, SCENE.fill(2, "SELL", "0.0099", "396", "0.396"))


def test_release_when_everything_was_sold_keeps_what_could_not_be_apart() -> None:
    keeper = keeper_after(*SOLD, SCENE.release(2, sold_into="USDT"))
    assert keeper.pages.holdings(STRATEGY) == {}
    assert keeper.pages.holdings("wallet:paper") == {"USDT": D("995.604")}
    assert keeper.pages.holdings("dust:paper") == {"BTC": D("0.00009")}
    (settled,) = [one for one in told(keeper, TransferSettled) if getattr(one, "purpose", "") == "release"]
    assert isinstance(settled, TransferSettled)
    assert (settled.amounts, settled.dust) == ({"BTC": D("0.00009"), "USDT": D("595.604")}, ("BTC",))


@pytest.mark.parametrize(
    ("sold_into", "wallet", "dust"),
    [
        ("", {"BTC": "0.00999", "USDT": "600"}, {}),
        ("BTC", {"BTC": "0.00999", "USDT": "600"}, {}),
        ("USDT", {"USDT": "600"}, {"BTC": "0.00999"}),
        ("ETH", {"USDT": "600"}, {"BTC": "0.00999"}),
    ],
)
def test_release_when_coins_are_left_gives_the_wallet_what_was_kept_or_sold_into_and_the_quote(
    sold_into: str, wallet: dict[str, str], dust: dict[str, str]
) -> None:
    keeper = keeper_after(*BOUGHT, SCENE.release(1, sold_into=sold_into))
    assert keeper.pages.holdings("wallet:paper") == {asset: D(amount) for asset, amount in wallet.items()}
    assert keeper.pages.holdings("dust:paper") == {asset: D(amount) for asset, amount in dust.items()}


def test_release_when_it_says_nothing_of_a_sale_has_the_digest_it_always_had() -> None:
    old, new = request_of(SCENE.release(1)), request_of(SCENE.release(1, sold_into="USDT"))
    assert old.digest.hex() == "69f1942eca8cc49715170ef10587775b630891e5847d5c1503f36d7247269d56"
    assert new.digest != old.digest


def test_sweep_when_it_comes_twice_moves_once() -> None:
    keeper = keeper_after(*SOLD, SCENE.release(2, sold_into="USDT"))
    sweep = request_of(SCENE.sweep("0.00004"))
    before = keeper.pages.sequence
    assert keeper.settle_all([sweep, sweep]) == [None, None]
    assert keeper.pages.sequence == before + 1
    assert keeper.pages.holdings("dust:paper") == {"BTC": D("0.00005")}
    assert keeper.pages.holdings("wallet:paper") == {"BTC": D("0.00004"), "USDT": D("995.604")}


@pytest.mark.parametrize(("amount", "asset"), [("0.0001", "BTC"), ("0", "BTC"), ("-0.00001", "BTC"), ("1", "ETH")])
def test_sweep_when_there_is_not_so_much_is_refused_and_changes_nothing(amount: str, asset: str) -> None:
    keeper = keeper_after(*SOLD, SCENE.release(2, sold_into="USDT"))
    before = keeper.pages.sequence
    with pytest.raises(Refused, match="is not there as dust"):
        keeper.settle(request_of(SCENE.sweep(amount, asset)))
    assert keeper.pages.sequence == before
    assert keeper.pages.holdings("dust:paper") == {"BTC": D("0.00009")}


async def test_books_when_there_is_dust_are_right_in_every_eye(journal: PostgresJournal, postgres_dsn: str) -> None:
    assert await post(journal, *SOLD, SCENE.release(2, sold_into="USDT")) == [None] * 5
    for body in (SCENE.sweep("0.00004"), SCENE.sweep("0.00004"), SCENE.release(2, sold_into="USDT")):
        assert await post(journal, body) == [None], "a repeat changes nothing"
    check = await check_books(postgres_dsn)
    assert check.differences == ()
    assert (check.totals["dust"]["BTC"], check.totals["wallet"]["BTC"]) == (D("0.00005"), D("0.00004"))
    newest = await journal.pool.fetchval(
        "SELECT payload FROM ledger.outbox WHERE subject = 'books.paper' ORDER BY id DESC LIMIT 1"
    )
    totals = BooksTotalled.model_validate_json(newest)
    assert (totals.held, totals.dust) == (check.held["paper"], {"BTC": D("0.00005")})
    await projector_on(journal.pool).catch_up()
    assert (await rebuild(postgres_dsn)).differences == ()


@given(
    quantities=st.lists(st.decimals("0.00001", "0.009", places=8), min_size=1, max_size=6),
    swept=st.lists(st.decimals("0.00000001", "0.01", places=8), max_size=6),
)
def test_dust_when_many_strategies_leave_it_is_what_they_left_less_what_was_swept(
    quantities: list[Decimal], swept: list[Decimal]
) -> None:
    keeper = keeper_after(SCENE.deposit(amount="10000"))
    left = D(0)
    for number, quantity in enumerate(quantities):
        name, sold = f"s{number + 2}", D("0.00999") - quantity
        fill = SCENE.fill(2 * number + 1, strategy=name).model_copy(update={"fill_number": 1})
        out = SCENE.fill(2 * number + 2, "SELL", f"{sold:f}", "1", "0", name).model_copy(update={"fill_number": 2})
        release = SCENE.release(2, 100 + number, name, "USDT")
        outcomes = keeper.settle_all(
            [request_of(body) for body in (release, out, fill, SCENE.fund(number + 1, "600", name))]
        )
        assert outcomes == [None] * 4
        left += quantity
    for amount in swept:
        if keeper.settle_all([request_of(SCENE.sweep(f"{amount:f}"))]) == [None]:
            swept_now = keeper.pages.balance("wallet:paper", "BTC")
            assert keeper.pages.balance("dust:paper", "BTC") == left - swept_now
    total = keeper.pages.balance("dust:paper", "BTC") + keeper.pages.balance("wallet:paper", "BTC")
    assert total == left
    assert keeper.pages.balance("dust:paper", "BTC") >= 0

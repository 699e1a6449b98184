"""Money put in again and taken out of a strategy that runs: amounts, worth, contributions, waiting. Pure."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.bookkeeping import Bookkeeper
from services.ledger.pages import TransferState
from services.ledger.withdrawals import payout_of
from shared.contracts.books import PositionChanged, TransferSettled
from shared.core.errors import Refused
from tests.services.ledger.messages import Scene, request_of
from tests.services.ledger.test_bookkeeping import SCENE, STRATEGY, keeper_after, told

D = Decimal
HELD = {"BTC": D("0.01"), "USDT": D(600)}  # 400 and 600 at the scene's prices


def settled(keeper: Bookkeeper) -> list[TransferSettled]:
    return [message for message in told(keeper, TransferSettled) if isinstance(message, TransferSettled)]


@pytest.mark.parametrize(
    ("asset", "amount", "percent", "paid", "worth", "contributed"),
    [
        ("USDT", "250", None, "250", "250", "375"),
        ("BTC", "0.005", None, "0.005", "200", "400"),
        ("BTC", "7", None, "0.01", "400", "300"),  # no more than is held
        ("USDT", None, "10", "100", "100", "450"),
        ("BTC", None, "10", "0.0025", "100", "450"),
        ("BTC", None, "99", "0.01", "400", "300"),
        ("USDT", "0.000000000000000001", None, "0.000000000000000001", "0.000000000000000001", None),
    ],
)
def test_payout_when_asked_pays_what_is_held_and_lets_principal_leave_in_proportion(
    asset: str, amount: str | None, percent: str | None, paid: str, worth: str, contributed: str | None
) -> None:
    payout = payout_of(SCENE.withdraw(asset=asset, amount=amount, percent=percent), HELD, D(500))
    assert (payout.asset, payout.amount, payout.worth) == (asset, D(paid), D(worth))
    # 500 - 5e-19, of which 18 decimals are kept: rounded up, so that no profit appears.
    assert payout.contributed == (D(500) if contributed is None else D(contributed))


def test_payout_when_it_does_not_come_out_even_rounds_against_profit() -> None:
    prices = (("A", "3"), ("B", "0.7"))
    command = SCENE.withdraw(asset="A", amount=None, percent="10", prices=prices)
    payout = payout_of(command, {"A": D(1), "B": D("1.000000000000000001")}, D("2.5"))
    value = Fraction(3) + Fraction("1.000000000000000001") * Fraction("0.7")
    assert payout.amount == D("0.123333333333333333")
    assert payout.worth == D("0.369999999999999999")
    left = Fraction("2.5") * (1 - Fraction(payout.amount) * 3 / value)
    assert Fraction(payout.contributed) - Fraction(1, 10**18) < left <= Fraction(payout.contributed)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amount": None}, "either an amount or a percent"),
        ({"percent": D(5)}, "either an amount or a percent"),
        ({"amount": D(0)}, "more than 0"),
        ({"amount": D(-1)}, "more than 0"),
        ({"amount": None, "percent": D(0)}, "at most 100"),
        ({"amount": None, "percent": D("100.01")}, "at most 100"),
        ({"amount": None, "percent": D("1e-30")}, "at most 100"),
        ({"amount": None, "percent": D("1e-18"), "asset": "BTC"}, "smallest amount of BTC"),
        ({"asset": "ETH"}, "given: ETH"),
        ({"prices": {"USDT": D(1)}}, "given: BTC"),
        ({"prices": {"BTC": D(0)}}, "given: BTC"),
        ({"prices": {"BTC": D(1), "USDT": D(2)}}, "of USDT in itself"),
        ({"venue": "other"}, "at another venue"),
    ],
)
def test_withdrawal_when_it_makes_no_sense_is_refused_durably_and_changes_nothing(
    changes: dict[str, object], says: str
) -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.fill(1))
    before = (keeper.pages.sequence, keeper.pages.holdings(STRATEGY), keeper.pages.strategies["paper-s1"])
    command = SCENE.withdraw(1, 7).model_copy(update=changes)
    assert keeper.settle_all([request_of(command)] * 2) == [None, None]
    answer = settled(keeper)[-1]
    assert (answer.purpose, answer.posted, answer.amounts, answer.position_version) == ("withdraw", False, {}, 0)
    assert answer.value_usdt is None
    assert says in answer.reason
    assert before == (keeper.pages.sequence, keeper.pages.holdings(STRATEGY), keeper.pages.strategies["paper-s1"])


def test_withdrawal_when_everything_was_paid_out_before_is_refused() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.withdraw(amount=None, percent="100"))
    record = keeper.pages.strategies["paper-s1"]
    assert (record.contributed, record.withdrawn) == (D(0), D(600))
    keeper.settle(request_of(SCENE.withdraw(number=6)))
    assert settled(keeper)[-1].reason == "asset: is not held by the strategy (given: USDT; allowed: (nothing))"


def test_withdrawal_when_posted_is_told_with_its_worth_and_the_position_that_includes_it() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.fill(1), SCENE.withdraw(1, amount="40"))
    # 0.00999 BTC at 40,000 and 200 USDT before it.
    assert keeper.pages.holdings("wallet:paper") == {"USDT": D(440)}
    assert settled(keeper) == [
        TransferSettled(
            transfer_id="paper-t1",
            strategy_id="paper-s1",
            venue="paper",
            purpose="fund",
            posted=True,
            amounts={"USDT": D(600)},
            position_version=1,
            value_usdt=D(600),
        ),
        TransferSettled(
            transfer_id="paper-t5",
            strategy_id="paper-s1",
            venue="paper",
            purpose="withdraw",
            posted=True,
            amounts={"USDT": D(40)},
            position_version=3,
            value_usdt=D(40),
        ),
    ]
    (position,) = told(keeper, PositionChanged)
    assert isinstance(position, PositionChanged)
    assert position.holdings == {"BTC": D("0.00999"), "USDT": D(160)}
    assert (position.version, position.contributed_in, position.withdrawn) == (3, D(600), D(40))
    assert position.contributed == D("559.973315543695797199")  # 600 x 559.6 / 599.6, rounded up


def test_withdrawal_when_fills_are_missing_waits_and_is_settled_with_the_last_of_them() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.withdraw(2, amount="590"), SCENE.fill(1))
    assert keeper.changes.transfers["paper-t5"].state is TransferState.WAITING
    assert len(settled(keeper)) == 1
    keeper.settle(request_of(SCENE.fill(2, "SELL", "0.005", "210", "0.21")))
    answer = settled(keeper)[-1]
    assert (answer.amounts, answer.position_version) == ({"USDT": D("409.79")}, 4)  # all there is


def test_transfers_when_several_wait_are_settled_in_the_order_they_were_asked_for() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund())
    keeper.settle_all([request_of(SCENE.withdraw(1, 6, amount="150")), request_of(SCENE.withdraw(1, 5, amount="150"))])
    keeper.settle(request_of(SCENE.fill(1)))
    assert [(each.transfer_id, each.amounts) for each in settled(keeper)[1:]] == [
        ("paper-t5", {"USDT": D(150)}),
        ("paper-t6", {"USDT": D(50)}),
    ]


def test_release_when_posted_tells_the_position_but_no_worth() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.withdraw(amount="60"), SCENE.release(0))
    answer = settled(keeper)[-1]
    assert (answer.position_version, answer.amounts, answer.value_usdt) == (3, {"USDT": D(540)}, None)
    record = keeper.pages.strategies["paper-s1"]
    assert (record.contributed, record.contributed_in, record.withdrawn) == (D(0), D(600), D(60))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": D(41)},
        {"amount": None, "percent": D(40)},
        {"asset": "BTC"},
        {"fills_required": 0},
        {"quote": "BTC"},
        {"prices": {"BTC": D(40000), "ETH": D(2000), "SOL": D(10), "USDT": D(1), "XRP": D(1)}},
        {"prices": {"BTC": D(40001), "ETH": D(2000), "SOL": D(10), "USDT": D(1)}},
    ],
)
@pytest.mark.parametrize("fills_required", [1, 2])
def test_withdrawal_when_repeated_has_no_effect_and_when_different_is_refused(
    changes: dict[str, object], fills_required: int
) -> None:
    """The same whether it is still waiting (for a second fill) or was posted."""
    command = SCENE.withdraw(fills_required, amount="40")
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.fill(1), command)
    before = (keeper.pages.sequence, keeper.pages.holdings(STRATEGY))
    assert keeper.settle_all([request_of(command)] * 3) == [None] * 3
    with pytest.raises(Refused, match="differs"):
        keeper.settle(request_of(command.model_copy(update=changes)))
    assert (keeper.pages.sequence, keeper.pages.holdings(STRATEGY)) == before


def test_fundings_when_several_of_different_assets_all_count_as_contributed() -> None:
    bitcoin = SCENE.fund(2, "0.5", asset="BTC").model_copy(update={"value_usdt": D(20000)})
    keeper = keeper_after(
        SCENE.deposit(), SCENE.deposit(2, "1", "BTC"), SCENE.fund(), bitcoin, SCENE.fund(3, "100"), SCENE.fund(4, "900")
    )
    answers = settled(keeper)
    assert [(each.posted, each.position_version, each.value_usdt) for each in answers] == [
        (True, 1, D(600)),
        (True, 2, D(20000)),
        (True, 3, D(100)),
        (False, 0, None),
    ]
    assert answers[-1].reason == "wallet holds 300 USDT, needs 900"
    (position,) = told(keeper, PositionChanged)
    assert isinstance(position, PositionChanged)
    assert position.holdings == {"BTC": D("0.5"), "USDT": D(700)}
    assert (position.contributed, position.contributed_in, position.withdrawn) == (D(20700), D(20700), D(0))
    keeper.settle(request_of(SCENE.withdraw(asset="BTC", amount="0.25")))  # 10,000 of 20,700
    assert keeper.pages.strategies["paper-s1"].contributed == 10700
    keeper.settle(request_of(SCENE.fund(6, "300")))
    assert keeper.pages.strategies["paper-s1"].contributed == 11000


def test_money_when_added_after_everything_was_released_can_be_released_again() -> None:
    keeper = keeper_after(SCENE.deposit(), SCENE.fund(), SCENE.release(0), SCENE.fund(2, "50"), SCENE.release(0, 10))
    assert [each.position_version for each in settled(keeper)] == [1, 2, 3, 4]
    assert keeper.pages.holdings(STRATEGY) == {}
    assert keeper.pages.strategies["paper-s1"].contributed_in == 650


quantities = st.decimals("0.000000000000000001", "1000000", places=18)
positive_prices = st.decimals("0.00000001", "100000", places=8)


@given(
    st.dictionaries(st.sampled_from(["A", "B", "C", "USDT"]), st.tuples(quantities, positive_prices), min_size=1),
    st.decimals("0.000001", "100", places=6),
    st.decimals("0", "1000000", places=18),
)
def test_payout_when_a_percent_is_asked_is_exact_to_the_last_kept_digit(
    portfolio: dict[str, tuple[Decimal, Decimal]], percent: Decimal, contributed: Decimal
) -> None:
    holdings = {asset: quantity for asset, (quantity, _) in portfolio.items()}
    prices = {asset: D(1) if asset == "USDT" else price for asset, (_, price) in portfolio.items()}
    asset = min(holdings)
    command = Scene().withdraw(asset=asset, amount=None, percent=str(percent)).model_copy(update={"prices": prices})
    value = sum(Fraction(quantity) * Fraction(prices[name]) for name, quantity in holdings.items())
    wanted = value * Fraction(percent) / 100 / Fraction(prices[asset])
    try:
        payout = payout_of(command, holdings, contributed)
    except Refused:
        assert wanted < Fraction(1, 10**18)
        return
    unit = Fraction(1, 10**18)
    assert 0 < payout.amount <= holdings[asset]
    if payout.amount < holdings[asset]:
        assert 0 <= wanted - Fraction(payout.amount) < unit
    worth = Fraction(payout.amount) * Fraction(prices[asset])
    assert 0 <= worth - Fraction(payout.worth) < unit
    left = Fraction(contributed) * (1 - worth / value)
    assert 0 <= Fraction(payout.contributed) - left < unit
    assert payout.contributed <= contributed

"""Double entry: what each kind of transaction moves, and that nothing is ever made or destroyed."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.double_entry import (
    Posting,
    Trade,
    Transaction,
    changes_of,
    fees_account,
    fits,
    may_be_negative,
    postings_of_deposit,
    postings_of_fill,
    postings_of_fund,
    postings_of_release,
    strategy_account,
    suspense_account,
    unbalanced,
    venue_account,
    wallet_account,
)
from shared.core.errors import Refused

D = Decimal
LARGEST = D("9" * 38)
SMALLEST = D("0.000000000000000001")


def trade(**changes: object) -> Trade:
    values = {
        "venue": "paper",
        "strategy_id": "s1",
        "side": "buy",
        "base": "BTC",
        "quote": "USDT",
        "quantity": D("0.5"),
        "quote_quantity": D("20000"),
        "fee": D("0.0005"),
        "fee_asset": "BTC",
    }
    return Trade(**(values | changes))  # type: ignore[arg-type]


def shape(postings: tuple[Posting, ...]) -> list[tuple[str, str, str, str]]:
    return [(p.source, p.destination, p.asset, str(p.amount)) for p in postings]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(
            trade(),
            [
                ("strategy:s1", "venue:paper", "USDT", "20000"),
                ("venue:paper", "strategy:s1", "BTC", "0.5"),
                ("strategy:s1", "fees:paper", "BTC", "0.0005"),
            ],
            id="buy, fee in base",
        ),
        pytest.param(
            trade(side="SELL", fee=D(20), fee_asset="USDT"),
            [
                ("strategy:s1", "venue:paper", "BTC", "0.5"),
                ("venue:paper", "strategy:s1", "USDT", "20000"),
                ("strategy:s1", "fees:paper", "USDT", "20"),
            ],
            id="sell, fee in quote, side as the venue spells it",
        ),
        pytest.param(
            trade(fee=D("0.02"), fee_asset="BNB"),
            [
                ("strategy:s1", "venue:paper", "USDT", "20000"),
                ("venue:paper", "strategy:s1", "BTC", "0.5"),
                ("strategy:s1", "fees:paper", "BNB", "0.02"),
            ],
            id="buy, fee in a third asset",
        ),
        pytest.param(
            trade(fee=D(0)),
            [("strategy:s1", "venue:paper", "USDT", "20000"), ("venue:paper", "strategy:s1", "BTC", "0.5")],
            id="no fee",
        ),
        pytest.param(
            trade(side="sell", fee=D("-1.5"), fee_asset="USDT"),
            [
                ("strategy:s1", "venue:paper", "BTC", "0.5"),
                ("venue:paper", "strategy:s1", "USDT", "20000"),
                ("venue:paper", "strategy:s1", "USDT", "1.5"),
            ],
            id="rebate",
        ),
        pytest.param(
            trade(side="sell", quantity=SMALLEST, quote_quantity=D(0), fee=D(0)),
            [("strategy:s1", "venue:paper", "BTC", "1E-18")],
            id="proceeds below the venue's smallest unit",
        ),
    ],
)
def test_fill_when_posted_moves_what_the_venue_booked(of: Trade, expected: list[tuple[str, str, str, str]]) -> None:
    assert shape(postings_of_fill(of)) == expected


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"side": "short"}, "side"),
        ({"quantity": D(0)}, "quantity"),
        ({"quantity": D(-1)}, "quantity"),
        ({"quote_quantity": D("-0.01")}, "quote_quantity"),
        ({"fee_asset": ""}, "asset"),
        ({"base": "B\nC"}, "asset"),
    ],
)
def test_fill_when_impossible_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(Refused) as refusal:
        postings_of_fill(trade(**changes))
    assert refusal.value.problems[0].field == field


def test_deposit_fund_and_release_when_posted_move_between_their_accounts() -> None:
    assert shape(postings_of_deposit("paper", "USDT", D(100))) == [("venue:paper", "wallet:paper", "USDT", "100")]
    assert shape(postings_of_fund("paper", "s1", "USDT", D(60))) == [("wallet:paper", "strategy:s1", "USDT", "60")]
    assert shape(postings_of_release("paper", "s1", {"USDT": D(5), "BTC": D("0.1"), "ETH": D(0)})) == [
        ("strategy:s1", "wallet:paper", "BTC", "0.1"),
        ("strategy:s1", "wallet:paper", "USDT", "5"),
    ]


def test_release_when_nothing_is_held_moves_nothing() -> None:
    assert postings_of_release("paper", "s1", {"BTC": D(0)}) == ()


@pytest.mark.parametrize(
    ("source", "destination", "asset", "amount"),
    [
        ("a", "a", "BTC", D(1)),
        ("", "b", "BTC", D(1)),
        ("a", "", "BTC", D(1)),
        ("a", "b", "", D(1)),
        ("a", "b", "X" * 33, D(1)),
        ("a", "b", "BTC", D(0)),
        ("a", "b", "BTC", D(-1)),
        ("a", "b", "BTC", D("NaN")),
        ("a", "b", "BTC", D("Infinity")),
        ("a", "b", "BTC", D("1e-19")),
        ("a", "b", "BTC", D("1e38")),
        ("a", "b", "BTC", LARGEST + SMALLEST),
    ],
)
def test_posting_when_no_movement_that_can_be_kept_is_refused(
    source: str, destination: str, asset: str, amount: Decimal
) -> None:
    with pytest.raises(Refused):
        Posting(source, destination, asset, amount)


def test_transaction_when_it_moves_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="moves nothing"):
        Transaction("fill:paper:1", "fill", "paper", "s1", ())


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (LARGEST, True),
        (LARGEST.copy_negate(), True),
        (D("9" * 20 + "." + "9" * 18), True),
        (D("9" * 21 + "." + "9" * 18), False),
        (D("1." + "0" * 40), True),
        (D("1E+37"), True),
        (D("1E+38"), False),
        (SMALLEST, True),
        (SMALLEST / 10, False),
        (D("NaN"), False),
    ],
)
def test_fits_when_at_the_limits_tells_what_can_be_kept(amount: Decimal, expected: bool) -> None:
    assert fits(amount) is expected


def test_accounts_when_named_only_the_venues_own_and_suspense_may_be_negative() -> None:
    accounts = (wallet_account("v"), strategy_account("s"), fees_account("v"))
    assert not any(map(may_be_negative, accounts))
    assert all(map(may_be_negative, (venue_account("v"), suspense_account("v"))))


def test_changes_when_one_account_gives_and_takes_are_net_and_exact() -> None:
    postings = (
        Posting("a", "b", "X", LARGEST),
        Posting("b", "c", "X", SMALLEST),
        Posting("a", "b", "Y", D(1)),
    )
    changes = changes_of(postings)
    assert changes["b", "X"] == D("9" * 37 + "8." + "9" * 18)
    assert changes["c", "X"] == SMALLEST
    assert unbalanced(changes) == {}


def test_unbalanced_when_a_unit_is_lost_names_the_asset_and_the_amount() -> None:
    changes = {
        ("a", "X"): LARGEST.copy_negate(),
        ("b", "X"): LARGEST,
        ("a", "Y"): D(-1),
        ("b", "Y"): D(1) - SMALLEST,
    }
    assert unbalanced(changes) == {"Y": -SMALLEST}


amounts = st.decimals(min_value=SMALLEST, max_value=D("9" * 20), places=18, allow_nan=False)
signed = st.decimals(min_value=D(-1000), max_value=D(1000), places=18, allow_nan=False)


@given(
    side=st.sampled_from(["buy", "sell", "BUY", "SELL"]),
    quantity=amounts,
    quote_quantity=amounts,
    fee=signed,
    fee_asset=st.sampled_from(["BTC", "USDT", "BNB"]),
)
def test_fill_when_any_trade_balances_and_gives_the_strategy_exactly_its_net(
    side: str, quantity: Decimal, quote_quantity: Decimal, fee: Decimal, fee_asset: str
) -> None:
    of = trade(side=side, quantity=quantity, quote_quantity=quote_quantity, fee=fee, fee_asset=fee_asset)
    changes = changes_of(postings_of_fill(of))
    sign = 1 if side.lower() == "buy" else -1
    expected = {"BTC": sign * Fraction(quantity), "USDT": -sign * Fraction(quote_quantity), "BNB": Fraction(0)}
    expected[fee_asset] -= Fraction(fee)
    assert unbalanced(changes) == {}
    assert {asset: Fraction(changes.get(("strategy:s1", asset), D(0))) for asset in expected} == expected

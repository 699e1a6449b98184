"""Matching: book shape, walking, commission, filters; amounts conserved to the last digit."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import Refused
from shared.core.market import Instrument
from shared.core.matching import (
    Book,
    BookShape,
    Commission,
    Fill,
    Level,
    OrderTerms,
    PriceBand,
    Side,
    balance_changes,
    book_around,
    commission_on,
    crosses,
    fills_at_rest,
    fills_for_quantity,
    fills_for_quote,
    filter_failures,
    notional,
)

D = Decimal


def instrument(tick: str = "0.01", lot: str = "0.001", min_notional: str = "5") -> Instrument:
    return Instrument(
        venue="paper",
        symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        lot_step=D(lot),
        min_quantity=D(lot),
        max_quantity=D(1000),
        tick_size=D(tick),
        min_notional=D(min_notional),
        taker_fee=D("0.001"),
    )


SHAPE = BookShape(spread_bps=D(2), level_spacing_bps=D(1), level_notional=D(10_000), levels=5)


def test_book_when_price_on_tick_is_symmetrical_around_it() -> None:
    book = book_around(D("10000"), instrument(), SHAPE)
    assert [level.price for level in book.asks] == [D(10001), D(10002), D(10003), D(10004), D(10005)]
    assert [level.price for level in book.bids] == [D(9999), D(9998), D(9997), D(9996), D(9995)]
    assert book.bids[0].quantity == D("1.000")
    assert book.asks[0].quantity == D("0.999")


def test_book_when_spread_is_zero_is_still_two_ticks_wide() -> None:
    shape = BookShape(D(0), D(0), D(100), 3)
    book = book_around(D("1.00"), instrument(), shape)
    assert [level.price for level in book.asks] == [D("1.01"), D("1.02"), D("1.03")]
    assert [level.price for level in book.bids] == [D("0.99"), D("0.98"), D("0.97")]


def test_book_when_level_is_worth_less_than_a_lot_holds_one_lot() -> None:
    book = book_around(D(50_000), instrument(lot="1"), BookShape(D(2), D(1), D(10), 1))
    assert book.bids[0].quantity == book.asks[0].quantity == 1


def test_book_when_price_is_under_two_ticks_is_refused() -> None:
    with pytest.raises(Refused, match="leaves no room for a bid"):
        book_around(D("0.01"), instrument(), SHAPE)


prices = st.decimals(min_value="0.02", max_value="1000000", places=4)
bps = st.decimals(min_value=0, max_value=500, places=2)


@given(price=prices, spread=bps, spacing=bps, value=st.decimals(min_value="0.01", max_value=10**7, places=2))
def test_book_when_any_price_is_uncrossed_on_tick_and_sorted(price: D, spread: D, spacing: D, value: D) -> None:
    rules = instrument()
    book = book_around(price, rules, BookShape(spread, spacing, value, 6))
    asks, bids = [level.price for level in book.asks], [level.price for level in book.bids]
    assert asks == sorted(set(asks))
    assert bids == sorted(set(bids), reverse=True)
    assert all(0 < bid < ask for bid in bids for ask in asks)
    for level in (*book.asks, *book.bids):
        assert level.price % rules.tick_size == 0
        assert level.quantity % rules.lot_step == 0
        assert level.quantity > 0
    if bids:
        assert abs((asks[0] + bids[0]) / 2 - price) <= rules.tick_size / 2


ASKS = (Level(D(100), D(2)), Level(D(101), D(3)), Level(D(103), D(5)))
BIDS = (Level(D(99), D(2)), Level(D(98), D(3)), Level(D(95), D(5)))


@pytest.mark.parametrize(
    ("side", "quantity", "limit", "expected"),
    [
        (Side.BUY, "1", None, [("100", "1")]),
        (Side.BUY, "4", None, [("100", "2"), ("101", "2")]),
        (Side.BUY, "11", None, [("100", "2"), ("101", "3"), ("103", "5")]),
        (Side.BUY, "4", "101", [("100", "2"), ("101", "2")]),
        (Side.BUY, "9", "102", [("100", "2"), ("101", "3")]),
        (Side.BUY, "1", "99.99", []),
        (Side.SELL, "4", None, [("99", "2"), ("98", "2")]),
        (Side.SELL, "9", "96", [("99", "2"), ("98", "3")]),
        (Side.SELL, "9", "99", [("99", "2")]),
        (Side.SELL, "1", "99.01", []),
    ],
)
def test_fills_when_walking_stop_at_quantity_limit_or_depth(
    side: Side, quantity: str, limit: str | None, expected: list[tuple[str, str]]
) -> None:
    levels = Book(BIDS, ASKS).against(side)
    fills = fills_for_quantity(side, levels, D(quantity), D(limit) if limit else None)
    assert fills == tuple(Fill(D(price), D(amount)) for price, amount in expected)


@pytest.mark.parametrize(
    ("quote", "lot", "expected"),
    [
        ("150", "1", [("100", "1")]),
        ("150", "0.1", [("100", "1.5")]),
        ("200", "1", [("100", "2")]),
        ("402", "1", [("100", "2"), ("101", "2")]),
        ("99", "1", []),
        ("100000", "1", [("100", "2"), ("101", "3"), ("103", "5")]),
    ],
)
def test_fills_when_given_quote_spend_whole_lots_within_it(
    quote: str, lot: str, expected: list[tuple[str, str]]
) -> None:
    fills = fills_for_quote(ASKS, D(quote), D(lot))
    assert [(str(fill.price), str(fill.quantity)) for fill in fills] == expected
    assert notional(fills) <= D(quote)


@pytest.mark.parametrize(
    ("side", "quantity", "limit", "expected"),
    [
        (Side.BUY, "1", "100", [("100", "1")]),
        (Side.BUY, "4", "101", [("101", "4")]),
        (Side.BUY, "9", "101", [("101", "5")]),
        (Side.BUY, "1", "99", []),
        (Side.SELL, "4", "98", [("98", "4")]),
        (Side.SELL, "1", "99.5", []),
    ],
)
def test_fills_when_resting_come_at_own_price_within_depth(
    side: Side, quantity: str, limit: str, expected: list[tuple[str, str]]
) -> None:
    fills = fills_at_rest(side, Book(BIDS, ASKS).against(side), D(quantity), D(limit))
    assert fills == tuple(Fill(D(price), D(amount)) for price, amount in expected)


@given(
    side=st.sampled_from(Side),
    price=prices,
    quantity=st.decimals(min_value="0.001", max_value=1000, places=3),
    away_bps=st.integers(min_value=-300, max_value=300),
)
def test_fills_when_any_limit_never_beyond_it_and_never_more_than_asked(
    side: Side, price: D, quantity: D, away_bps: int
) -> None:
    limit = price * (1 + D(away_bps) / 10_000)
    levels = book_around(price, instrument(), SHAPE).against(side)
    fills = fills_for_quantity(side, levels, quantity, limit)
    assert all(crosses(side, limit, fill.price) and fill.quantity > 0 for fill in fills)
    total = sum((fill.quantity for fill in fills), D(0))
    assert total <= quantity
    available = sum((level.quantity for level in levels if crosses(side, limit, level.price)), D(0))
    assert total == min(quantity, available)


@pytest.mark.parametrize(
    ("side", "fee", "expected"),
    [
        (Side.BUY, "10", Commission("BTC", D("0.00150000"))),
        (Side.SELL, "10", Commission("USDT", D("0.15001500"))),
        (Side.BUY, "0", Commission("BTC", D(0))),
        (Side.SELL, "7.5", Commission("USDT", D("0.11251125"))),
    ],
)
def test_commission_when_taken_is_a_share_of_what_is_received(side: Side, fee: str, expected: Commission) -> None:
    assert commission_on(Fill(D("100.01"), D("1.5")), side, instrument(), D(fee)) == expected


def test_commission_when_finer_than_eight_decimals_is_cut() -> None:
    fee = commission_on(Fill(D("100.01"), D("0.00001999")), Side.BUY, instrument(), D(10))
    assert fee.amount == D("0.00000001")


@given(
    side=st.sampled_from(Side),
    price=st.decimals(min_value="0.00000001", max_value="999999", places=8),
    quantity=st.decimals(min_value="0.00000001", max_value="99999999999", places=8),
    fee=st.decimals(min_value=0, max_value=1000, places=2),
)
def test_balances_when_filled_move_exactly_price_times_quantity_and_the_fee(
    side: Side, price: D, quantity: D, fee: D
) -> None:
    fill = Fill(price, quantity)
    taken = commission_on(fill, side, instrument(), fee)
    # Fractions: the check must not share the rounding of what it checks.
    changes = {asset: Fraction(change) for asset, change in balance_changes(fill, side, instrument(), taken).items()}
    changes[taken.asset] += Fraction(taken.amount)
    sign = 1 if side is Side.BUY else -1
    assert changes == {"BTC": sign * Fraction(quantity), "USDT": -sign * Fraction(price) * Fraction(quantity)}
    assert taken.amount >= 0


BAND = PriceBand()


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (OrderTerms(Side.BUY, D("1"), None, D("100")), []),
        (OrderTerms(Side.BUY, D("1"), None, D("100.001")), ["PRICE_FILTER"]),
        (OrderTerms(Side.BUY, D("1"), None, D("0")), ["PRICE_FILTER", "PERCENT_PRICE_BY_SIDE", "NOTIONAL"]),
        (OrderTerms(Side.BUY, D("1"), None, D("120")), []),
        (OrderTerms(Side.BUY, D("1"), None, D("120.01")), ["PERCENT_PRICE_BY_SIDE"]),
        (OrderTerms(Side.BUY, D("1"), None, D("19.99")), ["PERCENT_PRICE_BY_SIDE"]),
        (OrderTerms(Side.SELL, D("1"), None, D("79.99")), ["PERCENT_PRICE_BY_SIDE"]),
        (OrderTerms(Side.SELL, D("1"), None, D("500")), []),
        (OrderTerms(Side.BUY, D("0.0005"), None, D("100")), ["LOT_SIZE", "NOTIONAL"]),
        (OrderTerms(Side.BUY, D("0.1005"), None, None), ["LOT_SIZE"]),
        (OrderTerms(Side.BUY, D("1000.001"), None, None), ["LOT_SIZE"]),
        (OrderTerms(Side.BUY, D("0.05"), None, None), []),
        (OrderTerms(Side.BUY, D("0.049"), None, None), ["NOTIONAL"]),
        (OrderTerms(Side.SELL, D("0.049"), None, D("103")), []),
        (OrderTerms(Side.BUY, None, D("5"), None), []),
        (OrderTerms(Side.BUY, None, D("4.99"), None), ["NOTIONAL"]),
    ],
)
def test_filters_when_broken_are_named_in_order(terms: OrderTerms, expected: list[str]) -> None:
    assert [failure.filter for failure in filter_failures(terms, instrument(), BAND, D(100))] == expected


def test_filters_when_broken_say_what_is_allowed() -> None:
    (failure,) = filter_failures(OrderTerms(Side.BUY, D("0.1005")), instrument(), BAND, D(100))
    assert (failure.field, failure.value, failure.allowed) == (
        "quantity",
        "0.1005",
        "0.001 to 1000 in steps of 0.001",
    )

"""Lots: cases by hand, and properties over random histories."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.lots import LotBook, Method, Piece

D = Decimal
START = datetime(2024, 1, 1, tzinfo=UTC)


def book_of(method: Method, *opened: tuple[str, str]) -> LotBook:
    book = LotBook(method)
    for day, (quantity, cost) in enumerate(opened):
        book.open(D(quantity), D(cost), START + timedelta(days=day), f"buy-{day + 1}")
    return book


def in_short(pieces: Sequence[Piece]) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    return [(piece.opened_by, piece.quantity, piece.cost, piece.proceeds) for piece in pieces]


@pytest.mark.parametrize(
    ("method", "pieces", "open_cost"),
    [
        (Method.FIFO, [("buy-1", D(1), D(10), D(24)), ("buy-2", D("0.5"), D(15), D(12))], D(35)),
        (Method.LIFO, [("buy-3", D(1), D(20), D(24)), ("buy-2", D("0.5"), D(15), D(12))], D(25)),
        (Method.HIFO, [("buy-2", D(1), D(30), D(24)), ("buy-3", D("0.5"), D(10), D(12))], D(20)),
        (Method.AVERAGE, [("buy-1", D("1.5"), D(30), D(36))], D(30)),
    ],
)
def test_close_when_three_lots_are_open_takes_them_in_the_order_of_the_method(
    method: Method, pieces: list[tuple[str, Decimal, Decimal, Decimal]], open_cost: Decimal
) -> None:
    book = book_of(method, ("1", "10"), ("1", "30"), ("1", "20"))
    assert in_short(book.close(D("1.5"), D(36))) == pieces
    assert (book.quantity, book.cost) == (D("1.5"), open_cost)


def test_close_when_more_is_closed_than_is_open_realises_the_rest_at_no_cost() -> None:
    book = book_of(Method.FIFO, ("1", "10"))
    assert in_short(book.close(D(4), D(40))) == [("buy-1", D(1), D(10), D(10)), ("", D(3), D(0), D(30))]
    assert book.quantity == 0


def test_close_when_nothing_is_closed_realises_the_proceeds() -> None:
    assert in_short(book_of(Method.LIFO, ("1", "10")).close(D(0), D("-0.5"))) == [("", D(0), D(0), D("-0.5"))]


def test_close_when_a_third_is_taken_leaves_the_rounding_in_the_lot() -> None:
    book = book_of(Method.FIFO, ("3", "10"))
    assert book.close(D(1), D(5))[0].cost == D("3.333333333333333333")
    assert book.cost == D("6.666666666666666667")


def test_hifo_when_a_lot_was_partly_closed_keeps_its_place_after_a_restart() -> None:
    book = book_of(Method.HIFO, ("3", "10"), ("3", "10"))
    book.close(D(1), D(5))
    again = LotBook(Method.HIFO, book.lots.values(), last_number=book.last_number)
    assert in_short(again.close(D(3), D(5))) == in_short(book.close(D(3), D(5)))


amounts = st.decimals("0.00000001", "1000000", places=8)
steps = st.lists(st.tuples(st.booleans(), amounts, amounts), min_size=1, max_size=40)


@given(method=st.sampled_from(Method), history=steps)
def test_lots_when_history_is_random_neither_make_nor_lose_cost_or_proceeds(
    method: Method, history: list[tuple[bool, Decimal, Decimal]]
) -> None:
    book = LotBook(method)
    opened = closed = Fraction(0)
    for number, (is_purchase, quantity, money) in enumerate(history):
        before = book.quantity
        if is_purchase:
            book.open(quantity, money, START, str(number))
            opened += Fraction(money)
            assert book.quantity == before + quantity
            continue
        pieces = book.close(quantity, money)
        assert sum(piece.quantity for piece in pieces) == quantity
        assert sum(Fraction(piece.proceeds) for piece in pieces) == Fraction(money)
        assert book.quantity == max(before - quantity, 0)
        assert all(piece.cost >= 0 for piece in pieces)
        closed += sum((Fraction(piece.cost) for piece in pieces), Fraction(0))
    assert opened == closed + Fraction(book.cost)


@given(history=steps)
def test_methods_when_everything_is_sold_realise_the_same_in_all(
    history: list[tuple[bool, Decimal, Decimal]],
) -> None:
    gains = set()
    for method in Method:
        book, gain = LotBook(method), Fraction(0)
        for number, (is_purchase, quantity, money) in enumerate(history):
            if is_purchase:
                book.open(quantity, money, START, str(number))
            elif book.quantity >= quantity:
                gain += sum((Fraction(piece.gain) for piece in book.close(quantity, money)), Fraction(0))
        gain += sum((Fraction(piece.gain) for piece in book.close(book.quantity, D(7))), Fraction(0))
        gains.add(gain)
    assert len(gains) == 1

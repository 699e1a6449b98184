"""When venue and books may be said to differ: only where nothing is on its way, and only when it is seen twice."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.order_executor.comparing import Booked, Reading, Suspicions

D = Decimal


def reading(
    venue: str, before: str = "5", after: str = "5", books: str = "5", moving: str = "", lagging: str = ""
) -> Reading:
    """Of one asset, and of another that never differs."""

    def of(amount: str) -> Mapping[str, Decimal]:
        return {"BTC": D(amount), "ETH": D(1)}

    return Reading(
        of_booked(of(before), moving), of(venue), of_booked(of(after), ""), of(books), frozenset(lagging.split())
    )


def of_booked(expected: Mapping[str, Decimal], moving: str) -> Booked:
    return Booked(expected, frozenset(moving.split()))


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (reading("5"), D(0)),
        (reading("4"), D(-1)),
        (reading("5.1"), D("0.1")),
        (reading("4", before="4"), None),
        (reading("4", after="4"), None),
        (reading("4", books="4"), None),
        (reading("4", books="6"), None),
        (reading("4", moving="BTC"), None),
        (reading("4", moving="ETH"), D(-1)),
        (reading("4", lagging="BTC"), None),
    ],
    ids=[
        "equal",
        "less",
        "more",
        "a fill was booked meanwhile",
        "and the other way round",
        "books are ahead",
        "a fill is not posted yet",
        "an order is unsettled",
        "an order in another asset is",
        "the venue may lag",
    ],
)
def test_difference_when_something_is_on_its_way_is_not_judged(look: Reading, expected: Decimal | None) -> None:
    assert look.differences().get("BTC") == expected
    assert ("BTC" in look.undecided()) is (expected is None)


def test_asset_when_only_the_venue_or_only_the_books_know_it_is_compared_with_zero() -> None:
    look = Reading(Booked({"BTC": D(2)}), {"AIR": D(7)}, Booked({"BTC": D(2)}), {"BTC": D(2)})
    assert look.differences() == {"AIR": D(7), "BTC": D(-2)}


def test_difference_when_seen_twice_is_called_once_and_doubted_until_the_books_have_it() -> None:
    suspicions = Suspicions()
    assert suspicions.confirmed(reading("4"), 0.0, 1.0) == {}
    assert suspicions.confirmed(reading("4"), 0.5, 1.0) == {}, "too soon"
    assert suspicions.confirmed(reading("4", moving="BTC"), 0.8, 1.0) == {}
    assert suspicions.confirmed(reading("4"), 1.0, 1.0) == {"BTC": D(-1)}
    assert suspicions.doubted == {"BTC"}
    # Called, and the ledger has not posted it: what the executor expects is 4, the books still say 5.
    assert suspicions.confirmed(reading("4", before="4", after="4"), 2.0, 1.0) == {}
    assert suspicions.doubted == {"BTC"}
    assert suspicions.confirmed(reading("4", before="4", after="4", books="4"), 3.0, 1.0) == {}
    assert suspicions.doubted == frozenset()


@pytest.mark.parametrize("between", ["5", "3.9"])
def test_difference_when_it_changes_or_ends_in_between_begins_anew(between: str) -> None:
    suspicions = Suspicions()
    suspicions.confirmed(reading("4"), 0.0, 1.0)
    suspicions.confirmed(reading(between), 1.0, 1.0)
    assert suspicions.confirmed(reading("4"), 2.0, 1.0) == {}
    assert suspicions.confirmed(reading("4"), 3.0, 1.0) == {"BTC": D(-1)}


def test_asset_when_not_judged_at_the_start_is_doubted_and_later_not() -> None:
    suspicions = Suspicions()
    suspicions.confirmed(reading("4", moving="BTC"), 0.0, 1.0)
    assert suspicions.doubted == {"BTC"}
    suspicions.is_start = False
    both = {"NEW": D(1), "BTC": D(5)}
    suspicions.confirmed(Reading(Booked(both), {}, Booked({}), {}), 1.0, 1.0)
    assert suspicions.doubted == {"BTC"}, "what is first bought while it trades is not held up"
    suspicions.confirmed(reading("5"), 2.0, 1.0)
    assert suspicions.doubted == frozenset()


def test_asset_when_it_was_doubted_and_is_nowhere_any_more_is_not_doubted() -> None:
    nothing = Booked({})
    suspicions = Suspicions()
    suspicions.confirmed(Reading(nothing, {"AIR": D(1)}, nothing, {}), 0.0, 1.0)
    assert suspicions.doubted == {"AIR"}
    assert suspicions.confirmed(Reading(nothing, {}, nothing, {}), 1.0, 1.0) == {}
    assert suspicions.doubted == frozenset()


amounts = st.integers(-3, 3).map(D)


@given(st.lists(st.tuples(amounts, amounts, amounts, amounts, st.booleans()), max_size=40))
def test_calls_when_summed_never_contain_what_was_on_its_way(looks: list[tuple[Decimal, ...]]) -> None:
    suspicions = Suspicions()
    for at, (venue, before, after, books, moving) in enumerate(looks):
        look = reading(str(venue), str(before), str(after), str(books), "BTC" if moving else "")
        for asset, amount in suspicions.confirmed(look, float(at), 1.0).items():
            assert (asset, amount) == ("BTC", venue - books)
            assert amount
            assert before == after == books
            assert not moving

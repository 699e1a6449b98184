"""Which quotes are believed, which are not, and why."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.price_feed.guards import GuardLimits, QuoteGuard, Reason

A = "AUSDT"


def guard_of(*quotes: tuple[str, str]) -> QuoteGuard:
    """A guard that follows AUSDT and has believed these quotes."""
    guard = QuoteGuard()
    guard.follow({A})
    for bid, ask in quotes:
        assert guard.admit(A, bid, ask) is None
    return guard


ONE_QUOTE: dict[str, tuple[object, object, Reason | None]] = {
    "ordinary": ("100.00", "100.01", None),
    "bid equals ask": ("100.00", "100.0", None),
    "eighteen decimals": ("0.000000000000000001", "0.000000000000000002", None),
    "zero bid": ("0.00000000", "100", Reason.ZERO),
    "zero ask": ("100", "0", Reason.ZERO),
    "negative bid": ("-100", "100", Reason.NEGATIVE),
    "negative ask": ("100", "-0.01", Reason.NEGATIVE),
    "nan": ("NaN", "100", Reason.NOT_FINITE),
    "infinite": ("100", "Infinity", Reason.NOT_FINITE),
    "too large for a float": ("100", "1e400", Reason.NOT_FINITE),
    "exponent": ("1e2", "100", Reason.UNPARSABLE),
    "empty": ("", "100", Reason.UNPARSABLE),
    "words": ("100", "dear", Reason.UNPARSABLE),
    "underscore": ("1_00", "100", Reason.UNPARSABLE),
    "space": (" 100", "100", Reason.UNPARSABLE),
    "other digits": ("\u0661", "\u0661", Reason.UNPARSABLE),
    "nineteen decimals": ("0.0000000000000000001", "1", Reason.UNPARSABLE),
    "twenty-one digits": ("1", "1" * 21, Reason.UNPARSABLE),
    "a number, not text": (100.0, 100.01, Reason.UNPARSABLE),
    "nothing": (None, "100", Reason.UNPARSABLE),
    "a list": (["100"], "100", Reason.UNPARSABLE),
    "crossed": ("100.02", "100.01", Reason.CROSSED),
    "crossed in the last decimal": ("12345678901234567890.2", "12345678901234567890.1", Reason.CROSSED),
}


@pytest.mark.parametrize(("bid", "ask", "expected"), ONE_QUOTE.values(), ids=ONE_QUOTE.keys())
def test_admit_when_first_quote_is_this_returns_reason(bid: object, ask: object, expected: Reason | None) -> None:
    guard = guard_of()
    assert guard.admit(A, bid, ask) is expected
    assert guard.refused == ({} if expected is None else {str(expected): 1})


FAR = [("1000", "1001"), ("1000", "1001"), ("1000", "1001")]
SEQUENCES: dict[str, tuple[Sequence[tuple[str, str]], str]] = {
    # "." believed, "j" refused as a jump, "x" for any other reason
    "+60 % a tick": ([("160", "161"), ("256", "257"), ("410", "411")], "..."),
    "-60 % a tick": ([("40", "41"), ("16", "17"), ("6.4", "6.5")], "..."),
    "five times": ([("500", "505")], "."),
    "one bad tick of ten times": ([("1000", "1001"), ("100", "101")], "j."),
    "one bad tick of a tenth": ([("10", "10.1"), ("100", "101")], "j."),
    "two bad ticks": ([*FAR[:2], ("100", "101"), FAR[2]], "jj.j"),
    "a new level, confirmed": ([*FAR, ("1005", "1006")], "jj.."),
    "a new level, drifting": ([("1000", "1001"), ("1300", "1301"), ("1700", "1701")], "jj."),
    "three far quotes that disagree": ([("1000", "1001"), ("10000", "10001"), ("1000", "1001")], "jjj"),
    "a new level, interrupted by rubbish": ([*FAR[:2], ("0", "0"), FAR[2]], "jjx."),
    "far ask only": ([("100", "1000"), ("100", "101")], "j."),
    "far bid only": ([("1", "101")], "j"),
    "a thousand times": ([("100000", "100001")], "j"),
    "back at the old level after a confirmed one": ([*FAR, ("100", "101")], "jj.j"),
}


@pytest.mark.parametrize(("quotes", "expected"), SEQUENCES.values(), ids=SEQUENCES.keys())
def test_admit_when_level_is_100_and_quotes_follow_believes_only_confirmed(
    quotes: Sequence[tuple[str, str]], expected: str
) -> None:
    guard = guard_of(("100", "101"))
    seen = [guard.admit(A, bid, ask) for bid, ask in quotes]
    assert "".join("." if r is None else "j" if r is Reason.JUMP else "x" for r in seen) == expected


def test_admit_when_symbol_is_not_followed_refuses() -> None:
    guard = guard_of(("100", "101"))
    assert guard.admit("BUSDT", "100", "101") is Reason.UNKNOWN_SYMBOL
    guard.follow({"BUSDT"})
    assert guard.admit("BUSDT", "100", "101") is None
    assert guard.admit(A, "100", "101") is Reason.UNKNOWN_SYMBOL
    assert guard.refused == {"unknown_symbol": 2}


def test_follow_when_symbol_stays_keeps_its_level() -> None:
    guard = guard_of(("100", "101"))
    guard.follow({A, "BUSDT"})
    assert guard.admit(A, "1000", "1001") is Reason.JUMP


def test_admit_when_numbering_goes_back_refuses_until_connected_anew() -> None:
    guard = guard_of()
    assert guard.admit(A, "100", "101", order=7) is None
    assert guard.admit(A, "100", "101", order=6) is Reason.OUT_OF_ORDER
    assert guard.admit(A, "100", "101", order=7) is None
    guard.connected()
    assert guard.admit(A, "100", "101", order=1) is None


def test_admit_when_a_refused_quote_has_a_high_number_does_not_follow_its_numbering() -> None:
    guard = guard_of(("100", "101"))
    assert guard.admit(A, "0", "101", order=10**12) is Reason.ZERO
    assert guard.admit(A, "100", "101", order=5) is None


def test_admit_when_time_goes_back_refuses() -> None:
    guard = guard_of()
    assert guard.admit(A, "100", "101", at_ms=2_000) is None
    assert guard.admit(A, "100", "101", at_ms=1_999) is Reason.TIME_BACKWARDS
    assert guard.admit(A, "102", "103", at_ms=2_000) is None


def test_tick_when_clock_of_a_symbol_goes_back_refuses() -> None:
    guard = guard_of()
    assert guard.tick(A, 2_000, "100") is None
    assert guard.tick(A, 1_999, "100") is Reason.TIME_BACKWARDS
    assert guard.tick("BUSDT", 2_000, "100") is Reason.UNKNOWN_SYMBOL
    assert guard.refused == {"time_backwards": 1, "unknown_symbol": 1}


def test_admit_when_first_quote_is_far_from_last_trade_wants_confirmation() -> None:
    guard = guard_of()
    guard.tick(A, 1, "100")
    assert guard.admit(A, "10000", "10001") is Reason.JUMP
    assert guard.admit(A, "99", "101") is None


@pytest.mark.parametrize("last", ["0", "-5", "NaN", 100.0, None, ""])
def test_admit_when_last_trade_is_no_price_ignores_it(last: object) -> None:
    guard = guard_of()
    guard.tick(A, 1, last)
    assert guard.admit(A, "10000", "10001") is None


def test_admit_when_limits_are_set_uses_them() -> None:
    guard = QuoteGuard(GuardLimits(jump_factor=2.0, confirmations=2))
    guard.follow({A})
    assert [guard.admit(A, bid, bid) for bid in ("100", "201", "202")] == [None, Reason.JUMP, None]


prices = st.decimals(min_value="0.00000001", max_value="1000000000", places=8).map(lambda value: format(value, "f"))


@given(prices, prices)
def test_admit_when_prices_are_plain_refuses_exactly_the_crossed(bid: str, ask: str) -> None:
    from decimal import Decimal

    assert (guard_of().admit(A, bid, ask) is Reason.CROSSED) == (Decimal(bid) > Decimal(ask))


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.binary()))
def test_admit_when_prices_are_anything_never_raises(value: object) -> None:
    guard = guard_of(("100", "101"))
    before = guard.admit(A, "100", "101")
    guard.admit(A, value, value)
    assert before is None
    assert guard.admit(A, "100", "101") is None


@given(st.lists(st.sampled_from(["0", "NaN", "1e400", "-100", "1000", "100000", "10", "0.1", ""]), max_size=30))
def test_admit_when_every_other_quote_is_mutated_believes_none_of_them(mutations: list[str]) -> None:
    guard = guard_of(("100", "101"))
    for mutation in mutations:
        assert guard.admit(A, mutation, mutation) is not None
        assert guard.admit(A, "100", "101") is None
    assert sum(guard.refused.values()) == len(mutations)

"""Which quotes are believed, which are not, and why."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.price_feed.guards import GuardLimits, QuoteGuard, Reason
from services.price_feed.venue_events import QuoteReceived

A = "AUSDT"


def admit(
    guard: QuoteGuard, bid: object, ask: object, order: int = 0, at_ms: int = 0, *, now_ms: int = 0, symbol: str = A
) -> Reason | None:
    """What the guard says of a quote at market time ``now_ms``."""
    return guard.admit(QuoteReceived(symbol, bid, ask, order, at_ms), now_ms)


def guard_of(*quotes: tuple[str, str]) -> QuoteGuard:
    """A guard that follows AUSDT and has believed these quotes."""
    guard = QuoteGuard()
    guard.follow({A})
    for bid, ask in quotes:
        assert admit(guard, bid, ask) is None
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
    assert admit(guard, bid, ask) is expected
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
    seen = [admit(guard, bid, ask, now_ms=60_000 * number) for number, (bid, ask) in enumerate(quotes, 1)]
    assert "".join("." if r is None else "j" if r is Reason.JUMP else "x" for r in seen) == expected


def test_admit_when_symbol_is_not_followed_refuses() -> None:
    guard = guard_of(("100", "101"))
    assert admit(guard, "100", "101", symbol="BUSDT") is Reason.UNKNOWN_SYMBOL
    guard.follow({"BUSDT"})
    assert admit(guard, "100", "101", symbol="BUSDT") is None
    assert admit(guard, "100", "101") is Reason.UNKNOWN_SYMBOL
    assert guard.refused == {"unknown_symbol": 2}


def test_follow_when_symbol_stays_keeps_its_level() -> None:
    guard = guard_of(("100", "101"))
    guard.follow({A, "BUSDT"})
    assert admit(guard, "1000", "1001") is Reason.JUMP


def test_admit_when_numbering_goes_back_refuses_until_connected_anew() -> None:
    guard = guard_of()
    assert admit(guard, "100", "101", order=7) is None
    assert admit(guard, "100", "101", order=6) is Reason.OUT_OF_ORDER
    assert admit(guard, "100", "101", order=7) is None
    guard.connected()
    assert admit(guard, "100", "101", order=1) is None


def test_admit_when_a_refused_quote_has_a_high_number_does_not_follow_its_numbering() -> None:
    guard = guard_of(("100", "101"))
    assert admit(guard, "0", "101", order=10**12) is Reason.ZERO
    assert admit(guard, "100", "101", order=5) is None


def test_admit_when_time_goes_back_refuses() -> None:
    guard = guard_of()
    assert admit(guard, "100", "101", at_ms=2_000) is None
    assert admit(guard, "100", "101", at_ms=1_999) is Reason.TIME_BACKWARDS
    assert admit(guard, "102", "103", at_ms=2_000) is None


def test_tick_when_clock_of_a_symbol_goes_back_refuses() -> None:
    guard = guard_of()
    assert guard.tick(A, 2_000, "100") is None
    assert guard.tick(A, 1_999, "100") is Reason.TIME_BACKWARDS
    assert guard.tick("BUSDT", 2_000, "100") is Reason.UNKNOWN_SYMBOL
    assert guard.refused == {"time_backwards": 1, "unknown_symbol": 1}


def test_admit_when_first_quote_is_far_from_last_trade_wants_confirmation() -> None:
    guard = guard_of()
    guard.tick(A, 1, "100")
    assert admit(guard, "10000", "10001") is Reason.JUMP
    assert admit(guard, "99", "101") is None


@pytest.mark.parametrize("last", ["0", "-5", "NaN", 100.0, None, ""])
def test_admit_when_last_trade_is_no_price_ignores_it(last: object) -> None:
    guard = guard_of()
    guard.tick(A, 1, last)
    assert admit(guard, "10000", "10001") is None


def test_admit_when_limits_are_set_uses_them() -> None:
    guard = QuoteGuard(GuardLimits(jump_factor=2.0, confirmations=2, confirm_ms=1_000))
    guard.follow({A})
    quotes = (("100", 1), ("201", 20_000), ("202", 20_999), ("203", 21_000))
    seen = [admit(guard, bid, bid, now_ms=now_ms) for bid, now_ms in quotes]
    assert seen == [None, Reason.JUMP, Reason.JUMP, None]


TIMED: dict[str, tuple[Sequence[tuple[str, int]], str]] = {
    # (bid = ask, ms after the believed 100), "." believed, "j" refused as a jump
    "twice in a second": ([("200", 1_000)], "."),
    "2.3 times in a second": ([("230", 1_000)], "j"),
    "2.3 times in ten seconds": ([("230", 10_000)], "."),
    "2.3 times, told for two seconds": ([("230", 500), ("231", 1_500), ("232", 2_500)], "jj."),
    "2.3 times, told often for less": ([("230", at) for at in range(500, 2_500, 100)], "j" * 20),
    "2.3 times, told twice": ([("230", 500), ("230", 4_000)], "jj"),
    "ten times, told for half a minute": ([("1000", at) for at in range(0, 30_001, 5_000)], "jjjjjj."),
    "ten times, told for less": ([("1000", at) for at in range(0, 30_000, 100)], "j" * 300),
    "ten times, but once as before": (
        [("1000", 0), ("1000", 20_000), ("100", 25_000), ("1000", 30_001), ("1000", 31_000)],
        "jj.jj",
    ),
    "a thousand times, while time stands": ([("100000", 0)] * 50, "j" * 50),
    "a thousandth, told for half a minute": ([("0.1", 0), ("0.1", 15_000), ("0.1", 30_000)], "jj."),
}


@pytest.mark.parametrize(("quotes", "expected"), TIMED.values(), ids=TIMED.keys())
def test_admit_when_a_jump_is_told_for_so_long_believes_it_only_then(
    quotes: Sequence[tuple[str, int]], expected: str
) -> None:
    guard = QuoteGuard()
    guard.follow({A})
    assert admit(guard, "100", "100", now_ms=1_000_000) is None
    seen = [admit(guard, price, price, now_ms=1_000_000 + after_ms) for price, after_ms in quotes]
    assert "".join("." if r is None else "j" if r is Reason.JUMP else "x" for r in seen) == expected


def test_admit_when_prices_move_at_one_event_time_refuses_once_market_time_has_gone_on() -> None:
    guard = guard_of()
    assert admit(guard, "100", "101", at_ms=5_000, now_ms=5_000) is None
    assert admit(guard, "101", "102", at_ms=5_000, now_ms=8_000) is None
    assert admit(guard, "102", "103", at_ms=5_000, now_ms=8_001) is Reason.TIME_FROZEN
    assert admit(guard, "101", "102", at_ms=5_000, now_ms=20_000) is None
    assert admit(guard, "102", "103", at_ms=8_001, now_ms=20_000) is None


def test_admit_when_one_wrong_number_is_huge_follows_the_true_ones_after_two_seconds() -> None:
    guard = guard_of()
    assert admit(guard, "100", "101", order=10**15, now_ms=1_000) is None
    seen = [admit(guard, "100", "101", order=7 + step, now_ms=1_000 + 500 * step) for step in range(6)]
    assert seen == [Reason.OUT_OF_ORDER] * 4 + [None, None]


def test_admit_when_an_old_connection_repeats_old_numbers_refuses_them_for_ever() -> None:
    guard = guard_of()
    for step in range(100):
        assert admit(guard, "100", "101", order=1_000 + step, now_ms=1_000 + 500 * step) is None
        assert admit(guard, "100", "101", order=900 + step, now_ms=1_000 + 500 * step) is Reason.OUT_OF_ORDER


prices = st.decimals(min_value="0.00000001", max_value="1000000000", places=8).map(lambda value: format(value, "f"))


@given(prices, prices)
def test_admit_when_prices_are_plain_refuses_exactly_the_crossed(bid: str, ask: str) -> None:
    from decimal import Decimal

    assert (admit(guard_of(), bid, ask) is Reason.CROSSED) == (Decimal(bid) > Decimal(ask))


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.binary()))
def test_admit_when_prices_are_anything_never_raises(value: object) -> None:
    guard = guard_of(("100", "101"))
    before = admit(guard, "100", "101")
    admit(guard, value, value)
    assert before is None
    assert admit(guard, "100", "101") is None


@given(st.lists(st.sampled_from(["0", "NaN", "1e400", "-100", "1000", "100000", "10", "0.1", ""]), max_size=30))
def test_admit_when_every_other_quote_is_mutated_believes_none_of_them(mutations: list[str]) -> None:
    guard = guard_of(("100", "101"))
    for mutation in mutations:
        assert admit(guard, mutation, mutation) is not None
        assert admit(guard, "100", "101") is None
    assert sum(guard.refused.values()) == len(mutations)

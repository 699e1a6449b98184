"""Order states: the table, and what evidence leads to."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.orders import (
    ORDER_TRANSITIONS,
    UNSETTLED,
    OrderState,
    VenueReport,
    may_become,
    reported_state,
    state_after_fill,
)

S = OrderState
LEGAL = {
    S.INTENDED: "withheld unknown open filled partially_filled unfilled rejected",
    S.UNKNOWN: "open filled partially_filled unfilled rejected absent",
    S.OPEN: "unknown filled partially_filled unfilled",
    S.PARTIALLY_FILLED: "filled",
    S.UNFILLED: "partially_filled filled",
    S.REJECTED: "unknown open filled partially_filled unfilled",
    S.ABSENT: "unknown open filled partially_filled unfilled",
    S.FILLED: "",
    S.WITHHELD: "",
}


@pytest.mark.parametrize("current", list(S))
@pytest.mark.parametrize("to", list(S))
def test_transition_when_any_pair_is_legal_exactly_as_listed(current: OrderState, to: OrderState) -> None:
    assert may_become(current, to) == (to is current or to.value in LEGAL[current].split())


def test_transitions_when_no_step_leads_back_to_intended_or_from_unsettled_to_silence() -> None:
    assert set(ORDER_TRANSITIONS) == set(S)
    assert not any(S.INTENDED in steps for steps in ORDER_TRANSITIONS.values())
    # Only the sender may say "never sent", only after proof may anyone say "absent".
    assert [state for state, steps in ORDER_TRANSITIONS.items() if S.WITHHELD in steps] == [S.INTENDED]
    assert [state for state, steps in ORDER_TRANSITIONS.items() if S.ABSENT in steps] == [S.UNKNOWN]
    assert all(ORDER_TRANSITIONS[state] for state in UNSETTLED)


@pytest.mark.parametrize(
    ("is_open", "executed", "booked", "rejected", "expected"),
    [
        (False, 10, 10, False, S.FILLED),
        (True, 10, 10, False, S.FILLED),
        (False, 4, 4, False, S.PARTIALLY_FILLED),
        (True, 4, 4, False, S.OPEN),
        (True, 0, 0, False, S.OPEN),
        (False, 0, 0, False, S.UNFILLED),
        (False, 0, 0, True, S.REJECTED),
        (False, 10, 6, False, S.UNKNOWN),  # fills are missing: it may not end
        (False, 4, 0, False, S.UNKNOWN),
        (False, 0, 4, False, S.PARTIALLY_FILLED),  # the report lags behind the fills
        (True, 0, 10, False, S.FILLED),
        (False, 4, 4, True, S.PARTIALLY_FILLED),
    ],
)
def test_reported_state_when_venue_reports_follows_table(
    is_open: bool, executed: int, booked: int, rejected: bool, expected: OrderState
) -> None:
    report = VenueReport(is_open, Decimal(executed), rejected)
    assert reported_state(Decimal(10), Decimal(booked), report) is expected


@given(st.sampled_from(list(S)), st.integers(0, 12), st.integers(0, 10), st.booleans())
def test_state_when_anything_is_reported_never_ends_with_fills_missing(
    current: OrderState, executed: int, booked: int, is_open: bool
) -> None:
    to = reported_state(Decimal(10), Decimal(booked), VenueReport(is_open, Decimal(executed)))
    if booked < min(executed, 10):
        assert to in UNSETTLED
    after = state_after_fill(current, Decimal(10), Decimal(booked))
    assert may_become(current, after)
    if booked:
        assert after not in {S.UNFILLED, S.REJECTED, S.ABSENT}

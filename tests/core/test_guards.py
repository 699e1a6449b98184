"""The guards on the send path: whatever is asked, what passes stays inside the limits."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.guards import (
    SECONDS_KEPT,
    Guard,
    GuardLimits,
    Outgoing,
    Tally,
    Valued,
    after_ended,
    after_phase,
    after_sent,
    judge,
    must_halt,
    notional_of,
)
from shared.core.market import Quote
from shared.core.matching import Side

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = date(2026, 3, 1)
QUOTE = Quote(Decimal(100), Decimal("100.1"), NOW)
LIMITS = GuardLimits(
    orders_per_minute=30,
    order_notional=Decimal(1000),
    day_notional=Decimal(5000),
    plan_turnover=Decimal("2.1"),
    price_away_bps=Decimal(200),
    trips_to_halt=3,
)
EMPTY = Tally()
ORDER = Outgoing(
    side=Side.BUY,
    quantity=Decimal(1),
    limit_price=Decimal("100.5"),
    quote=QUOTE,
    traded_before=Decimal(0),
    plan_value=Decimal(1000),
    market_day=DAY,
)


def trip_of(order: Outgoing, tally: Tally = EMPTY, now_ms: int = 0) -> Guard | None:
    trip = judge(LIMITS, tally, order, now_ms)
    return None if trip is None else trip.guard


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ORDER, None),
        (replace(ORDER, side=Side.SELL, limit_price=Decimal("99.5")), None),
        (replace(ORDER, quote=None), Guard.NO_QUOTE),
        (replace(ORDER, quote=Quote(Decimal(0), Decimal(1), NOW)), Guard.NO_QUOTE),
        (replace(ORDER, quote=Quote(Decimal(2), Decimal(1), NOW)), Guard.NO_QUOTE),
        (replace(ORDER, limit_price=Decimal("102.102")), None),  # 200 bps above the ask, to the last digit
        (replace(ORDER, limit_price=Decimal("102.103")), Guard.PRICE_AWAY),
        (replace(ORDER, limit_price=Decimal(90)), Guard.PRICE_AWAY),  # a buy far below is as wrong as one far above
        (replace(ORDER, side=Side.SELL, limit_price=Decimal(98)), None),
        (replace(ORDER, side=Side.SELL, limit_price=Decimal("97.99")), Guard.PRICE_AWAY),
        (replace(ORDER, quantity=Decimal("9.95")), None),
        (replace(ORDER, quantity=Decimal(10)), Guard.ORDER_NOTIONAL),
        # A sale is worth the bid, not its limit.
        (replace(ORDER, side=Side.SELL, limit_price=Decimal("99.5"), quantity=Decimal("10.01")), Guard.ORDER_NOTIONAL),
        (replace(ORDER, traded_before=Decimal("1999.5")), None),
        (replace(ORDER, traded_before=Decimal("1999.51")), Guard.PLAN_TURNOVER),
        (replace(ORDER, plan_value=Decimal(0)), Guard.PLAN_TURNOVER),
        (replace(ORDER, quantity=Decimal("NaN")), Guard.ORDER_NOTIONAL),
    ],
)
def test_order_when_judged_trips_the_guard_it_exceeds(order: Outgoing, expected: Guard | None) -> None:
    if order.quantity.is_nan():
        with pytest.raises(ArithmeticError):
            trip_of(order)
        return
    assert trip_of(order) is expected


def test_day_when_used_up_trips_and_another_day_does_not() -> None:
    tally = Tally(by_day=((DAY, Decimal("4899.5")),))
    assert trip_of(ORDER, tally) is None
    assert trip_of(replace(ORDER, quantity=Decimal("1.01")), tally) is Guard.DAY_NOTIONAL
    assert trip_of(replace(ORDER, quantity=Decimal("1.01"), market_day=DAY + timedelta(days=1)), tally) is None


def test_untraded_when_an_order_ends_is_given_back_and_never_more() -> None:
    tally = after_sent(Tally(), ORDER, 0)
    assert tally.notional_of(DAY) == Decimal("100.5")
    assert after_ended(tally, DAY, Decimal(40)).notional_of(DAY) == Decimal("60.5")
    assert after_ended(tally, DAY, Decimal(4000)).notional_of(DAY) == 0
    assert after_ended(tally, DAY + timedelta(days=1), Decimal(40)) == tally


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=300))
def test_orders_when_asked_for_without_end_never_exceed_the_minute(gaps_ms: list[int]) -> None:
    tally, now_ms, sent = Tally(), 10**9, []
    limits = replace(LIMITS, day_notional=Decimal(10**9))
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        if judge(limits, tally, ORDER, now_ms) is None:
            tally = after_sent(tally, ORDER, now_ms)
            sent.append(now_ms)
        assert sum(at > now_ms - 60_000 for at in sent) <= LIMITS.orders_per_minute
        assert len(tally.by_second) <= SECONDS_KEPT + 1
    assert sent


amounts = st.decimals("0.0001", "100000", places=4)


@given(
    st.lists(
        st.tuples(st.sampled_from(Side), amounts, st.decimals("50", "200", places=2), st.integers(0, 2)),
        max_size=60,
    )
)
def test_whatever_is_asked_what_passes_stays_inside_every_limit(
    asked: list[tuple[Side, Decimal, Decimal, int]],
) -> None:
    by_day: dict[date, Decimal] = {}
    tally, traded = Tally(), Decimal(0)
    for side, quantity, price, day in asked:
        on = DAY + timedelta(days=day)
        order = replace(ORDER, side=side, quantity=quantity, limit_price=price, market_day=on, traded_before=traded)
        if judge(LIMITS, tally, order, 0) is not None:
            continue
        tally = after_sent(tally, order, 0)
        notional = notional_of(order)
        by_day[on] = by_day.get(on, Decimal(0)) + notional
        traded += notional
        assert notional <= LIMITS.order_notional
        assert Decimal("97.9") <= price <= Decimal("102.2")
    assert all(total <= LIMITS.day_notional for total in by_day.values())
    assert traded <= LIMITS.plan_turnover * ORDER.plan_value
    assert dict(tally.by_day) == by_day


def test_phases_when_tripped_in_a_row_halt_and_a_clean_one_begins_anew() -> None:
    tally = Tally()
    for _ in range(LIMITS.trips_to_halt):
        tally = after_phase(tally, has_tripped=True)
        assert not must_halt(LIMITS, tally)
    assert must_halt(LIMITS, after_phase(tally, has_tripped=True))
    assert not must_halt(LIMITS, after_phase(after_phase(tally, has_tripped=False), has_tripped=True))


# On ETH/BTC at 0.05, with BTC at 50000: one ETH is 0.05 BTC, worth 2500.
DIRECT = replace(
    ORDER,
    quantity=Decimal("0.2"),
    limit_price=Decimal("0.0501"),
    quote=Quote(Decimal("0.05"), Decimal("0.05001"), NOW),
    valued=Valued(Decimal(50000), Quote(Decimal(50000), Decimal(50010), NOW)),
)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (DIRECT, None),
        (replace(DIRECT, quote=None), Guard.NO_QUOTE),
        (replace(DIRECT, valued=Valued(Decimal(50000), None)), Guard.NO_QUOTE),
        (replace(DIRECT, valued=Valued(Decimal(50000), Quote(Decimal(0), Decimal(1), NOW))), Guard.NO_QUOTE),
        (replace(DIRECT, limit_price=Decimal("0.052")), Guard.PRICE_AWAY),
        (replace(DIRECT, valued=Valued(Decimal(5), QUOTE)), Guard.PRICE_AWAY),
        (replace(DIRECT, valued=Valued(Decimal(51100), Quote(Decimal(50000), Decimal(50010), NOW))), Guard.PRICE_AWAY),
        (replace(DIRECT, quantity=Decimal("0.4")), Guard.ORDER_NOTIONAL),
        (replace(DIRECT, traded_before=Decimal(1700)), Guard.PLAN_TURNOVER),
    ],
)
def test_judge_when_an_order_is_on_a_direct_pair_bounds_its_worth_in_the_accounts_currency(
    order: Outgoing, expected: Guard | None
) -> None:
    assert trip_of(order) is expected
    assert notional_of(DIRECT) == Decimal(501)
    assert after_sent(EMPTY, DIRECT, 0).notional_of(DAY) == Decimal(501)
